"""BatchNorm and LayerNorm against torch, over several batches, and what normalizing means."""

from __future__ import annotations

import inspect
import itertools

import numpy as np
import pytest
import torch
from oracles import assert_close

from handmade import export
from handmade.checking.diagnosis import diagnose_gradient
from handmade.checking.gradients import check_gradient
from handmade.dropout import AlphaDropout
from handmade.layers import Activation, Dense
from handmade.mlp import MLP
from handmade.network import Network
from handmade.normalization import BatchNorm, GroupNorm, LayerNorm, RMSNorm

BOTH = {BatchNorm: torch.nn.BatchNorm1d, LayerNorm: torch.nn.LayerNorm}
OPTIONS = [
    *[(BatchNorm, {"eps": eps, "momentum": m}) for eps, m in itertools.product([1e-5, 0.3], [0.0, 0.1, 0.7, 1.0])],
    *[(LayerNorm, {"eps": eps}) for eps in (1e-12, 1e-5, 0.3)],
]
WIDTH = 4

in_both_dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])
each_layer = pytest.mark.parametrize("layer", BOTH)


def learnt(seed, dtype):
    """gamma and beta of both signs, magnitudes from 0.5 to 1.5."""
    rng = np.random.default_rng(seed)
    return (rng.choice([-1, 1], (2, WIDTH)) * rng.uniform(0.5, 1.5, (2, WIDTH))).astype(dtype)


def batch(samples, seed, dtype):
    """Every row and column holds numbers from [1, 3] and from [-3, -1], so that no variance is small."""
    X = np.random.default_rng(seed).uniform(-1, 1, (samples, WIDTH))
    X[::2] += np.array([2, -2, 2, -2])
    X[1::2] -= np.array([2, -2, 2, -2])
    return X.astype(dtype)


def pair(layer, options, dtype):
    own, module = layer(WIDTH, **options, dtype=dtype), BOTH[layer](WIDTH, **options)
    own.gamma, own.beta = learnt(0, dtype)
    module.to(torch.float64 if dtype == np.float64 else torch.float32)
    with torch.no_grad():
        module.weight[:], module.bias[:] = map(torch.tensor, (own.gamma, own.beta))
    return own, module


# Means and variances of up to 9 numbers, up to 5 batches of them averaged, a dozen steps after that, on two
# sides; no number on the way is larger than the sum of 9 terms dH Xhat, each at most 1 and 3.
ROUNDINGS, LARGEST = 2 * (2 * 9 + 5 * 3 + 12), 27.0


def assert_both_do_the_same(own, module, X, training):
    torch_X = torch.tensor(X, requires_grad=True)
    dH = np.random.default_rng(9).uniform(-1, 1, X.shape).astype(X.dtype)
    module.train(training)
    module.zero_grad()
    H = module(torch_X)
    H.backward(torch.tensor(dH))
    own_H, cache = own.forward(X, training)
    compared = {
        "H": (own_H, H.detach()),
        "dX": (own.backward(dH, cache), torch_X.grad),
        **{
            "d" + own.parameters[name]: (getattr(own, "d" + own.parameters[name]), parameter.grad)
            for name, parameter in module.named_parameters()
        },
        **{name: (getattr(own, name), getattr(module, name)) for name in own.state},
    }
    for actual, expected in compared.values():
        assert actual.dtype == expected.numpy().dtype
        if actual.dtype.kind == "i":
            assert actual == expected
        else:
            assert_close(actual, expected, operations=ROUNDINGS, scale=LARGEST)


@in_both_dtypes
@pytest.mark.parametrize(("layer", "options"), OPTIONS)
def test_torch_gives_the_same_numbers_batch_after_batch(layer, options, dtype):
    own, module = pair(layer, options, dtype)
    assert_both_do_the_same(own, module, batch(3, 1, dtype), training=False)
    for seed, samples in enumerate([5, 2, 9, 3, 8]):
        assert_both_do_the_same(own, module, batch(samples, seed, dtype), training=True)
    for samples in (5, 1):
        assert_both_do_the_same(own, module, batch(samples, 7, dtype), training=False)


VARIANTS = [
    *[
        (BatchNorm, (WIDTH,), dict(momentum=m, affine=a, track_running_stats=t, bias=b))
        for m, a, t, b in itertools.product([None, 0.3], [True, False], [True, False], [True, False])
    ],
    *[(LayerNorm, (WIDTH,), dict(elementwise_affine=a, bias=b)) for a, b in itertools.product([True, False], repeat=2)],
    (LayerNorm, ((WIDTH,),), {}),
    *[(RMSNorm, (WIDTH,), dict(eps=e, elementwise_affine=a)) for e in (None, 0.3) for a in (True, False)],
    (RMSNorm, ([WIDTH],), {}),
    *[
        (GroupNorm, (groups, WIDTH), dict(eps=e, affine=a, bias=b))
        for groups, e, a, b in itertools.product([1, 2], [1e-5, 0.3], [True, False], [True, False])
    ],
]


