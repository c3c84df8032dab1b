"""Pictures of training: losses, histories and decision boundaries."""

from __future__ import annotations

import math

import numpy as np
import pytest
from drawings import labelled, matplotlib_figure
from pictures import AND, CORNERS, X3, history, logit

import handmade as hm
from handmade import plots

# ---- losses ----------------------------------------------------------------------------------------------------------


def test_the_four_losses_are_those_of_the_library():
    (ax, *_) = plots.losses().axes
    yhat = ax.lines[0].get_xdata()
    expected = {
        "L1": [abs(p - 1) for p in yhat],
        "L2": [(p - 1) ** 2 for p in yhat],
        "zero-one": [0.0 if p >= 0 else 1.0 for p in yhat],  # the sign of zero is +1
        "hinge": [max(0.0, 1 - p) for p in yhat],
    }
    for name, values in expected.items():
        line = labelled(ax.lines, name)
        np.testing.assert_array_equal(line.get_xdata(), yhat)
        np.testing.assert_allclose(line.get_ydata(), values, rtol=4e-16, atol=0)  # p**2 by pow or by p * p
    assert 0.0 in yhat
    assert 1.0 in yhat


def test_losses_differ_in_line_and_marker_and_colour():
    lines = plots.losses().axes[0].lines[:4]
    for look in "get_color", "get_linestyle", "get_marker":
        assert len({getattr(line, look)() for line in lines}) == 4


def test_the_zero_one_loss_jumps():
    line = labelled(plots.losses().axes[0].lines, "zero-one")
    assert line.get_drawstyle() == "steps-post"


# ---- history ---------------------------------------------------------------------------------------------------------


def test_the_lines_of_a_history_are_its_numbers():
    record = history()
    left, right = plots.history(record).axes
    curves = {line.get_label(): line for line in [*left.lines, *right.lines]}
    expected = {"training": record.loss, "validation": record.validation_loss, **record.metrics}
    for name, values in expected.items():
        assert list(curves[name].get_xdata()) == [1, 2, 3]  # as progress counts
        assert list(curves[name].get_ydata()) == values
    assert curves["best epoch: 2"].get_xdata() == [2, 2]
    assert (left.get_ylabel(), right.get_ylabel(), left.get_xlabel()) == ("loss", "metric", "epoch")


def test_history_of_one_epoch_and_one_loss_is_one_panel():
    (ax,) = plots.history(hm.History(loss=[0.5])).axes
    assert [line.get_label() for line in ax.lines] == ["training"]


def test_learning_rates_are_those_of_the_search():
    X, y = hm.data.xor()
    search = hm.find_lr(hm.MLP([2, 8, 2], rng=0), X, y, rng=0)
    batches, smoothed, suggestion = plots.learning_rates(search).axes[0].lines
    for line, values in (batches, search.loss), (smoothed, search.smoothed):
        np.testing.assert_array_equal(line.get_xdata(), search.lr)
        np.testing.assert_array_equal(line.get_ydata(), values)
    assert suggestion.get_xdata() == [search.suggestion] * 2


def test_learning_rates_of_something_else_are_refused():
    with pytest.raises(TypeError, match="search: expected a LearningRateSearch, got list; it is what find_lr returns"):
        plots.learning_rates([0.1])


def test_history_is_drawn_into_given_axes():
    figure = matplotlib_figure.Figure()
    axes = figure.subplots(2, 1)
    assert plots.history(history(), axes=axes) is figure
    assert [len(ax.lines) for ax in axes] == [3, 2]
    assert plots.history(hm.History(loss=[0.5]), axes=axes[0]) is figure


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda: plots.history([0.5, 0.25]), TypeError, "expected a History, got list"),
        (lambda: plots.history(hm.History()), ValueError, "at least one finished epoch, got none"),
        (lambda: plots.history(hm.History(loss=[1.0, np.nan])), ValueError, "training: .* nan at index"),
        (
            lambda: plots.history(hm.History(loss=[1.0], metrics={"own": [np.inf]})),
            ValueError,
            "own: expected finite numbers, got inf",
        ),
        (
            lambda: plots.history(history(), axes=matplotlib_figure.Figure().subplots()),
            ValueError,
            "axes: expected 2, for loss and metric, got 1",
        ),
    ],
)
def test_bad_arguments_of_history_are_named(draw, error, message):
    with pytest.raises(error, match=message):
        draw()


# ---- decision boundary -----------------------------------------------------------------------------------------------


def boundaries(figure):
    return [artist for artist in figure.axes[0].collections if hasattr(artist, "levels")]


def test_boundary_of_one_output_is_where_the_logit_is_zero():
    figure = plots.decision_boundary(logit(1.0, 2.0, -1.5), CORNERS, AND)
    (contour,) = boundaries(figure)
    assert contour.levels.tolist() == [0.5]
    on_it = np.concatenate([path.vertices for path in contour.get_paths()])
    assert len(on_it) > 100
    # The grid interpolates sigmoid(a) as if it were straight; it bends by at most 0.1 a spacing squared / 8, its slope
    # is 1/4, and a spacing is 3 * 1.5 / 199 in a: off by less than 1e-4.
    assert np.abs(on_it @ [1.0, 2.0] - 1.5).max() < 1e-4


