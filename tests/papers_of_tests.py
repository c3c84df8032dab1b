"""Experiments that several test files share."""

from __future__ import annotations

import numpy as np

import handmade as hm
from benchmarks.papers import images, results


def write_digits(folder):
    """Write the bundled digits as MNIST's four files; return the folder."""
    X, y = hm.load_digits()
    pixels, labels = (255 * X).round().astype(np.uint8).reshape(-1, 8, 8), y.astype(np.uint8)
    parts = (pixels[:1400], labels[:1400], pixels[1400:], labels[1400:])
    for (name, _), part in zip(images.FILES.values(), parts, strict=True):
        hm.data.save_idx(folder / f"{name}.gz", part)
    return folder


def row(out, name, quantity):
    (found,) = [row for row in results.read(out, name).rows if row.quantity == quantity]
    return found
