"""A submission as a module: a Python file or a notebook, executed without importlib and its cache."""

from __future__ import annotations

import ast
import codecs
import json
import linecache
import os
import re
import sys
import types

__all__ = ["load", "other_than_utf_8", "sources", "unpacked_names"]

SKIPPED = re.compile(r"%%(?!time|timeit|capture|prun)")  # a cell of another language
MAGIC = re.compile(r"\s*([%!]|\?[\w.]+$|[\w.]+\?{1,2}$)")  # %matplotlib inline, !pip install, np.tanh?


def sources(path: str) -> list[tuple[str, str | bytes]]:
    """Return the parts of a submission: one for a file, one for each cell of a notebook, with a name for messages.

    Raises
    ------
    SyntaxError
        If a Python file holds NUL bytes, as text in UTF-16 does.
    ValueError
        If a file that ends in .ipynb is not a notebook.
    OSError
        If the file cannot be read.
    """
    with open(path, "rb") as file:
        content = file.read()
    name = os.path.basename(path)
    if not path.lower().endswith(".ipynb"):
        if found := other_than_utf_8(content):
            raise SyntaxError(f"expected text in UTF-8, got {found}; save the file as text in UTF-8")
        return [(name, content)]
    try:
        cells = json.loads(content)["cells"]
        code = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
        texts = [source if isinstance(source, str) else "".join(source) for source in code]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{name}: expected a notebook of version 4, got {type(error).__name__}: {error}") from None
    return [(f"{name}, cell {i}", text) for i, text in enumerate(map(_without_magics, texts), 1) if text.strip()]


def other_than_utf_8(content: bytes) -> str:
    """Return what a file is that holds NUL bytes or begins with the mark of UTF-16 or UTF-32; else an empty string."""
    if not content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and b"\0" not in content:
        return ""
    for encoding in ("UTF-32", "UTF-16"):  # the mark of UTF-32 begins with that of UTF-16
        for order in ("LE", "BE"):
            has_mark = content.startswith(getattr(codecs, f"BOM_{encoding.replace('-', '')}_{order}"))
            try:
                text = content.decode(f"{encoding}-{order}")
            except UnicodeDecodeError:
                continue
            if has_mark or (text.isascii() and "\0" not in text):
                return encoding
    return "NUL bytes"


def _without_magics(text: str) -> str:
    """Return a cell that is no Python with IPython's own lines replaced, so that line numbers stay."""
    if SKIPPED.match(text.lstrip()):
        return ""
    try:
        compile(text, "cell", "exec")
        return text
    except (SyntaxError, ValueError):
        return "\n".join(re.match(r"\s*", line)[0] + "pass" if MAGIC.match(line) else line for line in text.split("\n"))  # type: ignore[index]


def load(path: str) -> tuple[types.ModuleType, list[BaseException]]:
    """Execute a submission.

    Returns
    -------
    module : ModuleType
        The module, with the names that it defines.
    failures : list of BaseException
        The errors of a notebook's cells; the cells after them were executed all the same, as a reader would.

    Raises
    ------
    BaseException
        Whatever a Python file raises, SyntaxError among them.
    """
    stem = re.sub(r"\W", "_", os.path.splitext(os.path.basename(path))[0])
    module = types.ModuleType(stem)
    module.__file__ = path
    known = dict(sys.modules)
    sys.modules[stem] = module  # where dataclasses look for it
    try:
        return module, _executed(path, module)
    finally:
        sys.modules.pop(stem, None)
        if stem in known:
            sys.modules[stem] = known[stem]


def _executed(path: str, module: types.ModuleType) -> list[BaseException]:
    failures: list[BaseException] = []
    is_notebook = path.lower().endswith(".ipynb")
    for name, text in sources(path):
        if is_notebook:
            linecache.cache[name] = (len(text), None, str(text).splitlines(True), name)  # for the lines in messages
        try:
            exec(compile(text, name if is_notebook else path, "exec", dont_inherit=True), module.__dict__)
        except BaseException as error:
            if not is_notebook:
                raise
            failures.append(error)
    return failures


def unpacked_names(path: str) -> list[list[str]]:
    """Return the names of each assignment of several names at once, such as ``W0, b0, W1, b1 = parameters``."""
    found = []
    for _, text in sources(path):
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for node in ast.walk(tree):
            target = node.targets[0] if isinstance(node, ast.Assign) else None
            if isinstance(target, ast.Tuple) and all(isinstance(part, ast.Name) for part in target.elts):
                found.append([part.id for part in target.elts if isinstance(part, ast.Name)])
    return found
