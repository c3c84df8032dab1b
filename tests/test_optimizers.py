"""Optimizers: every step beside torch.optim, and what they refuse."""

from __future__ import annotations

import dataclasses
import inspect
import itertools

import numpy as np
import pytest
import torch
from optimizers_of_tests import (
    SIZE,
    descend,
    gradient_at,
    start,
)

from handmade._steps import BLOCK
from handmade.optimizers import (
    ASGD,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Lion,
    Momentum1986,
    NAdam,
    RAdam,
    RMSprop,
    Rprop,
)


def tolerance(steps, dtype=np.float64):
    """Return the error of theta that rounding can explain, relative to its norm: 1.8e-13 after 100 steps in float64.

    A step is at most 16 operations on an element, each off by at most half an eps of a number not larger than
    theta; at worst the errors of all steps add up.
    """
    return float(steps * 16 * np.finfo(dtype).eps / 2)


def combinations(**options):
    """All dicts that take one of the values listed for each option."""
    return [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]


def legal_sgd(options):
    return not options["nesterov"] or (options["momentum"] > 0 and options["dampening"] == 0)


def options_of(ours):
    """Return the parameters of an optimizer, apart from those of which another test takes every combination."""
    return {field.name: field.default for field in dataclasses.fields(ours)}


def random_options(ours, rng):
    """Legal values for every parameter of an optimizer."""
    decay, small = lambda: float(rng.uniform(0.5, 0.999)), lambda: float(10 ** rng.uniform(-3, -1.5))
    legal = dict(
        lr=small(), momentum=decay(), dampening=0.0, weight_decay=small(), nesterov=bool(rng.integers(2)),
        maximize=bool(rng.integers(2)), lr_decay=small(), initial_accumulator_value=small(), alpha=decay(), rho=decay(),
        eps=float(10 ** rng.uniform(-9, -3)), centered=bool(rng.integers(2)), betas=(decay(), decay()),
        amsgrad=bool(rng.integers(2)), momentum_decay=small(), decoupled_weight_decay=bool(rng.integers(2)),
        lambd=small(), t0=float(rng.integers(-2, 60)), etas=(decay(), 1 + small()), step_sizes=(1e-5, small()),
    )  # fmt: skip
    return {name: legal[name] for name in options_of(ours)}


IN_TORCH = [SGD, ASGD, Rprop, Adagrad, RMSprop, Adadelta, Adam, AdamW, NAdam, RAdam, Adamax]


TABLE = [
    *[
        (SGD, torch.optim.SGD, {"lr": 0.01, **options})
        for options in combinations(
            momentum=[0.0, 0.9],
            dampening=[0.0, 0.3],
            weight_decay=[0.0, 0.1],
            nesterov=[False, True],
            maximize=[False, True],
        )
        if legal_sgd(options)
    ],
    *[
        (Adagrad, torch.optim.Adagrad, {"lr": 0.05, **options})
        for options in combinations(lr_decay=[0.0, 0.1], weight_decay=[0.0, 0.1], initial_accumulator_value=[0.0, 0.5])
    ],
    *[
        (RMSprop, torch.optim.RMSprop, {"alpha": 0.9, **options})
        for options in combinations(weight_decay=[0.0, 0.1], momentum=[0.0, 0.9], centered=[False, True])
    ],
    *[
        (ours, theirs, {"lr": 0.01, **options})
        for ours, theirs in [(Adam, torch.optim.Adam), (AdamW, torch.optim.AdamW)]
        for options in combinations(betas=[(0.9, 0.999), (0.0, 0.5)], weight_decay=[0.0, 0.1], amsgrad=[False, True])
    ],
    *[(ours, getattr(torch.optim, ours.__name__), {"eps": 0.1}) for ours in IN_TORCH if ours not in (SGD, ASGD, Rprop)],
    *[(ours, getattr(torch.optim, ours.__name__), {}) for ours in IN_TORCH],
    *[
        (ours, getattr(torch.optim, ours.__name__), random_options(ours, np.random.default_rng(seed)))
        for ours in IN_TORCH
        for seed in range(6)
    ],
    (Momentum1986, torch.optim.SGD, {"lr": 0.01, "momentum": 0.9}),
]


def assert_near(actual, expected, tolerance):
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    assert np.linalg.norm(actual - expected) <= tolerance * np.linalg.norm(expected)


