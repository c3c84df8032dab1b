"""The quantities in which four libraries are compared, each for a small example, with the formula of every library.

`reference.conventions` measures them.
"""

from __future__ import annotations

from . import layers, losses, steps
from .convention import LIBRARIES, Convention, Definition, Formula
from .defaults import defaults

__all__ = ["LIBRARIES", "Convention", "Definition", "Formula", "defaults", "definitions"]


def definitions() -> list[Convention]:
    """Return the conventions about formulas, in the order of the table.

    Examples
    --------
    >>> definitions()[0].quantity
    'squared error'
    """
    groups = *losses.GROUPS, *steps.GROUPS, *layers.GROUPS
    return [convention for group in groups for convention in group()]
