"""The pictures: what is drawn are the library's numbers; nothing is changed, shown, or drawn without being asked."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pictures import (
    AND,
    CORNERS,
    EVERY_PICTURE,
    PICTURES,
    RECORD,
    X2,
    X3,
    Y1,
    Y2,
    chain,
    diagnosed,
    history,
    logit,
    marks,
    perceptron,
    version,
)

import handmade as hm
from handmade import plots

matplotlib_figure = pytest.importorskip("matplotlib.figure")
matplotlib_colors = pytest.importorskip("matplotlib.colors")


def words(ax):
    """Everything that is written in the axes."""
    return [text.get_text() for text in ax.texts]


def written(ax, gid):
    return [text for text in ax.texts if text.get_gid() == gid]


def labelled(artists, start):
    (artist,) = [artist for artist in artists if artist.get_label().startswith(start)]
    return artist


# ---- all of them ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_picture_can_be_saved_and_its_words_can_be_read(draw, tmp_path):
    figure = draw()
    assert isinstance(figure, matplotlib_figure.Figure)
    figure.savefig(tmp_path / "picture.png", dpi=20)
    assert (tmp_path / "picture.png").stat().st_size > 0
    texts = [text for ax in figure.axes for text in [*ax.texts, ax.title, ax.xaxis.label, ax.yaxis.label]]
    texts += [tick for ax in figure.axes if ax.axison or ax.name == "3d" for tick in ax.get_xticklabels()]
    sizes = [text.get_fontsize() for text in texts if text.get_text()]
    assert min(sizes) >= 12  # 6 points at half the size


SEVERAL_AXES = ("history", "diagnosis")  # their parameter is axes
RECORDED = json.loads(RECORD.read_text())


@pytest.mark.parametrize("name", EVERY_PICTURE)
def test_every_mark_is_where_the_record_has_it(name):
    if RECORDED["matplotlib"] != version():
        pytest.skip(f"the pictures on record are of matplotlib {RECORDED['matplotlib']}; see tests/pictures.py")
    found, expected = marks(EVERY_PICTURE[name]()), RECORDED[name]
    assert_same_marks(json.loads(json.dumps(found)), expected, name)


def assert_same_marks(found, expected, where):
    """Words and counts are equal, numbers to what a screen could show."""
    if isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key, value in expected.items():
            assert_same_marks(found[key], value, f"{where}, {key}")
    elif isinstance(expected, list) and not all(isinstance(value, float) for value in expected):
        assert len(found) == len(expected), where
        for n, value in enumerate(expected):
            assert_same_marks(found[n], value, f"{where}, {n}")
    else:
        numbers = isinstance(expected, list)
        assert found == (pytest.approx(expected, rel=1e-6, abs=1e-9, nan_ok=True) if numbers else expected), where


WORDS = {  # along x, along y, above, and in the legend
    "losses": (
        r"prediction  $\hat{y}$  (= margin  $y\hat{y}$, as $y = 1$)", r"loss  $\ell(\hat{y}, y)$", "",
        [r"L1  $|\hat{y} - y|$", r"L2  $(\hat{y} - y)^2$", r"zero-one  $1[\mathrm{sign}(\hat{y}) \neq y]$",
         r"hinge  $\max(0, 1 - y\hat{y})$"],
    ),
    "descent_1d": (
        "$w$", r"$\mathcal{L}$", r"$\eta = 0.1$,  8 steps",
        [r"loss  $\mathcal{L}(w)$", r"steps  $w \leftarrow w - \eta\, d\mathcal{L}/dw$", r"slope  $d\mathcal{L}/dw$"],
    ),
    "descent_2d": ("$w_{1}$", "$w_{2}$", r"contours of  $\mathcal{L}$,  20 steps", ["SGD"]),
    "surface": ("$w_{1}$", "$w_{2}$", "20 steps", ["SGD"]),
    "knobs": ("", "", r"$\mathcal{L} = 0.6274$;  arrows: the turns that lower it", []),
    "network": ("", "", "", ["positive", "negative"]),
    "chain_rule": ("", "", "", []),
    "history": ("epoch", "loss", "", ["training", "validation", "best epoch: 2"]),
    "learning_rates": ("learning rate", "loss", "", ["batches", "smoothed", "suggestion: 0.046"]),
    "decision_boundary": ("$x_1$", "$x_2$", "", ["class 0", "class 1"]),
    "diagnosis": ("unit", "sample", "dA[0];  largest: 0.127", []),
    "hinton": ("from unit $i$", "to unit $j$", "largest: 2.33", []),
}  # fmt: skip


@pytest.mark.parametrize("name", WORDS)
def test_picture_says_what_it_shows(name):
    ax = PICTURES[name]().axes[0]
    legend = ax.get_legend()
    told = [text.get_text() for text in legend.get_texts()] if legend else []
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title(), told) == WORDS[name]


def test_further_axes_say_what_they_show():
    (errors,) = plots.losses().axes[0].child_axes
    assert errors.get_xlabel() == r"error  $\hat{y} - y$"
    to_error, to_prediction = errors._functions
    assert (to_error(1.5), to_prediction(0.5)) == (0.5, 1.5)
    assert PICTURES["surface"]().axes[0].get_zlabel() == r"$\mathcal{L}$"
    assert PICTURES["network"]().axes[1].get_ylabel() == "output of the unit"
    legend = PICTURES["network"]().axes[0].get_legend()
    assert re.fullmatch(r"widest edge: 0\.\d+;  stub from above: bias", legend.get_title().get_text())


BLUE, VERMILLION, GREEN, PURPLE, BLACK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#808080"
LOOKS = {  # of the first lines: colour, line, marker
    "losses": [(BLUE, "-", "o"), (VERMILLION, "--", "s"), (GREEN, "-.", "^"), (PURPLE, ":", "D"), (GREY, "-", "None")],
    "descent_1d": [(BLACK, "-", "None"), (VERMILLION, "--", "o"), (BLUE, "-.", "None"), (BLUE, "-.", "None")],
    "descent_2d": [(VERMILLION, "--", "s")],
    "surface": [(VERMILLION, "--", "s")],
    "history": [(BLUE, "-", "o"), (VERMILLION, "--", "s"), (BLACK, "--", "None")],
    "chain_rule": [(GREY, ":", "None")],
}


@pytest.mark.parametrize("name", LOOKS)
def test_lines_differ_in_colour_style_and_marker(name):
    lines = PICTURES[name]().axes[0].lines
    found = [(line.get_color(), line.get_linestyle(), line.get_marker()) for line in lines]
    assert found[: len(LOOKS[name])] == LOOKS[name]


def test_knob_has_a_black_pointer_and_a_vermillion_arrow():
    ax = PICTURES["knobs"]().axes[0]
    colours = {line.get_gid(): line.get_color() for line in ax.lines if line.get_gid() in ("pointer", "turn")}
    assert colours == {"pointer": BLACK, "turn": VERMILLION}
    heads = [patch for patch in ax.patches if type(patch).__name__ == "FancyArrowPatch"]
    assert {matplotlib_colors.to_hex(head.get_edgecolor()).upper() for head in heads} == {VERMILLION}


def test_positive_edges_are_blue_and_negative_vermillion():
    collections = PICTURES["network"]().axes[0].collections
    for name, colour in ("positive", BLUE), ("negative", VERMILLION):
        assert matplotlib_colors.to_hex(labelled(collections, name).get_color()[0]).upper() == colour


@pytest.mark.parametrize("draw", [PICTURES[name] for name in PICTURES if name not in SEVERAL_AXES])
def test_picture_is_drawn_into_given_axes(draw):
    figure = matplotlib_figure.Figure()
    projection = "3d" if getattr(draw, "keywords", {}).get("surface") else "rectilinear"
    ax = figure.add_subplot(1, 2, 2, projection=projection)
    bare = len(ax.get_children())
    assert draw(ax=ax) is figure
    assert len(ax.get_children()) > bare


@pytest.mark.parametrize("draw", [PICTURES[name] for name in PICTURES if name not in (*SEVERAL_AXES, "surface")])
def test_other_objects_than_axes_are_refused(draw):
    with pytest.raises(TypeError, match="ax: expected matplotlib axes, got Figure"):
        draw(ax=matplotlib_figure.Figure())
    with pytest.raises(ValueError, match="projection='rectilinear', got '3d'"):
        draw(ax=matplotlib_figure.Figure().add_subplot(projection="3d"))


def test_faces_of_a_surface_have_equally_many_corners():
    """Matplotlib makes up for missing ones with numbers that are not set, and warns, at times, of their overflow."""
    figure = PICTURES["surface"]()
    figure.draw_without_rendering()
    assert {len(path.vertices) for path in figure.axes[0].collections[0].get_paths()} == {9}


def test_a_surface_needs_axes_with_a_height():
    with pytest.raises(ValueError, match="projection='3d', got 'rectilinear'"):
        PICTURES["surface"](ax=matplotlib_figure.Figure().add_subplot())


@pytest.mark.parametrize("name", plots.__all__)
def test_without_matplotlib_the_error_names_what_to_install(name, monkeypatch):
    for module in [module for module in sys.modules if module.partition(".")[0] in ("matplotlib", "mpl_toolkits")]:
        monkeypatch.setitem(sys.modules, module, None)  # what Python takes for a package that cannot be imported
    with pytest.raises(ImportError, match=re.escape("pip install handmade[plots]")):
        PICTURES[name]()


def test_matplotlib_is_imported_late_and_pyplot_never():
    # In an interpreter of its own: this one has loaded much already.
    code = (
        "import sys; from handmade import plots; print('matplotlib' in sys.modules); from matplotlib import rcParams; "
        "settings = lambda: {key: rcParams[key] for key in rcParams if key != 'backend'}; "  # whose look-up imports it
        "before = settings(); import test_plots; [draw() for draw in test_plots.PICTURES.values()]; "
        "print('matplotlib.pyplot' in sys.modules, settings() == before)"
    )
    command = [sys.executable, "-c", code]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    outcome = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent, env=environment
    )
    assert outcome.stdout.split() == ["False", "False", "True"]


def test_drawing_changes_neither_network_nor_optimizer():
    network, optimizer = perceptron(-1.0, 0.5), hm.SGD(lr=0.1, momentum=0.9)
    network.loss_and_gradient(X2[:1], Y1[:1], loss="mse_loss")
    optimizer.step(network.theta, network.gradient)
    theta, gradient, state = network.theta.copy(), network.gradient.copy(), copy.deepcopy(optimizer.state_dict())
    plots.descent_2d(network, X2, Y1, {"momentum": optimizer}, steps=3)
    plots.knobs(network, X2, Y1)
    plots.network(network, x=[1.0, 2.0])
    assert (network.theta == theta).all()
    assert (network.gradient == gradient).all()
    assert repr(optimizer.state_dict()) == repr(state)


@pytest.mark.parametrize("draw", [plots.knobs, plots.descent_2d, plots.decision_boundary, plots.network])
def test_parameters_that_are_not_finite_are_refused(draw):
    with pytest.raises(ValueError, match=r"theta: expected finite numbers, got nan at index \(1,\)"):
        draw(perceptron(1.0, np.nan), *([] if draw is plots.network else [X2, Y1]))


def test_trace_that_is_not_finite_is_refused():
    network = chain(1)
    network.theta[:] = np.nan
    with pytest.raises(ValueError, match="a1: expected finite numbers, got nan"):
        plots.chain_rule(hm.trace(network, 0.5, 1.0))


# ---- in a notebook -------------------------------------------------------------------------------------------------


def run_notebook(*cells):
    """Return the outputs that a new kernel shows below each cell, as in Jupyter."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute(cwd=str(Path(__file__).parents[1]))
    return [cell.outputs for cell in notebook.cells]


