"""Start a command again with the BLAS kernel that fits the processor."""

from __future__ import annotations

import os
import sys

from handmade.configuration import show_config

__all__ = ["restart_with_better_kernel"]


def restart_with_better_kernel() -> None:
    """Replace this process by the same command with a better kernel, if there is one and nobody has chosen one.

    Commands that measure call it first; a library never should.
    """
    kernel = (show_config(mode="dicts") or {})["better kernel"]
    if kernel and "OPENBLAS_CORETYPE" not in os.environ:
        os.execve(sys.executable, sys.orig_argv, os.environ | {"OPENBLAS_CORETYPE": kernel})
