"""Options that the commands of reference and benchmarks share: --quick, --json and --seed."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add_options"]


def add_options(parser: argparse.ArgumentParser, quick: str, seed: str) -> None:
    """Add ``--quick``, ``--json`` and ``--seed`` to a parser.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Changed in place.
    quick, seed : str
        The help texts of ``--quick`` and of ``--seed``.

    Examples
    --------
    >>> parser = argparse.ArgumentParser()
    >>> add_options(parser, "fewer cases", "draws the data")
    >>> parser.parse_args(["--seed", "3"])
    Namespace(quick=False, json=None, seed=3)
    """
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--json", type=_writable, metavar="FILE", help="write every figure to FILE")
    parser.add_argument("--seed", type=_seed, default=0, help=f"{seed} (default 0)")


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected an integer of at least 0, got {text!r}")
    return int(text)


def _writable(name: str) -> Path:
    path = Path(name)
    if not path.parent.is_dir() or path.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file in a folder that exists, got {name!r}")
    return path
