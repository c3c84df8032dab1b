"""Wrong backward passes for measuring only: whoever wrote them had not read the diagnosis or its catalogue.

They are written down from teaching, code review and bug reports, in the form of the published ones; `source` is a short
phrase. The wrong steps and the words of a right explanation were committed before the diagnosis ran on any; two that
were published already were replaced, also before. Nothing is to be tuned to them: who mends the diagnosis with one of
them in view moves it to another list, as `mended` holds two of the sixty.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

import handmade as hm
from handmade import activations, losses
from handmade.protocols import Array

from .public.problems import (
    Bug,
    Parameters,
    Problem,
    backward,
    forward,
    into,
    layers,
    mlp,
    one_hot,
    relu,
    sigmoid,
    softmax,
)

__all__ = ["HELD_OUT"]

HELD_OUT: list[Bug] = []
held_out = into(HELD_OUT)
Build = Callable[[], Problem]
Of = Callable[[Array], Array]


# ---- right steps ---------------------------------------------------------------------------------------------------


def through(parameters: Parameters, X: Array, f: Of, slope: Of, dA_of: Of, **steps: Any) -> list[Array]:
    """Return the gradients of an MLP with f in all hidden layers; slope(A) is f', dA_of(output) is dA of the last."""
    A, H = forward(parameters, X, f)
    return backward(parameters, H, dA_of(A[-1]), lambda k: slope(A[k]), **steps)


def slope_of(name: str, **options: Any) -> Of:
    """Return the right derivative of an activation."""
    function: Any = getattr(activations, f"{name}_backward")
    return lambda A: function(np.ones_like(A), A, **options)


def above(A: Array) -> Array:
    """Return the derivative of relu."""
    return A > 0


def tanh_slope(A: Array) -> Array:
    """Return the derivative of tanh."""
    return 1 - np.tanh(A) ** 2


def sigmoid_slope(A: Array) -> Array:
    """Return the derivative of the logistic function."""
    return sigmoid(A) * (1 - sigmoid(A))


def d_mse(y: Array) -> Of:
    """Return the derivative of mse_loss by the output."""
    return lambda A: 2 * (A - y) / A.size


def d_half(y: Array) -> Of:
    """Return the derivative of half_squared_error by the output."""
    return lambda A: (A - y) / len(A)


def d_bce(y: Array) -> Of:
    """Return the derivative of binary_cross_entropy_with_logits by the logits."""
    return lambda A: (sigmoid(A) - y) / A.size


def d_cross_entropy(y: Array) -> Of:
    """Return the derivative of cross_entropy by the logits."""
    return lambda A: (softmax(A) - one_hot(y, A)) / len(A)


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
TWO = r"\b2\b|half|twice|double|0\.5"


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


# ---- activations ---------------------------------------------------------------------------------------------------

PRODUCT = r"product|density|\bphi\b|pdf|cdf|h / a|second term"


