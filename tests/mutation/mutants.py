"""The mutants of a module: each is one small change of its syntax tree.

A mutant is named by the qualified name of the function it changes and by the changed code before and after, as
`ast.unparse` writes it. The name does not depend on the file, the line or the format of the code. Only mutants that
would have the same name are numbered, in the order of the code.
"""

from __future__ import annotations

import ast
import copy
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from .operators import FIRST_IS_TEXT, Edit, called, edits, mark_shared

LONGEST = 110  # characters of the code in a name: the whole statement, or else its largest part that is no longer
CONTEXT = 40  # characters of what is the same that are shown of a longer part
TYPING = {
    "Literal",
    "Callable",
    "NDArray",
    "ndarray",
    "ArrayLike",
    "TypeVar",
    "Union",
    "Mapping",
}  # a constant made of these is an alias


@dataclass(frozen=True)
class Mutant:
    """A change of a module, and its name.

    Attributes
    ----------
    function : str
        The qualified name of the function or class that contains the change, or ``<module>``.
    before, after : str
        The code.
    ordinal : int
        Counts the mutants of one module with the same function, before and after, from 1.
    edit : Edit
        The change.
    outermost : str or None
        The qualified name of the outermost function whose body contains the change; None where the changed code runs
        when the module is imported.
    content : str
        A digest of the code of that function, or of the statement.
    """

    function: str
    before: str
    after: str
    ordinal: int
    edit: Edit
    outermost: str | None
    content: str

    @property
    def name(self) -> str:
        """The name in one line."""
        ordinal = f" #{self.ordinal}" if self.ordinal > 1 else ""
        return f"{self.function}: {self.before} => {self.after}{ordinal}"


def find_mutants(tree: ast.Module, layout: frozenset[str] = frozenset()) -> list[Mutant]:
    """Return the mutants of a module, in the order of its code.

    Parameters
    ----------
    tree : ast.Module
        The module. `Edit.apply` changes it in place.
    layout : frozenset of str
        Names of keyword arguments and of methods: these arguments, and calls of these methods, stay as they are.

    Returns
    -------
    list of Mutant
        The mutants.
    """
    mutants: list[Mutant] = []
    counts: Counter[tuple[str, str, str]] = Counter()
    seen = set()
    for place, edit in _walk(tree, Place(), layout):
        shown, *texts = _texts(place.path, edit)
        before, after = map(_cut, texts)
        key = (place.function or "<module>", before, after)
        if before == after or (id(shown), before, after) in seen:
            continue
        seen.add((id(shown), before, after))
        counts[key] += 1
        mutants.append(Mutant(*key, counts[key], edit, place.outermost, _digest(place.block)))
    return mutants


class Place(NamedTuple):
    """A place in a tree: the names around it, the code whose change makes results void, the statement and its parts."""

    function: str = ""
    outermost: str | None = None
    block: ast.AST | None = None
    path: tuple[ast.AST, ...] = ()


def _walk(node: ast.AST, place: Place, layout: frozenset[str]) -> Iterator[tuple[Place, Edit]]:
    """Yield each edit below a node, with its place."""
    for field, value in ast.iter_fields(node):
        children = value if isinstance(value, list) else [value]
        for index, child in enumerate(children):
            if not isinstance(child, ast.AST) or _is_left_out(node, field, child, layout):
                continue
            if isinstance(child, ast.FunctionDef) and not isinstance(place.block, ast.FunctionDef):
                mark_shared(child)
            inside = _enter(node, field, child, place)
            slot = (node, field, index if isinstance(value, list) else None)
            for edit in edits(child, slot):
                if not _is_layout(edit, layout):
                    yield inside, edit
            yield from _walk(child, inside, layout)


def _enter(node: ast.AST, field: str, child: ast.AST, place: Place) -> Place:
    """Return the place of a child."""
    function, outermost, block, path = place
    if isinstance(node, ast.FunctionDef) and field == "body" and outermost is None:
        outermost, block = function, node
    if isinstance(child, ast.FunctionDef | ast.ClassDef):
        function = f"{function}.{child.name}" if function else child.name
    if isinstance(child, ast.stmt | ast.match_case):
        block = child if outermost is None else block
        path = (child,)
    else:
        path = (*path, child)
    return Place(function, outermost, block, path)


