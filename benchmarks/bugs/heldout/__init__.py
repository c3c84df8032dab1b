"""Wrong backward passes for measurements only. Their authors had not read the diagnosis or its catalogue.

They come from teaching, code review and bug reports, in the form of the published ones; `source` is a short phrase. The
wrong steps and the words of a right explanation were committed before the diagnosis ran on any; two that had been
published were replaced, also before. Do not tune the diagnosis to them: a mistake that was used to improve the
diagnosis moves to another list, as three of the sixty moved to `mended`.
"""

from __future__ import annotations

from . import activations, losses, normalizations, penalties, products, states  # noqa: F401  (they fill the list)
from .problems import HELD_OUT

__all__ = ["HELD_OUT"]