@in_both_dtypes
@pytest.mark.parametrize(("layer", "arguments", "options"), VARIANTS)
def test_every_variant_gives_torchs_numbers(layer, arguments, options, dtype):
    own = layer(*arguments, **options, dtype=dtype)
    module = getattr(torch.nn, {"BatchNorm": "BatchNorm1d"}.get(layer.__name__, layer.__name__))(*arguments, **options)
    module.to(torch.float64 if dtype == np.float64 else torch.float32)
    network = Network([own], dtype=dtype)
    network.theta = np.random.default_rng(1).uniform(0.5, 1.5, network.theta.size)
    assert list(network.state_dict()) == ["0." + name for name in module.state_dict()]
    module.load_state_dict({name[2:]: torch.tensor(array) for name, array in network.state_dict().items()})
    for seed, samples in enumerate([5, 2, 9]):
        assert_both_do_the_same(own, module, batch(samples, seed, dtype), training=True)
        assert_both_do_the_same(own, module, batch(samples + 1, seed, dtype), training=False)


@pytest.mark.parametrize(("layer", "arguments", "options"), VARIANTS)
def test_every_variant_passes_the_gradient_check(layer, arguments, options):
    own = layer(*arguments, **options)
    network = Network([Dense(3, WIDTH, rng=0), own, Activation("tanh"), Dense(WIDTH, 2, rng=1)])
    X, y = np.random.default_rng(2).normal(size=(7, 3)), np.arange(7) % 2
    before = network.state_dict()
    for training in (True, False):
        _, gradient = network.loss_and_gradient(X, y, training=training)
        wrong = gradient.copy()
        wrong[: 3 * WIDTH] *= 1.01
        assert diagnose_gradient(network, X, y, gradient, training=training).verdict == "right"
        assert not check_gradient(network, X, y, wrong, training=training)
        assert not training or diagnose_gradient(network, X, y, wrong).verdict != "right"  # which searches for a cause
        network.load_state_dict(before)


def test_averages_without_momentum_are_means_of_all_batches():
    layer, batches = BatchNorm(WIDTH, momentum=None), [batch(n, n, float) for n in (3, 4, 5)]
    for X in batches:
        layer.forward(X, training=True)
    assert_close(layer.running_mean, np.mean([X.mean(axis=0) for X in batches], axis=0), operations=30, scale=3)
    variance = np.mean([X.var(axis=0, ddof=1) for X in batches], axis=0)
    assert_close(layer.running_var, variance, operations=60, scale=9)


def test_a_prediction_without_averages_uses_all_its_rows():
    network = Network([BatchNorm(1, track_running_stats=False)])
    X = np.arange(3000.0)[:, None]
    assert_close(network.predict(X), (X - X.mean()) / np.sqrt(X.var() + 1e-5), operations=3000 * 4, scale=2)


def test_constants_do_not_change_the_dtype():
    for layer in (BatchNorm(4, affine=False), LayerNorm(4, elementwise_affine=False), RMSNorm(4), GroupNorm(2, 4)):
        network = Network([Dense(3, 4, rng=0), layer], dtype=np.float32)
        H, cache = network.forward(np.ones((3, 3)), training=True)
        assert H.dtype == network.backward(H, cache).dtype == np.float32


def test_rms_and_group_norm_refuse():
    for make, error, words in [
        (lambda: RMSNorm(0), ValueError, "num_features: .*at least 1"),
        (lambda: RMSNorm(3, eps=-1.0), ValueError, "eps: .*>= 0"),
        (lambda: RMSNorm((3, 4)), TypeError, "num_features: expected an integer"),
        (lambda: GroupNorm(3, 4), ValueError, "num_channels: expected a multiple of num_groups=3, got 4"),
        (lambda: GroupNorm(0, 4), ValueError, "num_groups: .*at least 1"),
        (lambda: RMSNorm(3, elementwise_affine=1), TypeError, "^elementwise_affine: expected True or False"),
        (lambda: GroupNorm(2, 4, affine=1), TypeError, "affine: expected True or False"),
        (lambda: GroupNorm(2, 4, bias=1), TypeError, "^bias: expected True or False"),
        (lambda: GroupNorm(2, 4, -1.0), ValueError, "^eps: .*>= 0"),
        (lambda: GroupNorm(2, 0), ValueError, "^num_channels: .*at least 1"),
        (lambda: LayerNorm(2).forward(np.ones((3, 2, 2))), ValueError, r"^X: expected shape \(N, 2\), got \(3, 2, 2\)"),
        (lambda: BatchNorm(4, track_running_stats="no"), TypeError, "track_running_stats: expected True or False"),
    ]:
        with pytest.raises(error, match=words):
            make()
    assert (
        repr(GroupNorm(2, 4)) == "GroupNorm(2, 4)"
        and repr(RMSNorm(3, None, False)) == "RMSNorm(3, elementwise_affine=False)"
    )


