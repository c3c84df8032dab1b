"""A function that runs a module in several processes by torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

__all__ = ["run"]


def run(processes: int, module: str, *arguments: str) -> Any:
    """Run a module in ``processes`` processes, and return the JSON that process 0 prints."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "-m", module]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # as torchrun sets it for several processes
    done = subprocess.run([*command, *arguments], stdout=subprocess.PIPE, text=True, check=True, env=one_thread)
    return json.loads(done.stdout.splitlines()[-1])
