"""9. The wrong step of a backward pass, found by algebra.

In a dense layer dW = dA.T H, where the input H (N, I) is known. So dW is linear in dA, and where H has rank N, dA
follows exactly from the claimed dW: dA.T = dW pinv(H). Then every step can be checked by itself, however many others
are wrong: loss -> dA of the last layer, dA of one layer -> dA of the layer below, dA -> dW, dA -> db. Where the rank is
smaller, the blocks below may still determine dA, or at least show that some dA explains them all (the cut test).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from .._types import Array
from ..layers import Dense
from .backward_pass import BackwardPass

__all__ = ["Localisation", "WrongStep", "localise"]

MOST_UNKNOWNS = 300  # entries of dA that the cut test solves for
MOST_NUMBERS = 2_000_000  # of the system of equations of the cut test
CONDITION = 1e6  # of H, beyond which dA cannot be recovered
SPARE = 3  # equations beyond those that any claim satisfies


@dataclasses.dataclass(frozen=True)
class WrongStep:
    """One step of the backward pass that is wrong.

    Attributes
    ----------
    name : str
        The quantity, such as ``dA[0]``, ``dW[2]`` or ``db[2]``; the index is that of the layer.
    source : str
        The quantity that the step starts from, such as ``dA[2]`` or ``the loss``.
    prefix : str
        The layer, by its prefix in a state_dict.
    kind : {"dA", "weight", "bias"}
        The gradient with respect to the layer's output, or to one of its parameters.
    path : tuple of str
        The layers, from above to below, that the step goes through; "loss" for the loss.
    actual, right : ndarray
        The result of the step, and the right one from the same source.
    unique : bool
        Whether ``actual`` is known exactly.
    claimed : dict of str to ndarray
        For a dA, the claimed gradients of the parameters of its layer.
    """

    name: str
    source: str
    prefix: str
    kind: str
    path: tuple[str, ...]
    actual: Array
    right: Array
    unique: bool = True
    claimed: Mapping[str, Array] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return f"the step that makes {self.name} from {self.source}"


@dataclasses.dataclass(frozen=True)
class Localisation:
    """The wrong steps of a claimed gradient.

    Attributes
    ----------
    steps : list of WrongStep
        In backward order.
    actual : dict of str to ndarray
        The gradient with respect to the output of each layer, as the claimed backward pass has it.
    complete : bool
        Whether every step could be checked. If not, the steps found are right, and further ones may be wrong.
    undecided : str
        The first quantity that could not be checked, the last one in ``steps``; empty where ``complete``.
    rows : int
        With a batch of at most so many rows everything can be checked.
    ties : list of str
        The layers, by prefix, of which a wrong dA and a wrong dW explain equally much.
    """

    steps: list[WrongStep]
    actual: dict[str, Array]
    complete: bool
    undecided: str
    rows: int
    ties: list[str] = dataclasses.field(default_factory=list)


def localise(
    of: BackwardPass,
    claimed: Array,
    allowed: Array,
    relative: float,
    given: Mapping[str, Array] | None = None,
    blame_dA: bool = False,
) -> Localisation:
    """Find the wrong steps of a claimed gradient.

    Parameters
    ----------
    of : BackwardPass
        The right one.
    claimed : ndarray, shape (P,)
        The gradient.
    allowed : ndarray, shape (P,)
        The error that rounding explains, for each entry.
    relative : float
        The relative difference up to which two arrays count as equal.
    given : mapping of str to ndarray, optional
        The gradient with respect to the output of layers for which it is known otherwise.
    blame_dA : bool
        Whether to take dA for wrong, not dW, where both explain equally much.

    Examples
    --------
    A gradient whose first layer lacks the derivative of tanh:

    >>> from handmade.checking.backward_pass import BackwardPass
    >>> from handmade.checking.localisation import localise
    >>> X, y = np.random.default_rng(0).normal(size=(3, 4)), np.array([0, 1, 0])
    >>> right = BackwardPass(hm.MLP([4, 5, 2], activation="tanh", rng=0), X, y)
    >>> wrong = right.gradient({1: lambda of, i, dH: dH})
    >>> found = localise(right, wrong, np.zeros(wrong.size), 1e-7)
    >>> [(step.name, step.source) for step in found.steps]
    [('dA[0]', 'dA[2]')]
    """
    return _Search(of, claimed, allowed, relative, given or {}, blame_dA).result()


def number_of(prefix: str) -> str:
    """Return the index of a layer in a formula, such as ``[2.0]``: that of its parameters in a state_dict."""
    return f"[{prefix.rstrip('.')}]"


class _Search:
    """The search for wrong steps, from the output down."""

    def __init__(
        self,
        of: BackwardPass,
        claimed: Array,
        allowed: Array,
        relative: float,
        given: Mapping[str, Array],
        blame_dA: bool,
    ) -> None:
        self.of, self.relative, self.given, self.blame_dA = of, relative, given, blame_dA
        self.ties: list[str] = []
        self.numbers = {prefix: number_of(prefix) for prefix, leaf in of.leaves.items() if leaf.parameters}
        self.anchors = list(reversed(self.numbers))
        self.claimed = of.network.blocks(claimed)
        self.allowed = {name: float(block.max(initial=0.0)) for name, block in of.network.blocks(allowed).items()}
        self.order = list(of.leaves)

    def result(self) -> Localisation:
        steps: list[WrongStep] = []
        actual: dict[str, Array] = {}
        undecided = ""
        for k, prefix in enumerate(self.anchors):
            self.of.rerun(incoming=actual, signals_only=True)
            predicted = self.of.incoming[prefix].copy()
            wrong = self._wrong_blocks(prefix, predicted)
            if not wrong:
                actual[prefix] = predicted
                continue
            found = self._decide(k, actual, predicted, wrong)
            if found is None:
                undecided = f"dA{self.numbers[prefix]}"
                steps.append(self._step_to(k, predicted, predicted, False))
                break
            chosen, unique, is_predicted = found
            if not is_predicted:
                steps.append(self._step_to(k, predicted, chosen, unique))
                wrong = self._wrong_blocks(prefix, chosen) if unique else []
            steps += [self._step_of(prefix, name, chosen) for name in wrong]
            actual[prefix] = chosen
        widths = [self.of.inputs[p].shape[1] for p in self.anchors if isinstance(self.of.leaves[p], Dense)]
        return Localisation(steps, actual, not undecided, undecided, min(widths, default=1), self.ties)

    # ---- one layer -------------------------------------------------------------------------------------------------

    def _gradients(self, prefix: str, dH: Array) -> dict[str, Array]:
        """Return the right gradients of a layer's parameters from dH, by their names."""
        leaf = self.of.leaves[prefix]
        leaf.backward(dH, self.of.leaf_caches[prefix], False)
        return {f"{prefix}{name}": getattr(leaf, "d" + attribute).copy() for name, attribute in leaf.parameters.items()}

    def _wrong_blocks(self, prefix: str, dH: Array) -> list[str]:
        terms = float(np.abs(dH).sum(axis=0).max(initial=0.0))  # of a bias gradient, which may cancel
        return [n for n, right in self._gradients(prefix, dH).items() if not self._equal(n, right, 1.0, terms)]

    def _equal(self, name: str, right: Array, condition: float = 1.0, terms: float = 0.0) -> bool:
        claimed = self.claimed[name]
        if not np.isfinite(right).all():
            return False
        size = max(np.abs(claimed).max(initial=0.0), np.abs(right).max(initial=0.0), 0.1 * terms * (right.ndim == 1))
        return bool(np.abs(claimed - right).max(initial=0.0) <= self.relative * condition * size + self.allowed[name])

    def _decide(
        self, k: int, actual: Mapping[str, Array], predicted: Array, wrong: list[str]
    ) -> tuple[Array, bool, bool] | None:
        """Choose between a wrong dA, and a right dA with wrong gradients of the parameters.

        The choice that leaves more right below, and fewer wrong here, explains more. Return dA, whether it is known
        exactly, and whether it is the predicted one.
        """
        prefix = self.anchors[k]
        if prefix in self.given:
            far = np.abs(self.given[prefix] - predicted).max(initial=0.0)
            return self.given[prefix], True, bool(far <= self.relative * np.abs(predicted).max(initial=0.0))
        if isinstance(self.of.leaves[prefix], Dense) and f"{prefix}weight" not in wrong:
            return predicted, True, True  # a right dW was made from the right dA
        options = [(self._right_below(k, actual, predicted), -len(wrong), predicted, True, True)]
        recovered = self._recovered(prefix)
        if recovered is not None:
            here = self._wrong_blocks(prefix, recovered)
            options.append((self._right_below(k, actual, recovered), -1 - len(here), recovered, True, False))
        whole = all(n in wrong for n in self._gradients(prefix, predicted))
        below = self._blocks_below(k)  # if all of it is right, so is dA
        if recovered is None and (options[0][0] < below or (whole and not below)):
            cut = self._cut(k, actual)
            if cut is not None:
                right = below if cut[2] else options[0][0]
                options.append((right, -1, cut[0], cut[1], False))
            elif options[0][0] < below and whole:
                return None
        elif recovered is None and not below and not self._is_weighed(prefix, predicted):
            options.append((0, -1, predicted, False, False))
        scores = [option[:2] for option in options]
        tied = scores.count(max(scores)) > 1  # a wrong dA, or a wrong parameter
        if tied:
            self.ties.append(prefix)
        best = max(options, key=lambda option: (*option[:2], option[4] != (tied and self.blame_dA)))
        return best[2:]

    def _is_weighed(self, prefix: str, dA: Array) -> bool:
        """Return whether the bias of a layer is evidence for its dA: not if it is 0, as below a normalization."""
        bias = self.claimed.get(f"{prefix}bias")
        return bias is not None and bool(np.abs(bias).max() > 1e-6 * np.abs(dA).sum(axis=0).max())

    def _recovered(self, prefix: str) -> Array | None:
        """Return the dA from which the claimed dW of a dense layer was made, if it is unique and there is one."""
        leaf, H = self.of.leaves[prefix], self.of.inputs[prefix]
        if not isinstance(leaf, Dense):
            return None
        dW = self.claimed[f"{prefix}weight"]
        if len(H) > H.shape[1] and "bias" in leaf.parameters:
            H = np.column_stack([H, np.ones(len(H))])
            dW = np.column_stack([dW, self.claimed[f"{prefix}bias"]])
        if len(H) > H.shape[1]:
            return None
        values = np.linalg.svd(H, compute_uv=False)
        limit = min(CONDITION, 1e-2 / self.relative)
        if values[-1] * limit < values[0] or values[0] == 0:
            return None
        dA = (dW @ np.linalg.pinv(H)).T
        size = np.abs(dW).max(initial=0.0)
        outside = np.abs(dW - dA.T @ H).max(initial=0.0)
        if outside > self.relative * size + self.allowed[f"{prefix}weight"]:
            return None  # dW is no dA.T H, for any dA
        return dA

    # ---- what lies below -------------------------------------------------------------------------------------------

    def _names_below(self, k: int) -> list[str]:
        return [f"{prefix}{name}" for prefix in self.anchors[k + 1 :] for name in self.of.leaves[prefix].parameters]

    def _blocks_below(self, k: int) -> int:
        return len(self._names_below(k))

    def _right_below(self, k: int, actual: Mapping[str, Array], dA: Array) -> int:
        """Return how many of the blocks below agree with the claim if this dA is the one that is passed on."""
        gradient = self.of.network.blocks(self.of.rerun(incoming={**actual, self.anchors[k]: dA}))
        return sum(self._equal(name, gradient[name]) for name in self._names_below(k))

    def _cut(self, k: int, actual: Mapping[str, Array]) -> tuple[Array, bool, bool] | None:
        """Return a dA from which everything from this layer down follows.

        Return also whether it is the only one, and whether that is evidence: where there are no more equations than
        unknowns, some dA explains anything.
        """
        prefix = self.anchors[k]
        shape = self.of.outputs[prefix].shape
        names = [*(f"{prefix}{name}" for name in self.of.leaves[prefix].parameters), *self._names_below(k)]
        claimed = np.concatenate([self.claimed[name].ravel() for name in names])
        unknowns = int(np.prod(shape))
        if unknowns > MOST_UNKNOWNS or unknowns * claimed.size > MOST_NUMBERS:
            return None

        def gradient(dA: Array) -> Array:
            blocks = self.of.network.blocks(self.of.rerun(incoming={**actual, prefix: dA}))
            return np.concatenate([blocks[name].ravel() for name in names])

        constant = gradient(np.zeros(shape))
        columns = np.empty((claimed.size, unknowns))
        for j in range(unknowns):
            unit = np.zeros(unknowns)
            unit[j] = 1
            columns[:, j] = gradient(unit.reshape(shape)) - constant
        scale = np.concatenate([np.full(self.claimed[n].size, self._scale(n)) for n in names])
        dA, _, rank, values = np.linalg.lstsq(columns / scale[:, np.newaxis], (claimed - constant) / scale, rcond=1e-9)
        dA = dA.reshape(shape)
        blocks = self.of.network.blocks(self.of.rerun(incoming={**actual, prefix: dA}))
        if not all(self._equal(name, blocks[name], 10.0) for name in names):
            return None
        return dA, bool(rank == unknowns and values[-1] * 1e5 > values[0]), claimed.size - int(rank) >= SPARE

    def _scale(self, name: str) -> float:
        return float(np.abs(self.claimed[name]).max(initial=0.0)) or 1.0

    # ---- names -----------------------------------------------------------------------------------------------------

    def _step_to(self, k: int, right: Array, actual: Array, unique: bool) -> WrongStep:
        prefix = self.anchors[k]
        at = self.order.index(prefix)
        above = [p for p in self.order[at + 1 :] if p in self.numbers]
        source = next((p for p in above if isinstance(self.of.leaves[p], Dense)), None)
        end = len(self.order) if source is None else self.order.index(source) + 1
        path = list(reversed(self.order[at + 1 : end]))
        if source is None:
            path.insert(0, "loss")
        name = f"dA{self.numbers[prefix]}"
        text = "the loss" if source is None else f"dA{self.numbers[source]}"
        blocks = {n: self.claimed[n] for n in self._gradients(prefix, right)}
        return WrongStep(name, text, prefix, "dA", tuple(path), actual, right, unique, blocks)

    def _step_of(self, prefix: str, name: str, dA: Array) -> WrongStep:
        leaf, kind = self.of.leaves[prefix], name.removeprefix(prefix)
        right = self._gradients(prefix, dA)[name]
        number = self.numbers[prefix]
        return WrongStep(
            f"d{leaf.parameters[kind]}{number}", f"dA{number}", prefix, kind, (prefix,), self.claimed[name], right
        )


def layer_name(of: BackwardPass, prefix: str) -> str:
    """Return a layer's place and kind, such as ``layers[1], Activation('tanh')``."""
    return f"{of.place_of(prefix)}, {of.leaves[prefix]!r}"
