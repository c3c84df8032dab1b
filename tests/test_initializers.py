"""Initial weights against the distributions that the papers and torch.nn.init state."""

from __future__ import annotations

import functools
import inspect
import math

import numpy as np
import pytest
import torch

import handmade as hm
from handmade import initializers
from handmade.initializers import INITIALIZERS, find_initializer

I, O = 500, 200
ROOT3 = math.sqrt(3)
INIT = torch.nn.init


def torch_linear(weight, generator):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weight.copy_(torch.nn.Linear(I, O, dtype=torch.float64).weight)


# name, options, kind, standard deviation in terms of I and O, torch's; the papers' gain for ReLU is sqrt(2).
DISTRIBUTIONS = [
    ("linear_default", {}, "uniform", 1 / math.sqrt(3 * I), torch_linear),
    ("xavier_uniform", {}, "uniform", math.sqrt(2 / (I + O)), INIT.xavier_uniform_),
    ("xavier_uniform", {"gain": 5 / 3}, "uniform", 5 / 3 * math.sqrt(2 / (I + O)), None),
    ("xavier_normal", {}, "normal", math.sqrt(2 / (I + O)), INIT.xavier_normal_),
    ("xavier_normal", {"gain": 5 / 3}, "normal", 5 / 3 * math.sqrt(2 / (I + O)), None),
    ("kaiming_uniform", {}, "uniform", math.sqrt(2 / I), functools.partial(INIT.kaiming_uniform_, nonlinearity="relu")),
    ("kaiming_uniform", {"gain": 1.0}, "uniform", 1 / math.sqrt(I), None),
    ("kaiming_normal", {}, "normal", math.sqrt(2 / I), functools.partial(INIT.kaiming_normal_, nonlinearity="relu")),
    ("kaiming_normal", {"gain": 1.0}, "normal", 1 / math.sqrt(I), None),
    ("lecun_uniform", {}, "uniform", 1 / math.sqrt(I), None),
    ("lecun_normal", {}, "normal", 1 / math.sqrt(I), None),
    ("uniform", {"low": -0.3, "high": 0.3}, "uniform", 0.3 / ROOT3, functools.partial(INIT.uniform_, a=-0.3, b=0.3)),
    ("normal", {}, "normal", 1.0, INIT.normal_),
    ("normal", {"std": 0.02}, "normal", 0.02, functools.partial(INIT.normal_, std=0.02)),
]
NAMES = [" ".join([name, *(f"{k}={v:g}" for k, v in options.items())]) for name, options, *_ in DISTRIBUTIONS]
RANDOM = pytest.mark.parametrize(("name", "options", "kind", "std", "twin"), DISTRIBUTIONS, ids=NAMES)


def assert_drawn_from(sample, kind, std):
    """Mean, variance, and, of the uniform, the ends, each within 6 standard errors: a chance of 2e-9 for a false alarm.

    The variance of n squares is (m4 - std^4) / n, with the fourth moment m4 of 9/5 std^4 (uniform) or 3 std^4
    (normal). The largest of n uniform numbers lacks more than t / n of the bound with probability e^-t; t = 20.
    """
    n = sample.size
    fourth = 9 / 5 if kind == "uniform" else 3
    assert abs(sample.mean()) <= 6 * std / math.sqrt(n)
    assert abs(np.mean(sample**2) - std**2) <= 6 * std**2 * math.sqrt((fourth - 1) / n)
    if kind == "uniform":
        assert (1 - 20 / n) * ROOT3 * std <= np.abs(sample).max() <= ROOT3 * std
    else:
        # Of the normal distribution, 0.27 per cent lie beyond 3 std; of a uniform one, nothing beyond 1.73.
        beyond, expected = np.sum(np.abs(sample) > 3 * std), n * math.erfc(3 / math.sqrt(2))
        assert abs(beyond - expected) <= 6 * math.sqrt(expected)


@RANDOM
def test_weights_are_drawn_from_the_stated_distribution(name, options, kind, std, twin):
    sample = INITIALIZERS[name]((O, I), I, O, rng=0, **options)
    assert (sample.shape, sample.dtype) == ((O, I), np.float64)
    assert_drawn_from(sample, kind, std)


@pytest.mark.parametrize(("name", "kind", "std", "twin"), [(r[0], *r[2:]) for r in DISTRIBUTIONS if r[-1]])
def test_torch_draws_from_the_same_distribution(name, kind, std, twin):
    weight = torch.empty(O, I, dtype=torch.float64)
    with torch.no_grad():
        twin(weight, generator=torch.Generator().manual_seed(0))
    assert_drawn_from(weight.numpy(), kind, std)


