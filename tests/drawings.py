"""Readers of drawings that several test files share."""

from __future__ import annotations

import pytest

matplotlib_figure = pytest.importorskip("matplotlib.figure")


matplotlib_colors = pytest.importorskip("matplotlib.colors")


def words(ax):
    """Everything that is written in the axes."""
    return [text.get_text() for text in ax.texts]


def labelled(artists, start):
    (artist,) = [artist for artist in artists if artist.get_label().startswith(start)]
    return artist
