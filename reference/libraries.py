"""Functions that train one parameter, or take one step, with handmade, PyTorch, scikit-learn or Keras."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch

from handmade.protocols import Array

__all__ = [
    "LinearStep",
    "installed",
    "keras",
    "keras_path",
    "keras_step",
    "path",
    "plain",
    "scikit_learn_path",
    "scikit_learn_step",
    "torch_path",
]

MODULES = {"handmade": "handmade", "torch": "torch", "scikit-learn": "sklearn", "Keras": "keras"}


def installed(library: str) -> bool:
    """Return whether a library can be imported, without importing it.

    Examples
    --------
    >>> installed("handmade")
    True
    """
    return find_spec(MODULES[library]) is not None


@functools.cache
def keras() -> Any:
    """Return the module keras with the torch backend, float64, and its settings in a temporary folder.

    Keras reads backend and folder from environment variables at its first import; they are restored afterwards.
    """
    with tempfile.TemporaryDirectory() as folder, _environment(KERAS_BACKEND="torch", KERAS_HOME=folder):
        import keras
    keras.config.set_floatx("float64")
    return keras


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def plain(value: Any) -> Array:
    """Convert a number, tensor or variable of any library to a float64 array.

    Examples
    --------
    >>> plain(torch.tensor([1.0], requires_grad=True))
    array([1.])
    """
    value = value.value if hasattr(value, "assign") else value  # a variable of Keras
    value = value.detach() if isinstance(value, torch.Tensor) else value
    return np.asarray(value, np.float64)


# ---- paths: one parameter, the gradients of its steps, and a learning rate for each if needed -----------------------


def path(optimizer: Any, gradients: Sequence[float], lrs: Sequence[float] | None = None, start: float = 0.0) -> float:
    """Return theta after the steps of an optimizer of handmade, or of any object with its ``step`` and ``lr``.

    Examples
    --------
    >>> import handmade as hm
    >>> path(hm.SGD(lr=0.5), [1.0, 1.0])
    -1.0
    """
    theta = np.array([start])
    for gradient, lr in _steps(gradients, lrs):
        if lr is not None:
            optimizer.lr = lr
        optimizer.step(theta, np.array([gradient]))
    return float(theta[0])


def torch_path(
    make: Callable[..., Any], gradients: Sequence[float], lrs: Sequence[float] | None = None, start: float = 0.0
) -> float:
    """Return theta after the steps of an optimizer of torch.optim, made by ``make(parameters)``."""
    theta = torch.nn.Parameter(torch.tensor([start], dtype=torch.float64))
    optimizer = make([theta])
    for gradient, lr in _steps(gradients, lrs):
        if lr is not None:
            optimizer.param_groups[0]["lr"] = lr
        theta.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
    return theta.item()


def scikit_learn_path(
    name: str, gradients: Sequence[float], lrs: Sequence[float] | None = None, start: float = 0.0, **options: Any
) -> float:
    """Return theta after the steps of an optimizer of scikit-learn's MLP, "SGDOptimizer" or "AdamOptimizer"."""
    from sklearn.neural_network import _stochastic_optimizers

    theta = np.array([start])
    optimizer = getattr(_stochastic_optimizers, name)([theta], **options)
    for gradient, lr in _steps(gradients, lrs):
        if lr is not None:
            optimizer.learning_rate = lr
        optimizer.update_params([theta], [np.array([gradient])])
    return float(theta[0])


def keras_path(
    optimizer: Any, gradients: Sequence[float], lrs: Sequence[float] | None = None, start: float = 0.0
) -> float:
    """Return theta after the steps of an optimizer of keras.optimizers."""
    theta = keras().Variable(np.array([start]))
    optimizer.build([theta])
    for gradient, lr in _steps(gradients, lrs):
        if lr is not None:
            optimizer.learning_rate = lr
        optimizer.apply([torch.tensor([gradient], dtype=torch.float64)], [theta])
    return float(plain(theta)[0])


def _steps(gradients: Sequence[float], lrs: Sequence[float] | None) -> Iterator[tuple[float, float | None]]:
    rates: Sequence[float | None] = lrs or [None] * len(gradients)
    return zip(gradients, rates, strict=True)


# ---- one step of a linear model A = X Wt + b from given numbers ------------------------------------------------------


class LinearStep(NamedTuple):
    """The loss that a library reports for a linear model, and dW, db: the decrease of W and b in SGD with lr = 1.

    If X is the identity and b = 0, the outputs are W transposed, and dW is the gradient with respect to them.
    """

    loss: float
    dW: Array
    db: Array


def scikit_learn_step(
    estimator_class: Any, X: Array, y: Any, W: Array, b: Any, sample_weight: Array | None = None, **options: Any
) -> LinearStep:
    """Take a step with MLPRegressor or MLPClassifier without hidden layers, by ``partial_fit`` on all samples."""
    plain_descent = dict(solver="sgd", momentum=0.0, learning_rate_init=1.0, shuffle=False, batch_size=len(X))
    estimator = estimator_class(hidden_layer_sizes=(), random_state=0, **{"alpha": 0.0} | plain_descent | options)
    if hasattr(estimator, "predict_proba"):  # a classifier needs all classes, or all columns of labels
        estimator.partial_fit(X, y, classes=np.unique(y) if np.ndim(y) == 1 else np.arange(np.shape(y)[1]))
    else:
        estimator.partial_fit(X, y)
    estimator.coefs_[0][...], estimator.intercepts_[0][...] = np.transpose(W), b
    estimator.partial_fit(X, y, sample_weight=sample_weight)
    return LinearStep(estimator.loss_, W - estimator.coefs_[0].T, b - estimator.intercepts_[0])


def keras_step(
    loss: Any, X: Array, y: Any, W: Array, b: Any, class_weight: dict[int, float] | None = None, **options: Any
) -> LinearStep:
    """Take a step with a Dense layer of Keras, by ``train_on_batch``."""
    layers = keras().layers
    model = keras().Sequential([keras().Input((X.shape[1],)), layers.Dense(len(W), **options)])
    model.compile(keras().optimizers.SGD(1.0), loss=loss)
    kernel, bias = model.layers[0].kernel, model.layers[0].bias
    kernel.assign(np.transpose(W))
    bias.assign(np.full(len(W), b, float))
    value = model.train_on_batch(X, y, class_weight=class_weight)
    return LinearStep(float(plain(value)), W - plain(kernel).T, b - plain(bias))
