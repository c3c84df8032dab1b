"""Networks refuse wrong layers, inputs and targets by name, and take numbers of every kind."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pytest
import torch
from networks_of_tests import (
    I,
    N,
    O,
    assert_same,
    assert_views,
    build,
    everything,
    in_both_dtypes,
    inputs,
    labels,
)
from oracles import assert_close

import handmade as hm
from handmade.composites import Concatenate, Residual
from handmade.dropout import Dropout
from handmade.layers import Activation, Dense
from handmade.losses import cross_entropy
from handmade.mlp import MLP
from handmade.network import Network, check_finite_targets
from handmade.normalization import BatchNorm, LayerNorm

in_both_modes = pytest.mark.parametrize("training", [False, True])


# --- What cannot be a network


def shared(layer):
    return [Dense(2, 2), layer, Dense(2, 2), layer]


@pytest.mark.parametrize(
    ("layers", "error", "words"),
    [
        (lambda: [], ValueError, "at least one layer, got none"),
        (lambda: ["relu"], TypeError, "expected layers, got 'relu'"),
        (lambda: [Dense(2, 2), np.tanh], TypeError, "expected layers, got <ufunc 'tanh'>"),
        (lambda: [Dense], TypeError, "expected layers, got <class"),
        (lambda: Dense(2, 2), TypeError, r"layers.*Dense\(2, 2\)"),
        (lambda: [Dense(2, 3), Dense(4, 1)], ValueError, r"Dense\(4, 1\): expected 4 inputs, got 3"),
        (
            lambda: [Dense(2, 3), Activation("relu"), BatchNorm(2)],
            ValueError,
            r"BatchNorm\(2\): expected 2 inputs, got 3",
        ),
        (lambda: shared(Dense(2, 2)), ValueError, "expected each layer once, got one twice"),
        (lambda: shared(LayerNorm(2)), ValueError, "expected each layer once, got one twice"),
        (lambda: shared(Activation("tanh")), ValueError, "expected each layer once, got one twice"),
        (lambda: shared(Dropout(0.5)), ValueError, "expected each layer once, got one twice"),
        (lambda: shared(Residual([Activation("tanh")])), ValueError, "expected each layer once, got one twice"),
        (lambda: [Residual(shared(Dense(2, 2)))], ValueError, "expected each layer once, got one twice"),
        (lambda: MLP([2, 1]).layers, ValueError, r"got Dense\(2, 1\), which has one.*deepcopy"),
        (lambda: [MLP([2, 1])], ValueError, r"got Dense\(2, 1\), which has one.*deepcopy"),
    ],
)
def test_a_network_refuses(layers, error, words):
    layers = layers()
    with pytest.raises(error, match=words):
        Network(layers)


def test_refused_layer_leaves_the_others_free():
    network, free = MLP([2, 2], rng=0), Dense(2, 2)
    with pytest.raises(ValueError, match="which has one"):
        Network([free, network.layers[0]])
    assert_views(network)
    assert_views(Network([free, copy.deepcopy(network.layers[0])]))


# --- Input and targets


@pytest.mark.parametrize(
    ("X", "error", "words"),
    [
        (
            np.ones(3),
            ValueError,
            r"X: expected shape \(N, 3\).*got \(3,\).*single sample.*x\[np.newaxis, :\]",
        ),
        (np.ones(4), ValueError, r"X: expected shape \(N, 3\) with N at least 1, got \(4,\)$"),
        (np.ones((2, 4)), ValueError, r"X: expected shape \(N, 3\).*got \(2, 4\)$"),
        (np.ones((3, 2)), ValueError, r"X: expected shape \(N, 3\).*got \(3, 2\)"),
        (
            np.ones((2, 3, 1)),
            ValueError,
            r"X: expected shape \(N, 3\).*got \(2, 3, 1\); flatten it with X\.reshape\(len\(X\), -1\)$",
        ),
        (np.ones((0, 3)), ValueError, r"N at least 1, got \(0, 3\)"),
        ([], ValueError, r"got \(0,\)"),
        (1.0, ValueError, r"got \(\)"),
        ([[1, 2, np.nan], [1, 2, 3]], ValueError, r"X: expected finite numbers, got nan at index \(0, 2\)"),
        ([[1, 2, 3], [1, np.inf, 3]], ValueError, r"X: expected finite numbers, got inf at index \(1, 1\)"),
        ([[-np.inf, 2, 3]], ValueError, r"X: expected finite numbers, got -inf at index \(0, 0\)"),
        (np.array([[1, np.nan, 3]], np.float32), ValueError, r"nan at index \(0, 1\)"),
        (
            np.array([[1, 2, None]]),
            TypeError,
            r"X: expected numbers, got dtype object with None at index \(0, 2\); replace it",
        ),
        ([["1", "2", "3"]], TypeError, "X: expected numbers, got dtype <U1.*astype"),
        (np.ones((1, 3), complex), TypeError, "X: expected numbers, got dtype complex128"),
        (np.zeros((1, 3), "datetime64[s]"), TypeError, "X: expected numbers, got dtype datetime64"),
    ],
)
@pytest.mark.parametrize("use", ["predict", "forward", "loss_and_gradient"])
def test_bad_input_is_an_error_and_changes_nothing(X, error, words, use):
    network = MLP([3, 4, 2], activation="tanh", normalization="batch", dropout=0.5, rng=0)
    network.loss_and_gradient(inputs(width=3), labels() % 2)
    before = everything(network)
    targets = {"loss_and_gradient": [[0, 1]], "predict": [], "forward": []}[use]
    with pytest.raises(error, match=words):
        getattr(network, use)(X, *targets)
    assert_same(everything(network), before)


@pytest.mark.parametrize(
    ("y", "loss", "error", "words"),
    [
        ([0, 1], "cross_entropy", ValueError, "^y: "),
        (np.ones((N - 1, O)), "mse_loss", ValueError, "^y: "),
        (np.ones((N, O + 1)), "mse_loss", ValueError, "^y: "),
        (np.full(N, O), "cross_entropy", ValueError, "^y: "),
        (
            np.full((N, O), np.nan),
            "mse_loss",
            ValueError,
            r"y: expected finite numbers, got nan at index \(0, 0\)",
        ),
        ([["a"] * O] * N, "mse_loss", TypeError, "^y: "),
        (np.ones((N, O)), "mean", ValueError, "loss: expected one of .*mse_loss.*got 'mean'"),
        (np.ones((N, O)), None, TypeError, "loss: expected a name"),
    ],
)
@in_both_modes
def test_bad_targets_are_an_error_and_change_nothing(y, loss, error, words, training):
    network = build("dropout")
    network.loss_and_gradient(inputs(), labels())
    before = everything(network)
    with pytest.raises(error, match=words):
        network.loss_and_gradient(inputs(), y, loss, training=training)
    assert_same(everything(network), before)


@pytest.mark.parametrize(
    ("own", "X"),
    [
        (np.float64, np.full((2, 3), 1e200)),
        (np.float64, np.full((2, 3), 1e30, np.float32)),
        (np.float64, np.full((2, 3), 6e4, np.float16)),
        (np.float32, np.full((2, 3), 1e30)),
        (np.float32, np.full((2, 3), 1e30, np.float32)),
    ],
)
def test_large_numbers_are_finite_numbers(own, X):
    network = MLP([3, 2], rng=0, dtype=own)
    network.theta[:] = 1
    assert_same([network.predict(X)], [(3 * X[:, :2].astype(own) + 1)])


@pytest.mark.parametrize("use", ["predict", "forward"])
def test_what_is_too_large_for_float32_is_not_taken_as_infinity(use):
    network = MLP([3, 2], rng=0, dtype=np.float32)
    with pytest.raises(ValueError, match=r"X: expected finite numbers, got .* at index \(0, 1\)"):
        getattr(network, use)(np.array([[1.0, 1e300, 1.0]]))


# --- Numbers of every kind


@pytest.mark.parametrize(
    "X",
    [
        [[1, 0, 1], [0, 1, 1]],
        ((1, 0, 1), (0, 1, 1)),
        np.array([[1, 0, 1], [0, 1, 1]], np.uint8),
        np.array([[1, 0, 1], [0, 1, 1]], bool),
        np.array([[1, 0, 1], [0, 1, 1]], np.float32),
        np.array([[1, 0, 1], [0, 1, 1]], ">f8"),
        np.array([[1, 0], [0, 1], [1, 1]]).T,
        np.array([[0, 1, 1], [1, 0, 1]], float)[::-1],
    ],
)
@in_both_dtypes
def test_any_real_numbers_will_do(X, dtype):
    network = MLP([3, 4, 2], activation="tanh", rng=0, dtype=dtype)
    H = network.predict(X)
    assert H.dtype == dtype
    # Strides may choose another order of the sums: 3 and 4 products of numbers of at most 1, on two sides.
    assert_close(H, network.predict(np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])), operations=2 * 10, scale=1)
    assert_close(network.forward(X)[0], H, operations=2 * 10, scale=1)


@pytest.mark.parametrize("shape", [(4, 3), (4,), (1, 2), (4, 2, 1)])
def test_backward_takes_the_shape_of_the_output(shape):
    network = MLP([3, 2], rng=0)
    _, cache = network.forward(np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"dH: expected the shape of the output \(4, 2\), got"):
        network.backward(np.ones(shape), cache)


def test_unknown_width_below_a_skip_is_checked_on_input():
    network = Network([Concatenate([Activation("tanh")]), Dense(4, 1)])
    assert network.predict(np.ones((5, 2))).shape == (5, 1)
    with pytest.raises(ValueError, match=r"Dense\(4, 1\): expected 4 inputs, got 6"):
        network.predict(np.ones((5, 3)))


def test_statistics_stay_as_they_were_where_the_target_is_wrong():
    network = MLP([3, 4, 2], normalization="batch", rng=0)
    before = network.state_dict()
    with pytest.raises(ValueError, match="from 0 to 1, got 2"):
        network.loss_and_gradient(np.random.default_rng(0).normal(size=(4, 3)), [0, 1, 2, 0])
    for name, array in network.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_generators_stay_as_they_were_where_the_target_is_wrong():
    network = MLP([3, 8, 2], dropout=0.5, rng=0)
    expected, _ = copy.deepcopy(network).loss_and_gradient(np.ones((4, 3)), [0, 1, 0, 1])
    with pytest.raises(ValueError, match="y: expected class indices from 0 to 1, got 2"):
        network.loss_and_gradient(np.ones((4, 3)), [0, 1, 0, 2])
    assert network.loss_and_gradient(np.ones((4, 3)), [0, 1, 0, 1])[0] == expected


SMOOTH = partial(cross_entropy, label_smoothing=0.1)
MASKED = np.ma.array(np.ones((N, I)), mask=np.eye(N, I))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda network: network.backward([[0.0, np.nan, 0.0]] * N, network.forward(inputs())[1]),
            ValueError,
            r"^dH: expected finite .* \(0, 1\)$",
        ),
        (
            lambda network: network.backward([[0.0], [1.0, 2.0]], network.forward(inputs())[1]),
            ValueError,
            r"^dH: expected an array",
        ),
        (lambda network: setattr(network, "theta", np.ones(3)), ValueError, r"^theta: expected shape"),
        (lambda network: network.predict(np.ones(I)), ValueError, r"; a single sample x is x\[np.newaxis, :\]$"),
        (lambda network: network.predict(inputs() * np.nan), ValueError, r"^X: expected finite .* \(0, 0\)$"),
        (lambda network: Network([Activation("tanh")]).predict(1.0), ValueError, r"^X: .* shape \(N, features\) with"),
        (lambda network: check_finite_targets([0.0, np.inf], 5), ValueError, r"^y: expected finite .* \(6,\)$"),
        (lambda network: MLP(3), ValueError, r"^sizes: expected .* got \[3\]$"),
        (lambda network: network.backward(np.zeros((N, O)), None), TypeError, "^cache: expected .* got NoneType$"),
        (lambda network: network.load_state_dict([1.0]), TypeError, "^state_dict: expected a mapping .* got list$"),
        (
            lambda network: Network([Dense(I, 1)]).loss_and_gradient(inputs(), [0] * N),
            ValueError,
            "^loss: expected at least 2 outputs for cross_entropy, got 1; ",
        ),
        (
            lambda network: Network([Dense(I, 1)]).loss_and_gradient(inputs(), [0] * N, SMOOTH),
            ValueError,
            "^loss: expected at least 2 outputs for cross_entropy, got 1; ",
        ),
        (lambda network: network.predict(MASKED), TypeError, "^X: expected an array without a mask"),
        (lambda network: network.forward(MASKED), TypeError, "^X: expected an array without a mask"),
        (
            lambda network: network.loss_and_gradient(inputs(), MASKED),
            TypeError,
            "^y: expected an array without a mask",
        ),
        (
            lambda network: network.load_state_dict(network.state_dict() | {"0.weight": MASKED}),
            TypeError,
            "^state_dict: 0.weight: expected an array without a mask",
        ),
    ],
)
def test_an_error_begins_with_the_argument_that_is_wrong(call, error, words):
    network = build("sigmoid")
    with pytest.raises(error, match=words):
        call(network)


def test_a_network_of_any_width_wants_a_sample_too():
    with pytest.raises(ValueError, match=r"X: expected shape \(N, features\) with N at least 1, got \(0, 3\)"):
        Network([Activation("relu")]).predict(np.empty((0, 3)))


def test_second_backward_at_once_is_refused():
    network = MLP([3, 2], rng=0)
    with pytest.raises(RuntimeError, match=r"^gradient: expected one backward pass at a"):
        network._gradient_writer.run(lambda: network.loss_and_gradient(np.ones((1, 3)), [0]))
    network.loss_and_gradient(np.ones((1, 3)), [0])


def test_tensors_are_taken_and_masked_arrays_refused():
    network = MLP([3, 2], rng=0)
    X = torch.ones((2, 3), dtype=torch.float64, requires_grad=True)
    np.testing.assert_array_equal(network.predict(X), network.predict(np.ones((2, 3))))
    with pytest.raises(TypeError, match="X: expected an array without a mask"):
        network.predict(np.ma.masked_array(np.ones((2, 3)), mask=True))


@pytest.mark.parametrize("base", [Network, MLP])
@pytest.mark.parametrize("name", ["forward", "backward", "loss_and_gradient"])
@pytest.mark.parametrize("mixed_in", [False, True])
def test_a_pass_that_training_does_not_call_is_refused(base, name, mixed_in):
    def own(self, dH, cache, need_dX=True):
        return getattr(super(base, self), name)(dH, cache, need_dX)

    bases, members = ((type("Mixin", (), {name: own}), base), {}) if mixed_in else ((base,), {name: own})
    network = type("Own", bases, members)([2, 3] if base is MLP else [Dense(2, 3)])
    before = network.theta.copy()
    with pytest.raises(TypeError, match=f"^fit: expected a network with the {name} of .*, got a Own .*; (make|define)"):
        hm.fit(network, np.ones((4, 2)), [0, 1, 2, 0], epochs=1, progress=False)
    assert (network.theta == before).all()


def test_a_pass_replaced_on_an_instance_is_refused_in_training():
    network = MLP([2, 3])
    network.forward = lambda X, training=False: None
    with pytest.raises(TypeError, match=r"^fit: expected a network with the forward of "):
        hm.fit(network, np.ones((4, 2)), [0, 1, 2, 0], epochs=1, progress=False)


BATCH = np.arange(8.0).reshape(4, 2), [0, 1, 2, 0]
CALLERS = {  # each with the passes that it does not call
    "fit": (lambda network: hm.fit(network, *BATCH, progress=False), ["forward", "backward", "loss_and_gradient"]),
    "find_lr": (lambda network: hm.find_lr(network, *BATCH), ["forward", "backward", "loss_and_gradient"]),
    "check_gradient": (lambda network: hm.check_gradient(network, *BATCH), ["backward", "loss_and_gradient"]),
    "diagnose_gradient": (lambda network: hm.diagnose_gradient(network, *BATCH), ["backward", "loss_and_gradient"]),
    "export": (lambda network: (hm.export.to_onnx(network, "a.onnx"), hm.export.to_c(network)), ["forward", "predict"]),
}


@pytest.mark.parametrize(("caller", "name"), [(caller, name) for caller in CALLERS for name in CALLERS[caller][1]])
@pytest.mark.parametrize("on_instance", [False, True])
def test_a_pass_that_a_caller_would_leave_out_is_refused(caller, name, on_instance):
    def own(*arguments, **options):
        raise AssertionError("called")

    network = type("Own", (MLP,), {} if on_instance else {name: own})([2, 3])
    if on_instance:
        setattr(network, name, own)
    words = rf"^{caller}: expected a network with the {name} of hm.Network, got a Own with another, which {caller} does"
    if on_instance and caller == "export":  # as of layers
        words = f"^network: expected Own with the {name} of its class, got one of the instance's own"
    with pytest.raises((TypeError, ValueError), match=words):
        CALLERS[caller][0](network)


def test_a_claimed_gradient_needs_no_pass_of_the_network():
    class Own(MLP):
        def backward(self, dH, cache, need_dX=True):
            raise AssertionError("called")

    network, plain = Own([2, 3], rng=0), MLP([2, 3], rng=0)
    gradient = plain.loss_and_gradient(*BATCH)[1]
    assert hm.check_gradient(network, *BATCH, gradient)
    assert hm.diagnose_gradient(network, *BATCH, 2 * gradient).verdict == "named"


@pytest.mark.parametrize("base", [Network, MLP])
def test_a_subclass_may_change_what_training_calls(base):
    class Decayed(base):
        def backpropagate(self, *arguments):
            loss, gradient = super().backpropagate(*arguments)
            gradient += self.theta
            return loss, gradient

    own, plain = (kind([2, 3] if base is MLP else [Dense(2, 3)]) for kind in (Decayed, base))
    plain.theta[:] = own.theta
    X, y = np.ones((2, 2)), [0, 2]
    assert (own.loss_and_gradient(X, y)[1] == plain.loss_and_gradient(X, y)[1] + plain.theta).all()