def test_notebook_shows_the_picture_without_a_magic_line():
    shown = run_notebook(
        "import handmade as hm; hm.plots.losses()",
        "figure = hm.plots.hinton([[1.0, -1.0]]); figure.show()",
        "import sys; 'matplotlib.pyplot' in sys.modules",
        "import matplotlib.pyplot as plt; hm.plots.losses()",  # pyplot registers IPython's own display of figures
        "plt.close('all'); hm.plots.losses(ax=plt.subplots()[1]);",
        "hm.MLP([3, 4, 2])",
    )
    pictures = [[output for output in outputs if output.output_type != "stream"] for outputs in shown]
    for outputs in (pictures[0], pictures[1], pictures[3], pictures[4]):
        (output,) = outputs  # besides what matplotlib may print, of fonts for instance
        assert output.data["image/png"].startswith("iVBOR")  # PNG in base 64
    assert pictures[0][0].metadata["image/png"] == {"width": 720, "height": 403}
    assert shown[2][0].data["text/plain"] == "False"
    assert "Dense(3, 4)" in shown[5][0].data["text/html"]


def test_png_of_a_picture_is_twice_as_fine_as_it_is_shown():
    png, size = plots.hinton([[1.0, -1.0]])._repr_png_()
    assert png.startswith(b"\x89PNG")
    assert np.frombuffer(png[16:24], ">u4").tolist() == [2 * size["width"], 2 * size["height"]]