def _is_left_out(node: ast.AST, field: str, child: ast.AST, layout: frozenset[str]) -> bool:
    """Return whether a child does nothing that a test should notice: text for people, types, layout."""
    match child:
        case ast.Raise() | ast.Assert() | ast.Import() | ast.ImportFrom():
            return True
        case ast.Expr(value=ast.Constant()):
            return True  # a docstring
        case ast.Call(func=ast.Attribute(attr="warn")):
            return True
        case ast.Call(func=ast.Attribute(attr=name)) | ast.keyword(arg=name) if name in layout:
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.FunctionDef(decorator_list=[ast.Name(id="overload")]):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__" | "__version__")]):
            return True
        case ast.Assign(value=value) if isinstance(node, ast.Module) and _is_type(value):
            return True
        case ast.AnnAssign(annotation=ast.Name(id="TypeAlias")):
            return True
        case ast.Constant() if isinstance(node, ast.JoinedStr):
            return True
        case ast.Constant() if isinstance(node, ast.Call) and called(node) in FIRST_IS_TEXT:
            return child is node.args[0]
    return field in ("annotation", "returns", "bases", "format_spec", "type_params")


def _is_type(value: ast.expr) -> bool:
    """Return whether a constant of a module is a name for a type."""
    match value:
        case ast.Name(id="Any") | ast.Subscript(value=ast.Name(id="tuple" | "list" | "dict" | "type")):
            return True
    names = {getattr(node, "id", getattr(node, "attr", None)) for node in ast.walk(value)}
    return bool(names & TYPING) or (isinstance(value, ast.BinOp) and isinstance(value.op, ast.BitOr))


def _is_layout(edit: Edit, layout: frozenset[str]) -> bool:
    """Return whether an edit takes away an argument that is layout."""
    if edit.field != "keywords" or not isinstance(edit.new, list):
        return False
    return any(keyword.arg in layout for keyword in set(edit.parent.keywords) - set(edit.new))


def _texts(path: tuple[ast.AST, ...], edit: Edit) -> tuple[ast.AST, str, str]:
    """Return the part of the code that names the change, and its text before and after."""
    if isinstance(old := edit.old, ast.stmt):
        return old, _text(old), _text(edit.new)
    options = [node for node in path if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    for node in options:
        before = _text(node)
        if len(before) <= LONGEST or node is options[-1]:
            undo = edit.apply()
            after = _text(node)
            undo.apply()
            if before != after and len(after) <= LONGEST:
                return node, before, after
    return options[-1], *_shortened(before, after)


def _shortened(before: str, after: str) -> tuple[str, str]:
    """Return two long texts without most of what they have in common at the beginning and at the end."""
    start = max(0, _common(before, after) - CONTEXT)
    end = max(0, _common(before[start:][::-1], after[start:][::-1]) - CONTEXT)
    head, tail = "... " if start else "", " ..." if end else ""
    return head + before[start : len(before) - end] + tail, head + after[start : len(after) - end] + tail


def _common(one: str, other: str) -> int:
    """Return how many characters are the same at the beginning."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _cut(text: str) -> str:
    """Return a text that is still too long with a digest in place of its middle."""
    if len(text) <= 2 * LONGEST:
        return text
    return f"{text[:LONGEST]} ...{hashlib.sha256(text.encode()).hexdigest()[:6]}... {text[-LONGEST // 2 :]}"


def _text(node: ast.AST) -> str:
    """Return code in one line; of a compound statement its head, of parameters all but the types."""
    if isinstance(node, ast.arguments):
        node = copy.deepcopy(node)
        for arg in ast.walk(node):
            if isinstance(arg, ast.arg):
                arg.annotation = None
    if hasattr(node, "body") and isinstance(node.body, list):
        node = copy.copy(node)
        node.body = [ast.Pass()]
        for field in "orelse", "handlers", "finalbody":
            if hasattr(node, field):
                setattr(node, field, [])
        if isinstance(node, ast.Try):
            return "try:"
    elif isinstance(node, ast.Match):
        return " ".join([f"match {ast.unparse(node.subject)}:", *map(_text, node.cases)])
    return " ".join(ast.unparse(node).removesuffix("\n    pass").split("\n")).strip()


def _digest(block: Any) -> str:
    return hashlib.sha256(ast.dump(block).encode()).hexdigest()[:16]
