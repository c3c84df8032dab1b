"""LBFGS against torch.optim.LBFGS and SciPy, in training, saved and resumed."""

from __future__ import annotations

import inspect
import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.optim.lbfgs import _strong_wolfe

import handmade as hm
from handmade.optimizers.lbfgs import Point, StrongWolfe

A = np.random.default_rng(3).normal(size=(6, 6))
RNG = np.random.default_rng(4)
A = A @ A.T + np.eye(6)


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


FUNCTIONS = {
    "rosenbrock": (rosenbrock, np.array([-1.2, 1.0, 0.5, -0.7])),
    "quadratic": (lambda x: x @ (torch.tensor(A) @ x) / 2 - x.sum(), np.linspace(-3, 3, 6)),
    "quartic": (lambda x: (x**4).sum() + (x[0] - x[1]) ** 2, np.array([3.0, -2.0, 0.5])),
    "logistic": (lambda x: torch.log1p(torch.exp(torch.tensor(A) @ x)).sum() + x @ x / 20, np.linspace(2, -2, 6)),
    "trigonometric": (lambda x: (torch.sin(3 * x) + x**2 / 10).sum(), np.array([4.0, -3.0, 0.3])),
}
OPTIONS = [
    dict(line_search_fn="strong_wolfe"),
    dict(line_search_fn="strong_wolfe", history_size=2, max_iter=7),
    dict(line_search_fn="strong_wolfe", lr=0.05, max_eval=9),
    dict(line_search_fn="strong_wolfe", lr=30.0),
    dict(lr=0.002, max_iter=4),
    dict(lr=0.002, max_iter=30, max_eval=11, history_size=3),
]


def evaluator(f, theta, gradient):
    """Return a function that computes f and its gradient by torch, so that both sides see the same numbers."""

    def evaluate():
        x = torch.tensor(theta, requires_grad=True)
        value = f(x)
        value.backward()
        gradient[:] = x.grad.numpy()
        return value.item()

    return evaluate


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_torch_gives_the_same_numbers(name, options):
    f, start = FUNCTIONS[name]
    theta, gradient, optimizer = start.copy(), np.zeros_like(start), hm.LBFGS(**options)
    parameter = torch.nn.Parameter(torch.tensor(start))
    theirs = torch.optim.LBFGS([parameter], **options)

    def closure():
        theirs.zero_grad()
        value = f(parameter)
        value.backward()
        return value

    for _ in range(4):
        value = optimizer.step(theta, gradient, evaluator(f, theta, gradient))
        expected = theirs.step(closure).item()
        state = theirs.state[parameter]
        if not math.isfinite(expected):
            return
        assert (optimizer.n_iter, optimizer.func_evals) == (state["n_iter"], state["func_evals"])
        # Curvature divides by differences of gradients: near the minimum their rounding is all there is.
        assert value == pytest.approx(expected, rel=1e-9, abs=1e-14)
        scale = np.linalg.norm(start)
        np.testing.assert_allclose(theta, parameter.detach().numpy(), rtol=1e-9, atol=1e-7 * scale)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_first_iterations_are_torchs_to_the_last_bits(name):
    f, start = FUNCTIONS[name]
    options = dict(line_search_fn="strong_wolfe", max_iter=3)
    theta, gradient = start.copy(), np.zeros_like(start)
    parameter = torch.nn.Parameter(torch.tensor(start))
    theirs = torch.optim.LBFGS([parameter], **options)

    def closure():
        theirs.zero_grad()
        value = f(parameter)
        value.backward()
        return value

    hm.LBFGS(**options).step(theta, gradient, evaluator(f, theta, gradient))
    theirs.step(closure)
    assert np.linalg.norm(theta - parameter.detach().numpy()) <= 1e-12 * np.linalg.norm(theta)


