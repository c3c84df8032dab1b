"""All targets, in groups, and what reads the files of the corpus."""

from __future__ import annotations

from . import core, doors, exports, files, functions, options, readers, training

__all__ = ["GROUPS", "REPLAYS"]

GROUPS = {
    "readers": readers.TARGETS | files.TARGETS,
    "functions": functions.TARGETS,
    "core": core.TARGETS,
    "doors": doors.TARGETS,
    "exports": exports.TARGETS,
    "options": options.TARGETS,
    "training": training.TARGETS,
}
REPLAYS = readers.REPLAYS | files.REPLAYS
