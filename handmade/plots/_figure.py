"""The figure that a notebook shows. The only module of the package that imports matplotlib when it is imported."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

DPI = 144  # twice the dots per inch at which a notebook shows it: sharp on fine screens too


class NotebookFigure(Figure):
    """A matplotlib Figure that a notebook shows as the last line of a cell, without pyplot or a magic line."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Return the picture as PNG, and the size in pixels at which to show it."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=DPI)
        width, height = self.get_size_inches() * DPI / 2
        return buffer.getvalue(), {"width": round(width), "height": round(height)}

    def show(self, warn: bool = True) -> None:
        """Show the picture in a notebook.

        Raises
        ------
        RuntimeError
            Outside of IPython, where there is no window to show it in.
        """
        try:
            from IPython import get_ipython
        except ImportError:
            shell = None
        else:
            shell = get_ipython()
        if shell is None:
            raise RuntimeError('show: expected a notebook, found none; save the picture: savefig("picture.png")')
        from IPython.display import display

        display(self)