@held_out(
    "GELU: the product rule forgotten, only Phi(a) is left",
    mlp([4, 7, 7, 3], "gelu", "mse_loss", "numbers", rows=12),
    "1 slope, 3 slope",
    PRODUCT,
)
def gelu_without_the_product_rule(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def slope(A: Array) -> Array:
        return np.where(np.abs(A) > 1e-9, activations.gelu(A) / np.where(A == 0, 1, A), 0.5)

    return through(parameters, X, activations.gelu, slope, d_mse(y))


@held_out(
    "GELU exact in the forward pass, and derived as a sigmoid(1.702 a) in the backward pass",
    mlp([6, 9, 4], "gelu", rows=20),
    "1 slope",
    r"approx|1\.702|sigmoid",
)
def gelu_derived_from_its_approximation(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def slope(A: Array) -> Array:
        S = sigmoid(1.702 * A)
        return S + 1.702 * A * S * (1 - S)

    return through(parameters, X, activations.gelu, slope, d_cross_entropy(y))


@held_out(
    "swish with a bracket misplaced: s + a (1 - s)",
    mlp([3, 6, 6, 6, 2], "silu", "half_squared_error", "numbers", rows=10),
    "1 slope, 3 slope, 5 slope",
    r"bracket|\bs\b|sigmoid",
)
def silu_with_a_misplaced_bracket(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def slope(A: Array) -> Array:
        return sigmoid(A) + A * (1 - sigmoid(A))

    return through(parameters, X, activations.silu, slope, d_half(y))


@held_out(
    "ELU: alpha in the forward pass only",
    lambda: mlp([5, 8, 3], [hm.Activation("elu", alpha=0.5)], "mse_loss", "numbers", rows=15)(),
    "1 slope",
    r"alpha|0\.5|twice|\b2\b",
)
def elu_slope_without_alpha(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, lambda A: activations.elu(A, 0.5), slope_of("elu", alpha=1.0), d_mse(y))


@held_out(
    "leaky ReLU: 0.2 in forward, the default 0.01 in backward",
    lambda: mlp(
        [4, 8, 8, 1],
        [hm.Activation("leaky_relu", negative_slope=0.2) for _ in range(2)],
        "mse_loss",
        "numbers",
        rows=28,
    )(),
    "1 slope, 3 slope",
    r"0\.2|0\.01|leak|negative_slope|0\.05",
)
def leaky_slope_left_at_its_default(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def slope(A: Array) -> Array:
        return np.where(A > 0, 1, 0.01)

    return through(parameters, X, lambda A: np.where(A > 0, A, 0.2 * A), slope, d_mse(y))


@held_out(
    "guided backpropagation from a visualization notebook left in the training code",
    mlp([6, 7, 4], "relu", rows=16),
    "1 slope, 2 dX",
    r"guided|positive|negative|dh > 0|\[dh|dh <|clip|max\(|relu\(d",
)
def guided_backpropagation(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    A, H = forward(parameters, X, relu)
    dX: Callable[..., Array] = lambda dA, W, k: np.maximum(dA @ W, 0)  # noqa: E731
    return backward(parameters, H, d_cross_entropy(y)(A[-1]), lambda k: A[k] > 0, dX=dX)


@held_out(
    "softplus: the sigmoid of its output in place of its input",
    mlp([5, 6, 2], "softplus", "mse_loss", "numbers", rows=8),
    "1 slope",
    r"\bh\b|its output|instead of (the|its) (pre-?activation|input)",
)
def softplus_slope_at_its_output(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, activations.softplus, lambda A: sigmoid(activations.softplus(A)), d_mse(y))


@held_out(
    "tanh: 1 - h, the square forgotten",
    mlp([3, 5, 5, 5, 5, 2], "tanh", "mse_loss", "numbers", rows=14),
    "1 slope, 3 slope, 5 slope, 7 slope",
    r"squar|\^2|h h|\*\*|1 - h|1 - tanh|h\^",
)
def tanh_slope_without_its_square(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, np.tanh, lambda A: 1 - np.tanh(A), d_mse(y))


@held_out(
    "tanh overwritten in place, and applied once more in the backward pass",
    mlp([4, 6, 3], "tanh", rows=18),
    "1 slope",
    r"twice|overwrit|once more|\(h\)|of h\b|already",
)
def slope_at_an_overwritten_input(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, np.tanh, lambda A: 1 - np.tanh(np.tanh(A)) ** 2, d_cross_entropy(y))


@held_out(
    "softmax layer: the product with the Jacobian is summed over the batch and not over the classes",
    mlp([5, 6, 3], ["tanh", "softmax"], "mse_loss", "numbers", rows=12),
    "3 slope",
    r"axis|samples|batch|over the classes|over n|rows|columns",
)
def softmax_jacobian_summed_over_the_batch(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(A: Array) -> Array:
        P = softmax(A)
        dH = 2 * (P - y) / P.size
        return P * (dH - (dH * P).sum(axis=0))

    return through(parameters, X, np.tanh, tanh_slope, dA)


@held_out(
    "SELU: the scale forgotten for positive inputs",
    mlp([6, 6, 2], "selu", "l1_loss", "numbers", rows=13),
    "1 slope",
    r"scale|1\.05|lambda|positive|above|0\.95|\[a > 0\]",
)
def selu_slope_one_above_zero(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    slope = slope_of("selu")
    return through(
        parameters, X, activations.selu, lambda A: np.where(A > 0, 1, slope(A)), lambda A: np.sign(A - y) / A.size
    )


@held_out(
    "hardtanh sent through straight, as if nothing had been cut",
    mlp([4, 10, 3], "hardtanh", rows=36),
    "1 slope",
    r"slope|derivative|identity|linear|satur|limit|straight|clip",
)
def hardtanh_sent_straight_through(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, activations.hardtanh, np.ones_like, d_cross_entropy(y))


@held_out(
    "softsign: 1 / (1 + |a|), the square forgotten",
    mlp([5, 5, 2], "softsign", "mse_loss", "numbers", rows=7),
    "1 slope",
    r"squar|\^2|1 \+ \|a|once|power|root",
)
def softsign_slope_without_its_square(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, activations.softsign, lambda A: 1 / (1 + np.abs(A)), d_mse(y))


GATED = layers(lambda: [hm.Dense(4, 8, rng=1), hm.GLU(), hm.Dense(4, 2, rng=2)], rows=14)


@held_out(
    "GLU: the slope of the gate's sigmoid forgotten",
    GATED,
    "1 dX, 1 slope",
    r"slope|derivative|sigmoid'|1 - ",
)
def gate_without_its_slope(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    W0, b0, W2, b2 = parameters
    A, B = np.split(X @ W0.T + b0, 2, axis=1)
    H = A * sigmoid(B)
    dA = d_mse(y)(H @ W2.T + b2)
    dH = dA @ W2
    dAB = np.concatenate([dH * sigmoid(B), dH * A], axis=1)
    return [dAB.T @ X, dAB.sum(axis=0), dA.T @ H, dA.sum(axis=0)]


# ---- products, biases and propagation ------------------------------------------------------------------------------


@held_out(
    "square layers: W in place of its transpose in a column-vector port, in each layer",
    mlp([5, 5, 5, 5], "silu", rows=9),
    "2 dX, 4 dX",
    r"transpos|\bw\d?t\b|\.t\b",
)
def propagated_by_the_transpose(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(
        parameters,
        X,
        activations.silu,
        slope_of("silu"),
        d_cross_entropy(y),
        dX=lambda dA, W, k: dA @ W.T,
    )


@held_out(
    "a C port that stores X^T dA row by row into the memory of dW",
    mlp([4, 6, 3], "tanh", "mse_loss", "numbers", rows=10),
    "0 dW, 2 dW",
    r"transpos|reshape|order|layout|row by row|permut|memory",
)
def weights_gradient_in_the_wrong_memory_order(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(
        parameters, X, np.tanh, tanh_slope, d_mse(y), dW=lambda dA, H, k: (H.T @ dA).reshape(dA.shape[1], H.shape[1])
    )


@held_out(
    "db = mean(dA) although the loss is a mean already, in the output layer alone",
    mlp([4, 7, 3], "relu", rows=6),
    "2 db",
    r"mean|average|\bn\b|batch",
)
def last_bias_averaged(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    db: Callable[..., Array] = lambda dA, k: dA.mean(axis=0) if k == 1 else dA.sum(axis=0)  # noqa: E731
    return through(parameters, X, relu, above, d_cross_entropy(y), db=db)


@held_out(
    "a loop over the samples that assigns db where it should add",
    mlp([3, 6, 6, 2], "sigmoid", "half_squared_error", "numbers", rows=11),
    "0 db, 2 db, 4 db",
    r"last|one sample|single sample",
)
def biases_of_the_last_sample(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, sigmoid, sigmoid_slope, d_half(y), db=lambda dA, k: dA[-1])


@held_out(
    "a loop over the classes that leaves out the last one when it sends the error back",
    mlp([5, 6, 4], "tanh", rows=13),
    "2 dX",
    r"last (unit|column|class|output|row)|one (unit|column|class|output|row)|unit 3|output 3|column 3|without",
)
def last_output_not_propagated(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, np.tanh, tanh_slope, d_cross_entropy(y), dX=lambda dA, W, k: dA[:, :-1] @ W[:-1])


@held_out(
    "axis 1 in place of axis 0, unseen because the batch is as large as the layer is wide",
    mlp([3, 8, 2], "tanh", "mse_loss", "numbers", rows=8),
    "0 db",
    r"axis|rows|columns|over the units|over the outputs",
    array_only=True,
)
def bias_summed_along_the_wrong_axis(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, np.tanh, tanh_slope, d_mse(y), db=lambda dA, k: dA.sum(axis=1 if k == 0 else 0))


@held_out(
    "propagates with the weights of the layer below, an index off by one in a deep square network",
    mlp([4, 4, 4, 4, 4, 4, 3], "tanh", rows=12),
    "4 dX, 6 dX, 8 dX",
    r"another layer|other layer|layer below|weights of|wrong layer|previous|w\[?\d",
)
def propagated_by_the_layer_below(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dX(dA: Array, W: Array, k: int) -> Array:
        return dA @ (parameters[2 * k - 2] if 2 <= k <= 4 else W)

    return through(parameters, X, np.tanh, tanh_slope, d_cross_entropy(y), dX=dX)


@held_out(
    "the weights are updated in place before the error is sent through them",
    mlp([4, 9, 2], "sigmoid", "mse_loss", "numbers", rows=40),
    "2 dX",
    r"updat|already|learning|descent",
)
def propagated_by_updated_weights(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    A, H = forward(parameters, X, sigmoid)
    last = d_mse(y)(A[-1])

    def dX(dA: Array, W: Array, k: int) -> Array:
        return dA @ (W - 0.5 * dA.T @ H[k])

    return backward(parameters, H, last, lambda k: sigmoid_slope(A[k]), dX=dX)


@held_out(
    "averages the errors and the inputs over the batch first, then takes the outer product",
    mlp([4, 5, 3], "tanh", rows=15),
    "0 dW, 2 dW",
    r"average|outer|mean of|mean\(",
)
def outer_product_of_averages(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(
        parameters,
        X,
        np.tanh,
        tanh_slope,
        d_cross_entropy(y),
        dW=lambda dA, H, k: np.outer(dA.sum(axis=0), H.mean(axis=0)),
    )


@held_out(
    "the slope is looked up one layer too high",
    mlp([3, 6, 6, 6, 2], "sigmoid", "mse_loss", "numbers", rows=10),
    "1 slope, 3 slope",
    r"another layer|other layer|layer above|wrong layer|next|index|f'\(a",
)
def slope_of_the_next_layer(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    A, H = forward(parameters, X, sigmoid)
    return backward(parameters, H, d_mse(y)(A[-1]), lambda k: sigmoid_slope(A[min(k + 1, 2)]))


@held_out(
    "dW from the pre-activation of the layer below, the activation forgotten",
    mlp([5, 6, 6, 3], "relu", rows=17),
    "2 dW, 4 dW",
    r"pre-?activation|before|\ba\[?\d",
)
def weights_gradient_from_preactivations(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    A, H = forward(parameters, X, relu)
    dW: Callable[..., Array] = lambda dA, _H, k: dA.T @ (A[k - 1] if k else X)  # noqa: E731
    return backward(parameters, H, d_cross_entropy(y)(A[-1]), lambda k: A[k] > 0, dW=dW)


@held_out(
    "a cache that still holds the activations of the samples in another order (reshuffled between the passes)",
    mlp([4, 7, 2], "tanh", "half_squared_error", "numbers", rows=9),
    "2 dW",
    r"other sample|another|neighbou?r|order|shuffl|stale|shift|rows|previous",
)
def activations_of_the_neighbouring_sample(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    dW: Callable[..., Array] = lambda dA, H, k: dA.T @ (np.roll(H, 1, axis=0) if k else H)  # noqa: E731
    return through(parameters, X, np.tanh, tanh_slope, d_half(y), dW=dW)


# ---- normalization, dropout, skip connections ----------------------------------------------------------------------

BATCH_NORM = layers(
    lambda: [hm.Dense(5, 6, rng=1), hm.BatchNorm(6), hm.Activation("relu"), hm.Dense(6, 3, rng=2)], rows=16
)
LAYER_NORM = layers(
    lambda: [hm.Dense(4, 7, rng=1), hm.LayerNorm(7), hm.Activation("tanh"), hm.Dense(7, 3, rng=2)],
    "cross_entropy",
    "classes",
    rows=10,
)


def normalized(A: Array, axis: int) -> tuple[Array, Array]:
    """Return Xhat, and one over the standard deviation."""
    inv = 1 / np.sqrt(A.var(axis=axis, keepdims=True) + 1e-5)
    return (A - A.mean(axis=axis, keepdims=True)) * inv, inv


def through_norm(
    parameters: Parameters,
    X: Array,
    axis: int,
    f: Of,
    slope: Of,
    dA_of: Of,
    dA: Callable[[Array, Array, Array, Array], Array],
    dgamma: Callable[[Array, Array, Array], Array] = lambda dH, Xhat, A: (dH * Xhat).sum(axis=0),
) -> list[Array]:
    """Return the gradients of Dense, a normalization, f, Dense; dA(dH, Xhat, inv, gamma) goes to the first Dense."""
    W0, b0, gamma, beta, W3, b3 = parameters
    A = X @ W0.T + b0
    Xhat, inv = normalized(A, axis)
    B = gamma * Xhat + beta
    H = f(B)
    last = dA_of(H @ W3.T + b3)
    dH = (last @ W3) * slope(B)
    first = dA(dH, Xhat, inv, gamma)
    return [first.T @ X, first.sum(axis=0), dgamma(dH, Xhat, A), dH.sum(axis=0), last.T @ H, last.sum(axis=0)]


def mean(V: Array, axis: int) -> Array:
    """Return the mean, with the axis kept."""
    return V.mean(axis=axis, keepdims=True)


def right_dA(dH: Array, Xhat: Array, inv: Array, gamma: Array, axis: int) -> Array:
    """Return the right gradient of the input of a normalization."""
    D = dH * gamma
    return inv * (D - mean(D, axis) - Xhat * mean(D * Xhat, axis))


@held_out(
    "batch norm: divided by the variance where its root belongs",
    BATCH_NORM,
    "1 dX",
    r"varian|standard deviation|inv inv|inv\^2|squar|root|twice",
)
def divided_by_the_variance(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through_norm(
        parameters, X, 0, relu, above, d_mse(y), lambda dH, Xhat, inv, g: inv * right_dA(dH, Xhat, inv, g, 0)
    )


@held_out(
    "batch norm: the backward pass uses N - 1 where the forward pass uses N",
    BATCH_NORM,
    "1 dX",
    r"n - 1|unbiased|bessel|ddof",
)
def batch_norm_with_n_minus_one(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(dH: Array, Xhat: Array, inv: Array, gamma: Array) -> Array:
        D, N = dH * gamma, len(dH)
        return inv * (D - D.sum(axis=0) / N - Xhat * (D * Xhat).sum(axis=0) / (N - 1))

    return through_norm(parameters, X, 0, relu, above, d_mse(y), dA)


@held_out(
    "layer norm: a copied batch norm, its means over axis 0",
    LAYER_NORM,
    "1 dX",
    r"axis|batch|samples",
)
def layer_norm_with_means_over_the_batch(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(dH: Array, Xhat: Array, inv: Array, gamma: Array) -> Array:
        return right_dA(dH, Xhat, inv, gamma, 0)

    return through_norm(parameters, X, 1, np.tanh, tanh_slope, d_cross_entropy(y), dA)


@held_out(
    "layer norm: dgamma from the input, not from the normalized input",
    LAYER_NORM,
    "1 dgamma",
    r"xhat|normali[sz]ed|input|before",
)
def gamma_gradient_from_the_input(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through_norm(
        parameters,
        X,
        1,
        np.tanh,
        tanh_slope,
        d_cross_entropy(y),
        lambda dH, Xhat, inv, g: right_dA(dH, Xhat, inv, g, 1),
        lambda dH, Xhat, A: (dH * A).sum(axis=0),
    )


DROPPED = layers(
    lambda: [hm.Dense(5, 8, rng=1), hm.Activation("tanh"), hm.Dropout(0.4, rng=6), hm.Dense(8, 2, rng=2)], rows=20
)


def through_dropout(parameters: Parameters, X: Array, y: Array, back: Callable[[Array, Array], Array]) -> list[Array]:
    """Return the gradients of Dense, tanh, Dropout, Dense; back(dH, kept) is what the dropout sends back."""
    W0, b0, W3, b3 = parameters
    kept = np.random.default_rng(6).random((len(X), len(W0)), dtype=np.float32) >= 0.4
    T = np.tanh(X @ W0.T + b0)
    H = T * kept / (1 - 0.4)
    last = d_mse(y)(H @ W3.T + b3)
    dA = back(last @ W3, kept) * (1 - T**2)
    return [dA.T @ X, dA.sum(axis=0), last.T @ H, last.sum(axis=0)]


@held_out(
    "inverted dropout: the mask without its 1 / (1 - p) in the backward pass",
    DROPPED,
    "2 dX, 2 slope",
    r"1 - p|scale|0\.6|keep|factor|constant",
)
def dropout_scaled_forward_only(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through_dropout(parameters, X, y, lambda dH, kept: dH * kept)


@held_out(
    "dropout: the mask compared the other way round, the gradient goes where nothing went",
    DROPPED,
    "2 dX, 2 slope",
    r"invert|dropped|opposite|complement|other way|not kept|1 - mask",
)
def dropout_mask_the_other_way_round(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through_dropout(parameters, X, y, lambda dH, kept: dH * ~kept / (1 - 0.4))


RESIDUAL = layers(
    lambda: [
        hm.Dense(4, 6, rng=1),
        hm.Residual([hm.Dense(6, 6, rng=2), hm.Activation("tanh")]),
        hm.Dense(6, 3, rng=3),
    ],
    "cross_entropy",
    "classes",
    rows=14,
)


def through_block(
    parameters: Parameters, X: Array, y: Array, join: Callable[[Array, Array, Array], Array]
) -> list[Array]:
    """Return the gradients of Dense, Residual(Dense, tanh), Dense; join(dH, dX of the block, slope) leaves it."""
    W0, b0, W1, b1, W2, b2 = parameters
    H0 = X @ W0.T + b0
    T = np.tanh(H0 @ W1.T + b1)
    last = d_cross_entropy(y)((H0 + T) @ W2.T + b2)
    dH = last @ W2
    dA = dH * (1 - T**2)
    first = join(dH, dA @ W1, 1 - T**2)
    return [first.T @ X, first.sum(axis=0), dA.T @ H0, dA.sum(axis=0), last.T @ (H0 + T), last.sum(axis=0)]


@held_out(
    "a residual block sends back the gradient of the skip alone, that of the block overwritten",
    RESIDUAL,
    "1 dX",
    r"block|branch|chain|without|missing",
)
def residual_block_without_its_branch(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through_block(parameters, X, y, lambda dH, dX, slope: dH)


@held_out(
    "a residual block multiplies the skip too by the slope of the block's activation",
    RESIDUAL,
    "1 dX",
    r"skip|identity|shortcut",
    r"slope|derivative|activation|f'|1 - ",
)
def skip_through_the_activation(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through_block(parameters, X, y, lambda dH, dX, slope: dH * slope + dX)


# ---- penalties -----------------------------------------------------------------------------------------------------


def penalized(penalty: Callable[[Parameters], Any], rows: int) -> Build:
    """Return a function that builds the mean squared error of a tanh network plus a penalty of its weights."""

    def build() -> Problem:
        rng = np.random.default_rng(rows)
        X, y = rng.normal(size=(rows, 4)), rng.normal(size=(rows, 2))
        parameters = [rng.normal(scale=0.6, size=shape) for shape in ((5, 4), (5,), (2, 5), (2,))]

        def data(*blocks: Array) -> float:
            return float(np.mean((forward(blocks, X, np.tanh)[0][-1] - y) ** 2))

        def decay(*blocks: Array) -> float:
            return float(penalty(blocks))

        def both(*blocks: Array) -> float:
            return data(*blocks) + decay(*blocks)

        return Problem(X, y, function=both, parameters=parameters, options={"terms": {"data": data, "penalty": decay}})

    return build


def plus(parameters: Parameters, X: Array, y: Array, of_weights: Of, of_biases: Of | None = None) -> list[Array]:
    """Return the gradients of the mean squared error plus those of a penalty."""
    gradients = through(parameters, X, np.tanh, tanh_slope, d_mse(y))
    for i, p in enumerate(parameters):
        if i % 2 == 0:
            gradients[i] = gradients[i] + of_weights(p)
        elif of_biases:
            gradients[i] = gradients[i] + of_biases(p)
    return gradients


L2 = penalized(lambda blocks: 0.05 * ((blocks[0] ** 2).sum() + (blocks[2] ** 2).sum()), rows=12)
L1 = penalized(lambda blocks: 0.05 * (np.abs(blocks[0]).sum() + np.abs(blocks[2]).sum()), rows=17)


@held_out("L2 penalty lambda W^2 derived as lambda W", L2, "W0, W2", r"penalty", TWO)
def decay_without_its_two(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return plus(parameters, X, y, lambda W: 0.05 * W)


@held_out("L2 penalty: the biases decay too, which the loss does not say", L2, "b0, b2", r"penalt|decay|lambda|0\.1")
def decay_of_the_biases(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return plus(parameters, X, y, lambda W: 0.1 * W, lambda b: 0.1 * b)


@held_out("L1 penalty derived as an L2 penalty", L1, "W0, W2", r"sign|l1|l2|abs|squared|ridge")
def lasso_derived_as_ridge(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return plus(parameters, X, y, lambda W: 0.05 * W)


# ---- state, dtypes, clipping, broadcasting -------------------------------------------------------------------------


@held_out(
    "gradients clipped by value before they are compared",
    mlp([5, 8, 3], "relu", "half_squared_error", "numbers", rows=18),
    "0 dW, 0 db, 2 dW, 2 db",
    r"clip|limit|bound|capped|0\.1\b",
)
def gradients_clipped_by_value(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return [np.clip(g, -0.1, 0.1) for g in through(parameters, X, relu, above, d_half(y))]


@held_out(
    "gradients of two micro-batches added, each a mean over its own half",
    mlp([4, 6, 3], "gelu", rows=16),
    "loss, 0 dW, 0 db, 2 dW, 2 db",
    TWO,
)
def two_micro_batches_added(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    half = (len(X) + 1) // 2
    parts = [
        through(parameters, X[part], activations.gelu, slope_of("gelu"), d_cross_entropy(y[part]))
        for part in (slice(half), slice(half, None))
        if len(X[part])
    ]
    return [np.sum(pair, axis=0) for pair in zip(*parts, strict=True)]


@held_out(
    "an accumulator of the hidden error that is not set to zero between the layers",
    mlp([4, 5, 5, 5, 2], "tanh", "mse_loss", "numbers", rows=13),
    "2 dX, 4 dX",
    r"accumul|adds|plus|previous|layer above|dh \+|\+ dh",
)
def error_of_the_layer_above_kept(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    A, H = forward(parameters, X, np.tanh)
    buffer = np.zeros((len(X), 5))

    def dX(dA: Array, W: Array, k: int) -> Array:
        nonlocal buffer
        buffer = buffer + dA @ W
        return buffer

    return backward(parameters, H, d_mse(y)(A[-1]), lambda k: tanh_slope(A[k]), dX=dX)


@held_out(
    "softmax along axis 0, in a batch of one sample: all probabilities are 1",
    mlp([4, 6, 5], "relu", rows=1),
    "loss",
    r"axis|over the samples|over the batch|normali[sz]|= 1\b|1 - y|ones",
)
def softmax_over_a_batch_of_one(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(A: Array) -> Array:
        return (softmax(A.T).T - one_hot(y, A)) / len(A)

    return through(parameters, X, relu, above, dA)


@held_out(
    "mixed precision without loss scaling: small errors vanish in float16",
    mlp([4, 6, 2], "sigmoid", "mse_loss", "numbers", rows=32, dtype=np.float32),
    "loss",
    r"float16|half precision|precision|round|underflow|digits",
)
def error_quantized(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(A: Array) -> Array:
        e: Array = ((A - y) / 1024).astype(np.float16) * np.float16(2**-12)
        return e.astype(np.float32) * (2 * 1024 * 2**12 / A.size)

    return through(parameters, X, sigmoid, sigmoid_slope, dA)
