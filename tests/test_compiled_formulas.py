"""Every formula of the compiled engine against the NumPy code, number by number, on tiny networks.

They are quick in plain Python, too, where everything runs once more.
"""

from __future__ import annotations

import copy
import itertools
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from compiled_of_tests import OPTIMIZERS

import handmade as hm
from handmade import losses

pytest.importorskip("numba")
from handmade.compiled import updates  # needs numba
from handmade.compiled.tables import ACTIVATIONS

KINKS = [0.0, 0.1, 0.5, 1.0, 1.5, 2.0, 3.0, 6.0, 0.25]  # at which the pieces of functions meet
OPTIONS = {
    "leaky_relu": {"negative_slope": 0.25},
    "elu": {"alpha": 0.75},
    "softplus": {"beta": 2.0},
    "gelu": {"approximate": "tanh"},
    "threshold": {"threshold": 0.25, "value": -0.5},
    "hardtanh": {"min_val": -0.5, "max_val": 2.0},
    "softshrink": {"lambd": 0.25},
    "hardshrink": {"lambd": 0.25},
    "celu": {"alpha": 0.25},
}
NAMES = sorted({row.function.__name__ for row in ACTIVATIONS})


def check_activation(name, numbers, dtype, options):
    """Compare the compiled function and slope with those of NumPy."""
    # Of the input 1 a weight is the pre-activation, and of the loss |h + 1e30| its gradient is the slope.
    A, layer = numbers.astype(dtype), hm.Activation(name, **options)
    network = hm.Network([hm.Dense(1, A.size, bias=False), layer], dtype=dtype)
    step = hm.compile(network, partial(losses.l1_loss, reduction="sum"))
    with np.errstate(all="ignore"):
        H = layer.f(A, **options)
        slopes = layer.f_backward(np.ones_like(A), H if layer.keeps_H else A, **options)
    # Both forms are within 4 ULP of the exact value, 8 for gelu.
    rtol, tiny = (16 if name == "gelu" else 8) * np.finfo(dtype).eps, 8 * float(np.finfo(dtype).smallest_subnormal)
    network.theta[:] = A
    np.testing.assert_allclose(step.predict(np.ones((1, 1), dtype))[0], H, rtol, tiny, err_msg=f"{name} {options}")
    finite = np.isfinite(A)
    network.theta[:] = np.where(finite, A, 0)
    _, gradient = step.gradient(np.ones((1, 1), dtype), np.full((1, A.size), -1e30, dtype))
    np.testing.assert_allclose(gradient[finite], slopes[finite], 2 * rtol, tiny, err_msg=f"{name} {options}")


@pytest.mark.parametrize("name", NAMES)
def test_activations_and_slopes_are_those_of_numpy(name):
    tails = np.concatenate([np.geomspace(1e-8, 1e3, 150), np.linspace(0.05, 12, 150), KINKS])
    numbers = np.concatenate([tails, -tails, [np.inf, -np.inf, np.nan]])
    for dtype, options in itertools.product([np.float64, np.float32], [{}, OPTIONS.get(name, {})]):
        check_activation(name, numbers, dtype, options)


def test_all_activations_at_a_few_numbers_are_those_of_numpy():
    for name, options in [*((name, {}) for name in NAMES), *OPTIONS.items()]:
        check_activation(name, np.array([-7.5, -2.5, -0.7, -0.3, 0.0, 0.3, 0.7, 1.6, 2.5, 7.5]), np.float64, options)


