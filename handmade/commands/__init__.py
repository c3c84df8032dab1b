"""The command ``handmade``: train on a CSV file, predict, check a gradient, export a model."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Run the command; exit with 0, with 1 for a negative result, or with 2 where the input is wrong.

    Parameters
    ----------
    arguments : list of str, optional
        Those of the process unless given.

    Raises
    ------
    SystemExit
        Always.
    """
    try:
        from .cli import app

        app(arguments, prog_name="handmade")
    except ModuleNotFoundError as error:
        text = f"handmade: expected the package {error.name}; install it with pip install 'handmade[cli]'"
        print(text, file=sys.stderr)
        raise SystemExit(2) from None
