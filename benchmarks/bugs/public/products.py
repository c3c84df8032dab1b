"""Mistakes in dW, db and dX of a Dense layer."""

from __future__ import annotations

import numpy as np

from handmade.protocols import Array

from .activations import classify, regress
from .losses import FACTOR_N, GITHUB
from .problems import Parameters, backward, forward, mlp, one_hot, public, relu, sigmoid, softmax


def sigmoid_slope(A: Array, H: Array) -> Array:
    return H * (1 - H)


def tanh_slope(A: Array, H: Array) -> Array:
    return 1 - H**2


def relu_slope(A: Array, H: Array) -> Array:
    return (A > 0) * 1.0


COURSERA = GITHUB + "rust0258/Deeplearning.ai-Natural-Language-Processing-Specialization/issues/64"


@public(GITHUB + "kvfrans/notes/issues/5", mlp([5, 6, 3], "sigmoid", rows=9), "0 db, 2 db", FACTOR_N)
def bias_averaged_again(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return classify(parameters, X, y, sigmoid, sigmoid_slope, db=lambda dA, k: dA.mean(axis=0))


@public(
    GITHUB + "rasbt/stat453-deep-learning-ss21/issues/5",
    mlp([5, 6, 3], "tanh", "mse_loss", "numbers"),
    "0 db, 2 db",
    r"all|entire|whole|total|axis|scalar|every|same",
)
def bias_summed_over_everything(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return regress(
        parameters, X, y, np.tanh, tanh_slope, db=lambda dA, k: np.full(dA.shape[1], dA.sum(), dtype=dA.dtype)
    )


@public(COURSERA, mlp([4, 6, 3], "relu", rows=14), "0 db, 2 db", r"dw|\bx\b|inputs?\b|weights|\bh\b")
def bias_from_the_weights_gradient(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    A, H = forward(parameters, X, relu)
    dA2 = (softmax(A[1]) - one_hot(y, A[1])) / len(X)
    dA1 = dA2 @ parameters[2] * (A[0] > 0)
    return [dA1.T @ X, (dA1.T @ X).sum(axis=1), dA2.T @ H[1], (dA2.T @ H[1]).sum(axis=1)]


@public(
    GITHUB + "deeplearning4j/deeplearning4j/pull/364",
    mlp([5, 6, 3], "tanh", "mse_loss", "numbers", rows=6),
    "0 db",
    r"axis|dimension|each sample|per sample|over the (units|outputs|features)|row|transpos",
    array_only=True,
)
def bias_averaged_over_the_wrong_axis(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return regress(
        parameters,
        X,
        y,
        np.tanh,
        tanh_slope,
        db=lambda dA, k: dA.sum(axis=0) if k else dA.sum(axis=1),
    )


@public(
    GITHUB + "mlpack/mlpack/pull/3679",
    mlp([5, 6, 3], "relu", rows=7),
    "0 db, 2 db",
    r"first|one sample|sample 0|\[0\]|row 0|single",
)
def bias_of_the_first_sample(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return classify(parameters, X, y, relu, relu_slope, db=lambda dA, k: dA[0])


@public(
    GITHUB + "iamtrask/Grokking-Deep-Learning/pull/22",
    mlp([5, 5, 3], "sigmoid"),
    "0 dW",
    r"transpos|\.t\b",
)
def square_weights_gradient_transposed(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return classify(parameters, X, y, sigmoid, sigmoid_slope, dW=lambda dA, H, k: dA.T @ H if k else H.T @ dA)


@public(
    GITHUB + "gHashTag/trinity/pull/571",
    mlp([5, 5, 5, 2], "tanh", "mse_loss", "numbers"),
    "2 dW",
    r"input|layer|\bx\b|h0|h1|wrong",
)
def weights_gradient_with_an_earlier_input(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return regress(parameters, X, y, np.tanh, tanh_slope, dW=lambda dA, H, k: dA.T @ (X if k == 1 else H))


@public(GITHUB + "apache/tvm/pull/5695", mlp([4, 6, 6, 3], "tanh"), "2 dX", r"transpos|w\.t\b|wt\b")
def square_weights_not_transposed_in_propagation(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return classify(parameters, X, y, np.tanh, tanh_slope, dX=lambda dA, W, k: dA @ (W.T if k == 1 else W))


@public(
    GITHUB + "Shubham-cyber-prog/100-Days-Of-Web-Development-ECWoC26/pull/1378",
    mlp([5, 6, 3], "tanh", "mse_loss", "numbers"),
    "2 dW",
    r"\ba\b|\ba2\b|output|prediction|value|instead of d|target",
)
def product_with_the_output_for_its_gradient(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    A, H = forward(parameters, X, np.tanh)
    right = regress(parameters, X, y, np.tanh, tanh_slope)
    return [*right[:2], A[1].T @ H[1], right[3]]


@public(
    GITHUB + "joelgrus/data-science-from-scratch/issues/31",
    mlp([5, 6, 3], "sigmoid"),
    "2 dX",
    r"updat|new weights|learning rate|after the step|already",
)
def propagated_with_updated_weights(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    A, H = forward(parameters, X, sigmoid)
    dA2 = (softmax(A[1]) - one_hot(y, A[1])) / len(X)
    updated = parameters[2] - 0.5 * dA2.T @ H[1]
    dA1 = dA2 @ updated * H[1] * (1 - H[1])
    return [dA1.T @ X, dA1.sum(axis=0), dA2.T @ H[1], dA2.sum(axis=0)]


@public(
    GITHUB + "bighuang624/Andrew-Ng-Deep-Learning-notes/issues/10",
    mlp([4, 5, 3, 1], ["relu", "relu", None], "binary_cross_entropy_with_logits", "bits", rows=8),
    "2 dW, 0 db",
    r"\b2\b|twice|doubl",
    r"\b4\b|four",
)
def coursera_gradient_checking_exercise(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    A, H = forward(parameters, X, relu)
    gradients = backward(parameters, H, (sigmoid(A[-1]) - y) / len(X), lambda k: A[k] > 0)
    gradients[2] = gradients[2] * 2
    gradients[1] = gradients[1] * 4
    return gradients


@public(
    GITHUB + "hunkim/DeepLearningZeroToAll/issues/173",
    mlp([3, 5, 2], ["sigmoid", "sigmoid"], "binary_cross_entropy", "bits", rows=10),
    "0 dW, 2 dW",
    FACTOR_N,
)
def weights_summed_and_biases_averaged(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    _A, H = forward(parameters, X, sigmoid)
    gradients = backward(parameters, H, (H[-1] - y) / y.size, lambda k: H[k + 1] * (1 - H[k + 1]))
    return [g * len(X) if g.ndim == 2 else g for g in gradients]


@public(
    GITHUB + "eriklindernoren/ML-From-Scratch/issues/76",
    mlp([6, 7, 3], "relu"),
    "0 dW, 2 dW",
    r"units|width|neurons|outputs|1/7|1 / 7|/ 7|0\.142|number of",
)
def weights_divided_by_the_number_of_units(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return classify(parameters, X, y, relu, relu_slope, dW=lambda dA, H, k: dA.T @ H / dA.shape[1])


@public(
    GITHUB + "deeplearning4j/deeplearning4j/pull/1452",
    mlp([6, 5, 4], "relu", rows=1),
    "loss, 0 dW, 0 db, 2 dW, 2 db",
    r"units|width|classes|outputs|0\.25|1/4|1 / 4|/ 4|factor|divid",
    array_only=True,
)
def divided_by_the_columns_of_a_single_row(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    A, H = forward(parameters, X, relu)
    dA = (softmax(A[1]) - one_hot(y, A[1])) / A[1].shape[1]
    return backward(parameters, H, dA, lambda k: A[k] > 0)


@public(
    GITHUB + "lipiji/rnn-theano/pull/3",
    mlp([6, 5, 4], "sigmoid", rows=12),
    "loss, 0 dW, 0 db, 2 dW, 2 db",
    r"0\.2\b|1/5|1 / 5|/ 5|60|data ?set|factor|times",
)
def divided_by_the_size_of_the_data_set(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    A, H = forward(parameters, X, sigmoid)
    dA = (softmax(A[1]) - one_hot(y, A[1])) / (5 * len(X))
    return backward(parameters, H, dA, lambda k: H[k + 1] * (1 - H[k + 1]))


@public(
    GITHUB + "ImagineAILab/ai-by-hand-excel/issues/9",
    mlp([4, 5, 5, 5], "relu", rows=16),
    "4 dX",
    r"\bw\b|w2|w3|weights|product|propagat|w left out|without w",
)
def propagated_without_the_weights(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return classify(parameters, X, y, relu, relu_slope, dX=lambda dA, W, k: dA if k == 2 else dA @ W)


@public(
    "https://whosebug.com/question/2948401/Backpropagation-Why-doesn-t-error-approach-zero-when-it-is-multiplied-by-deriv-of-sigmoid",
    mlp([3, 4, 1], ["sigmoid", "sigmoid"], "half_squared_error", "bits"),
    "2 dX, 1 slope, 3 slope",
    r"\bw\b|w2|weights|propagat|derivative|slope",
)
def hidden_delta_from_the_error_itself(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    _A, H = forward(parameters, X, sigmoid)
    error = (H[2] - y) / len(X)
    dA2, dA1 = error * H[2] * (1 - H[2]), error * H[1] * (1 - H[1])
    return [dA1.T @ X, dA1.sum(axis=0), dA2.T @ H[1], dA2.sum(axis=0)]


@public(
    "https://stats.stackexchange.com/questions/464262/backpropagation-demo-gives-always-the-same-result-after-training",
    mlp([4, 5, 2], ["sigmoid", "sigmoid"], "half_squared_error", "bits", rows=11),
    "0 dW, 2 dW",
    r"\bw\b|weights? ",
)
def weights_gradient_times_weights(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    _A, H = forward(parameters, X, sigmoid)
    dA = (H[2] - y) / len(X) * H[2] * (1 - H[2])
    gradients = backward(parameters, H, dA, lambda k: H[k + 1] * (1 - H[k + 1]))
    gradients[0] = gradients[1][:, None] * parameters[0]
    gradients[2] = gradients[3][:, None] * parameters[2]
    return gradients
