"""What is on a picture, mark by mark, in numbers and words: what `test_plots` compares with what was there before.

    python tests/pictures.py FOLDER

draws all of them into the folder, to be looked at, and takes down what is on them in pictures.json.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path

import numpy as np

RECORD = Path(__file__).with_name("pictures.json")
FEW = 8  # numbers are kept as they are; of more, what tells most of them


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
    """The values; of many how many there are, the ends, mean and range, and a sum in which each has another weight."""
    values = np.ma.filled(np.ma.asarray(values, float), np.nan).ravel()
    if len(values) > FEW:
        values = np.nan_to_num(values)
        whole = np.dot(values, np.cos(np.arange(len(values))))
        values = [len(values), values[0], values[-1], values.mean(), values.min(), values.max(), whole]
    return [float(value) for value in values]


def main(folder: str) -> None:
    from test_plots import EVERY_PICTURE

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
