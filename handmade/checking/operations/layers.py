"""9. The operations of layers that explain a wrong step from one dA to the next."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..._types import Array
from ...losses import find_loss
from ..backward_pass import BackwardPass
from ..localisation import WrongStep
from .recordings import record_layers
from .search import operations_that_explain
from .trials import Compared

__all__ = ["operations_of_step"]


def operations_of_step(
    of: BackwardPass, step: WrongStep, incoming: Mapping[str, Array], relative: float
) -> tuple[str, Array | None]:
    """Return which operation is derived wrongly in the layers that a step goes through, and the dA that this makes.

    The text is empty if no single one explains the step; the dA is None for a step to the gradient of a parameter.

    The step is known by the gradients of the parameters of its layer. So that layer is the first of the recording.

    Parameters
    ----------
    of : BackwardPass
        The right one.
    step : WrongStep
        A step from one dA to the next, or to the gradient of a parameter.
    incoming : mapping of str to ndarray
        The gradient with respect to the output of each leaf.
    relative : float
        The relative difference up to which two gradients count as equal.
    """
    path = [place for place in reversed(step.path) if place != "loss"] if step.kind == "dA" else []
    is_dA, is_of_loss = step.kind == "dA", step.path[0] == "loss"
    if not all(place in of.leaves for place in path) or (is_of_loss and of.sample_weight is not None):
        return "", None
    leaf, places = of.leaves[step.prefix], [step.prefix, *path]
    leaf.backward(step.right if is_dA else incoming[step.prefix], of.leaf_caches[step.prefix])
    right = {f"{step.prefix}{name}": getattr(leaf, f"d{own}").copy() for name, own in leaf.parameters.items()}
    claimed = step.claimed if is_dA else right | {f"{step.prefix}{step.kind}": step.actual}
    layers, X = [of.leaves[place] for place in places], of.inputs[step.prefix]
    try:
        if is_of_loss:
            recording = record_layers(layers, X, of.training, find_loss(of.loss).value, of.y)
            seed, value = np.ones(()), np.asarray(of.value)
        else:
            recording = record_layers(layers, X, of.training)
            seed, value = incoming[places[-1]], of.outputs[places[-1]]
        if not np.allclose(recording.output.value, value, rtol=1e-9, atol=1e-12):
            return "", None
        dX, *others = recording.gradient(seed)
        compared = [Compared("dX", dX, dX, None)]
        compared += [Compared(name, claimed[name], right[name], claimed[name] is not right[name]) for name in right]
        compared += [Compared("dA", others[-1], others[-1], None)] if is_dA else []
        found = operations_that_explain(recording, seed, compared, relative)
    except Exception:  # code that needs plain arrays, or anything else that it raises
        return "", None
    if len(found) != 1:  # one mistake in dA makes all gradients of the layer
        return "", None
    return found[0].text, found[0].gradients[-1] if is_dA else None
