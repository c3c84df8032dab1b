"""The training of scikit-learn's MLPClassifier and MLPRegressor, reproduced step by step by handmade.

Their rules, term by term (sklearn/neural_network, 1.9.1), for a batch of n samples and k outputs:

    start      W and b from U(-a, a), a = sqrt(6 / (I + O)); for logistic units sqrt(2 / (I + O))
    order      each epoch permutes the order of the last one; the last batch has the remaining samples
    loss       see `Objective`; the mean is over n
    gradient   of that loss; for MLPRegressor's squared error, k times that
    penalty    alpha / 2n |W|^2, on weights and not on biases
    sgd        v = momentum v - lr g, theta += v; with Nesterov theta += momentum v - lr g: v includes lr
    adam       theta -= lr sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon): epsilon meets the running
               mean before it is corrected ("epsilon hat" of Kingma and Ba 2015, section 2)

This module implements each rule with handmade's functions.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

import handmade as hm
from handmade.initializers import xavier_uniform
from handmade.protocols import ActivationName, Array, LossName

__all__ = ["EpsilonHatAdam", "Objective", "Recipe", "VelocitySGD", "from_estimator"]

ACTIVATIONS: dict[str, ActivationName] = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
START_GAINS = {"logistic": 1 / math.sqrt(3)}  # sqrt(2 / (I + O)) beside Glorot's sqrt(6 / (I + O))


def from_estimator(estimator: Any) -> hm.MLP:
    """Return the network of a fitted MLPClassifier or MLPRegressor, with copies of its numbers.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        After ``fit`` or ``partial_fit``, with any solver.

    Returns
    -------
    handmade.MLP
        The network without the output activation: it predicts logits, while the estimator gives probabilities.

    Raises
    ------
    TypeError, sklearn.exceptions.NotFittedError
        If the estimator is of another class, or not fitted.

    Examples
    --------
    >>> from sklearn.neural_network import MLPRegressor
    >>> X, y = np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 3.0, 5.0])
    >>> estimator = MLPRegressor(hidden_layer_sizes=(4,), solver="lbfgs", alpha=0.0, random_state=0).fit(X, y)
    >>> network = from_estimator(estimator)
    >>> network
    Network([Dense(1, 4), Activation('relu'), Dense(4, 1)])
    >>> bool(np.allclose(network.predict(X)[:, 0], estimator.predict(X), rtol=1e-12))
    True
    """
    from sklearn.utils.validation import check_is_fitted

    _check_class(estimator)
    check_is_fitted(estimator)
    sizes = [len(estimator.coefs_[0]), *map(len, estimator.intercepts_)]
    network = hm.MLP(sizes, ACTIVATIONS[estimator.activation], dtype=estimator.coefs_[0].dtype)
    dense = [layer for layer in network.layers if isinstance(layer, hm.Dense)]
    for layer, coefs, intercepts in zip(dense, estimator.coefs_, estimator.intercepts_, strict=True):
        layer.W, layer.b = coefs.T, intercepts  # scikit-learn's weights are (I, O)
    return network


def _check_class(estimator: Any) -> None:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    if not isinstance(estimator, MLPClassifier | MLPRegressor):
        raise TypeError(f"estimator: expected an MLPClassifier or an MLPRegressor, got {estimator!r}")


@dataclasses.dataclass
class VelocitySGD:
    """A gradient descent whose velocity includes the learning rate: v = momentum v - lr g.

    A new learning rate scales later gradients only; in `handmade.SGD`, it also scales the velocity. VelocitySGD applies
    `handmade.SGD` with a learning rate of 1 to lr times the gradient. As long as lr is constant, both agree.

    Parameters
    ----------
    lr, momentum : float
    nesterov : bool
        Whether to use Nesterov's momentum; without momentum, it has no effect.

    Examples
    --------
    >>> theta, gradient = np.array([0.0]), np.array([1.0])
    >>> optimizer = VelocitySGD(lr=1.0, momentum=0.5)
    >>> optimizer.step(theta, gradient)
    >>> optimizer.lr = 0.0
    >>> optimizer.step(theta, gradient)
    >>> theta
    array([-1.5])
    """

    lr: float
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        nesterov = bool(self.nesterov and self.momentum > 0)
        self.descent = hm.SGD(lr=1.0, momentum=self.momentum, nesterov=nesterov)

    def step(self, theta: Array, gradient: Array) -> None:
        """Update theta in place; the gradient stays unchanged."""
        self.descent.step(theta, self.lr * gradient)


@dataclasses.dataclass
class EpsilonHatAdam:
    """An Adam that adds epsilon to the root of the second moment before its bias correction, as Keras does.

    `handmade.Adam` and torch add eps after the correction by 1 - beta_2^t, so eps = epsilon / sqrt(1 - beta_2^t).

    Parameters
    ----------
    lr : float
    betas : tuple of two floats
    epsilon : float

    Examples
    --------
    The first step, with a gradient of 1: the second moment is 1 - beta_2 = 1/4, its root is 1/2.

    >>> theta = np.array([0.0])
    >>> EpsilonHatAdam(lr=1.0, betas=(0.9, 0.75), epsilon=0.5).step(theta, np.array([1.0]))
    >>> theta.round(12)  # (1/2) / (1/2 + epsilon)
    array([-0.5])
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        self.descent = hm.Adam(lr=self.lr, betas=self.betas)

    def step(self, theta: Array, gradient: Array) -> None:
        """Update theta in place; the gradient stays unchanged."""
        adam = self.descent
        adam.lr, adam.eps = self.lr, self.epsilon / math.sqrt(1 - self.betas[1] ** (adam.t + 1))
        adam.step(theta, gradient)


