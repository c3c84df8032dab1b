"""Pictures of networks: their units, weights, the chain rule, and a wrong step in it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from drawings import labelled, matplotlib_colors, matplotlib_figure, words
from pictures import chain, diagnosed

import handmade as hm
from handmade import plots


def written(ax, gid):
    return [text for text in ax.texts if text.get_gid() == gid]


# ---- the network -----------------------------------------------------------------------------------------------------


def drawn_edges(ax):
    """Every edge: from where to where, and its width, negative where dashed."""
    edges = []
    for name, sign in ("positive", 1), ("negative", -1):
        lines = labelled(ax.collections, name)
        assert all((style[1] is not None) == (sign < 0) for style in lines.get_linestyle())
        edges += zip(lines.get_segments(), sign * np.array(lines.get_linewidths()), strict=True)
    return edges


@pytest.mark.parametrize("sizes", [[2, 2, 1], [3, 4, 2], [8, 3, 8]])
@pytest.mark.parametrize("what", ["theta", "gradient"])
def test_edges_are_as_wide_as_parameters_and_dashed_if_negative(sizes, what):
    network = hm.MLP(sizes, activation="sigmoid", rng=1)
    X = np.random.default_rng(1).normal(size=(4, sizes[0]))
    network.loss_and_gradient(X, np.ones((4, sizes[-1])), loss="mse_loss")
    vector = getattr(network, what)
    figure = plots.network(network, vector=None if what == "theta" else vector)
    widths = np.sort([width for _, width in drawn_edges(figure.axes[0])])
    expected = np.sort(vector) / np.abs(vector).max()
    np.testing.assert_allclose(widths / np.abs(widths).max(), expected[np.abs(expected) >= 0.02], rtol=1e-12)


def test_edge_joins_the_units_of_its_weight():
    network = hm.MLP([2, 3], bias=True)
    network.theta[:] = [1, -2, 3, -4, 5, -6, 7, 8, -9]
    edges = {tuple(segment.ravel().tolist()): width for segment, width in drawn_edges(plots.network(network).axes[0])}
    across = 4.5
    heights = {"in": [0.5, -0.5], "out": [1.0, 0.0, -1.0]}
    for (j, i), w in np.ndenumerate([[1, -2], [3, -4], [5, -6]]):
        assert edges.pop((0.0, heights["in"][i], across, heights["out"][j])) == pytest.approx(5 * w / 9, rel=1e-15)
    stubs = [(across, y + 0.52, across, y) for y in heights["out"]]
    assert [edges.pop(stub) for stub in stubs] == pytest.approx([35 / 9, 40 / 9, -5.0], rel=1e-15)
    assert not edges


def test_wide_layer_is_drawn_by_its_ends_and_an_ellipsis():
    network = hm.MLP([64, 32, 10], bias=False, rng=0)
    ax = plots.network(network).axes[0]
    assert [text for text in words(ax) if text != "⋮"] == ["input\n64", "relu\n32", "linear\n10"]
    assert words(ax).count("⋮") == 2  # ten units are drawn, one by one
    ends = [*range(5), *range(-4, 0)]
    shown = np.concatenate([network.layers[0].W[np.ix_(ends, ends)].ravel(), network.layers[2].W[:, ends].ravel()])
    expected = np.sort(shown) / np.abs(shown).max()
    widths = np.sort([width for _, width in drawn_edges(ax)])
    np.testing.assert_allclose(widths / np.abs(widths).max(), expected[np.abs(expected) >= 0.02], rtol=1e-12)


def test_units_are_filled_with_their_outputs():
    network = hm.MLP([2, 3, 1], activation="sigmoid", rng=0)
    figure = plots.network(network, x=[0.5, -1.5])
    (units,) = [artist for artist in figure.axes[0].collections if artist.get_array() is not None]
    W, b = network.layers[0].W, network.layers[0].b
    hidden = 1 / (1 + np.exp(-(W @ [0.5, -1.5] + b)))
    output = network.layers[2].W @ hidden + network.layers[2].b
    np.testing.assert_allclose(units.get_array(), [0.5, -1.5, *hidden, *output], rtol=1e-14)
    text = [text for text in words(figure.axes[0]) if "\n" not in text]
    assert text == [f"{value:.2g}" for value in units.get_array()]


def test_layers_without_weights_are_named_below_the_units():
    network = hm.MLP([2, 3, 1], "tanh", normalization="batch", dropout=0.5, rng=0)
    assert words(plots.network(network).axes[0]) == ["input\n2", "BatchNorm\ntanh\nDropout\n3", "linear\n1"]


def test_network_of_zeros_has_units_and_no_edges():
    network = hm.MLP([2, 1])
    network.theta[:] = 0
    ax = plots.network(network).axes[0]
    assert not drawn_edges(ax)
    assert "widest edge: 0;" in ax.get_legend().get_title().get_text()


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda: plots.network("MLP"), TypeError, "expected a Network, got str"),
        (lambda: plots.network(hm.Network([hm.Activation("relu")])), ValueError, "at least one Dense"),
        (
            lambda: plots.network(hm.Network([hm.Concatenate([hm.Dense(2, 1)]), hm.Dense(3, 1)])),
            ValueError,
            "none that skips or splits, got Concatenate",
        ),
        (lambda: plots.network(hm.MLP([2, 1]), x=[1.0, 2.0, 3.0]), ValueError, "X: expected shape"),
        (lambda: plots.network(hm.MLP([2, 1]), x=[[1.0, 2.0], [3.0, 4.0]]), ValueError, "expected one sample, got 2"),
        (lambda: plots.network(hm.MLP([2, 1]), x=[1.0, np.inf]), ValueError, "expected finite numbers, got inf"),
        (lambda: plots.network(hm.MLP([2, 1]), vector=[1.0]), ValueError, r"vector: expected shape \(3,\), got \(1,\)"),
        (lambda: plots.network(hm.MLP([2, 1]), vector=[1.0, np.nan, 2.0]), ValueError, "vector: expected finite"),
        (lambda: plots.network(hm.MLP([2, 1]), max_units=2), ValueError, "max_units: .* at least 3"),
    ],
)
def test_bad_arguments_of_network_are_named(draw, error, message):
    with pytest.raises(error, match=message):
        draw()


# ---- the chain rule --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_picture_of_the_chain_rule_has_the_traces_numbers(depth):
    trace = hm.trace(chain(depth), 0.5, 1.0)
    ax = plots.chain_rule(trace).axes[0]
    values = [value.item() for _, value in trace.forward] + [trace.loss]
    factors = [factor.value.item() for product in trace.products for factor in product.factors]
    prefixes = [product.prefix.item() for product in trace.products if product.shared]
    for gid, numbers in ("node", values), ("factor", factors), ("re-use", prefixes):
        text = [text.get_text().split("\n")[-1] for text in written(ax, gid)]
        assert text == [f"${number:.4g}$" for number in numbers]
    results = [text for text in words(ax) if " $= " in text]
    assert [text.split(" $= ")[1] for text in results] == [f"{product.value.item():.4g}$" for product in trace.products]


def test_factors_of_a_row_multiply_to_its_derivative():
    ax = plots.chain_rule(hm.trace(chain(), 0.5, 1.0)).axes[0]
    results = [text for text in ax.texts if " $= " in text.get_text()]
    assert len(results) == 5
    for result in results:
        height = result.get_position()[1]
        row = [text for text in written(ax, "factor") + written(ax, "re-use") if text.get_position()[1] == height]
        product = math.prod(float(text.get_text().split("\n")[-1].strip("$")) for text in row)
        value = float(result.get_text().split(" $= ")[1].strip("$"))
        assert product == pytest.approx(value, rel=5 * 5e-4)  # up to four factors and the value, to four digits each


def test_factors_and_bars_stand_below_their_edges():
    ax = plots.chain_rule(hm.trace(chain(2), 0.5, 1.0)).axes[0]
    nodes = {text.get_text().split("\n")[0]: text.get_position()[0] for text in written(ax, "node")}
    assert nodes == {"$x$": 0, "$a_{1}$": 1, "$f_{1}$": 2, "$a_{2}$": 3, "$f_{2}$": 4, "$L$": 5}
    factors = [(text.get_text().split("\n")[0], *text.get_position()) for text in written(ax, "factor")]

    def fraction(top, bottom):
        return rf"$\dfrac{{\partial {top}}}{{\partial {bottom}}}$"

    assert sorted(factors) == sorted(
        [
            (fraction("L", "f_{2}"), 4.5, -1),
            (fraction("f_{2}", "a_{2}"), 3.5, -1),
            (fraction("a_{2}", "w_{2}"), 2.5, -1),
            (fraction("a_{2}", "f_{1}"), 2.5, -2),
            (fraction("f_{1}", "a_{1}"), 1.5, -2),
            (fraction("a_{1}", "w_{1}"), 0.5, -2),
            (fraction("a_{1}", "b_{1}"), 0.5, -3),
        ]
    )
    bars = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in ax.patches if hasattr(patch, "get_x")]
    np.testing.assert_allclose(bars, [(3.08, 4.92), (1.08, 4.92)], rtol=1e-12)  # dL/df2 df2/da2, then two more
    assert written(ax, "re-use")[0].get_text().startswith("already computed,\nre-use (propagate)!\n")


def test_linear_last_layer_is_an_edge_of_its_own():
    trace = hm.trace(hm.MLP([1, 1, 1], "tanh", rng=0), 0.5, 1.0)
    text = [text.get_text().split("\n")[0] for text in written(plots.chain_rule(trace).axes[0], "factor")]
    assert text[0] == r"$\dfrac{\partial L}{\partial a_{2}}$"


@pytest.mark.parametrize(
    ("argument", "error", "message"),
    [
        (lambda: hm.trace(hm.MLP([2, 1], rng=0), [1.0, 2.0], 1.0), ValueError, "one unit per layer, got 2 values of x"),
        (lambda: hm.trace(hm.MLP([1, 3, 1], rng=0), 1.0, 1.0), ValueError, "one unit per layer, got 3 values of a1"),
        (lambda: chain(), TypeError, "expected a Trace, got Network"),
    ],
)
def test_bad_arguments_of_chain_rule_are_named(argument, error, message):
    with pytest.raises(error, match=message):
        plots.chain_rule(argument())


# ---- squares ---------------------------------------------------------------------------------------------------------


def squares(W):
    """Return corners and colour of each square."""
    (collection,) = plots.hinton(W).axes[0].collections
    colours = [matplotlib_colors.to_hex(colour) for colour in collection.get_facecolor()]
    return list(zip([path.vertices[:4] for path in collection.get_paths()], colours, strict=True))


def test_squares_have_the_area_of_the_weights_in_their_cells():
    W = np.array([[14.2, -3.6, 7.2], [0.0, 3.6, -14.2]])  # of the symmetry network of 1986
    assert len(squares(W)) == 5  # a weight of zero has no area
    for corners, colour in squares(W):
        column, row = corners.mean(axis=0).round(12).astype(int)
        w = W[row - 1, column - 1]
        width, height = np.ptp(corners, axis=0)
        assert width == pytest.approx(height, rel=1e-14)
        assert width * height == pytest.approx(0.81 * abs(w) / 14.2, rel=1e-14)
        assert colour == ("#ffffff" if w > 0 else "#000000")


def test_first_unit_is_the_first_row_and_a_vector_is_one_row():
    ax = plots.hinton([[1.0], [2.0]]).axes[0]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    assert {round(corners[:, 1].mean()) for corners, _ in squares([1.0, 2.0, 3.0])} == {1}


def test_weights_that_are_all_zero_give_no_squares():
    assert not plots.hinton(np.zeros((2, 2))).axes[0].collections[0].get_paths()


@pytest.mark.parametrize("shape", [(2, 3), (32, 64), (100, 784), (500, 2), (1, 1000)])
def test_hinton_of_any_matrix_fits_a_page(shape):
    width, height = plots.hinton(np.ones(shape)).get_size_inches()
    assert 4 <= width <= 11 and 3 <= height <= 8


@pytest.mark.parametrize(
    ("W", "error", "message"),
    [
        ([[1.0, np.nan]], ValueError, r"W: expected finite numbers, got nan at index \(0, 1\)"),
        (np.zeros((0, 3)), ValueError, r"expected shape \(O, I\), at least one weight, got \(0, 3\)"),
        (np.zeros((1, 2, 3)), ValueError, r"got \(1, 2, 3\)"),
        ([["a"]], TypeError, "W: expected numbers"),
        (np.ma.array([[1.0, 2.0]], mask=[[False, True]]), TypeError, "W: expected an array without a mask"),
    ],
)
def test_bad_arguments_of_hinton_are_named(W, error, message):
    with pytest.raises(error, match=message):
        plots.hinton(W)


# ---- a wrong step ----------------------------------------------------------------------------------------------------


def test_diagnosis_frames_the_numbers_that_are_wrong():
    found = diagnosed()
    (left, frames), (right,) = (ax.collections for ax in plots.diagnosis(found).axes)
    largest = max(np.abs(found.rows.actual).max(), np.abs(found.rows.right).max())
    for collection, numbers in (left, found.rows.actual), (right, found.rows.right):
        sides = [np.ptp(path.vertices[:, 0]) for path in collection.get_paths()]
        np.testing.assert_allclose(sides, 0.9 * np.sqrt(np.abs(numbers).ravel() / largest), rtol=1e-12)
    wrong = np.argwhere(~np.isclose(found.rows.actual, found.rows.right, rtol=0, atol=1e-6 * largest))
    centres = [path.vertices[:4].mean(axis=0)[::-1] - 1 for path in frames.get_paths()]
    np.testing.assert_allclose(centres, wrong, atol=1e-12)
    assert 0 < len(wrong) < found.rows.right.size


def test_diagnosis_is_drawn_into_given_axes():
    figure = matplotlib_figure.Figure()
    assert plots.diagnosis(diagnosed(), axes=figure.subplots(1, 2)) is figure


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda: plots.diagnosis("wrong"), TypeError, "expected a Diagnosis, got str"),
        (
            lambda: plots.diagnosis(diagnosed(), axes=matplotlib_figure.Figure().subplots()),
            ValueError,
            "axes: expected 2",
        ),
        (
            lambda: plots.diagnosis(dataclasses.replace(diagnosed(), rows=None)),
            ValueError,
            "diagnosis: expected one that has found a wrong step, got the verdict",
        ),
    ],
)
def test_bad_arguments_of_diagnosis_are_named(draw, error, message):
    with pytest.raises(error, match=message):
        draw()
