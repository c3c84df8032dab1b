"""``python -m benchmarks.distributed``: equality with one process, killed workers, and scaling.

``--equality`` trains 17 cases with 1, 2 and 4 processes, and compares them with one process that has the whole batch.
``--kills`` kills workers at random moments. ``--scaling`` measures steps, and projects their times to more machines.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from .kills import kill_and_recover
from .processes import run


def main(arguments: list[str] | None = None) -> int:
    """Run the command, and return the exit status: 0 if all results are equal, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.distributed", description=__doc__)
    parser.add_argument("--equality", action="store_true")
    parser.add_argument("--kills", type=int, default=0, metavar="N")
    parser.add_argument("--nodes", type=int, default=3, help="workers at the start of each training of --kills")
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    failed = 0
    if options.equality:
        failed += sum(_equality(processes) for processes in (1, 2, 4))
    if options.kills:
        with tempfile.TemporaryDirectory() as folder:
            report = kill_and_recover(options.kills, options.nodes, options.seed, Path(folder))
        print(report)
        failed += report.different
    if options.scaling:
        from .scaling import scaling  # imports PyTorch, which takes seconds

        print(scaling())
    return int(failed > 0)


def _equality(processes: int) -> int:
    """Compare each case with one process, and print the largest difference; return the number of failures."""
    found = run(processes, "benchmarks.distributed.equality")
    worst = max(distance / bound for distance, bound in found["cases"].values())
    wrong = [name for name, (distance, bound) in found["cases"].items() if not distance <= bound]
    print(
        f"{processes} processes: {len(found['cases'])} cases, at most {worst:.2f} of the bound from one process; "
        f"{found['twin']:.0e} from DistributedDataParallel; {'FAILED: ' + ', '.join(wrong) if wrong else 'all equal'}"
    )
    return len(wrong) + (not found["interrupted"])


if __name__ == "__main__":
    sys.exit(main())