def scripted(rng, start, at_bounds):
    """Return a function that gives, at each call, a random loss and gradient: what a line search may meet, and more.

    The gradients are quarters, the losses nearly so. With ``at_bounds``, some stand at a bound of the first search: as
    high as the start, or as the Armijo condition allows, or a little above; or as steep as the curvature condition
    allows.
    """
    slope, count = -float(start @ start), 200
    kinds, losses = rng.integers(0, 10, count), rng.integers(-8, 9, count) / 4 + np.arange(count) / 2**20
    gradients = rng.integers(-8, 9, (count, 2)) / 4
    if not at_bounds:
        kinds[:] = 9
    losses[kinds == 3] = 0.0
    gradients[kinds == 2] = 0.9 * np.outer(rng.choice([-1, 1], count), start)[kinds == 2]
    calls = itertools.count()

    def answer(theta):
        k = next(calls)
        allowed = 1e-4 * (-theta[0] / start[0]) * slope
        loss = {0: allowed, 1: allowed - 1, 5: allowed / 2, 6: allowed / 4}.get(kinds[k], losses[k])
        return (float(loss), gradients[k]) if k else (0.0, start)

    return answer


def random_options(rng, at_bounds):
    return {
        "lr": float(rng.choice([1.0, 0.25, 3.0, 2.0**-28])),
        "max_iter": 1 if at_bounds else int(rng.choice([1, 2, 3])),
        "max_eval": int(rng.choice([3, 8, 26])),
        "line_search_fn": [None, "strong_wolfe", "strong_wolfe"][rng.integers(3)],
        "tolerance_grad": float(rng.choice([1e-7, 0.5])),
        "tolerance_change": float(rng.choice([1e-9, 0.25])),
        "history_size": int(rng.choice([1, 2, 100])),
    }


@pytest.mark.parametrize("at_bounds", [False, True])
@pytest.mark.parametrize("seed", range(200))
def test_torch_goes_to_the_same_points_whatever_it_meets(seed, at_bounds):
    rng = np.random.default_rng([seed, at_bounds])
    start = rng.choice([[1.0, 0.5], [-4.0, 0.25], [0.25, 0.125], [0.5, -0.25]])
    options = random_options(rng, at_bounds)
    theta, gradient, optimizer = np.zeros(2), np.zeros(2), hm.LBFGS(**options)
    parameter = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    theirs = torch.optim.LBFGS([parameter], **options)
    ours, expected = [], []
    script, their_script = (scripted(np.random.default_rng(seed), start, at_bounds) for _ in range(2))

    def evaluate():
        ours.append(theta.copy())
        loss, gradient[:] = script(theta)
        return loss

    def closure():
        expected.append(parameter.detach().numpy().copy())
        loss, found = their_script(expected[-1])
        parameter.grad = torch.tensor(found)
        return torch.tensor(loss, dtype=torch.float64)

    for _ in range(1 if at_bounds else 2):  # later, both round the direction in their own ways
        assert optimizer.step(theta, gradient, evaluate) == theirs.step(closure).item()
    state, points = theirs.state[parameter], np.array([*expected, parameter.detach().numpy()])
    assert (optimizer.n_iter, optimizer.func_evals) == (state["n_iter"], state["func_evals"])
    # A bracket may be 2^-28 of the way, and its ends cancel.
    np.testing.assert_allclose([*ours, theta], points, rtol=0, atol=1e-7 * np.abs(points).max())


def test_parameters_are_those_of_torch():
    theirs = inspect.signature(torch.optim.LBFGS).parameters
    own = inspect.signature(hm.LBFGS).parameters
    assert {name: p.default for name, p in own.items()} == {n: p.default for n, p in theirs.items() if n != "params"}
    assert list(own) == list(theirs)[1:]


def test_the_minimum_is_that_of_scipy():
    f, start = FUNCTIONS["rosenbrock"][0], np.array([-1.2, 1.0])
    theta, gradient, optimizer = start.copy(), np.zeros_like(start), hm.LBFGS(line_search_fn="strong_wolfe")
    optimizer.tolerance_change = 1e-14
    for _ in range(10):
        optimizer.step(theta, gradient, evaluator(f, theta, gradient))
    found = minimize(rosenbrock, start, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10}).x
    np.testing.assert_allclose(theta, found, atol=2e-5)  # SciPy's own distance from (1, 1) is 7e-6