@RANDOM
def test_a_seed_fixes_every_bit(name, options, kind, std, twin):
    f = functools.partial(INITIALIZERS[name], (3, 5), 5, 3, **options)
    np.testing.assert_array_equal(f(rng=7), f(rng=np.random.default_rng(7)), strict=True)
    assert not np.any(f(rng=7) == f(rng=8))
    assert not np.any(f() == f())
    generator = np.random.default_rng(7)
    assert not np.any(f(rng=generator) == f(rng=generator))


@pytest.mark.parametrize("shape", [(4, 3), (4,), (2, 3, 4), (1, 1)])
@pytest.mark.parametrize("name", INITIALIZERS)
def test_initializers_return_the_shape_asked_for(name, shape):
    value = INITIALIZERS[name](shape, 3, 4, 0)
    assert (value.shape, value.dtype) == (shape, np.float64)


def test_the_scale_follows_the_layer_not_the_shape():
    """A bias of shape (O,) starts like its weights: within 1/sqrt(I), as in torch.nn.Linear."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torch.nn.Linear(4, 100_000).bias.detach().numpy()
    for bias in (initializers.linear_default((100_000,), 4, 100_000, rng=0), theirs):
        assert_drawn_from(bias, "uniform", 0.5 / ROOT3)


@pytest.mark.parametrize(("options", "value"), [({}, 0.0), ({"value": -1.5}, -1.5), ({"value": 2}, 2.0)])
def test_constants_fill_the_array(options, value):
    expected = np.full((2, 3), value)
    np.testing.assert_array_equal(initializers.constant((2, 3), 3, 2, **options), expected, strict=True)
    np.testing.assert_array_equal(initializers.zeros((2, 3), 3, 2), np.zeros((2, 3)), strict=True)


def test_find_initializer_finds_every_name():
    assert list(INITIALIZERS) == initializers.__all__
    for name, f in INITIALIZERS.items():
        assert f.__name__ == name
        assert find_initializer(name) is find_initializer(f) is f


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ("he", ValueError, f": expected one of {', '.join(INITIALIZERS)}; got 'he'"),
        (0.1, TypeError, ": expected a name or a function, got 0.1"),
        (None, TypeError, ": expected a name or a function, got None"),
    ],
)
@pytest.mark.parametrize("option", ["weight_init", "bias_init"])
def test_find_initializer_names_what_it_refuses(wrong, error, message, option):
    with pytest.raises(error, match="initializer" + message):
        find_initializer(wrong)
    with pytest.raises(error, match=option + message):
        hm.Dense(3, 4, **{option: wrong})


# ---- in a layer -----------------------------------------------------------------------------------------------------


def eye(shape, fan_in, fan_out, rng):
    assert (fan_in, fan_out) == (3, 4)
    assert isinstance(rng, np.random.Generator)
    return np.eye(*shape) if len(shape) == 2 else np.ones(shape)


@pytest.mark.parametrize(
    "initializer",
    ["xavier_uniform", initializers.lecun_normal, functools.partial(initializers.uniform, low=-0.3, high=0.3), eye],
    ids=["name", "function", "partial", "own"],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_layer_starts_with_its_initializer(initializer, dtype):
    """Weights first, bias second, from one generator, rounded to the layer's dtype."""
    layer = hm.Dense(3, 4, weight_init=initializer, bias_init=initializer, rng=5, dtype=dtype)
    f, rng = find_initializer(initializer), np.random.default_rng(5)
    np.testing.assert_array_equal(layer.W, f((4, 3), 3, 4, rng).astype(dtype), strict=True)
    np.testing.assert_array_equal(layer.b, f((4,), 3, 4, rng).astype(dtype), strict=True)


def test_a_layer_starts_like_torch_by_default():
    layer = hm.Dense(I, O, rng=0)
    assert_drawn_from(layer.W, "uniform", 1 / math.sqrt(3 * I))
    np.testing.assert_array_equal(layer.W, initializers.linear_default((O, I), I, O, rng=0))
    assert np.abs(layer.b).max() <= 1 / math.sqrt(I)


def test_a_layer_refuses_another_shape():
    with pytest.raises(ValueError, match=r"weight_init: expected an array of shape \(4, 3\), got \(3, 4\)"):
        hm.Dense(3, 4, weight_init=lambda shape, fan_in, fan_out, rng: np.zeros((fan_in, fan_out)))
    with pytest.raises(ValueError, match=r"bias_init: expected an array of shape \(4,\), got \(\)"):
        hm.Dense(3, 4, bias_init=lambda shape, fan_in, fan_out, rng: 0.0)


