"""Gradients asserted in anybody's test, of NumPy's, PyTorch's and JAX's functions and modules."""

from __future__ import annotations

import numpy as np
import pytest

import handmade as hm
from handmade import assert_gradient
from handmade.checking.adapters import torch_module

RNG = np.random.default_rng(0)
X, y = RNG.normal(size=(6, 4)), np.array([0, 2, 1, 1, 0, 2])


def test_a_network_and_a_claim_for_it_are_asserted():
    network = hm.MLP([4, 5, 3], activation="tanh", rng=0)
    assert_gradient(network, X, y)
    gradient = network.loss_and_gradient(X, y)[1].copy()
    assert_gradient(network, X, y, gradient)
    with pytest.raises(AssertionError, match=r"(?s)FAIL: 43 of 43 entries wrong.*NAMED: sign, in every parameter"):
        assert_gradient(network, X, y, -gradient)


def test_a_module_of_torch_is_judged_by_its_parameters_names():
    torch = pytest.importorskip("torch")

    class Halved(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            return a.tanh()

        @staticmethod
        def backward(ctx, d):
            return d  # without the derivative of tanh

    class Wrong(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.below, self.above = torch.nn.Linear(4, 5), torch.nn.Linear(5, 3)

        def forward(self, x):
            return self.above(Halved.apply(self.below(x)))

    target = torch.tensor(y)
    inputs = torch.tensor(X, dtype=torch.float32)

    def loss(output):
        return torch.nn.functional.cross_entropy(output, target)

    assert_gradient(
        torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)), inputs, loss=loss
    )
    with pytest.raises(AssertionError, match=r"(?s)below.weight .*FAIL.*above.weight .*pass"):
        assert_gradient(Wrong(), inputs, loss=loss)
    module = torch.nn.Linear(4, 3)
    before = module.weight.detach().clone()
    torch_module(module, (inputs,), {"loss": loss}).gradient(torch_module(module, (inputs,), {}).theta)
    assert module.weight.grad is None and torch.equal(module.weight, before)


def test_a_function_of_torch_needs_no_gradient():
    torch = pytest.importorskip("torch")
    theta = {"a": torch.tensor([1.0, 2.0]), "b": [torch.tensor([[3.0]])]}
    assert_gradient(lambda t: (t["a"] ** 3).sum() * t["b"][0].sum(), theta)


def test_a_pytree_of_jax_is_judged():
    jax = pytest.importorskip("jax")
    theta = {"w": jax.numpy.ones((2, 3)), "b": jax.numpy.zeros(3)}
    data = jax.numpy.asarray(X[:, :2])
    assert_gradient(lambda t: (jax.numpy.tanh(data @ t["w"] + t["b"]) ** 2).mean(), theta)

    @jax.custom_vjp
    def cube(x):
        return x**3

    cube.defvjp(lambda x: (x**3, x), lambda x, d: (d * x**2,))  # the 3 is missing
    with pytest.raises(AssertionError, match="constant factor"):
        assert_gradient(lambda t: cube(t).sum(), jax.numpy.array([0.3, -1.7, 2.2]))
