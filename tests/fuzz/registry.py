"""All targets, in groups."""

from __future__ import annotations

from . import readers

__all__ = ["GROUPS"]

GROUPS = {"readers": readers.TARGETS}