LABEL_LOSSES = [
    {},
    {"reduction": "sum"},
    {"weight": [0.5, 2.0, 1.0]},
    {"ignore_index": 1},
    {"ignore_index": 2, "weight": [0.5, 2.0, 1.0]},
    {"label_smoothing": 0.25},
    {"label_smoothing": 0.25, "weight": [0.5, 2.0, 1.0], "ignore_index": 0},
]
NUMBER_LOSSES = [
    *(("mse_loss", {}), ("mse_loss", {"reduction": "sum"})),
    *(("half_squared_error", {}), ("half_squared_error", {"reduction": "sum"})),
    *(("l1_loss", {}), ("l1_loss", {"reduction": "sum"})),
    *(("huber_loss", {}), ("huber_loss", {"delta": 0.25})),
    ("binary_cross_entropy_with_logits", {}),
    ("binary_cross_entropy_with_logits", {"pos_weight": 3.0}),
    ("binary_cross_entropy_with_logits", {"pos_weight": [0.5, 1.0, 2.0], "reduction": "sum"}),
    *(("cross_entropy", options) for options in LABEL_LOSSES if "ignore_index" not in options),
]
CASES = [
    *(("cross_entropy", options, "labels") for options in LABEL_LOSSES),
    *((*case, "targets") for case in NUMBER_LOSSES),
]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_losses_and_their_gradients_are_those_of_numpy(dtype):
    rng, N, X = np.random.default_rng(0), 12, np.eye(12, dtype=dtype)
    Y, labels, w = rng.dirichlet(np.ones(3), N).astype(dtype), np.arange(N) % 3, rng.random(N).astype(dtype)
    Y[:3] = np.eye(3)
    near = rng.normal(0, 3, (N, 3))
    near[0, 0], near[3], near[6] = Y[0, 0], Y[3], near[6, 0]  # no error at all; a tie
    far = near.copy()
    far[1:6] *= 200.0  # of which the exponential overflows
    for name, options, kind in CASES:
        for Z, weights in [(near, None), (far, None), (near, w)]:
            if weights is not None and "weight" in options:
                continue
            # Of the inputs I the weights are the logits, and their gradient is that of the logits.
            Z, loss = Z.astype(dtype), partial(getattr(losses, name), **options)
            network = hm.Network([hm.Dense(N, 3, bias=False)], dtype=dtype)
            network.theta = Z.T.ravel()
            y = labels if kind == "labels" else Y
            value, gradient = hm.compile(network, loss).gradient(X, y, weights)
            gradient = gradient.copy()
            expected, dZ = copy.deepcopy(network).loss_and_gradient(X, y, loss, sample_weight=weights)
            # Each number is right to some 10 of its own digits; the sum of 36 adds as many roundings.
            eps = float(np.finfo(dtype).eps)
            text = f"{name} {options} {kind}"
            assert value == pytest.approx(expected, rel=50 * eps), text
            np.testing.assert_allclose(gradient, dZ, 20 * eps, 20 * eps * np.abs(dZ).max(), err_msg=text)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("sizes, N", [([3, 4, 2], 5), ([2048, 1], 1024)])
def test_updates_and_their_state_are_those_of_numpy(sizes, N, dtype):
    rng = np.random.default_rng(0)
    X, Y = (rng.normal(size=(N, width)).astype(dtype) for width in (sizes[0], sizes[-1]))
    by_blas = [make for make in OPTIMIZERS if isinstance(make(), hm.SGD)]
    for make in by_blas if N * sizes[0] >= updates.SHARED else OPTIMIZERS:
        network, optimizer = hm.MLP(sizes, "tanh", rng=0, dtype=dtype), make()
        step, theta = hm.compile(network, "mse_loss", optimizer=make()), network.theta.copy()
        assert hasattr(step._train, "signatures") != (os.environ.get("NUMBA_DISABLE_JIT") == "1")
        for _ in range(4):
            gradient = step.gradient(X, Y)[1].copy()  # an update may clip it
            step(X, Y)
            optimizer.step(theta, gradient)
        actual = {"theta": network.theta, **step.optimizer.state_dict()}
        for name, array in {"theta": theta, **optimizer.state_dict()}.items():
            if isinstance(array, np.ndarray):
                # Four updates of some five roundings each; a sum of two terms may be smaller than both.
                atol = 20 * float(np.finfo(dtype).eps) * np.abs(array).max()
                np.testing.assert_allclose(actual[name], array, 0, atol, err_msg=f"{optimizer} {name}")