def test_the_compiled_step_refuses_variants_by_name():
    pytest.importorskip("numba")
    from handmade.compiled import Unsupported, compile

    for layer in (
        *(BatchNorm(4, affine=False), BatchNorm(4, momentum=None), BatchNorm(4, track_running_stats=False)),
        *(LayerNorm(4, bias=False), RMSNorm(4), GroupNorm(2, 4), AlphaDropout(0.1)),
    ):
        with pytest.raises(Unsupported, match=type(layer).__name__):
            compile(Network([Dense(3, 4), layer, Dense(4, 2)]))


def test_exports_refuse_a_batch_norm_without_averages():
    network = Network([Dense(3, 4), BatchNorm(4, track_running_stats=False)])
    with pytest.raises(ValueError, match="expected running averages"):
        export.to_c(network)


@each_layer
def test_defaults_are_those_of_torch(layer):
    theirs = inspect.signature(BOTH[layer]).parameters
    for name, parameter in inspect.signature(layer).parameters.items():
        if name not in ("num_features", "dtype"):
            assert parameter.default == theirs[name].default


@each_layer
@in_both_dtypes
def test_what_comes_out_has_mean_zero_and_variance_one(layer, dtype):
    own, X = layer(WIDTH, eps=0, dtype=dtype), batch(8, 0, dtype)
    H = own.forward(X, training=True)[0]
    # Sums of at most 8 terms of at most 9.
    assert_close(H.mean(axis=own.axis), np.zeros(H.shape[1 - own.axis]), operations=16, scale=9)
    assert_close((H * H).mean(axis=own.axis), np.ones(H.shape[1 - own.axis]), operations=16, scale=9)


@each_layer
@in_both_dtypes
def test_scale_and_shift_of_the_input_pass_no_gradient(layer, dtype):
    own = layer(WIDTH, eps=0, dtype=dtype)
    own.gamma, own.beta = learnt(0, dtype)
    H, cache = own.forward(batch(8, 0, dtype), training=True)
    dX = own.backward(np.random.default_rng(1).uniform(-1, 1, H.shape).astype(dtype), cache)
    Xhat = (H - own.beta) / own.gamma
    for direction in (np.ones_like(Xhat), Xhat):
        along = (dX * direction).sum(axis=own.axis)
        assert np.abs(dX).max() > 0.1
        # A dozen roundings in each of 8 terms, of at most |dX| |Xhat|, themselves at most 5 and 3.
        assert_close(along, np.zeros_like(along), operations=8 * 12, scale=15)


@each_layer
def test_a_mean_far_from_zero_costs_no_variance(layer):
    X, offset = batch(8, 0, np.float32), np.float32(2**12)
    shifted = X + offset
    exact = layer(WIDTH).forward(shifted.astype(np.float64), training=True)[0]
    H = layer(WIDTH, dtype=np.float32).forward(shifted, training=True)[0]
    # The mean of 8 numbers as large as the offset is rounded, and no more: with E[x^2] - E[x]^2 the error
    # would be of the size of eps offset^2, which is two.
    assert_close(H, exact, operations=8, scale=float(offset))


@each_layer
@in_both_dtypes
def test_a_constant_has_no_direction(layer, dtype):
    own = layer(WIDTH, dtype=dtype)
    own.beta = learnt(0, dtype)[1]
    H, cache = own.forward(np.full((4, WIDTH), 0.5, dtype), training=True)
    np.testing.assert_array_equal(H, np.tile(own.beta, (4, 1)))
    dX = own.backward(np.ones((4, WIDTH), dtype), cache)
    np.testing.assert_array_equal(dX, np.zeros((4, WIDTH)))


# --- The running averages


