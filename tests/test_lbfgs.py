"""LBFGS against torch.optim.LBFGS and SciPy, in training, saved and resumed."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

import handmade as hm

A = np.random.default_rng(3).normal(size=(6, 6))
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
    ],
)
def test_an_impossible_state_is_refused(change, words):
    network, optimizer = hm.MLP([4, 8, 3], rng=0), hm.LBFGS(**WOLFE)
    hm.fit(network, X, Y, optimizer=optimizer, epochs=2, batch_size=None, progress=False)
    before = optimizer.state_dict()
    with pytest.raises((ValueError, TypeError), match=words):
        optimizer.load_state_dict(before | change)
    np.testing.assert_equal(optimizer.state_dict(), before)
