"""All targets, in groups, and what reads the files of the corpus."""

from __future__ import annotations

from . import files, readers

__all__ = ["GROUPS", "REPLAYS"]

GROUPS = {"readers": readers.TARGETS | files.TARGETS}
REPLAYS = readers.REPLAYS | files.REPLAYS