def test_a_loss_that_overflows_sends_the_search_back():
    theta, gradient = np.array([1.0]), np.zeros(1)

    def evaluate():  # defined for theta < 2 alone
        inside = theta[0] < 2
        gradient[:] = -1 + 1 / (2 - theta) if inside else math.nan
        return float(-theta[0] - np.log(2 - theta[0])) + 0.0 if inside else math.nan

    theta[0] = -3.0
    optimizer = hm.LBFGS(line_search_fn="strong_wolfe", lr=100.0)
    for _ in range(3):
        optimizer.step(theta, gradient, evaluate)
    np.testing.assert_allclose(theta, [1.0], atol=1e-4)  # it ends where the loss, (theta - 1)^2 / 2, moves by 1e-9


X, Y = np.random.default_rng(0).normal(size=(40, 4)), np.random.default_rng(1).integers(0, 3, 40)
WOLFE = dict(line_search_fn="strong_wolfe", max_iter=4)


def train(epochs, **options):
    network = hm.MLP([4, 8, 3], "tanh", rng=0)
    options = dict(optimizer=hm.LBFGS(**WOLFE), batch_size=None, shuffle=False, rng=0) | options
    return network, hm.fit(network, X, Y, epochs=epochs, progress=False, **options)


def test_fit_trains_full_batches_and_torch_agrees():
    network, history = train(5)
    module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).double()
    start = hm.MLP([4, 8, 3], "tanh", rng=0)
    module.load_state_dict({name: torch.tensor(array) for name, array in start.state_dict().items()})
    optimizer = torch.optim.LBFGS(module.parameters(), **WOLFE)

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(module(torch.tensor(X)), torch.tensor(Y))
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(5)]
    np.testing.assert_allclose(history.loss, losses, rtol=1e-9)
    assert losses[-1] < 0.5 * losses[0]
    theta = torch.nn.utils.parameters_to_vector(module.parameters()).detach().numpy()
    np.testing.assert_allclose(network.theta, theta, atol=1e-8)


def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path):
    expected, _ = train(6)
    train(3, checkpoint=tmp_path / "c")
    assert (train(6, checkpoint=tmp_path / "c")[0].theta == expected.theta).all()


def test_an_error_in_evaluate_changes_nothing():
    theta, gradient, optimizer, calls = np.array([1.0, -2.0]), np.zeros(2), hm.LBFGS(**WOLFE), []

    def evaluate():
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        gradient[:] = 4 * theta**3
        return float((theta**4).sum())

    state = optimizer.state_dict()
    with pytest.raises(KeyboardInterrupt):
        optimizer.step(theta, gradient, evaluate)
    assert (theta == [1.0, -2.0]).all() and optimizer.state_dict() == state


