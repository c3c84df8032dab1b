"""Networks drawn at random, of every kind of layer and every activation, with their options."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

import handmade as hm

Rng = np.random.Generator

OPTIONS: dict[str, Callable[[Rng], dict]] = {
    "leaky_relu": lambda r: {"negative_slope": r.uniform(-0.5, 1)},
    "elu": lambda r: {"alpha": r.uniform(0.1, 2)},
    "celu": lambda r: {"alpha": r.uniform(0.5, 2)},
    "gelu": lambda r: {"approximate": "tanh"},
    "softplus": lambda r: {"beta": r.uniform(0.5, 3), "threshold": r.uniform(1, 5)},
    "hardtanh": lambda r: {"min_val": r.uniform(-2, 0), "max_val": r.uniform(0.1, 2)},
    "threshold": lambda r: {"threshold": r.normal(), "value": r.normal()},
    "softshrink": lambda r: {"lambd": r.uniform(0, 2)},
    "hardshrink": lambda r: {"lambd": r.uniform(0, 2)},
    "softmax": lambda r: {"dim": 1},
    "log_softmax": lambda r: {"dim": 1},
}


def coin(r: Rng) -> bool:
    return bool(r.random() < 0.5)


def activation(r: Rng, width: int) -> hm.Layer:
    name = str(r.choice(list(hm.activations.ACTIVATIONS)))
    return hm.Activation(name, **(OPTIONS[name](r) if name in OPTIONS and coin(r) else {}))


def gated(r: Rng, width: int) -> hm.Layer:
    if width % 2:
        return hm.PReLU(int(r.choice([1, width])), init=r.normal())
    return hm.SwiGLU() if coin(r) else hm.GLU(str(r.choice(list(hm.activations.ACTIVATIONS))))


def grouped(r: Rng, width: int) -> hm.Layer:
    divisors = [groups for groups in range(1, width + 1) if width % groups == 0]
    return hm.GroupNorm(int(r.choice(divisors)), width, r.uniform(0.01, 1), coin(r), bias=coin(r))


def parallel(r: Rng, width: int) -> hm.Layer:
    left = int(r.integers(width)) + 1
    return hm.Parallel(*[chain(r, part, 2) for part in (left, width - left) if part])


LAYERS: list[Callable[[Rng, int], hm.Layer]] = [
    lambda r, width: hm.Dense(width, int(r.integers(1, 9)), coin(r)),
    activation,
    gated,
    lambda r, width: hm.Dropout(r.random()) if coin(r) else hm.AlphaDropout(r.random()),
    lambda r, width: hm.BatchNorm(width, r.uniform(0.01, 1), None if coin(r) else 0.3, coin(r), bias=coin(r)),
    lambda r, width: hm.LayerNorm(width, r.uniform(0.01, 1), coin(r), coin(r)),
    lambda r, width: hm.RMSNorm(width, r.uniform(0.01, 1), coin(r)),
    grouped,
]
NESTED: list[Callable[[Rng, int], hm.Layer]] = [
    lambda r, width: hm.Sequential(chain(r, width, 2)),
    lambda r, width: hm.Residual(chain(r, width, 2, width)),
    lambda r, width: hm.Concatenate(chain(r, width, 2)),
    parallel,
]


def layers(r: Rng, width: int, count: int, kinds: list) -> Iterator[hm.Layer]:
    for _ in range(count):
        layer = kinds[r.integers(len(kinds))](r, width)
        yield layer
        width = layer.width_after(width)


def chain(r: Rng, width: int, count: int, outputs: int | None = None) -> list[hm.Layer]:
    """Return a Dense layer, so many others, and one with so many outputs where they are given."""
    first = hm.Dense(width, int(r.integers(1, 9)))
    found = [first, *layers(r, first.out_features, count, LAYERS + NESTED * (count > 2))]
    if outputs:
        found.append(hm.Dense(hm.Sequential(found).width_after(width), outputs))
    return found


def draw_network(seed: int) -> tuple[hm.Network, np.ndarray]:
    """Return a network with random weights and running averages, and samples for it."""
    r = np.random.default_rng(seed)
    width = int(r.integers(1, 7))
    network = hm.Network(chain(r, width, 5, 2), dtype=["float32", "float64"][r.integers(2)])
    network.theta[:] = r.normal(size=network.theta.size)
    state = network.state_dict()
    for name, array in state.items():
        if "running" in name:
            state[name] = r.uniform(0.3, 3, array.shape)
        if "num_batches" in name:
            state[name] = np.array(r.integers(99))
    network.load_state_dict(state)
    return network, r.normal(size=(40, width)).astype(network.dtype)


def assert_same(one: hm.Network, other: hm.Network) -> None:
    """Assert that two networks are the same, bit for bit."""
    assert repr(one) == repr(other) and type(one) is type(other) and one.dtype == other.dtype
    a, b = one.state_dict(), other.state_dict()
    assert a.keys() == b.keys()
    assert all(a[name].tobytes() == b[name].tobytes() and a[name].dtype == b[name].dtype for name in a)
    assert hm.to_config(one) == hm.to_config(other)
