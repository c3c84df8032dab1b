"""Pictures of descent: surfaces, paths, and one weight at a time."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from drawings import words
from pictures import X2, X3, Y1, Y2, chain, perceptron

import handmade as hm
from handmade import plots

# ---- descent ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lr", [0.2, 0.85])  # 2 / curvature is 0.8
def test_the_steps_on_the_curve_are_those_of_the_lecture(lr):
    x, y = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    figure = plots.descent_1d(perceptron(-1.0), x[:, None], y[:, None], lr=lr, steps=5)
    curve, steps, *tangents = figure.axes[0].lines
    w = [-1.0]
    for _ in range(5):
        w.append(w[-1] - lr * np.mean(-(y - w[-1] * x) * x))
    loss = np.array([np.mean((y - v * x) ** 2) / 2 for v in w])
    np.testing.assert_allclose(steps.get_xdata(), w, rtol=1e-13)  # some 10 roundings a step, 5 steps
    np.testing.assert_allclose(steps.get_ydata(), loss, rtol=1e-13)
    assert (np.diff(loss) < 0).all() == (lr < 0.8)
    expected = [np.mean((y - v * x) ** 2) / 2 for v in curve.get_xdata()]
    np.testing.assert_allclose(curve.get_ydata(), expected, rtol=1e-13)
    assert curve.get_xdata().min() < min(w) < max(w) < curve.get_xdata().max()
    assert len(tangents) == 5
    for v, height, tangent in zip(w, loss, tangents, strict=False):
        assert np.mean(tangent.get_data(), axis=1) == pytest.approx([v, height], rel=1e-12)
        slope = np.diff(tangent.get_ydata()) / np.diff(tangent.get_xdata())
        assert slope.item() == pytest.approx(np.mean(-(y - v * x) * x), rel=1e-12)


def test_descent_1d_takes_any_network_of_one_parameter():
    network = hm.MLP([1, 1], activation=["sigmoid"], bias=False, rng=0)
    figure = plots.descent_1d(network, [[1.0]], [[1.0]], loss="binary_cross_entropy", steps=1)
    curve = figure.axes[0].lines[0]
    expected = np.log1p(np.exp(-curve.get_xdata()))  # -log sigmoid(w)
    np.testing.assert_allclose(curve.get_ydata(), expected, rtol=1e-12)


def test_descent_from_the_minimum_stays_in_the_picture():
    curve, steps, *_ = plots.descent_1d(perceptron(2.0), [[1.0]], [[2.0]], steps=2).axes[0].lines
    assert steps.get_xdata().tolist() == [2.0, 2.0, 2.0]
    assert curve.get_xdata().min() < 2.0 < curve.get_xdata().max()


OPTIMIZERS = {
    "SGD": hm.SGD(lr=0.3),
    "momentum": hm.SGD(lr=0.1, momentum=0.9),
    "1986": hm.Momentum1986(lr=0.1),
    "Adam": hm.Adam(lr=0.3),
    "AdamW": hm.AdamW(lr=0.3),
    "RMSprop": hm.RMSprop(lr=0.1),
    "Adagrad": hm.Adagrad(lr=0.3),
    "clipped": hm.Chain(hm.ClipGradNorm(1.0), hm.SGD(lr=0.3)),
}


@pytest.mark.parametrize("surface", [False, True])
def test_each_path_is_the_steps_of_its_optimizer(surface):
    start = np.array([-1.0, 0.5])
    figure = plots.descent_2d(perceptron(*start), X2, Y1, OPTIMIZERS, steps=6, surface=surface)
    lines = [line for line in figure.axes[0].lines if line.get_label() in OPTIMIZERS]
    assert [line.get_label() for line in lines] == list(OPTIMIZERS)
    for line, optimizer in zip(lines, copy.deepcopy(OPTIMIZERS).values(), strict=True):
        theta, path = start.copy(), []
        for _ in range(7):
            residual = X2 @ theta - Y1[:, 0]
            path.append([*theta, *([residual @ residual / 12] if surface else [])])
            optimizer.step(theta, X2.T @ residual / 6)
        drawn = np.transpose(line.get_data_3d() if surface else line.get_data())
        np.testing.assert_allclose(drawn, path, rtol=1e-9, atol=1e-12)  # Adagrad's first step divides g by |g|


def test_the_contours_are_levels_of_the_loss():
    ax = plots.descent_2d(perceptron(-1.0, 0.5), X2, Y1, steps=3).axes[0]
    (contours,) = [artist for artist in ax.collections if hasattr(artist, "levels")]
    assert len(contours.levels) == 14
    # On the sides of a cell of the 100 x 100 the loss is taken for straight, which is off by at most curvature times
    # length squared / 8; and where a label interrupts the line, it ends within a cell, on a chord: once more so.
    sides = np.array([np.ptp(ax.get_xlim()), np.ptp(ax.get_ylim())]) / 100
    curvature = np.linalg.eigvalsh(X2.T @ X2 / 6).max()
    bound = curvature * (sides.max() ** 2 + sides @ sides) / 8
    assert bound < np.diff(contours.levels).min() / 100
    assert sum(len(path.vertices) for path in contours.get_paths()) > 1000
    for level, path in zip(contours.levels, contours.get_paths(), strict=True):
        residuals = path.vertices @ X2.T - Y1[:, 0]
        assert np.abs(np.vecdot(residuals, residuals) / 12 - level).max() <= bound


def test_descent_2d_takes_any_network_of_two_parameters():
    line = plots.descent_2d(hm.MLP([1, 1], rng=0), [[1.0]], [[2.0]])
    assert (line.axes[0].get_xlabel(), line.axes[0].get_ylabel()) == ("$w$", "$b$")
    deep = plots.descent_2d(hm.MLP([1, 1, 1], "tanh", bias=False, rng=0), [[1.0]], [[2.0]])
    assert (deep.axes[0].get_xlabel(), deep.axes[0].get_ylabel()) == ("$w_{1}$", "$w_{2}$")


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda: plots.descent_1d(perceptron(1.0, 2.0), X2, Y1), ValueError, r"expected 1 parameter\(s\).*got 2"),
        (lambda: plots.descent_2d(perceptron(1.0), [[1.0]], [[1.0]]), ValueError, r"expected 2 parameter\(s\).*got 1"),
        (lambda: plots.descent_1d(hm.Dense(1, 1), [[1.0]], [[1.0]]), TypeError, "expected a Network, got Dense"),
        (lambda: plots.descent_1d(perceptron(1.0), [[np.nan]], [[1.0]]), ValueError, "X: expected finite"),
        (lambda: plots.descent_1d(perceptron(1.0), [[1.0]], [[1.0]], steps=0), ValueError, "steps: .* at least 1"),
        (lambda: plots.descent_1d(perceptron(1.0), [[1.0]], [[2.0]], lr=-1.0), ValueError, "lr: expected"),
        (lambda: plots.descent_1d(perceptron(1.0), [[1.0]], [[2.0]], lr=1e200), ValueError, "overflow after 1 steps"),
        (lambda: plots.descent_1d(perceptron(1.0), [[1.0]], [[1.0]], loss="zero_one_loss"), TypeError, "no gradient"),
        (lambda: plots.descent_1d(perceptron(1e308), [[100.0]], [[0.0]], loss="binary_cross_entropy_with_logits"),
         ValueError, "overflow after 0 steps"),
        (lambda: plots.descent_2d(perceptron(1.33e154, 0.0), np.eye(2), [[0.0], [0.0]], steps=1), ValueError,
         "loss around the path: expected finite numbers, got inf"),
        (lambda: plots.descent_2d(perceptron(1.0, 2.0), X2, Y1, hm.SGD()), TypeError, "expected a mapping"),
        (lambda: plots.descent_2d(perceptron(1.0, 2.0), X2, Y1, {}), TypeError, "expected a mapping"),
        (lambda: plots.descent_2d(perceptron(1.0, 2.0), 0 * X2, Y1), ValueError, "depends on the parameters"),
    ],
)  # fmt: skip
def test_bad_arguments_of_descent_are_named(draw, error, message):
    with pytest.raises(error, match=message):
        draw()


# ---- knobs -----------------------------------------------------------------------------------------------------------


def angle(points):
    """Of the last of the points, clockwise from the top, seen from the first."""
    dx, dy = points[-1] - points[0]
    return math.atan2(dx, dy)


def test_knobs_point_at_the_values_and_turn_against_the_gradient():
    network = hm.MLP([2, 2, 1], activation="sigmoid", rng=0)
    loss, gradient = copy.deepcopy(network).loss_and_gradient(X2, Y1, loss="half_squared_error")
    ax = plots.knobs(network, X2, Y1).axes[0]
    pointers = [np.transpose(line.get_data()) for line in ax.lines if line.get_gid() == "pointer"]
    turns = [np.transpose(line.get_data()) for line in ax.lines if line.get_gid() == "turn"]
    assert len(pointers) == len(turns) == network.parameter_count
    values = [angle(pointer) / (0.75 * np.pi) for pointer in pointers]
    np.testing.assert_allclose(values, network.theta / np.abs(network.theta).max(), rtol=1e-12)
    lengths = []
    for pointer, arc in zip(pointers, turns, strict=True):
        directions = [angle(np.array([pointer[0], point])) for point in arc]
        lengths.append(np.unwrap(directions)[-1] - directions[0])
    np.testing.assert_allclose(lengths, -np.pi / 2 * gradient / np.abs(gradient).max(), rtol=1e-9, atol=1e-12)
    assert f"{loss:.4g}" in ax.get_title()


def test_knobs_are_labelled_with_names_values_and_derivatives():
    network = hm.MLP([3, 4, 2], activation="sigmoid", rng=0)
    _, gradient = copy.deepcopy(network).loss_and_gradient(X3, Y2, loss="half_squared_error")
    text = words(plots.knobs(network, X3, Y2).axes[0])
    names = []
    for layer, units, inputs in (1, range(1, 5), range(1, 4)), (2, range(1, 3), range(1, 5)):
        names += [f"w^{{({layer})}}_{{{j}{i}}}" for j in units for i in inputs]
        names += [f"b^{{({layer})}}_{{{j}}}" for j in units]
    assert text[0::2] == [f"${name} = {w:.3g}$" for name, w in zip(names, network.theta, strict=True)]
    slopes = zip(names, gradient, strict=True)
    assert text[1::2] == [rf"$\partial\mathcal{{L}}/\partial {name} = {slope:.2g}$" for name, slope in slopes]


@pytest.mark.parametrize(
    ("network", "names"),
    [
        (perceptron(1.0), ["w"]),
        (perceptron(1.0, 2.0), ["w_{1}", "w_{2}"]),
        (chain(3), ["w_{1}", "b_{1}", "w_{2}", "w_{3}"]),
        (hm.Network([hm.Dense(1, 2), hm.BatchNorm(2)]), [f"w^{{(1)}}_{{{j}1}}" for j in (1, 2)]),
    ],
)
def test_parameters_have_the_names_of_the_slides(network, names):
    X = np.ones((2, network.in_features)) * [[1.0], [2.0]]
    text = words(plots.knobs(network, X, np.ones_like(network.predict(X))).axes[0])
    assert [text.split()[0].strip("$") for text in text[0::2]][: len(names)] == names


def test_knobs_of_zeros_at_a_minimum_point_up_without_a_turn():
    ax = plots.knobs(perceptron(0.0), [[1.0]], [[0.0]]).axes[0]
    (pointer,) = [np.transpose(line.get_data()) for line in ax.lines if line.get_gid() == "pointer"]
    assert angle(pointer) == 0.0
    assert len(ax.patches) == 1  # the dial, no arrow head


def test_too_many_knobs_are_refused():
    with pytest.raises(ValueError, match="expected 1 to 40 parameters, one knob each, got 73"):
        plots.knobs(hm.MLP([10, 6, 1], rng=0), np.ones((1, 10)), [[1.0]])
    with pytest.raises(ValueError, match="got 41"):
        plots.knobs(perceptron(*range(41)), np.ones((1, 41)), [[1.0]])
    assert len(words(plots.knobs(perceptron(*range(40)), np.ones((1, 40)), [[1.0]]).axes[0])) == 80
