"""Ctrl-C before any line of the library."""

from __future__ import annotations

import linecache
import sys
from pathlib import Path

import handmade as hm

PACKAGE = str(Path(hm.__file__).parent)


def ends_with_block(frame):
    """Return whether the line is that of a ``with lock`` block.

    A trace function is also called between the block and the lock's release, where Python itself runs no handler of
    Ctrl-C.
    """
    return linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip().startswith("with self._lock")


class Interrupt:
    """A trace function that presses Ctrl-C before the n-th line of the library; counts the lines for n = 0."""

    def __init__(self, n=0):
        self.n, self.seen = n, 0

    def __call__(self, frame, event, argument):
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line" and not ends_with_block(frame):
            self.seen += 1
            if self.seen == self.n:
                raise KeyboardInterrupt
        return self

    def run(self, call):
        sys.settrace(self)
        try:
            return call()
        finally:
            sys.settrace(None)