def networks(rng):
    """Return networks that have every layer at the beginning, in the middle, and at the end of a block."""
    dense = partial(hm.Dense, rng=rng)
    return [
        [hm.Activation("tanh"), dense(3, 4), hm.Activation("relu"), dense(4, 3, bias=False), hm.Activation("elu")],
        [dense(3, 5, bias=False), dense(5, 4), dense(4, 3), hm.Activation("softmax")],
        [dense(3, 4), hm.Activation("log_softmax"), dense(4, 3, bias=False), hm.Activation("log_softmax", dim=1)],
        [dense(3, 4), hm.Activation("softmax"), dense(4, 3)],
        [hm.BatchNorm(3), dense(3, 4), hm.BatchNorm(4, momentum=0.3, eps=1e-3), hm.Activation("tanh"), dense(4, 3)],
        [hm.LayerNorm(3), dense(3, 4, bias=False), hm.LayerNorm(4, eps=1e-2), hm.Activation("tanh"), dense(4, 3)],
        [hm.Dropout(0.25, rng=1), dense(3, 6), hm.Dropout(0.5, rng=2), hm.Activation("relu"), dense(6, 3),
         hm.Dropout(0.0, rng=3), hm.Dropout(0.25, rng=4)],
        [hm.Residual([dense(3, 3), hm.Activation("tanh")]), dense(3, 3),
         hm.Residual([hm.Residual([hm.LayerNorm(3)]), hm.Activation("silu"), dense(3, 3)]), hm.Activation("tanh")],
        [hm.Sequential([dense(3, 20), hm.Activation("tanh"), hm.Sequential([dense(20, 30)])]),
         hm.Residual([hm.BatchNorm(30)]), dense(30, 3), hm.LayerNorm(3), hm.BatchNorm(3)],
        [dense(3, 64), hm.Activation("tanh"), dense(64, 101), hm.Activation("tanh"), dense(101, 3)],
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_layers_are_those_of_numpy(dtype):
    rng = np.random.default_rng(0)
    eps = float(np.finfo(dtype).eps)
    for layers in networks(rng):
        network = hm.Network(layers, dtype=dtype)
        network.theta += rng.normal(0, 0.1, network.theta.size).astype(dtype)  # biases and scales of their own
        other, step = copy.deepcopy(network), hm.compile(network, "mse_loss")
        for N in 14, 2, 5:
            X, Y = rng.normal(size=(N, 3)).astype(dtype), rng.normal(size=(N, 3)).astype(dtype)
            value, gradient = step.gradient(X, Y)
            expected, slopes = other.loss_and_gradient(X, Y, "mse_loss")
            # Sums of at most 101 terms, in another order; of 2 samples, a normalization divides by their difference.
            most = 50 * eps
            assert value == pytest.approx(expected, rel=most), network
            np.testing.assert_allclose(gradient, slopes, 0, most * max(1, np.abs(slopes).max()), err_msg=repr(network))
            H = other.predict(X)
            np.testing.assert_allclose(step.predict(X), H, 0, most * np.abs(H).max(), err_msg=repr(network))
        for name, array in other.state_dict().items():
            np.testing.assert_allclose(network.state_dict()[name], array, 100 * eps, 10 * eps, err_msg=name)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_probabilities_of_far_logits_are_those_of_numpy(name):
    ties, far, below = [[0.1, 0.1, -3.3], [2.0, 1.0, 2.0]], [400.1, 399.7, 380.33, 1.7], [-700.3, -1e3, -701.9]
    for Z in *ties, far, below, [800.0, -800.0], [0.1, -350.7, -400.9]:
        network = hm.Network([hm.Dense(1, len(Z), bias=False), hm.Activation(name)])
        network.theta = Z
        step, X, Y = hm.compile(network, "l1_loss"), np.ones((1, 1)), np.full((1, len(Z)), 10.0)
        np.testing.assert_allclose(step.predict(X), network.predict(X), 2e-15, err_msg=str(Z))  # some 8 roundings
        gradient = step.gradient(X, Y)[1].copy()
        expected = network.loss_and_gradient(X, Y, "l1_loss")[1]
        np.testing.assert_allclose(gradient, expected, 4e-15, 1e-16, err_msg=str(Z))


@pytest.mark.parametrize("layer", [hm.BatchNorm(3), hm.LayerNorm(3)])
def test_normalized_numbers_far_from_0_are_those_of_numpy(layer):
    network = hm.Network([layer, hm.Dense(3, 2, rng=0)])
    X, Y = 1e5 + np.random.default_rng(0).normal(size=(6, 3)), np.zeros((6, 2))
    expected = copy.deepcopy(network).loss_and_gradient(X, Y, "mse_loss")
    actual = hm.compile(network, "mse_loss").gradient(X, Y)
    for one, other in zip(actual, expected, strict=True):  # X less its mean has lost 5 digits of 16
        np.testing.assert_allclose(one, other, 1e-9, 1e-9 * np.abs(other).max())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_steps_at_once_are_those_of_numpy(dtype):
    rng = np.random.default_rng(0)
    X, y, w = rng.normal(size=(7, 3)).astype(dtype), np.arange(7) % 2, rng.random(7).astype(dtype)
    network, optimizer, order = hm.MLP([3, 4, 2], "tanh", rng=0, dtype=dtype), hm.Adam(lr=0.1), rng.permutation(7)
    other, step = copy.deepcopy(network), hm.compile(network, optimizer=hm.Adam(lr=0.1))
    for weights in None, w:
        values = step.batches(X, y, weights, order, 2)
        for k, loss in enumerate(values):
            rows = order[2 * k : 2 * k + 2]
            value, gradient = other.loss_and_gradient(
                X[rows], y[rows], sample_weight=None if weights is None else w[rows]
            )
            optimizer.step(other.theta, gradient)
            assert loss == pytest.approx(value, rel=1e3 * float(np.finfo(dtype).eps))
        assert len(values) == 4
    # Eight steps of Adam, each of which amplifies the rounding of small gradients.
    np.testing.assert_allclose(network.theta, other.theta, 0, 1e3 * np.finfo(dtype).eps)


def test_nan_in_a_wide_input_is_refused_as_numpy_refuses_it():
    step, X = hm.compile(hm.MLP([6, 2], rng=0)), np.ones((3, 6))
    X[1, 4] = np.nan
    for call in step.predict, lambda X: step.gradient(X, np.zeros(3, int)):
        with pytest.raises(ValueError, match=r"^X: expected finite numbers, got nan at index \(1, 4\)"):
            call(X)


def test_without_the_compiler_all_formulas_are_plain_python():
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "numpy", __file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
