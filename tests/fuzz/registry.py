"""All targets, in groups, and what reads the files of the corpus."""

from __future__ import annotations

from . import core, doors, exports, files, functions, options, readers, runs, sessions, signatures, training

__all__ = ["GROUPS", "REPLAYS"]

GROUPS = {
    "readers": readers.TARGETS | files.TARGETS,
    "functions": functions.TARGETS,
    "core": core.TARGETS,
    "doors": doors.TARGETS,
    "exports": exports.TARGETS,
    "options": options.TARGETS | signatures.TARGETS,
    "training": training.TARGETS | runs.TARGETS,
    "sessions": sessions.TARGETS,
}
REPLAYS = readers.REPLAYS | files.REPLAYS | runs.REPLAYS