def test_a_loss_that_is_not_finite_at_first_changes_nothing():
    theta, gradient = np.array([1.0]), np.zeros(1)
    assert math.isnan(hm.LBFGS().step(theta, gradient, lambda: math.nan))
    assert theta == 1


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: train(1, batch_size=32), ValueError, "batch_size: expected None.* with LBFGS, got 32 of 40 samples"),
        (lambda: hm.LBFGS().step(np.ones(1), np.ones(1)), TypeError, "evaluate: expected a function.* got None"),
        (lambda: hm.Chain(hm.L1(0.1), hm.LBFGS()), TypeError, "one gradient per step, got LBFGS"),
        (lambda: hm.ParameterGroups({"*": hm.LBFGS()}), TypeError, "expected a single optimizer such as Adam.*LBFGS"),
        (lambda: hm.LBFGS(line_search_fn="wolfe"), ValueError, "line_search_fn: expected None or 'strong_wolfe'"),
        (lambda: hm.LBFGS(max_iter=0), ValueError, "max_iter: expected an integer of at least 1"),
        (lambda: hm.LBFGS(history_size=2.5), TypeError, "history_size: expected an integer"),
        (lambda: hm.LBFGS(max_eval=0), ValueError, "max_eval: expected an integer of at least 1"),
        (lambda: hm.LBFGS(lr=-1), ValueError, "lr: expected a finite number >= 0"),
        (lambda: hm.LBFGS(tolerance_grad=-1), ValueError, "tolerance_grad: expected a finite number >= 0"),
        (lambda: hm.LBFGS(tolerance_change=-1), ValueError, "tolerance_change: expected a finite number >= 0"),
        (lambda: hm.LBFGS().step([1.0], np.ones(1), float), TypeError, "^theta: expected a NumPy array"),
        (lambda: hm.LBFGS().step(np.ones(1), [1.0], float), TypeError, "^gradient: expected a NumPy array"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_the_compiled_step_refuses_it_by_name():
    pytest.importorskip("numba")
    with pytest.raises(TypeError, match="compile: expected an optimizer of one gradient per step, got LBFGS"):
        train(1, compile=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(old_dirs=[np.ones(3)]), "old_stps: expected"),
        (dict(n_iter=-1), "n_iter: expected"),
        (dict(H_diag=math.nan), "H_diag: expected"),
        (dict(d=np.ones(2)), "arrays of one shape and dtype"),
        (dict(old_dirs=None), "old_dirs: expected a list"),
        (dict(func_evals=-1), "func_evals: expected"),
        (dict(t=math.nan), "^t: expected"),
        (dict(d=1.0), "^d: expected"),
        (dict(prev_flat_grad=np.full(67, np.nan)), "^prev_flat_grad: expected finite"),
        (dict(old_dirs=[np.full(67, np.nan)], old_stps=[np.ones(67)]), "^old_dirs: expected finite"),
        (dict(old_dirs=[np.ones(67)], old_stps=[np.full(67, np.inf)]), "^old_stps: expected finite"),
        (dict(old_dirs=[np.eye(67)[0]], old_stps=[np.eye(67)[1]]), "^old_dirs: expected changes of positive curvature"),
    ],
)
def test_an_impossible_state_is_refused(change, words):
    network, optimizer = hm.MLP([4, 8, 3], rng=0), hm.LBFGS(**WOLFE)
    hm.fit(network, X, Y, optimizer=optimizer, epochs=2, batch_size=None, progress=False)
    before = optimizer.state_dict()
    with pytest.raises((ValueError, TypeError), match=words):
        optimizer.load_state_dict(before | change)
    np.testing.assert_equal(optimizer.state_dict(), before)


def test_a_new_optimizer_has_seen_nothing():
    optimizer, other = hm.LBFGS(), hm.LBFGS()
    assert (optimizer.n_iter, optimizer.func_evals, optimizer.t, optimizer.H_diag) == (0, 0, 0.0, 1.0)
    assert optimizer.d is None and optimizer.prev_flat_grad is None
    optimizer.load_state_dict(other.state_dict())
    assert optimizer != other and len({optimizer, other}) == 2


def test_a_full_history_takes_the_vectors_that_it_says():
    theta, gradient, optimizer = FUNCTIONS["rosenbrock"][1].copy(), np.zeros(4), hm.LBFGS(**WOLFE, history_size=3)
    for _ in range(3):
        optimizer.step(theta, gradient, evaluator(rosenbrock, theta, gradient))
    vectors = [optimizer.d, optimizer.prev_flat_grad, *optimizer.old_dirs, *optimizer.old_stps]
    assert len(vectors) == optimizer.most_vectors == 8


@pytest.mark.parametrize(("size", "dtype"), [(3, np.float64), (4, np.float32)])
def test_another_vector_needs_a_new_optimizer(size, dtype):
    theta, gradient, optimizer = FUNCTIONS["rosenbrock"][1].copy(), np.zeros(4), hm.LBFGS(**WOLFE)
    optimizer.step(theta, gradient, evaluator(rosenbrock, theta, gradient))
    with pytest.raises(ValueError, match=r"^theta: expected shape \(4,\) and dtype float64 as at the last step, got"):
        optimizer.step(np.ones(size, dtype), np.ones(size, dtype), float)


def test_a_network_without_parameters_has_no_step():
    optimizer = hm.LBFGS()
    assert optimizer.step(np.zeros(0), np.zeros(0), lambda: 2.5) == 2.5
    assert (optimizer.n_iter, optimizer.func_evals) == (0, 1)


