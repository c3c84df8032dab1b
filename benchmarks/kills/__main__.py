"""``python -m benchmarks.kills``: kill trainings at random moments, resume them, and compare the bits at the end.

The training writes a checkpoint after every step, so that many kills happen during a write. After each kill, the
checkpoint is read. A training that ends is compared with one that was never killed, and a new one begins.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from .trainings import kill_and_resume, train


def main(arguments: list[str] | None = None) -> int:
    """Run the command, and return the exit status: 1 if a checkpoint is unreadable or bits differ, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", metavar="CHECKPOINT", help="train once, as the processes that are killed do")
    options = parser.parse_args(arguments)
    if options.train is not None:
        print(train(Path(options.train) if options.train else None))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        report = kill_and_resume(options.kills, options.seed, Path(folder))
    print(report)
    return int(report.unreadable + report.different > 0)


if __name__ == "__main__":
    sys.exit(main())