def test_show_outside_of_a_notebook_says_how_to_save():
    with pytest.raises(RuntimeError, match=re.escape('save the picture: savefig("picture.png")')):
        plots.losses().show()


def test_picture_can_be_pickled():
    copied = pickle.loads(pickle.dumps(plots.losses()))
    assert copied.axes[0].get_xlabel() == plots.losses().axes[0].get_xlabel()


# ---- losses --------------------------------------------------------------------------------------------------------


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


# ---- descent -------------------------------------------------------------------------------------------------------


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


# ---- knobs ---------------------------------------------------------------------------------------------------------


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
    told = words(plots.knobs(network, X3, Y2).axes[0])
    names = []
    for layer, units, inputs in (1, range(1, 5), range(1, 4)), (2, range(1, 3), range(1, 5)):
        names += [f"w^{{({layer})}}_{{{j}{i}}}" for j in units for i in inputs]
        names += [f"b^{{({layer})}}_{{{j}}}" for j in units]
    assert told[0::2] == [f"${name} = {w:.3g}$" for name, w in zip(names, network.theta, strict=True)]
    slopes = zip(names, gradient, strict=True)
    assert told[1::2] == [rf"$\partial\mathcal{{L}}/\partial {name} = {slope:.2g}$" for name, slope in slopes]


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
    told = words(plots.knobs(network, X, np.ones_like(network.predict(X))).axes[0])
    assert [text.split()[0].strip("$") for text in told[0::2]][: len(names)] == names


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