@pytest.mark.parametrize("outputs", ["logits", "softmax"])
def test_boundary_of_two_outputs_is_where_they_are_equal(outputs):
    network = hm.MLP([2, 2], activation=[None if outputs == "logits" else "softmax"], rng=0)
    network.theta[:] = [0.0, 0.0, 1.0, 2.0, 1.5, 0.0]  # a1 - a0 = x1 + 2 x2 - 1.5
    (contour,) = boundaries(plots.decision_boundary(network, CORNERS, AND))
    on_it = np.concatenate([path.vertices for path in contour.get_paths()])
    assert contour.levels.tolist() == [0.5]
    assert np.abs(on_it @ [1.0, 2.0] - 1.5).max() < 1e-4


def test_single_output_may_be_a_probability_already():
    ended = hm.MLP([2, 1], activation=["sigmoid"])
    ended.theta[:] = [1.0, 2.0, -1.5]
    pictures = [plots.decision_boundary(network, CORNERS, AND) for network in (ended, logit(1.0, 2.0, -1.5))]
    one, other = (figure.axes[0].images[0].get_array() for figure in pictures)
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-15)
    inside = hm.Network([hm.Sequential([hm.Dense(2, 1), hm.Activation("sigmoid")])])
    inside.theta[:] = ended.theta
    shown = plots.decision_boundary(inside, CORNERS, AND).axes[0].images[0].get_array()
    np.testing.assert_array_equal(shown, one)


def test_three_classes_meet_where_two_are_equally_probable():
    network = hm.MLP([2, 3], bias=False)
    W = np.array([[0.0, 1.0], [math.sqrt(3) / 2, -0.5], [-math.sqrt(3) / 2, -0.5]])  # towards the corners of a triangle
    network.theta[:] = W.ravel()
    figure = plots.decision_boundary(network, 2 * W, [0, 1, 2])
    contours = boundaries(figure)
    assert len(contours) == 2
    for k, contour in enumerate(contours, 1):
        on_it = np.concatenate([path.vertices for path in contour.get_paths()])
        A = on_it @ W.T
        gap = A[:, k] - np.delete(A, k, axis=1).max(axis=1)
        spacing = 6 / 199
        assert np.abs(gap).max() < 2 * spacing  # at the corner the line may cut across one cell
        assert np.median(np.abs(gap)) < 1e-4
    assert len(figure.axes[0].images) == 1


def test_shade_is_the_predicted_class():
    network = logit(4.0, 0.0, 0.0)
    image = plots.decision_boundary(network, [[-1.0, 0.0], [1.0, 0.0]], [0, 1]).axes[0].images[0]
    shades = image.get_array()
    blue, red = shades[:, 0], shades[:, -1]
    assert (blue[:, 2] > blue[:, 0]).all()  # class 0, on the left, is blue
    assert (red[:, 0] > red[:, 2]).all()
    assert (shades[:, 100].sum(axis=1) > blue.sum(axis=1)).all()  # paler where the network is not sure
    assert image.get_extent()[0] < -1 < 1 < image.get_extent()[1]


def test_samples_of_each_class_have_a_marker_of_their_own():
    X, y = hm.data.spirals(30, 3, noise=0.1, rng=0)
    ax = plots.decision_boundary(hm.MLP([2, 4, 3], rng=0), X, y, resolution=20).axes[0]
    markers = []
    for k in range(3):
        points = labelled(ax.collections, f"class {k}")
        np.testing.assert_array_equal(points.get_offsets(), X[y == k])
        markers.append(points.get_paths()[0].vertices.shape[0])
    assert len(set(markers)) == 3


def test_network_that_is_sure_of_one_class_has_no_boundary():
    assert not boundaries(plots.decision_boundary(logit(0.0, 0.0, 5.0), CORNERS, AND))


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda: plots.decision_boundary(hm.MLP([3, 2], rng=0), X3, [0] * 5), ValueError, "expected 2 inputs.*got 3"),
        (lambda: plots.decision_boundary(hm.Perceptron(), CORNERS, AND), TypeError, "got Perceptron"),
        (lambda: plots.decision_boundary(logit(1, 1, 1), X3, [0] * 5), ValueError, r"X: expected shape \(N, 2\)"),
        (lambda: plots.decision_boundary(logit(1, 1, 1), [[np.nan, 0]], [0]), ValueError, "X: expected finite"),
        (lambda: plots.decision_boundary(logit(1, 1, 1), CORNERS, [0, 1]), ValueError, "one class index per row"),
        (lambda: plots.decision_boundary(logit(1, 1, 1), CORNERS, [0, 1, 2, 0]), ValueError, "from 0 to 1, got 2"),
        (lambda: plots.decision_boundary(logit(1, 1, 1), CORNERS, [-1, 1, 1, 1]), ValueError, "from 0 to 1, got -1"),
        (lambda: plots.decision_boundary(logit(1, 1, 1), CORNERS, [0, 1, np.nan, 0]), ValueError, "y: expected finite"),
        (lambda: plots.decision_boundary(logit(1, 1, 1), CORNERS, list("abcd")), TypeError, "y: expected numbers"),
        (lambda: plots.decision_boundary(logit(1, 1, 1), CORNERS, AND, resolution=1), ValueError, "resolution"),
    ],
)
def test_bad_arguments_of_decision_boundary_are_named(draw, error, message):
    with pytest.raises(error, match=message):
        draw()