@dataclasses.dataclass(frozen=True)
class Objective:
    """A loss of handmade with the factors that scikit-learn applies to it.

    Attributes
    ----------
    loss : str
        The loss, as `handmade.losses.find_loss` takes it.
    loss_factor : float
        scikit-learn's ``loss_`` and ``loss_curve_`` (without the penalty), divided by the loss.
    gradient_factor : float
        The gradient of a step, divided by the gradient of the loss.

    Examples
    --------
    MLPRegressor reports half the squared error, averaged over n samples *and* k outputs. But its step uses yhat - y,
    averaged over the n samples alone: k times the gradient of the loss that it reports.

    >>> Objective.of("regression", 3)
    Objective(loss='mse_loss', loss_factor=0.5, gradient_factor=1.5)

    For k labels, both the logistic loss and its gradient are summed over the labels:

    >>> Objective.of("multilabel-indicator", 3)
    Objective(loss='binary_cross_entropy_with_logits', loss_factor=3, gradient_factor=3)
    """

    loss: LossName
    loss_factor: float
    gradient_factor: float

    @classmethod
    def of(cls, kind: str, k: int) -> Objective:
        """Return the objective for k outputs and a kind of sklearn.utils.multiclass.type_of_target, or "regression"."""
        return {
            "multiclass": cls("cross_entropy", 1, 1),
            "binary": cls("binary_cross_entropy_with_logits", 1, 1),
            "multilabel-indicator": cls("binary_cross_entropy_with_logits", k, k),
            "regression": cls("mse_loss", 1 / 2, k / 2),
        }[kind]