@pytest.mark.parametrize(
    ("initializer", "message"),
    [
        (len, r"expected a function of \(shape, fan_in, fan_out, rng\), got <built-in function len>"),
        (lambda shape: np.ones(shape), r"expected a function of \(shape, fan_in, fan_out, rng\), got <function "),
        (lambda shape, *sizes: np.ma.ones(shape), "expected an array without a mask, got MaskedArray"),
        (lambda shape, *sizes: np.ones(shape, complex), "expected an array of numbers, got dtype complex128"),
        (lambda shape, *sizes: np.full(shape, "1"), "expected an array of numbers, got dtype <U1"),
        (lambda shape, *sizes: None, "expected an array, got NoneType"),
    ],
)
def test_an_own_initializer_of_another_kind_is_named(initializer, message):
    with pytest.raises(TypeError, match="^weight_init: " + message):
        hm.Dense(3, 4, weight_init=initializer)


def test_the_uniform_goes_from_zero_to_one_unless_told():
    """Two of its ends and its mean, as torch's; the chances are those of assert_drawn_from."""
    sample = INITIALIZERS["uniform"]((O, I), I, O, rng=0)
    assert_drawn_from(sample - 0.5, "uniform", 0.5 / ROOT3)
    np.testing.assert_array_equal(sample, INITIALIZERS["uniform"]((O, I), I, O, rng=0, low=0.0, high=1.0))


@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"),
    [
        ("linear_default", {"fan_in": 0}, ValueError, "fan_in: expected an integer of at least 1, got 0"),
        ("lecun_normal", {"fan_in": 2.5}, TypeError, r"fan_in: expected an integer of at least 1, got 2\.5"),
        ("xavier_uniform", {"fan_out": 0}, ValueError, "fan_out: expected an integer of at least 1, got 0"),
        ("xavier_normal", {"gain": -1.0}, ValueError, r"gain: expected a finite number >= 0, got -1\.0"),
        ("kaiming_uniform", {"gain": math.inf}, ValueError, "gain: expected a finite number >= 0, got inf"),
        ("kaiming_normal", {"gain": "relu"}, TypeError, "gain: expected a finite number >= 0, got 'relu'"),
        ("normal", {"std": -0.1}, ValueError, r"std: expected a finite number >= 0, got -0\.1"),
        ("uniform", {"low": 2.0}, ValueError, r"high: expected a number of at least low = 2\.0 .* got 1\.0"),
        ("uniform", {"low": math.nan}, ValueError, "low: expected a finite number, got nan"),
        ("constant", {"value": math.nan}, ValueError, "value: expected a finite number, got nan"),
        ("zeros", {"shape": 3}, TypeError, "shape: expected a tuple of sizes, got 3"),
        ("constant", {"shape": (2, -1)}, ValueError, "shape: expected an integer of at least 0, got -1"),
        ("normal", {"shape": "ab"}, TypeError, "shape: expected a tuple of sizes, got 'ab'"),
        ("lecun_uniform", {"shape": (2.0,)}, TypeError, "shape: expected an integer of at least 0"),
        ("xavier_uniform", {"gain": 1e308}, ValueError, "gain: expected a smaller number"),
        ("uniform", {"low": -1e308, "high": 1e308}, ValueError, "high: expected a number of at least low"),
        ("lecun_uniform", {"rng": "seed"}, TypeError, "rng: expected None, an integer >= 0 or .* got 'seed'"),
    ],
)
def test_initializers_name_bad_arguments(name, arguments, error, message):
    with pytest.raises(error, match=message):
        INITIALIZERS[name](**({"shape": (2, 3), "fan_in": 3, "fan_out": 2} | arguments))


@pytest.mark.parametrize(
    ("name", "option"), [("normal", "std"), ("xavier_uniform", "gain"), ("kaiming_normal", "gain"), ("uniform", "high")]
)
def test_initializers_take_the_negative_zero(name, option):
    np.testing.assert_array_equal(INITIALIZERS[name]((2, 3), 3, 2, rng=0, **{option: -0.0}), np.zeros((2, 3)))


USED_FANS = {"xavier": ("fan_in", "fan_out"), "kaiming": ("fan_in",), "lecun": ("fan_in",), "linear": ("fan_in",)}


@pytest.mark.parametrize(
    ("name", "option"),
    [
        (name, option)
        for name, f in INITIALIZERS.items()
        for option in (*USED_FANS.get(name.split("_")[0], ()), *list(inspect.signature(f).parameters)[4:])
    ],
)
def test_initializers_name_the_option_that_is_no_number(name, option):
    with pytest.raises(TypeError, match=f"^{option}: expected .* got 'text'"):
        INITIALIZERS[name](**({"shape": (2, 3), "fan_in": 3, "fan_out": 2} | {option: "text"}))