# ---- the network ---------------------------------------------------------------------------------------------------


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
    told = [text for text in words(figure.axes[0]) if "\n" not in text]
    assert told == [f"{value:.2g}" for value in units.get_array()]


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


# ---- the chain rule ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_picture_of_the_chain_rule_has_the_traces_numbers(depth):
    trace = hm.trace(chain(depth), 0.5, 1.0)
    ax = plots.chain_rule(trace).axes[0]
    values = [value.item() for _, value in trace.forward] + [trace.loss]
    factors = [factor.value.item() for product in trace.products for factor in product.factors]
    prefixes = [product.prefix.item() for product in trace.products if product.shared]
    for gid, numbers in ("node", values), ("factor", factors), ("re-use", prefixes):
        told = [text.get_text().split("\n")[-1] for text in written(ax, gid)]
        assert told == [f"${number:.4g}$" for number in numbers]
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
    told = [text.get_text().split("\n")[0] for text in written(plots.chain_rule(trace).axes[0], "factor")]
    assert told[0] == r"$\dfrac{\partial L}{\partial a_{2}}$"


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


# ---- history -------------------------------------------------------------------------------------------------------


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


# ---- decision boundary ---------------------------------------------------------------------------------------------


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


# ---- squares -------------------------------------------------------------------------------------------------------


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


# ---- a wrong step --------------------------------------------------------------------------------------------------


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