class Recipe:
    """A training that reproduces ``fit`` or ``partial_fit`` of an estimator, with the same numbers at every step.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        Only its parameters are read; the initial weights are those that it would draw. It needs a ``random_state``.
    X, y : array_like
        As for ``estimator.fit``; they determine sizes, classes and dtype.

    Attributes
    ----------
    network : handmade.MLP
        The network without the output activation, as from `from_estimator`.
    objective : Objective
    optimizer : VelocitySGD or EpsilonHatAdam
    loss_curve : list of float
        The loss that scikit-learn reports for each epoch.

    Raises
    ------
    TypeError
        If the estimator is of another class.
    ValueError
        For an option that is not reproduced: solver "lbfgs", loss "poisson", early_stopping, random_state None, or
        targets that `Objective` does not know.

    Examples
    --------
    >>> from sklearn.neural_network import MLPRegressor
    >>> X, y = hm.data.spirals(30, rng=0)
    >>> Y = np.column_stack([X.sum(axis=1), X.prod(axis=1)])
    >>> estimator = MLPRegressor(hidden_layer_sizes=(5,), batch_size=8, random_state=0)
    >>> recipe = Recipe(estimator, X, Y)
    >>> for epoch in range(20):
    ...     _ = estimator.partial_fit(X, Y), recipe.partial_fit(X, Y)
    ...     assert np.allclose(recipe.network.theta, from_estimator(estimator).theta, rtol=0, atol=1e-12)
    >>> recipe.objective
    Objective(loss='mse_loss', loss_factor=0.5, gradient_factor=1.0)
    """

    def __init__(self, estimator: Any, X: npt.ArrayLike, y: npt.ArrayLike) -> None:
        _check_class(estimator)
        self.options = options = estimator.get_params()
        _check_options(options)
        X, y = np.asarray(X), np.asarray(y)
        self.kind = _kind(estimator, y)
        self.classes = np.unique(y)
        outputs = len(self.classes) if self.kind == "multiclass" else y.reshape(len(y), -1).shape[1]
        self.objective = Objective.of(self.kind, outputs)
        self.random_state = copy.deepcopy(options["random_state"])  # so that the estimator's stays unchanged
        self.rng = self._fresh_rng()
        self.network = _start(options, X, outputs, self.rng)
        self.is_weight = np.zeros_like(self.network.theta)
        for name, block in self.network.blocks(self.is_weight).items():
            block[...] = name.endswith("weight")
        self.optimizer = OPTIMIZERS[options["solver"]](options)
        self.samples_seen, self.without_improvement, self.best_loss = 0, 0, math.inf
        self.loss_curve: list[float] = []

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Recipe:
        """Train as ``estimator.fit(X, y)`` does: for max_iter epochs, or until the loss stops improving."""
        return self._train(X, y, self.options["max_iter"])

    def partial_fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Recipe:
        """Train for one epoch, as ``estimator.partial_fit(X, y)``."""
        return self._train(X, y, 1)

    def loss_and_gradient(self, X: Array, T: Array) -> tuple[float, Array]:
        """Return the loss that scikit-learn reports for a batch, and the gradient of its step."""
        n, alpha, objective = len(X), self.options["alpha"], self.objective
        weights = self.is_weight * self.network.theta
        loss, gradient = self.network.loss_and_gradient(X, T, objective.loss)
        loss = objective.loss_factor * loss + alpha / (2 * n) * (weights @ weights)
        gradient *= objective.gradient_factor
        gradient += alpha / n * weights
        return loss, gradient

    def step(self, X: Array, T: Array) -> float:
        """Take a step on one minibatch, and return its loss."""
        loss, gradient = self.loss_and_gradient(X, T)
        self.optimizer.step(self.network.theta, gradient)
        return loss

    def targets(self, y: npt.ArrayLike) -> Array:
        """Return the targets as handmade's loss takes them: class indices, or a column for each output."""
        y = np.asarray(y)
        if self.kind in ("binary", "multiclass"):
            y = np.searchsorted(self.classes, y.ravel())
        return y if self.kind == "multiclass" else y.reshape(len(y), -1).astype(self.network.dtype)

    def _train(self, X: npt.ArrayLike, y: npt.ArrayLike, epochs: int) -> Recipe:
        X, T = np.asarray(X, self.network.dtype), self.targets(y)
        order = np.arange(len(X))
        for _ in range(epochs):
            order = self._next_order(order)
            loss = sum(self.step(X[rows], T[rows]) * len(rows) for rows in self._batches(order)) / len(X)
            if self._epoch_ends(loss, len(X)):
                break
        self.rng = self._fresh_rng()
        return self

    def _next_order(self, order: Array) -> Array:
        if not self.options["shuffle"]:
            return order
        permutation = np.arange(len(order))
        self.rng.shuffle(permutation)
        return order[permutation]

    def _batches(self, order: Array) -> Iterator[Array]:
        size = 200 if self.options["batch_size"] == "auto" else self.options["batch_size"]
        return (order[start : start + size] for start in range(0, len(order), size))

    def _epoch_ends(self, loss: float, samples: int) -> bool:
        """Set the learning rate of the next epoch, and return whether training ends here."""
        options = self.options
        schedule = options["learning_rate"] if options["solver"] == "sgd" else "constant"
        self.loss_curve.append(loss)
        self.samples_seen += samples
        stale = loss > self.best_loss - options["tol"]
        self.without_improvement = self.without_improvement + 1 if stale else 0
        self.best_loss = min(self.best_loss, loss)
        if schedule == "invscaling":
            self.optimizer.lr = options["learning_rate_init"] / (self.samples_seen + 1) ** options["power_t"]
        if self.without_improvement <= options["n_iter_no_change"]:
            return False
        if schedule != "adaptive" or self.optimizer.lr <= 1e-6:
            return True
        self.optimizer.lr /= 5
        self.without_improvement = 0
        return False

    def _fresh_rng(self) -> np.random.RandomState:
        """Return the generator for a call of fit or partial_fit: a seed starts anew, a RandomState continues."""
        state = self.random_state
        return state if isinstance(state, np.random.RandomState) else np.random.RandomState(state)


