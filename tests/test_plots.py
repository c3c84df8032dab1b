"""Pictures: what all of them promise, and in a notebook."""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drawings import labelled, matplotlib_colors, matplotlib_figure
from pictures import EVERY_PICTURE, PICTURES, RECORD, X2, Y1, chain, marks, perceptron, version

import handmade as hm
from handmade import plots

# ---- all of them -----------------------------------------------------------------------------------------------------


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
    message = [text.get_text() for text in legend.get_texts()] if legend else []
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title(), message) == WORDS[name]


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


# ---- in a notebook ---------------------------------------------------------------------------------------------------


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