@pytest.mark.parametrize(("curvature", "remembered"), [(1e-10, 0), (2e-10, 1)])
def test_only_a_curvature_above_the_smallest_is_remembered(curvature, remembered):
    optimizer = hm.LBFGS()
    optimizer.d, optimizer.prev_flat_grad, optimizer.t = np.ones(1), np.zeros(1), 1.0
    optimizer._direction(np.array([curvature]))
    assert len(optimizer.old_dirs) == len(optimizer.old_stps) == remembered


@pytest.mark.parametrize("seed", range(100))
def test_the_line_search_is_torchs_where_numbers_are_equal(seed):
    """Losses and slopes of a few values each, so that many are equal to one another, and to a bound."""
    rng = np.random.default_rng(seed)
    losses, slopes = rng.integers(-2, 1, 26) / 4, rng.choice([-1.0, -1.0, -1.0, -0.9, 0.0, 0.5, 0.9], 26)
    length = float(rng.choice([2.0, 0.5]))
    tolerance = float(rng.choice([2.0**-6, length]))
    ours, theirs = [], []

    def evaluate(t):
        ours.append(t)
        return Point(t, float(losses[len(ours)]), np.array([slopes[len(ours)]]), float(slopes[len(ours)]))

    def objective(x, t, d):
        theirs.append(float(t))
        return float(losses[len(theirs)]), torch.tensor([slopes[len(theirs)] / length], dtype=torch.float64)

    one, gradient = torch.ones(1, dtype=torch.float64), torch.tensor([-1.0], dtype=torch.float64)
    search = StrongWolfe(evaluate, Point(0.0, 0.0, np.array([-1.0]), -1.0), length, 24)
    search.tolerance = tolerance
    found = search(1.0)
    loss, _, t, count = _strong_wolfe(
        objective, 0.0, 1.0, one * length, 0.0, gradient / length, -1.0, tolerance_change=tolerance, max_ls=24
    )
    assert (found.loss, search.count) == (loss, count)
    # A cubic's minimum has some ten roundings, and a bracket ten times its ends: 26 points after one another.
    np.testing.assert_allclose([*ours, found.t], [*theirs, t], rtol=1e-12)


@pytest.mark.parametrize(
    ("lr", "losses", "evaluations"),
    [(1.0, [2.0, 1.0, 1.0], 3), (0.5, [2.0, 1.0], 2), (1.0, [2.0, 1.75, 1.75], 3)],
    ids=["slope", "change of theta", "change of the loss"],
)
def test_a_step_at_its_tolerance_ends_where_torchs_does(lr, losses, evaluations):
    """A slope of -1/4, a change of 1/4 and a loss less by 1/4 are exactly at the tolerance."""
    options = dict(lr=lr, max_iter=3, max_eval=9, tolerance_change=0.25)
    theta, gradient = np.zeros(1), np.full(1, 0.5)
    script = iter(losses)
    optimizer = hm.LBFGS(**options)
    optimizer.step(theta, gradient, lambda: next(script))
    parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    parameter.grad = torch.full_like(parameter, 0.5)
    their_script = iter(losses)
    theirs = torch.optim.LBFGS([parameter], **options)
    theirs.step(lambda: torch.tensor(next(their_script)))
    assert optimizer.func_evals == theirs.state[parameter]["func_evals"] == evaluations
    assert theta == parameter.detach().numpy()


def test_weights_of_samples_count_in_a_full_batch():
    X, Y, weight = RNG.normal(size=(6, 3)), RNG.normal(size=(6, 2)), np.array([1, 2, 0, 3, 1, 2])
    networks = [hm.MLP([3, 2], rng=0) for _ in range(2)]
    data = (X, Y, weight), (np.repeat(X, weight, axis=0), np.repeat(Y, weight, axis=0), None)
    for network, (inputs, targets, weights) in zip(networks, data, strict=True):
        optimizer = hm.LBFGS(line_search_fn="strong_wolfe", max_iter=3)
        options = dict(optimizer=optimizer, batch_size=None, epochs=1, progress=False)
        hm.fit(network, inputs, targets, loss="mse_loss", sample_weight=weights, **options)
    # Some hundred sums of nine terms in another order.
    np.testing.assert_allclose(networks[0].theta, networks[1].theta, rtol=1e-9, atol=1e-12)