@pytest.fixture
def in_double():
    """PyTorch with float64 as default: its NAdam and ASGD keep numbers of theirs in the default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("dtype", "steps"), [(np.float64, 100), (np.float32, 20)])
@pytest.mark.parametrize(("ours", "theirs", "options"), TABLE)
def test_torch_gives_the_same_numbers(ours, theirs, options, dtype, steps, in_double):
    optimizer, theta = ours(**options), start(SIZE, dtype)
    parameter = torch.nn.Parameter(torch.from_numpy(theta.copy()))
    torch_optimizer = theirs([parameter], **options)
    for t in range(steps):
        assert optimizer.step(theta, gradient_at(t, theta)) is None
        parameter.grad = torch.from_numpy(gradient_at(t, parameter.detach().numpy()))
        torch_optimizer.step()
    assert_near(theta, parameter.detach().numpy(), tolerance(steps, dtype))
    state = torch_optimizer.state[parameter]
    for name in set(state) & set(vars(optimizer)):
        assert_near(np.asarray(getattr(optimizer, name)), state[name].numpy(), tolerance(steps, dtype))


@pytest.mark.parametrize("ours", IN_TORCH)
def test_parameters_have_torchs_names_order_and_defaults(ours):
    theirs = inspect.signature(getattr(torch.optim, ours.__name__)).parameters
    own = inspect.signature(ours).parameters
    for name, parameter in own.items():
        assert (name, parameter.default) == (name, theirs[name].default)
        assert parameter.kind == (parameter.KEYWORD_ONLY if name == "maximize" else theirs[name].kind)
    assert [name for name in theirs if name in own and name != "maximize"] == [
        name for name in own if name != "maximize"
    ]


@pytest.mark.parametrize(
    ("ours", "defaults"),
    [(Lion, {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0.0}), (Momentum1986, {"lr": 0.1, "momentum": 0.9})],
)
def test_optimizers_that_torch_lacks_have_their_papers_defaults(ours, defaults):
    own = inspect.signature(ours).parameters
    positional = {
        name: parameter.default for name, parameter in own.items() if parameter.kind != parameter.KEYWORD_ONLY
    }
    assert positional == defaults


def test_rprop_with_two_equal_bounds_has_one_step_size():
    theta, optimizer = np.zeros(2), Rprop(lr=0.5, step_sizes=(0.25, 0.25))
    optimizer.step(theta, np.array([3.0, -1.0]))
    assert theta.tolist() == [-0.25, 0.25]


def test_the_mean_of_asgd_starts_at_zero():
    optimizer = ASGD(lr=0.0, t0=-4.0)  # as if four steps had gone into the mean
    optimizer.step(np.ones(1), np.ones(1))
    assert optimizer.ax.tolist() == [0.25]


def test_lion_leaves_what_has_no_gradient():
    theta = np.ones(3)
    Lion(lr=0.5).step(theta, np.array([0.0, 2.0, -3.0]))
    assert theta.tolist() == [1.0, 0.5, 1.5]


def lion(theta, gradients, lr, betas, weight_decay):
    """Program 1 of Chen et al. 2023, as printed, element by element."""
    theta, m = list(theta), [0.0] * len(theta)
    for gradient in gradients:
        for i, g in enumerate(gradient(np.array(theta)).tolist()):
            c = betas[0] * m[i] + (1 - betas[0]) * g
            update = (c > 0) - (c < 0) + weight_decay * theta[i]
            theta[i] -= lr * update
            m[i] = betas[1] * m[i] + (1 - betas[1]) * g
    return np.array(theta)


@pytest.mark.parametrize("seed", range(4))
def test_lion_is_the_algorithm_of_its_paper(seed):
    options = random_options(Lion, np.random.default_rng(seed)) | {"maximize": seed == 3}
    optimizer, sign = Lion(**options), -1 if options.pop("maximize") else 1
    theta = descend(optimizer, start(SIZE), steps=100)
    gradients = [lambda theta, t=t: sign * gradient_at(t, theta) for t in range(100)]
    assert_near(theta, lion(start(SIZE), gradients, **options), tolerance(steps=100))


def test_a_new_rate_bears_on_the_next_step_of_asgd():
    theta, optimizer = np.ones(1), ASGD(lr=0.5, lambd=0.0)
    optimizer.step(theta, np.ones(1))
    optimizer.lr = 0.25
    optimizer.step(theta, np.ones(1))
    assert theta == 0.25


def test_the_product_of_momenta_does_not_depend_on_blocks():
    optimizer = NAdam()
    descend(optimizer, start(3 * BLOCK), steps=2)
    small = NAdam()
    descend(small, start(3), steps=2)
    assert optimizer.mu_product == small.mu_product == small._mu(1) * small._mu(2)


@pytest.mark.parametrize("ours", [*IN_TORCH, Lion])
def test_to_maximize_is_to_descend_the_negated_loss(ours):
    one, other, theta, same = ours(maximize=True), ours(), start(SIZE), start(SIZE)
    for t in range(3):
        one.step(theta, gradient_at(t, theta))
        other.step(same, -gradient_at(t, same))
    np.testing.assert_array_equal(theta, same)


def test_momentum_1986_scales_each_gradient_by_its_lr():
    rates = [0.1, 0.01, 0.5, 0.0, 0.02]
    optimizer, theta = Momentum1986(lr=rates[0], momentum=0.9), start(SIZE)
    sgd, sgd_theta = SGD(lr=rates[0], momentum=0.9), start(SIZE)
    expected, change = start(SIZE), 0.0
    for t, lr in enumerate(rates):
        optimizer.lr = sgd.lr = lr
        change = -lr * gradient_at(t, expected) + 0.9 * change  # equation 9, as printed
        expected = expected + change
        optimizer.step(theta, gradient_at(t, theta))
        sgd.step(sgd_theta, gradient_at(t, sgd_theta))
    assert_near(theta, expected, tolerance(len(rates)))
    assert np.linalg.norm(sgd_theta - expected) > 0.1 * np.linalg.norm(expected)


def test_momentum_that_is_switched_on_later_starts_as_in_torch():
    optimizer, theta = SGD(lr=0.01), start(SIZE)
    parameter = torch.nn.Parameter(torch.from_numpy(theta.copy()))
    torch_optimizer = torch.optim.SGD([parameter], lr=0.01)
    gradient = gradient_at(0, theta)
    parameter.grad = torch.from_numpy(gradient)
    for momentum in [0.0, 0.9, 0.9, 0.0, 0.5]:
        optimizer.momentum = torch_optimizer.param_groups[0]["momentum"] = momentum
        optimizer.step(theta, gradient)
        torch_optimizer.step()
    assert_near(theta, parameter.detach().numpy(), tolerance(steps=5))


# --- Every state array


@pytest.mark.parametrize("weight_decay", [0.5, 1.0, 2.0])
def test_weight_decay_adds_theta_so_many_times_to_the_gradient(weight_decay):
    """A step on a gradient of 0 is a step on weight_decay theta; both multiply the same two numbers."""
    for ours in (SGD, ASGD, Adagrad, RMSprop, Adadelta, Adam, NAdam, RAdam, Adamax):
        theta, other, zeros = start(SIZE), start(SIZE), np.zeros(SIZE)
        ours(lr=0.5, weight_decay=weight_decay).step(theta, zeros)
        ours(lr=0.5, weight_decay=0.0).step(other, weight_decay * other)
        np.testing.assert_array_equal(theta, other)


# --- One vector after another: what is remembered of the last two is only a short cut


def test_a_velocity_that_starts_late_starts_undampened():
    theta, gradient = np.zeros(1), np.ones(1)
    optimizer = SGD(lr=1.0, dampening=0.5)
    optimizer.step(theta, gradient)
    optimizer.momentum = 0.9
    optimizer.step(theta, gradient)
    assert theta == -2.0  # the first velocity is g, as in torch


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("alpha", "value", "steps"), [(0.1, 0.3, 8), (0.99, 0.1, 4000)])
def test_a_centered_variance_is_never_negative(dtype, alpha, value, steps):
    theta, gradient = np.zeros(1, dtype), np.full(1, value, dtype)
    optimizer = RMSprop(alpha=alpha, centered=True)
    for _ in range(steps):
        optimizer.step(theta, gradient)
    assert np.isfinite(theta).all()


@pytest.mark.parametrize(("ours", "theirs"), [(Adam, torch.optim.Adam), (RMSprop, torch.optim.RMSprop)])
def test_without_eps_squares_that_underflow_do_not_warn(ours, theirs):
    theta, gradient = np.zeros(2), np.array([1e-200, 0.0])
    parameter = torch.nn.Parameter(torch.tensor(theta.copy()))
    parameter.grad = torch.tensor(gradient)
    theirs([parameter], eps=0).step()
    ours(eps=0).step(theta, gradient)  # a warning fails here
    np.testing.assert_array_equal(theta, parameter.detach().numpy())
    np.testing.assert_array_equal(theta, [-np.inf, np.nan])


def test_radam_with_a_rho_of_exactly_5_is_torchs():
    """Only above 5 does the second moment count. This beta2 has a rho of 5 at step 6, up to the last bit."""
    betas, theta, parameter = (0.9, 0.8397685748659791), np.zeros(2), torch.nn.Parameter(torch.zeros(2).double())
    optimizer, theirs = RAdam(lr=1.0, betas=betas), torch.optim.RAdam([parameter], lr=1.0, betas=betas)
    for _ in range(6):
        optimizer.step(theta, np.array([0.25, -4.0]))
        parameter.grad = torch.tensor([0.25, -4.0]).double()
        theirs.step()
    left = betas[1] ** 6
    assert 2 / (1 - betas[1]) - 1 - 12 * left / (1 - left) == 5
    np.testing.assert_allclose(theta, parameter.detach().numpy(), rtol=1e-14)


def test_the_factors_of_rprop_are_numbers_of_the_dtype():
    """1.2 is rounded to float32 once: step sizes that grow by it stay PyTorch's to the bit."""
    theta, gradient, optimizer = np.zeros(1, np.float32), np.ones(1, np.float32), Rprop()
    parameter = torch.nn.Parameter(torch.zeros(1))
    theirs = torch.optim.Rprop([parameter])
    parameter.grad = torch.ones(1)
    for _ in range(20):
        optimizer.step(theta, gradient)
        theirs.step()
        np.testing.assert_array_equal(optimizer.step_size, theirs.state[parameter]["step_size"].numpy())


def test_rprop_takes_a_gradient_that_is_nan():
    theta, optimizer = np.ones(3), Rprop(lr=0.25)
    for _ in range(2):
        optimizer.step(theta, np.array([1.0, np.nan, -1.0]))
    np.testing.assert_array_equal(theta, [0.45, np.nan, 1.55])
