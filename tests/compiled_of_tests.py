"""Optimizers and a small network for the tests of compiled steps."""

from __future__ import annotations

from functools import partial

import numpy as np

import handmade as hm

OPTIMIZERS = [
    partial(hm.SGD, lr=0.1),
    partial(hm.SGD, lr=0.1, weight_decay=0.01, maximize=True),
    partial(hm.SGD, lr=0.05, momentum=0.9, dampening=0.5),
    partial(hm.SGD, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    partial(hm.Momentum1986, lr=0.05),
    partial(hm.Adagrad, lr=0.05, lr_decay=0.1, weight_decay=0.01),
    partial(hm.RMSprop, lr=0.01, momentum=0.9, weight_decay=0.01),
    partial(hm.RMSprop, lr=0.01, centered=True),
    partial(hm.Adam, lr=0.01, weight_decay=0.01),
    partial(hm.Adam, lr=0.01, amsgrad=True),
    partial(hm.AdamW, lr=0.01),
    partial(hm.Adagrad, lr=0.05, weight_decay=0.01, maximize=True),
    partial(hm.RMSprop, lr=0.01, momentum=0.9, centered=True, maximize=True),
    partial(hm.Adam, lr=0.01, weight_decay=0.01, maximize=True),
    partial(hm.AdamW, lr=0.01, maximize=True),
    partial(hm.NAdam, lr=0.01),
    lambda: hm.Chain(hm.ClipGradNorm(0.5), hm.SGD(lr=0.1)),
]


def small(loss="cross_entropy", optimizer=None, sizes=(3, 4, 2), dtype=np.float64, **options):
    """Return a small network, its compiled step, and a batch of 5."""
    network = hm.MLP(list(sizes), "tanh", rng=0, dtype=dtype, **options)
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(5, sizes[0])).astype(dtype), rng.integers(0, sizes[-1], 5)
    return network, hm.compile(network, loss, optimizer), X, y


class Own(hm.Layer):
    def forward(self, X, training=False):
        return X, None

    def backward(self, dH, cache, need_dX=True):
        return dH
