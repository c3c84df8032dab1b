"""Training steps and predictions as loops compiled by Numba. The NumPy code is written to be read; this, to be fast.

`compile` translates a network into a program, a table with one row per operation. Two kernels run any program: one does
the forward pass, the loss, the backward pass and the update for a batch; the other does a forward pass in evaluation
mode. Both work on the network's own theta and gradient, and on the optimizer's own state. Numba compiles each operation
once per dtype, when a network first needs it, and caches it on disk.

The modules, from the innermost out: `functions` of one number and their `tables`, matrix products (`blas`),
`operations` on arrays and `updates` of the parameters, `kernels`, `program` (translates a network into a table) and
`step` (checks, state, threads). With NUMBA_DISABLE_JIT=1, everything runs as plain Python.
"""

from __future__ import annotations

from typing import Any

from .. import optimizers
from .._steps import check_optimizer
from ..losses import Loss
from ..network import Network, as_network
from .program import Unsupported
from .step import CompiledStep

__all__ = ["CompiledStep", "Unsupported", "compile"]


def compile(network: Network, loss: Loss = "cross_entropy", optimizer: Any = None) -> CompiledStep:
    """Compile the training step and the prediction of a network.

    The step changes the network's own theta and gradient and the optimizer's own state. So both can be saved, checked,
    or trained further by the NumPy code at any time, and a schedule may change the learning rate between steps. Changes
    of the options of layers take effect with ``step.refresh()``, which `handmade.fit` calls before each epoch; changes
    of the loss's options have no effect on the step.

    Parameters
    ----------
    network : Network
        A network of `Dense`, `Activation` (softmax, log_softmax and those in `handmade.compiled.tables`), `Dropout`,
        `BatchNorm`, `LayerNorm`, `Residual` and `Sequential` layers.
    loss : str, callable or functools.partial
        Cross-entropy, binary cross-entropy with logits, mse, half squared error, l1 or huber.
    optimizer : optional
        Any object with ``step(theta, gradient)``; Adam() by default. SGD, Momentum1986, Adagrad, RMSprop, Adam and
        AdamW are compiled. Any other one runs its own step after the compiled passes.

    Returns
    -------
    CompiledStep
        ``step(X, y, sample_weight=None)`` trains with one batch and returns its loss. ``step.predict(X)`` and
        ``step.gradient(X, y)`` change no parameter.

    Raises
    ------
    Unsupported
        If a layer, a loss or an option has no compiled form; a TypeError that names it.
    ImportError
        If Numba is missing, or if SciPy is missing and NumPy's own BLAS cannot be called.

    Examples
    --------
    >>> X, y = hm.data.xor()
    >>> network = hm.MLP([2, 8, 2], activation="tanh", rng=0)
    >>> step = hm.compile(network, loss="cross_entropy", optimizer=hm.Adam(lr=0.1))
    >>> losses = [step(X, y) for _ in range(100)]
    >>> step.predict(X).argmax(axis=1)
    array([0, 1, 1, 0])
    """
    network = as_network(network)
    return CompiledStep(network, loss, check_optimizer(optimizers.Adam() if optimizer is None else optimizer, network))
