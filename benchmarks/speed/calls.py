"""A lower bound for a step or a prediction by NumPy: its calls alone, without Python code between them.

Every array, view and number is made in advance; one list of calls is timed. There are no layers, checks or caches. Each
formula is the cheapest whose results still agree: the textbook's sigmoid and softmax in the network's dtype, without a
shift; moments of Adam without the factors 1 - beta. A library that makes these calls takes at least as long. So no
NumPy code can be faster than a library that needs less time than the calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

import handmade as hm
from handmade._steps import BLOCK

from .cases import Case

__all__ = ["CallsAlone"]

Array = np.ndarray
Call = tuple[Callable, tuple]


class CallsAlone:
    """The calls of a case: those of ``forward``, and those of ``step``, which begin with the same.

    Arrays are laid out feature by feature, as in handmade: outputs have shape (K, N).

    Parameters
    ----------
    case : Case
        One cell.
    network : Network
        The network of the case; a step changes its parameters.

    Examples
    --------
    >>> case = Case((3, 4, 2), 5)
    >>> calls = CallsAlone(case, case.network())
    >>> len(calls.forward), len(calls.step), calls.Z.shape
    (5, 28, (2, 5))
    """

    def __init__(self, case: Case, network: hm.Network) -> None:
        self.case, self.theta, self.gradient = case, network.theta, network.gradient
        self.X, self.y = case.data()
        self.loss, self.t, self.eps, self.rate = self.number(0), 0, self.number(0), self.number(0)
        values, gradients = (list(network.blocks(vector).values()) for vector in (self.theta, self.gradient))
        self.layers = [*zip(values[::2], values[1::2], gradients[::2], gradients[1::2], strict=True)]
        self.outputs = [np.empty((len(b), case.batch), case.dtype) for _, b, _, _ in self.layers]
        self.Z = self.outputs[-1]
        self.forward = [*self._forward()]
        self.step = [*self.forward, *getattr(self, "_" + case.loss)(), *self._backward(), *self._update()]

    def number(self, value: float) -> Array:
        """Return a number as an array without dimensions, which NumPy need not convert."""
        return np.array(value, self.case.dtype)

    # ---- forward and backward ----------------------------------------------------------------------------------------

    def _forward(self) -> Iterator[Call]:
        below = self.X.T
        for (W, b, _, _), H in zip(self.layers, self.outputs, strict=True):
            yield W.dot, (below, H)
            yield np.add, (H, b[:, np.newaxis], H)
            if H is not self.Z:
                yield from self._activation(H)
            below = H

    def _backward(self) -> Iterator[Call]:
        ones, dA = np.ones(self.case.batch, self.case.dtype), self.dZ
        inputs = [self.X.T, *self.outputs[:-1]]
        for (W, _, dW, db), below in reversed([*zip(self.layers, inputs, strict=True)]):
            yield dA.dot, (below.T, dW)
            yield dA.dot, (ones, db)
            if below is not inputs[0]:
                dH = np.empty_like(below)
                yield W.T.dot, (dA, dH)
                yield from self._derivative(below, dH)
                dA = dH

    def _activation(self, H: Array) -> Iterator[Call]:
        one = self.number(1)
        yield from {
            "relu": [(np.maximum, (H, self.number(0), H))],
            "tanh": [(np.tanh, (H, H))],
            "sigmoid": [(np.negative, (H, H)), (np.exp, (H, H)), (np.add, (H, one, H)), (np.divide, (one, H, H))],
        }[self.case.activation]

    def _derivative(self, H: Array, dH: Array) -> Iterator[Call]:
        one, slope = self.number(1), np.empty_like(H)
        yield from {
            "relu": [(np.sign, (H, slope))],
            "tanh": [(np.multiply, (H, H, slope)), (np.subtract, (one, slope, slope))],
            "sigmoid": [(np.subtract, (one, H, slope)), (np.multiply, (slope, H, slope))],
        }[self.case.activation]
        yield np.multiply, (dH, slope, dH)

    # ---- the loss ----------------------------------------------------------------------------------------------------

    def _cross_entropy(self) -> Iterator[Call]:
        K, N = self.Z.shape
        P = self.dZ = np.empty_like(self.Z)
        classes, samples = np.ones(K, P.dtype), np.ones(N, P.dtype)
        total, own, mean = np.empty(N, P.dtype), np.empty(N, P.dtype), self.number(1 / N)
        place, columns = np.empty(N, np.intp), np.arange(N)
        yield np.multiply, (self.y, np.array(N), place)
        yield np.add, (place, columns, place)
        yield self.Z.take, (place, None, own, "clip")
        yield np.exp, (self.Z, P)
        yield classes.dot, (P, total)
        yield np.divide, (P, total, P)
        yield np.log, (total, total)
        yield np.subtract, (total, own, total)
        yield samples.dot, (total, self.loss)
        yield P.take, (place, None, own, "clip")
        yield np.subtract, (own, self.number(1), own)
        yield P.put, (place, own)
        yield np.multiply, (P, mean, P)
        yield np.multiply, (self.loss, mean, self.loss)

    def _mse_loss(self) -> Iterator[Call]:
        D = self.dZ = np.empty_like(self.Z)
        flat = D.reshape(-1)
        yield np.subtract, (self.Z, self.y.T, D)
        yield flat.dot, (flat, self.loss)
        yield np.multiply, (D, self.number(2 / D.size), D)
        yield np.divide, (self.loss, self.number(D.size), self.loss)

    # ---- the update, block by block ----------------------------------------------------------------------------------

    def _update(self) -> Iterator[Call]:
        size = BLOCK // self.theta.itemsize
        scratch = np.empty_like(self.theta[:size])
        if self.case.optimizer == "Adam":
            yield self._count, ()
        for start in range(0, len(self.theta), size):
            theta, gradient = (vector[start : start + size] for vector in (self.theta, self.gradient))
            yield from getattr(self, "_" + self.case.optimizer)(theta, gradient, scratch[: len(theta)])

    def _SGD(self, theta: Array, gradient: Array, change: Array) -> Iterator[Call]:
        yield np.multiply, (gradient, self.number(self.case.lr), change)
        yield np.subtract, (theta, change, theta)

    def _Adam(self, theta: Array, gradient: Array, b: Array) -> Iterator[Call]:
        m, v = np.zeros_like(theta), np.zeros_like(theta)
        yield np.multiply, (m, self.number(BETA1), m)
        yield np.add, (m, gradient, m)
        yield np.multiply, (gradient, gradient, b)
        yield np.multiply, (v, self.number(BETA2), v)
        yield np.add, (v, b, v)
        yield np.sqrt, (v, b)
        yield np.add, (b, self.eps, b)
        yield np.divide, (m, b, b)
        yield np.multiply, (b, self.rate, b)
        yield np.subtract, (theta, b, theta)

    def _count(self) -> None:
        """Set Adam's two numbers that change with t; m and v here are the moments divided by 1 - beta."""
        self.t += 1
        root = math.sqrt((1 - BETA2**self.t) / (1 - BETA2))
        self.eps[...] = EPS * root
        self.rate[...] = self.case.lr * root * (1 - BETA1) / (1 - BETA1**self.t)


BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
