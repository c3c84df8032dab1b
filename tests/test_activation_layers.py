"""Layers that learn an activation, or gate with one, against PyTorch and against differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import handmade as hm

EXTREMES = np.array([0.0, -0.0, 1e-300, -1e-300, 1e3, -1e3, 0.5, -0.5])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("num_parameters", [1, 8])
def test_prelu_agrees_with_torch_at_the_kink_and_far_out(dtype, num_parameters):
    X = np.stack([EXTREMES, EXTREMES[::-1], 2 * EXTREMES]).astype(dtype)
    dH = np.random.default_rng(0).normal(size=X.shape).astype(dtype)
    layer = hm.PReLU(num_parameters, init=-0.75, dtype=dtype)
    module = torch.nn.PReLU(num_parameters, init=-0.75, dtype=torch.tensor(X).dtype)
    tensor = torch.tensor(X, requires_grad=True)
    expected = module(tensor)
    expected.backward(torch.tensor(dH))
    H, cache = layer.forward(X)
    dX = layer.backward(dH, cache)
    np.testing.assert_array_equal(H, expected.detach().numpy())
    np.testing.assert_array_equal(dX, tensor.grad.numpy())
    eps = np.finfo(dtype).eps  # sums over at most 24 products
    np.testing.assert_allclose(layer.dslope, module.weight.grad.numpy(), rtol=0, atol=24 * eps * np.abs(dH * X).max())


def test_prelu_learns_the_slope():
    X = np.random.default_rng(0).normal(size=(64, 1))
    network = hm.Network([hm.Dense(1, 1, bias=False, weight_init="constant"), hm.PReLU()])
    network.theta = [1.0, 0.25]
    for _ in range(600):
        _, gradient = network.loss_and_gradient(X, np.where(X > 0, X, -2 * X), "mse_loss")
        network.theta -= 0.2 * gradient
    np.testing.assert_allclose(network.theta, [1.0, -2.0], atol=1e-6)  # the error shrinks by a tenth at each step


@pytest.mark.parametrize("gate", [*hm.activations.ACTIVATIONS])
def test_glu_is_one_half_times_the_gate_of_the_other(gate):
    X, dH = np.random.default_rng(1).normal(size=(5, 6)), np.random.default_rng(2).normal(size=(5, 3))
    H, cache = hm.GLU(gate).forward(X)
    activation = hm.Activation(gate)
    G, gate_cache = activation.forward(X[:, 3:])
    np.testing.assert_array_equal(H, X[:, :3] * G)
    expected = [dH * G, activation.backward(dH * X[:, :3], gate_cache)]
    np.testing.assert_array_equal(hm.GLU(gate).backward(dH, cache), np.concatenate(expected, axis=1))


def test_swiglu_is_glu_with_silu():
    X = np.random.default_rng(1).normal(size=(5, 6))
    np.testing.assert_array_equal(hm.SwiGLU().predict(X), hm.GLU("silu").predict(X))
    assert (repr(hm.SwiGLU()), repr(hm.GLU("tanh")), repr(hm.GLU())) == ("SwiGLU()", "GLU('tanh')", "GLU()")


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: hm.PReLU(0), ValueError, "num_parameters: expected"),
        (lambda: hm.PReLU(init=np.nan), ValueError, "init: expected a finite number, got nan"),
        (lambda: hm.GLU("glue"), ValueError, "activation: expected one of identity, .*; got 'glue'"),
        (lambda: hm.GLU(None), TypeError, "activation: expected the name of an activation, got None"),
        (lambda: hm.Network([hm.Dense(2, 3), hm.GLU()]), ValueError, r"GLU\(\): expected an even number .* got 3"),
        (lambda: hm.Network([hm.Dense(2, 8), hm.GLU(), hm.Dense(8, 1)]), ValueError, "expected 8 inputs, got 4"),
        (lambda: hm.Network([hm.Dense(2, 4), hm.PReLU(3)]), ValueError, r"PReLU\(3\): expected 3 inputs, got 4"),
        (
            lambda: hm.Residual([hm.Dense(4, 4), hm.GLU()]),
            ValueError,
            "layers that keep the width, 4, got 2 outputs",
        ),
    ],
)
def test_bad_widths_and_options_are_named(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_gates_may_stand_below_the_first_dense_layer():
    network = hm.Network([hm.GLU(), hm.SwiGLU(), hm.Dense(2, 1)])
    assert network.predict(np.ones((3, 8))).shape == (3, 1)
