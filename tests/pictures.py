"""The pictures that `test_plots` looks at, and what is on them, mark by mark, to be compared with what was there.

    python tests/pictures.py FOLDER

draws all of them into the folder, to be looked at, and takes down what is on them in pictures.json.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import sys
from pathlib import Path

import numpy as np

import handmade as hm
from handmade import plots

RECORD = Path(__file__).with_name("pictures.json")
FEW = 8  # numbers are kept as they are; of more, what tells most of them

# ---- the pictures --------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
X3, Y2 = RNG.normal(size=(5, 3)), RNG.normal(size=(5, 2))
X2 = RNG.normal(size=(6, 2))
Y1 = X2 @ [[1.0], [2.0]]
X9 = np.linspace(-1, 1, 27).reshape(3, 9)


def perceptron(*w):
    """yhat = <w, x>."""
    network = hm.MLP([len(w), 1], bias=False)
    network.theta[:] = w
    return network


def chain(depth=4):
    """Return the chain of the slides: one bias, at the first layer (System 8)."""
    layers = [hm.Dense(1, 1), hm.Activation("sigmoid")]
    for _ in range(depth - 1):
        layers += [hm.Dense(1, 1, bias=False), hm.Activation("sigmoid")]
    network = hm.Network(layers)
    network.theta[:] = np.linspace(-1.0, 1.5, depth + 1)
    return network


def history():
    return hm.History(
        loss=[0.9, 0.5, 0.4], validation_loss=[0.8, 0.6, 0.7], metrics={"accuracy": [0.5, 0.75, 1.0], "r2": [0, 1, 2]}
    )


def search():
    X, y = hm.data.moons(200, noise=0.2, rng=0)
    return hm.find_lr(hm.MLP([2, 16, 2], rng=0), X, y, optimizer=hm.SGD(momentum=0.9), rng=0)


def logit(*theta):
    """Return one output of two inputs."""
    network = hm.MLP([2, 1])
    network.theta[:] = theta
    return network


def nested():
    """Return a chain within a chain."""
    return hm.Network([hm.Sequential([hm.Dense(2, 2, rng=0), hm.Activation("tanh"), hm.Dense(2, 1, rng=1)])])


def ramp(sign):
    """Return a model for which both classes are as probable where x1 + x2 is below 1; beyond, one is ahead."""
    network = hm.MLP([2, 1, 1], "relu")
    network.theta[:] = [1, 1, -1, sign, 0]
    return network


def diagnosed():
    """Return the diagnosis of a tanh whose derivative is taken for 1 where H is positive: some entries are wrong."""
    X, y = np.eye(4), np.array([0, 1, 0, 1])
    network = hm.MLP([4, 5, 2], "tanh", rng=3)
    A1, cache = network.forward(X)
    H0, dA1 = cache.values[2], hm.losses.cross_entropy_backward(A1, y)
    dA0 = dA1 @ network.layers[2].W * np.where(H0 > 0, 1, 1 - H0**2)
    claimed = [dA0.T @ X, dA0.sum(axis=0), dA1.T @ H0, dA1.sum(axis=0)]
    return hm.diagnose_gradient(network, X, y, np.concatenate([block.ravel() for block in claimed]))


CORNERS, AND = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 0, 0, 1]

PICTURES = {
    "losses": plots.losses,
    "descent_1d": functools.partial(plots.descent_1d, perceptron(-1.0), [[1.0], [2.0]], [[3.0], [4.0]]),
    "descent_2d": functools.partial(plots.descent_2d, perceptron(-1.0, 0.5), X2, Y1),
    "surface": functools.partial(plots.descent_2d, perceptron(-1.0, 0.5), X2, Y1, surface=True),
    "knobs": functools.partial(plots.knobs, hm.MLP([2, 1], rng=0), X2, Y1),
    "network": functools.partial(plots.network, hm.MLP([3, 4, 2], rng=0), x=X3[0]),
    "wide network": functools.partial(plots.network, hm.MLP([64, 32, 10], rng=0)),
    "chain_rule": functools.partial(plots.chain_rule, hm.trace(chain(2), 0.5, 1.0)),
    "history": functools.partial(plots.history, history()),
    "learning_rates": functools.partial(plots.learning_rates, search()),
    "decision_boundary": functools.partial(plots.decision_boundary, logit(1, 1, -1.5), CORNERS, AND),
    "hinton": functools.partial(plots.hinton, X3),
    "diagnosis": functools.partial(plots.diagnosis, diagnosed()),
}


WEIGHTS = np.array([0.5, 0, 1, 2, 3, 0.25])
EVERY_PICTURE = PICTURES | {
    "climbing": functools.partial(plots.descent_1d, perceptron(-1.0), [[1.0], [2.0]], [[3.0], [4.0]], lr=0.85, steps=3),
    "one step": functools.partial(plots.descent_1d, perceptron(3.0), [[1.0]], [[2.0]], lr=0.5, steps=1),
    "at rest": functools.partial(plots.descent_1d, perceptron(2.0), [[1.0]], [[2.0]], steps=2),
    "two paths": functools.partial(
        plots.descent_2d, perceptron(-1.0, 4.0), X2, Y1,
        {"a": hm.SGD(lr=0.2), **{name: hm.Adam(lr=0.1) for name in "bcdefghi"}}, steps=3, loss="l1_loss",
    ),
    "another surface": functools.partial(plots.descent_2d, perceptron(0.5, 3.0), X2, Y1, steps=2, surface=True),
    "at rest on the map": functools.partial(plots.descent_2d, perceptron(1.0, 2.0), X2, Y1, steps=1),
    "one knob": functools.partial(plots.knobs, perceptron(0.0), [[1.0]], [[0.0]]),
    "many knobs": functools.partial(plots.knobs, hm.MLP([10, 2, 5], rng=1), RNG.normal(size=(6, 10)),
                                    RNG.normal(size=(6, 5)), loss="mse_loss", sample_weight=WEIGHTS),
    "large losses": functools.partial(plots.descent_2d, perceptron(-1e4, 4e5), X2, Y1, steps=2),
    "nine inputs": functools.partial(plots.knobs, hm.MLP([9, 1, 2], rng=2), X9, Y2[:3]),
    "nested knobs": functools.partial(plots.knobs, nested(), X2, Y1),
    "chain of knobs": functools.partial(plots.knobs, chain(3), [[1.0], [2.0]], [[0.0], [1.0]]),
    "small network": functools.partial(plots.network, hm.MLP([2, 3, 1], activation="tanh", bias=False, rng=3)),
    "gradient": functools.partial(plots.network, hm.MLP([2, 3, 1], rng=3), vector=np.linspace(-1, 2, 13)),
    "just visible": functools.partial(plots.network, hm.MLP([2, 2], bias=False), vector=[50.0, 1.0, -1.0, 0.9]),
    "half filled": functools.partial(plots.network, hm.MLP([3, 1], weight_init="zeros", bias=False), x=[0, 0.5, 1]),
    "network in float32": functools.partial(plots.network, hm.MLP([6, 5, 2], rng=3, dtype="f"), x=[1, 0] * 3),
    "filled wide network": functools.partial(
        plots.network, hm.MLP([7, 12, 4, 3], rng=4, dropout=0.5, normalization="layer"), x=X2.ravel()[:7], max_units=5
    ),
    "shortest chain": functools.partial(plots.chain_rule, hm.trace(chain(1), 0.5, 1.0)),
    "linear at the end": functools.partial(plots.chain_rule, hm.trace(hm.MLP([1, 1, 1], "tanh", rng=0), 0.5, 1.0)),
    "long words": functools.partial(plots.chain_rule, hm.trace(hm.MLP([1, 1, 1], "leaky_relu", rng=0), 0.5, 1.0)),
    "words that just do not fit": functools.partial(
        plots.chain_rule, hm.trace(hm.MLP([1, 1], rng=0), 0.5, 1.0, loss="smooth_l1_loss")
    ),
    "longer chain": functools.partial(plots.chain_rule, hm.trace(chain(4), -0.75, 0.25)),
    "long history": functools.partial(plots.history, hm.History(loss=[1 / n for n in range(1, 44)])),
    "one epoch": functools.partial(plots.history, hm.History(loss=[0.5])),
    "many metrics": functools.partial(
        plots.history, hm.History(loss=[1.0, 0.5], metrics={name: [n, n + 1] for n, name in enumerate("abcdefghi")})
    ),
    "three classes": functools.partial(
        plots.decision_boundary, hm.MLP([2, 3], rng=5), X2, [0, 1, 2, 2, 1, 0], resolution=40
    ),
    "softmax at the end": functools.partial(
        plots.decision_boundary, hm.MLP([2, 3, 2], activation=["tanh", "softmax"], rng=6), X2, [0, 1, 1, 0, 1, 0],
        resolution=30,
    ),
    "sigmoid at the end": functools.partial(
        plots.decision_boundary, hm.MLP([2, 1], activation=["sigmoid"], rng=7), [[1.0, 1.0]], [[1]],
        resolution=20,
    ),
    "never below a half": functools.partial(plots.decision_boundary, ramp(1.0), CORNERS, AND, resolution=20),
    "never above a half": functools.partial(plots.decision_boundary, ramp(-1.0), CORNERS, AND, resolution=20),
    "coarse": functools.partial(plots.decision_boundary, logit(1, 1, -1.5), CORNERS, AND, resolution=2),
    "nine classes": functools.partial(
        plots.decision_boundary, hm.MLP([2, 9], rng=8), X2, [0, 8, 2, 7, 1, 0], resolution=20
    ),
    "hinton of a row": functools.partial(plots.hinton, [4.0, 0.0, -1.0]),
    "tall hinton": functools.partial(plots.hinton, np.linspace(-1, 2, 120).reshape(30, 4)),
    "large hinton": functools.partial(plots.hinton, np.linspace(-1, 2, 96).reshape(8, 12)),
    "hinton of digits": functools.partial(plots.hinton, hm.MLP([64, 32, 10], rng=0).layers[0].W),
}  # fmt: skip


# ---- what is on them -----------------------------------------------------------------------------------------------


def version() -> str:
    """Of matplotlib, the first two numbers: another one may place ticks and labels elsewhere."""
    return ".".join(importlib.metadata.version("matplotlib").split(".")[:2])


def marks(figure) -> dict:
    """Everything that is drawn: the axes, and in each the lines, patches, collections, images, texts and the legend.

    Left out are sizes and alignments, and the widths of single lines.
    """
    figure.draw_without_rendering()  # limits of some axes are known only then
    return {"inches": _numbers(figure.get_size_inches()), "axes": [_axes(ax) for ax in _all_axes(figure.axes)]}


def _all_axes(axes) -> list:
    return [inner for ax in axes for inner in (ax, *_all_axes(ax.child_axes))]


def _axes(ax) -> dict:
    names = [name for name in ("x", "y", "z") if hasattr(ax, f"get_{name}label")]
    legend = ax.legend_
    return {
        "words": [getattr(ax, f"get_{name}label")() for name in names] + [ax.title.get_text()],
        "limits": _numbers([getattr(ax, f"get_{name}lim")() for name in names]),
        "ticks": [_numbers(getattr(ax, f"get_{name}ticks")()) for name in names if ax.axison],
        "pads": [float(getattr(ax, f"{name}axis").labelpad) for name in names],
        "background": _colours(ax.get_facecolor()),
        "order": getattr(ax, "computed_zorder", None),
        "lines": [_line(line) for line in ax.lines],
        "patches": [_patch(patch) for patch in ax.patches],
        "collections": [_collection(collection) for collection in ax.collections],
        "images": [_image(image) for image in ax.images],
        "texts": [_text(text) for text in ax.texts],
        "legend": legend and {
            "title": legend.get_title().get_text(),
            "entries": [[text.get_text(), type(handle).__name__, *_look(handle)]
                        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)],
        },
    }  # fmt: skip


def _look(handle) -> list:
    if hasattr(handle, "get_marker"):
        return [handle.get_color(), handle._unscaled_dash_pattern, handle.get_marker()]
    return [_colours(handle.get_facecolor())]


def _line(line) -> list:
    data = line.get_data_3d() if hasattr(line, "get_data_3d") else line.get_data()
    return [line.get_gid(), line.get_label(), *_look(line), line.get_markevery(), line.get_drawstyle(), _numbers(data)]


def _patch(patch) -> list:
    places = patch.get_patch_transform().transform(patch.get_path().vertices)
    if hasattr(patch, "_posA_posB"):  # an arrow's path is known in points alone; this is where it goes from and to
        places = patch._posA_posB
    return [type(patch).__name__, _colours(patch.get_facecolor()), _colours(patch.get_edgecolor()), _numbers(places)]


def _collection(collection) -> dict:
    array = collection.get_array()
    return {
        "kind": type(collection).__name__,
        "label": collection.get_label(),
        "colours": [_colours(collection.get_facecolor()), _colours(collection.get_edgecolor())],
        "styles": [str(style) for style in collection.get_linestyle()][:3],
        "widths": _numbers(collection.get_linewidth()),
        "offsets": _numbers(collection.get_offsets()),
        "paths": [_numbers(path.vertices) for path in collection.get_paths()[:40]],
        "values": None if array is None else _numbers(array),
        "levels": _numbers(collection.levels) if hasattr(collection, "levels") else None,
        "map": [collection.get_cmap().name, _numbers([collection.norm.vmin or 0, collection.norm.vmax or 0])],
    }


def _image(image) -> list:
    return [_numbers(image.get_array()), _numbers(image.get_extent()), image.origin, image.get_interpolation()]


def _text(text) -> list:
    box, arrow = text.get_bbox_patch(), getattr(text, "arrow_patch", None)
    return [
        text.get_text(), text.get_gid(), _colours(text.get_color()), _numbers(text.get_position()),
        box and [_colours(box.get_facecolor()), _colours(box.get_edgecolor())],
        arrow and [_colours(arrow.get_edgecolor()), _colours(arrow.get_facecolor()), _numbers([text.xy, text.xyann])],
    ]  # fmt: skip


def _colours(colours) -> str:
    from matplotlib.colors import to_hex, to_rgba_array

    return " ".join(to_hex(colour, keep_alpha=True) for colour in to_rgba_array(colours)[:FEW])


def _numbers(values) -> list[float]:
    """Return the values; of many their number, ends, mean and range, and a sum in which each has another weight."""
    values = np.ma.filled(np.ma.asarray(values, float), np.nan).ravel()
    if len(values) > FEW:
        values = np.nan_to_num(values)
        whole = np.dot(values, np.cos(np.arange(len(values))))
        values = [len(values), values[0], values[-1], values.mean(), values.min(), values.max(), whole]
    return [float(value) for value in values]


def main(folder: str) -> None:
    record = {"matplotlib": version()}
    for name, draw in EVERY_PICTURE.items():
        figure = draw()
        record[name] = marks(figure)
        Path(folder).mkdir(parents=True, exist_ok=True)
        figure.savefig(Path(folder) / f"{name.replace(' ', '_')}.png", dpi=60)
    lines = [f"{json.dumps(name)}: {json.dumps(found)}" for name, found in record.items()]
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1])