OPTIMIZERS: dict[str, Callable[[dict[str, Any]], VelocitySGD | EpsilonHatAdam]] = {
    "sgd": lambda options: VelocitySGD(
        options["learning_rate_init"], options["momentum"], options["nesterovs_momentum"]
    ),
    "adam": lambda options: EpsilonHatAdam(
        options["learning_rate_init"], (options["beta_1"], options["beta_2"]), options["epsilon"]
    ),
}


def _check_options(options: dict[str, Any]) -> None:
    refused = (
        ("solver", options["solver"] not in OPTIMIZERS, "'sgd' or 'adam'"),
        ("loss", options.get("loss") == "poisson", "'squared_error'"),
        ("early_stopping", options["early_stopping"], "False"),
        ("random_state", options["random_state"] is None, "a seed or a RandomState, to draw the same numbers"),
    )
    for name, wrong, expected in refused:
        if wrong:
            raise ValueError(f"{name}: expected {expected}, got {options[name]!r}")


def _kind(estimator: Any, y: Array) -> str:
    from sklearn.base import is_classifier
    from sklearn.utils.multiclass import type_of_target

    kind = type_of_target(y) if is_classifier(estimator) else "regression"
    if kind not in ("binary", "multiclass", "multilabel-indicator", "regression"):
        raise ValueError(f"y: expected classes, labels of 0 and 1 in columns, or numbers to predict, got {kind}")
    return kind


def _start(options: dict[str, Any], X: Array, outputs: int, rng: np.random.RandomState) -> hm.MLP:
    """Return the network with the weights and biases that a first fit draws."""
    sizes = [X.shape[1], *np.atleast_1d(options["hidden_layer_sizes"]).tolist(), outputs]
    draw = partial(xavier_uniform, gain=START_GAINS.get(options["activation"], 1.0))
    dtype = np.float32 if X.dtype == np.float32 else np.float64

    def transposed(shape: tuple[int, ...], I: int, O: int, rng: Any) -> Array:  # scikit-learn draws (I, O)
        return draw(shape[::-1], I, O, rng).T

    return hm.MLP(
        sizes, ACTIVATIONS[options["activation"]], weight_init=transposed, bias_init=draw, rng=rng, dtype=dtype
    )