def test_evaluating_moves_no_statistics():
    layer = BatchNorm(WIDTH)
    _, cache = layer.forward(batch(8, 0, float), training=True)
    before = [getattr(layer, name).copy() for name in layer.state]
    _, cache = layer.forward(batch(8, 1, float))
    layer.predict(batch(8, 1, float))
    layer.backward(batch(8, 2, float), cache)
    for name, value in zip(layer.state, before, strict=True):
        np.testing.assert_array_equal(getattr(layer, name), value)
    assert layer.num_batches_tracked == 1


def test_batch_of_one_is_refused_in_training():
    network = MLP([2, 3, 1], activation="tanh", normalization="batch", rng=0)
    X, y = np.ones((1, 2)), np.ones((1, 1))
    before = network.state_dict()
    with pytest.raises(ValueError, match=r"BatchNorm\(3\).*at least 2 samples.*got 1"):
        network.loss_and_gradient(X, y, "mse_loss")
    after = network.state_dict()
    assert all(np.array_equal(after[name], before[name]) for name in before)
    assert network.loss_and_gradient(X, y, "mse_loss", training=False)[1] is network.gradient


def test_statistics_have_the_dtype_of_the_network():
    network = Network([BatchNorm(WIDTH)], dtype=np.float32)
    [layer] = network.layers
    for _ in range(2):
        assert layer.running_mean.dtype == layer.running_var.dtype == layer.gamma.dtype == np.float32
        assert layer.num_batches_tracked.dtype == np.int64 and layer.num_batches_tracked.shape == ()
        assert network.forward(batch(8, 0, float), training=True)[0].dtype == np.float32


# --- Errors and names


@pytest.mark.parametrize(
    ("layer", "arguments", "options", "error", "words"),
    [
        *[(layer, (0,), {}, ValueError, "num_features.*at least 1.*0") for layer in BOTH],
        *[(layer, (2.5,), {}, TypeError, "num_features.*integer.*2.5") for layer in BOTH],
        *[(layer, (True,), {}, TypeError, "num_features.*integer.*True") for layer in BOTH],
        *[(layer, (2,), {"eps": -1e-5}, ValueError, "eps.*>= 0.*-1e-05") for layer in BOTH],
        *[(layer, (2,), {"eps": np.nan}, ValueError, "eps.*>= 0.*nan") for layer in BOTH],
        (BatchNorm, (2,), {"momentum": 1.5}, ValueError, "momentum.*in .0, 1..*1.5"),
        (BatchNorm, (2,), {"momentum": -0.1}, ValueError, "momentum.*in .0, 1..*-0.1"),
        (LayerNorm, (2,), {"elementwise_affine": 1}, TypeError, "^elementwise_affine: expected True or False"),
        (BatchNorm, (2,), {"affine": 1}, TypeError, "^affine: expected True or False"),
        *[(layer, (2,), {"bias": 1}, TypeError, "^bias: expected True or False") for layer in BOTH],
    ],
)
def test_normalization_refuses(layer, arguments, options, error, words):
    with pytest.raises(error, match=words):
        layer(*arguments, **options)


def test_rows_depend_on_each_other_in_batches_alone():
    for layer in (LayerNorm(2), RMSNorm(2), GroupNorm(2, 4), BatchNorm(2)):
        assert layer.rows_are_independent(training=False)
        assert layer.rows_are_independent(training=True) == (not isinstance(layer, BatchNorm))
    assert not BatchNorm(2, track_running_stats=False).rows_are_independent(training=False)


def test_one_negative_variance_is_refused():
    with pytest.raises(ValueError, match=r"^state_dict: 3\.running_var: expected numbers of at least 0, got -1"):
        BatchNorm(2).check_state({"running_var": np.array([1.0, -1.0])}, "3.")


def test_a_group_norm_has_the_defaults_of_torch():
    own, module = GroupNorm(2, 4), torch.nn.GroupNorm(2, 4)
    assert (own.eps, own.affine, own.bias) == (module.eps, module.affine, True)


def test_groups_without_bias_learn_gamma_alone():
    assert list(GroupNorm(2, 4, bias=False).parameters) == ["weight"]


@each_layer
def test_it_says_its_width(layer):
    assert repr(layer(5)) == f"{layer.__name__}(5)"
    with pytest.raises(ValueError, match=rf"{layer.__name__}\(5\): expected 5 inputs, got 4"):
        layer(5).width_after(4)


@each_layer
def test_a_layer_is_made_with_the_defaults_of_torch(layer):
    own, module = layer(WIDTH), BOTH[layer](WIDTH)
    for name in ("eps", "momentum"):
        assert getattr(own, name, None) == getattr(module, name, None)
