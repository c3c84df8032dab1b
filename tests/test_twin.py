"""The twin: every layer has its counterpart, with the same options and copies of the numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles import assert_close
from torch import nn

import handmade as hm
from reference.autograd import loss_and_gradient
from reference.twin import Concatenate, Gated, Parallel, Residual, twin

LAYERS = [
    (lambda: hm.Dense(3, 2), nn.Linear, {"in_features": 3, "out_features": 2}),
    (lambda: hm.Dropout(0.3), nn.Dropout, {"p": 0.3}),
    (
        lambda: hm.BatchNorm(3, eps=0.1, momentum=0.2),
        nn.BatchNorm1d,
        {"num_features": 3, "eps": 0.1, "momentum": 0.2},
    ),
    (lambda: hm.LayerNorm(3, eps=0.1), nn.LayerNorm, {"normalized_shape": (3,), "eps": 0.1}),
    (
        lambda: hm.BatchNorm(3, 0.1, None, False, False),
        nn.BatchNorm1d,
        {"momentum": None, "affine": False, "track_running_stats": False},
    ),
    (lambda: hm.LayerNorm(3, elementwise_affine=False), nn.LayerNorm, {"elementwise_affine": False}),
    (lambda: hm.RMSNorm(3), nn.RMSNorm, {"normalized_shape": (3,), "eps": None}),
    (lambda: hm.GroupNorm(3, 6, eps=0.1), nn.GroupNorm, {"num_groups": 3, "num_channels": 6, "eps": 0.1}),
    (lambda: hm.AlphaDropout(0.3), nn.AlphaDropout, {"p": 0.3}),
    (lambda: hm.Activation("leaky_relu", negative_slope=0.3), nn.LeakyReLU, {"negative_slope": 0.3}),
    (lambda: hm.Activation("elu", alpha=0.7), nn.ELU, {"alpha": 0.7}),
    (lambda: hm.Activation("gelu", approximate="tanh"), nn.GELU, {"approximate": "tanh"}),
    (lambda: hm.Activation("softplus", beta=2.0), nn.Softplus, {"beta": 2.0}),
    (lambda: hm.Activation("softmax"), nn.Softmax, {"dim": -1}),
    (lambda: hm.Activation("log_softmax", dim=1), nn.LogSoftmax, {"dim": 1}),
    (lambda: hm.PReLU(3), nn.PReLU, {"num_parameters": 3}),
    (lambda: hm.GLU(), nn.GLU, {"dim": -1}),
    (lambda: hm.SwiGLU(), Gated, {}),
    (lambda: hm.Sequential([hm.Dense(3, 2), hm.Activation("relu")]), nn.Sequential, {}),
    (lambda: hm.Residual([hm.Activation("relu")]), Residual, {}),
    (lambda: hm.Concatenate([hm.Activation("relu")]), Concatenate, {}),
    (lambda: hm.Parallel([hm.Dense(1, 2)], [hm.Dense(2, 2)]), Parallel, {"widths": [1, 2]}),
]


def a_network(dtype=np.float64):
    """Return a network with one layer of each kind."""
    return hm.Network(
        [
            hm.Parallel([hm.Dense(2, 3, rng=0), hm.Activation("tanh")], [hm.Dense(1, 1, bias=False, rng=1)]),
            hm.Concatenate([hm.LayerNorm(4), hm.Activation("gelu")]),
            hm.Dense(8, 4, rng=2),
            hm.BatchNorm(4),
            hm.Residual([hm.Dense(4, 4, rng=3), hm.Activation("sigmoid")]),
            hm.Dropout(0.5, rng=4),
            hm.PReLU(4),
            hm.GLU(),
            hm.Dense(2, 2, rng=5),
        ],
        dtype=dtype,
    )


X = np.random.default_rng(0).normal(size=(8, 3))
LABELS = np.arange(8) % 2


@pytest.mark.parametrize(("build", "kind", "options"), LAYERS)
def test_layer_has_a_counterpart_with_the_same_options(build, kind, options):
    [module] = twin(hm.Network([build()]))
    assert type(module) is kind
    assert {name: getattr(module, name) for name in options} == options


@pytest.mark.parametrize("name", hm.activations.ACTIVATIONS)
def test_activation_has_a_counterpart(name):
    [module] = twin(hm.Network([hm.Activation(name)]))
    A = np.linspace(-3, 3, 14).reshape(2, 7)
    # Either side takes at most 16 operations, of numbers of at most 3 e^0.
    assert_close(hm.Network([hm.Activation(name)]).predict(A), module(torch.tensor(A)), operations=32, scale=3)


def test_linear_has_a_bias_if_dense_has_one():
    with_bias, without = twin(hm.Network([hm.Dense(3, 2), hm.Dense(2, 2, bias=False)]))
    assert with_bias.bias is not None and without.bias is None


class Unknown(hm.Layer):
    def __repr__(self):
        return "Unknown()"


SQUARE = (np.square, lambda dH, A, out=None: np.multiply(dH, 2 * A, out=out))


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([Unknown()], r"Unknown\(\)"),
        ([hm.Dense(2, 2), hm.Residual([Unknown()])], r"Unknown\(\)"),
        ([hm.Activation(SQUARE)], r"Activation\('square'\)"),
    ],
)
def test_layer_that_torch_lacks_is_a_type_error(layers, words):
    with pytest.raises(TypeError, match=f"twin: expected layers that PyTorch has, got {words}"):
        twin(hm.Network(layers))


@pytest.mark.parametrize(("dtype", "torch_dtype"), [(np.float64, torch.float64), (np.float32, torch.float32)])
def test_numbers_and_dtype_are_the_same(dtype, torch_dtype):
    network = a_network(dtype)
    network.forward(X, training=True)  # statistics that are not those of the start
    module = twin(network)
    assert module.training
    assert {parameter.dtype for parameter in module.parameters()} == {torch_dtype}
    vector = nn.utils.parameters_to_vector(module.parameters()).detach().numpy()
    np.testing.assert_array_equal(vector, network.theta, strict=True)
    state = module.state_dict()
    assert list(state) == list(network.state_dict())
    for name, array in network.state_dict().items():
        np.testing.assert_array_equal(state[name].numpy(), array, strict=True)


def test_training_the_twin_does_not_change_the_network():
    network = a_network()
    module = twin(network)
    before = {name: array.copy() for name, array in network.state_dict().items()}

    def assert_unmoved(state):
        for name, array in before.items():
            np.testing.assert_array_equal(np.asarray(state[name]), array)

    def has_moved(state):
        return all(np.any(np.asarray(state[name]) != before[name]) for name in before)

    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    loss_and_gradient(module, X, LABELS)
    optimizer.step()
    assert has_moved(module.state_dict())
    assert_unmoved(network.state_dict())

    module = twin(network)
    _, gradient = network.loss_and_gradient(X, LABELS)
    hm.Adam(lr=0.1).step(network.theta, gradient)
    assert has_moved(network.state_dict())
    assert_unmoved(module.state_dict())


def test_something_else_than_a_network_is_refused():
    with pytest.raises(TypeError, match=r"^network: expected a Network, got list; wrap layers in Network"):
        twin([hm.Dense(2, 2)])
