"""Mistakes in the derivative of the loss, or of the loss together with the last activation."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

import handmade as hm
from handmade.protocols import Array

from .problems import Parameters, backward, forward, mlp, one_hot, public, relu, sigmoid, softmax

GITHUB = "https://github.com/"
CLASSES = mlp([6, 5, 4], "relu")
NUMBERS = mlp([4, 6, 3], "tanh", "mse_loss", "numbers")
SIGMOIDS = mlp([4, 5, 2], ["sigmoid", "sigmoid"], "half_squared_error", "bits")


def from_logits(parameters: Parameters, X: Array, dA_of: Callable[[Array], Array]) -> list[Array]:
    """Return the gradients of a ReLU network; dA_of(logits) is the gradient at its logits."""
    A, H = forward(parameters, X, relu)
    return backward(parameters, H, dA_of(A[-1]), lambda k: A[k] > 0)


def from_numbers(parameters: Parameters, X: Array, dA_of: Callable[[Array], Array]) -> list[Array]:
    """Return the gradients of a tanh network; dA_of(output) is the gradient at its output."""
    A, H = forward(parameters, X, np.tanh)
    return backward(parameters, H, dA_of(A[-1]), lambda k: 1 - np.tanh(A[k]) ** 2)


def from_sigmoids(parameters: Parameters, X: Array, dA_of: Callable[[Array], Array]) -> list[Array]:
    """Return the gradients of a network with a sigmoid after each layer; dA_of(output) is dA of the last."""
    _A, H = forward(parameters, X, sigmoid)
    return backward(parameters, H, dA_of(H[-1]), lambda k: H[k + 1] * (1 - H[k + 1]))


FACTOR_N = r"\bn\b|batch|mean|sum|samples|average"
SLOPE = r"derivative|slope|f'|sigmoid'|1 - "
TWO = r"\b2\b|half|twice|double|0\.5"


@public(
    GITHUB + "zhuozhiyongde/Fundamentals-of-Artificial-Intelligence-2024Spring-PKU/issues/1",
    CLASSES,
    "loss",
    r"diagonal|jacobian|other classes|own class|1 - p|elementwise|like a sigmoid",
)
def softmax_derived_like_a_sigmoid(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(A: Array) -> Array:
        P, Y = softmax(A), one_hot(y, A)
        return -(Y / P) * P * (1 - P) / len(X)

    return from_logits(parameters, X, dA)


@public(
    GITHUB + "KirillShmilovich/MLP-Neural-Network-From-Scratch/issues/4",
    CLASSES,
    "loss",
    SLOPE + "|twice|p \\* ",
)
def softmax_difference_times_sigmoid_slope(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(A: Array) -> Array:
        return (softmax(A) - one_hot(y, A)) * sigmoid(A) * (1 - sigmoid(A)) / len(X)

    return from_logits(parameters, X, dA)


@public(GITHUB + "jxgu1016/MNIST_center_loss_pytorch/issues/9", CLASSES, "loss", FACTOR_N)
def cross_entropy_not_averaged(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return from_logits(parameters, X, lambda A: softmax(A) - one_hot(y, A))


@public(
    GITHUB + "SkalskiP/ILearnDeepLearning.py/issues/29",
    mlp([5, 7, 3], "relu", rows=10),
    "loss, 0 dW, 0 db, 2 dW, 2 db",
    FACTOR_N,
)
def averaged_in_the_loss_and_again_in_each_layer(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    gradients = from_logits(parameters, X, lambda A: (softmax(A) - one_hot(y, A)) / len(X))
    return [g / len(X) for g in gradients]


@public(GITHUB + "haifengl/smile/pull/151", CLASSES, "loss", r"sign|minus|negat|-1|uphill|ascent")
def target_minus_output(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return from_logits(parameters, X, lambda A: (one_hot(y, A) - softmax(A)) / len(X))


@public(GITHUB + "davisking/dlib/issues/1169", NUMBERS, "loss", TWO)
def mean_square_without_its_two(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return from_numbers(parameters, X, lambda P: (P - y) / y.size)


@public(GITHUB + "karpathy/nn-zero-to-hero/pull/20", NUMBERS, "loss", FACTOR_N + "|size|elements")
def sum_of_squares_for_the_mean(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return from_numbers(parameters, X, lambda P: 2 * (P - y))


@public(GITHUB + "parasdahal/tinyml/issues/1", SIGMOIDS, "loss, 3 slope", SLOPE)
def output_without_sigmoid_slope(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return from_sigmoids(parameters, X, lambda P: (P - y) / len(X))


@public(
    GITHUB + "Kulbear/deep-learning-coursera/pull/42",
    mlp([4, 5, 2], ["sigmoid", "sigmoid"], "binary_cross_entropy", "bits"),
    "loss, 3 slope",
    SLOPE,
)
def sigmoid_slope_again_after_cross_entropy(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return from_sigmoids(parameters, X, lambda P: (P - y) * P * (1 - P) / y.size)


@public(GITHUB + "mlpack/mlpack/issues/2360", CLASSES, "loss", FACTOR_N)
def log_softmax_with_a_plus_for_the_sum(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return from_logits(parameters, X, lambda A: softmax(A) - one_hot(y, A) / len(X))


@public(
    GITHUB + "fastai/fastbook/pull/515",
    mlp([4, 5, 2], ["relu", None], "binary_cross_entropy_with_logits", "bits"),
    "loss",
    r"1 - y|label|target|swap|revers|exchang",
)
def cross_entropy_of_the_opposite_label(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return from_logits(parameters, X, lambda A: (sigmoid(A) - (1 - y)) / y.size)


HUBER = mlp([4, 6, 3], "tanh", functools.partial(hm.losses.huber_loss, delta=0.4), "numbers", rows=16)


@public(GITHUB + "RubixML/ML/pull/446", HUBER, "loss", r"delta|0\.4|2\.5|sign")
def huber_tail_without_delta(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(P: Array) -> Array:
        E = P - y
        return np.where(abs(E) <= 0.4, E, np.sign(E)) / y.size

    return from_numbers(parameters, X, dA)


@public(GITHUB + "BobMcDear/attorch/issues/13", HUBER, "loss", r"clip|delta|abs|signed|negative|min")
def huber_with_a_signed_threshold(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return from_numbers(parameters, X, lambda P: np.where(P - y <= 0.4, P - y, 0.4) / y.size)


@public(GITHUB + "marlbenchmark/on-policy/issues/47", HUBER, "loss", r"zero|delta|abs|negative|missing")
def huber_without_its_negative_tail(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(P: Array) -> Array:
        E = P - y
        return (np.where(abs(E) <= 0.4, E, 0) + np.where(E > 0.4, 0.4, 0)) / y.size

    return from_numbers(parameters, X, dA)


@public(
    GITHUB + "aroetter/cs231n-assignment1/issues/1",
    mlp([6, 8, 5], "relu", "multi_margin_loss"),
    "loss",
    r"count|number of|own class|correct class|right class|target|label|sum",
)
def margin_of_the_own_class_counted_once(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(A: Array) -> Array:
        rows = np.arange(len(X))
        D = (A - A[rows, y][:, None] + 1 > 0) * 1.0
        D[rows, y] = -1
        return D / (len(X) * A.shape[1])

    return from_logits(parameters, X, dA)


WEIGHTS = np.array([0.5, 2.0, 1.0, 4.0])


@public(
    GITHUB + "kvark/meganeura/pull/102",
    mlp([6, 5, 4], "relu", functools.partial(hm.losses.cross_entropy, weight=WEIGHTS), rows=14),
    "loss",
    r"weight",
)
def class_weights_left_out_of_the_probability_term(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(A: Array) -> Array:
        return (softmax(A) - WEIGHTS[y][:, None] * one_hot(y, A)) / WEIGHTS[y].sum()

    return from_logits(parameters, X, dA)


@public(
    GITHUB + "Jittor/jittor/pull/233",
    mlp([6, 5, 4], "relu", functools.partial(hm.losses.cross_entropy, ignore_index=2), rows=14),
    "loss",
    r"ignor|count|" + FACTOR_N,
)
def ignored_labels_counted_in_the_mean(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(A: Array) -> Array:
        return (softmax(A) - one_hot(y, A)) * (y != 2)[:, None] / len(X)

    return from_logits(parameters, X, dA)


@public(
    GITHUB + "tracel-ai/burn/issues/181",
    mlp([4, 6, 1], "tanh", "mse_loss", "numbers"),
    "loss",
    r"broadcast|\(n, n\)|mean of (the )?(y|target)|ravel|column",
)
def targets_broadcast_against_a_column(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return from_numbers(parameters, X, lambda P: 2 * (P - y.ravel()).mean(axis=1, keepdims=True) / len(X))


@public(GITHUB + "fastai/fastbook/pull/327", NUMBERS, "loss", r"sqrt|root|rmse|times|factor")
def root_mean_square_for_mean_square(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(P: Array) -> Array:
        return (P - y) / y.size / np.sqrt(((P - y) ** 2).mean())

    return from_numbers(parameters, X, dA)


@public(GITHUB + "arthurdouillard/deepcourse/pull/9", CLASSES, "loss", r"twice|softmax\(softmax|softmax of|again")
def softmax_of_the_softmax(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return from_logits(parameters, X, lambda A: (softmax(softmax(A)) - one_hot(y, A)) / len(X))


SOFTMAX_MSE = mlp([5, 6, 4], ["relu", "softmax"], "mse_loss", "bits")


@public(
    GITHUB + "Synthaze/EpyNN/pull/49",
    SOFTMAX_MSE,
    "loss, 3 slope",
    r"diagonal|jacobian|elementwise|1 - |like a sigmoid",
)
def softmax_without_its_off_diagonal(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(A: Array) -> Array:
        P = softmax(A)
        return 2 * (P - y) / y.size * P * (1 - P)

    return from_logits(parameters, X, dA)


@public(
    GITHUB + "HomericIntelligence/Odyssey/issues/2134",
    SOFTMAX_MSE,
    "loss, 3 slope",
    r"jacobian|sum|dot|second term|missing|mean",
)
def softmax_without_its_dot_product(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(A: Array) -> Array:
        P = softmax(A)
        return P * 2 * (P - y) / y.size

    return from_logits(parameters, X, dA)


@public(GITHUB + "markroxor/fromscratchtoml/issues/65", mlp([7, 9, 3], "relu", dtype=np.float32), "loss", TWO)
def softmax_gradient_doubled(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return from_logits(parameters, X, lambda A: 2 * (softmax(A) - one_hot(y, A)) / np.float32(len(X)))
