"""Mistakes in the gradient of a penalty on the weights, in a function that is not a network of this package."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

import handmade as hm
from handmade.protocols import Array

from .losses import GITHUB
from .problems import Parameters, Problem, backward, batch, forward, one_hot, public, relu, softmax

STRENGTH = 0.1


def data_loss(*parameters: Array, X: Array, y: Array) -> float:
    """Return the cross-entropy of a ReLU network."""
    A, _ = forward(parameters, X, relu)
    return float(-np.log(softmax(A[-1])[np.arange(len(y)), y]).mean())


def penalty(*parameters: Array, biases: bool) -> float:
    """Return strength times the sum of squares of the weights, and of the biases if so."""
    return float(STRENGTH * sum((p**2).sum() for p in parameters if biases or p.ndim == 2))


def penalized(biases: bool = False) -> Callable[[], Problem]:
    """Return a function that builds a penalized classifier as a function of its parameters."""

    def build() -> Problem:
        network = hm.MLP([5, 6, 3], "relu", rng=3)
        parameters = [p.copy() for p in network.blocks(network.theta).values()]
        X, y = batch("classes", 12, 5, 3, seed=4)
        data = functools.partial(data_loss, X=X, y=y)
        decay = functools.partial(penalty, biases=biases)
        options = {"facts": {"strength": STRENGTH, "N": 12}, "terms": {"data loss": data, "penalty": decay}}
        return Problem(X, y, function=lambda *p: data(*p) + decay(*p), parameters=parameters, options=options)

    return build


def with_penalty(
    parameters: Parameters,
    X: Array,
    y: Array,
    of_weights: Callable[[Array], Array],
    of_biases: Callable[[Array], Array],
) -> list[Array]:
    """Return the gradients of the data loss plus the given ones of the penalty."""
    A, H = forward(parameters, X, relu)
    dA = (softmax(A[-1]) - one_hot(y, A[-1])) / len(X)
    gradients = backward(parameters, H, dA, lambda k: A[k] > 0)
    return [g + (of_weights if p.ndim == 2 else of_biases)(p) for g, p in zip(gradients, parameters, strict=True)]


PENALTY = r"penalty|regulari|decay|strength"


@public(GITHUB + "jingtinghuang/CS231n-Spring-2017/issues/3", penalized(), "W0, W2", PENALTY, r"\b2\b|half|0\.5|twice")
def penalty_without_its_two(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return with_penalty(parameters, X, y, lambda W: STRENGTH * W, lambda b: 0 * b)


@public(GITHUB + "andersbll/nnet/issues/4", penalized(), "W0, W2", PENALTY, r"sign|minus|negat|subtract|-1")
def penalty_subtracted(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return with_penalty(parameters, X, y, lambda W: -2 * STRENGTH * W, lambda b: 0 * b)


@public(
    GITHUB + "Burton2000/CS231n-2017/issues/9",
    penalized(biases=True),
    "b0, b2",
    PENALTY,
    r"missing|left out|without|\bno\b|\bnot\b",
)
def penalty_of_the_biases_left_out(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return with_penalty(parameters, X, y, lambda W: 2 * STRENGTH * W, lambda b: 0 * b)


@public(GITHUB + "rasmusbergpalm/DeepLearnToolbox/issues/32", penalized(), "b0, b2", r"bias|\bb\b|b0|b2|penalty|decay")
def biases_decayed_too(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return with_penalty(parameters, X, y, lambda W: 2 * STRENGTH * W, lambda b: 2 * STRENGTH * b)


@public(
    GITHUB + "JWarmenhoven/Coursera-Machine-Learning/issues/3",
    penalized(),
    "b0, b2",
    r"constant|strength|ones|same|added",
)
def ones_for_zeros_in_the_bias_column(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return with_penalty(parameters, X, y, lambda W: 2 * STRENGTH * W, lambda b: STRENGTH / len(X) + 0 * b)
