"""Held-out mistakes in the derivatives of losses."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from handmade import activations, losses
from handmade.protocols import Array

from ..public.problems import Parameters, Problem, mlp, one_hot, relu, sigmoid, softmax
from .problems import Build, Of, above, d_half, held_out, sigmoid_slope, slope_of, tanh_slope, through


def with_targets(build: Build, change: Of) -> Build:
    """Return a function that builds a problem with other targets."""

    def changed() -> Problem:
        problem = build()
        return dataclasses.replace(problem, y=change(problem.y))

    return changed


def some_ignored(y: Array) -> Array:
    """Return the labels, each third of them -100."""
    return np.where(np.arange(len(y)) % 3 == 1, -100, y)


# ---- losses --------------------------------------------------------------------------------------------------------

FACTOR = r"\bn\b|\bk\b|batch|mean|average|number of|factor|size"


@held_out(
    "MSE written with sum(axis=1) / outputs, the mean over the batch forgotten",
    mlp([3, 7, 2], "tanh", "mse_loss", "numbers", rows=16),
    "loss",
    FACTOR,
)
def mean_over_the_outputs_alone(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, np.tanh, tanh_slope, lambda A: 2 * (A - y) / A.shape[1])


@held_out(
    "homework: divides by m in the derivative of the cost and again in dW and db",
    mlp([5, 8, 1], "sigmoid", "half_squared_error", "numbers", rows=20),
    "loss, 0 dW, 0 db, 2 dW, 2 db",
    r"\bn\b|batch|mean|average|samples",
)
def divided_by_the_batch_twice(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(
        parameters,
        X,
        sigmoid,
        sigmoid_slope,
        d_half(y),
        dW=lambda dA, H, k: dA.T @ H / len(X),
        db=lambda dA, k: dA.mean(axis=0),
    )


@held_out(
    "MAE with the derivative of the squared error left from a copied class",
    mlp([4, 6, 6, 2], "silu", "l1_loss", "numbers", rows=14),
    "loss",
    r"sign|squared|\babs|\|",
)
def absolute_error_derived_as_a_square(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, activations.silu, slope_of("silu"), lambda A: (A - y) / A.size)


@held_out(
    "Huber: the derivative of the quadratic part everywhere, also beyond delta",
    mlp([5, 6, 2], "tanh", functools.partial(losses.huber_loss, delta=0.5), "numbers", rows=18),
    "loss",
    r"delta|tail|0\.5|large|beyond|outlier|clip|squared",
)
def huber_without_its_tail(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, np.tanh, tanh_slope, lambda A: (A - y) / A.size)


@held_out(
    "smooth L1 with beta in the forward pass only",
    mlp([3, 9, 3], "relu", functools.partial(losses.smooth_l1_loss, beta=2.0), "numbers", rows=11),
    "loss",
    r"beta|quadratic|small|\b2\b|clip",
)
def smooth_l1_without_beta(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, relu, above, lambda A: np.clip(A - y, -1, 1) / A.size)


@held_out(
    "BCE with logits: the sigmoid derived once more, as after a sigmoid layer",
    mlp([6, 10, 1], "relu", "binary_cross_entropy_with_logits", "bits", rows=25),
    "loss",
    r"derivative|slope|sigmoid|p \(1 - p\)|1 - p",
)
def logits_through_one_more_sigmoid(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(A: Array) -> Array:
        P = sigmoid(A)
        return (P - y) * P * (1 - P) / A.size

    return through(parameters, X, relu, above, dA)


@held_out(
    "pos_weight multiplies the whole p - y and not the positive targets alone",
    mlp(
        [4, 5, 3],
        "tanh",
        functools.partial(losses.binary_cross_entropy_with_logits, pos_weight=3.0),
        "bits",
        rows=15,
    ),
    "loss",
    r"pos_weight|positive|y = 1|y = 0|negative|1 - y",
)
def positive_weight_on_both_targets(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, np.tanh, tanh_slope, lambda A: 3 * (sigmoid(A) - y) / A.size)


@held_out(
    "a binary loss that forgets the term of 1 - y",
    mlp([5, 4, 2], ["tanh", "sigmoid"], "binary_cross_entropy", "bits", rows=17),
    "loss",
    r"1 - y|y = 0|negative|positive",
)
def only_the_positive_half_of_a_cross_entropy(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(A: Array) -> Array:
        P = sigmoid(A)
        return -(y / P) * P * (1 - P) / A.size

    return through(parameters, X, np.tanh, tanh_slope, dA)


def signed(y: Array) -> Array:
    """Return bits as -1 and +1."""
    return 2 * y - 1


@held_out(
    "hinge with the condition of the perceptron: y s < 0, no margin",
    with_targets(mlp([4, 8, 1], "tanh", "hinge_loss", "bits", rows=30), signed),
    "loss",
    r"margin|perceptron|violat|within|< 1|threshold|condition|kink|correct",
)
def hinge_without_its_margin(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, np.tanh, tanh_slope, lambda A: np.where(y * A < 0, -y, 0) / A.size)


@held_out(
    "an SVM whose derivative is -1 where the margin is violated, the label left out",
    with_targets(mlp([7, 2], "relu", "hinge_loss", "bits", rows=22), signed),
    "loss",
    r"label|target|\by\b|sign",
)
def hinge_without_its_label(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, relu, above, lambda A: np.where(y * A < 1, -1, 0) / A.size)


@held_out(
    "label smoothing: the true class gets 1 - eps, the others nothing",
    mlp([5, 7, 5], "gelu", functools.partial(losses.cross_entropy, label_smoothing=0.2), rows=13),
    "loss",
    r"smooth|uniform|eps|0\.2|0\.8|0\.04|target",
)
def smoothing_without_the_uniform_part(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(A: Array) -> Array:
        return (softmax(A) - 0.8 * one_hot(y, A)) / len(A)

    return through(parameters, X, activations.gelu, slope_of("gelu"), dA)


@held_out(
    "label smoothing: eps / (K - 1) for the other classes, as another library defines it",
    mlp([4, 6, 6, 4], "tanh", functools.partial(losses.cross_entropy, label_smoothing=0.2), rows=24),
    "loss",
    r"smooth|uniform|k - 1|eps",
)
def smoothing_shared_among_the_other_classes(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(A: Array) -> Array:
        Y = one_hot(y, A)
        return (softmax(A) - 0.8 * Y - 0.2 / (A.shape[1] - 1) * (1 - Y)) / len(A)

    return through(parameters, X, np.tanh, tanh_slope, dA)


CLASS_WEIGHT = np.array([0.5, 1.0, 2.5, 1.5])
WEIGHTED = functools.partial(losses.cross_entropy, weight=CLASS_WEIGHT)


@held_out(
    "class weights broadcast over the columns of p - y, not picked by the label of the row",
    mlp([6, 8, 4], "relu", WEIGHTED, rows=21),
    "loss",
    r"class.?weight|weights? of (the|each|its) (class|label)|weights? per class|column|by the label",
)
def class_weights_along_the_columns(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(A: Array) -> Array:
        return (softmax(A) - one_hot(y, A)) * CLASS_WEIGHT / CLASS_WEIGHT[y].sum()

    return through(parameters, X, relu, above, dA)


ROW_WEIGHT = np.repeat(np.linspace(0.2, 2.0, 12)[:, None], 2, axis=1)


@held_out(
    "sample weights multiplied into the error before it is squared",
    mlp([4, 6, 2], "tanh", functools.partial(losses.mse_loss, weight=ROW_WEIGHT), "numbers"),
    "loss",
    r"sample.?weight|weights? (are )?squared|w\^2|squared|weights twice",
    array_only=True,
)
def sample_weights_squared(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, np.tanh, tanh_slope, lambda A: 2 * ROW_WEIGHT**2 * (A - y) / ROW_WEIGHT.sum())


@held_out(
    "ignore_index: no 1 is subtracted in an ignored row, but its probabilities stay",
    with_targets(mlp([5, 6, 4], "relu", rows=18), some_ignored),
    "loss",
    r"ignor|padding|masked|-100|without a label|no label|of 18|some (rows|samples)",
)
def ignored_rows_keep_their_probabilities(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(A: Array) -> Array:
        return (softmax(A) - one_hot(np.maximum(y, 0), A) * (y >= 0)[:, None]) / max((y >= 0).sum(), 1)

    return through(parameters, X, relu, above, dA)


@held_out(
    "the Poisson loss of a log-rate derived as that of a rate",
    with_targets(mlp([4, 5, 2], "tanh", "poisson_nll_loss", "numbers", rows=16), lambda y: np.floor(np.abs(2 * y))),
    "loss",
    r"\brate|exp\(|e\^|\blog\b|log_input",
)
def log_rate_derived_as_a_rate(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, np.tanh, tanh_slope, lambda A: (1 - y * np.exp(-A)) / A.size)
