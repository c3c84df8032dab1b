"""The changes that make mutants: for each kind of node in a syntax tree, what may stand there instead."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Slot = tuple[ast.AST, str, int | None]  # the parent, the field, and the index in it where that is a list

COMPARISONS = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div, ast.Mod: ast.Div,
    ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}  # fmt: skip
OTHER_METHOD = {
    one: other
    for a, b in [
        ("lower", "upper"), ("lstrip", "rstrip"), ("find", "rfind"), ("startswith", "endswith"), ("ljust", "rjust"),
        ("partition", "rpartition"), ("removeprefix", "removesuffix"), ("argmin", "argmax"), ("floor", "ceil"),
        ("any", "all"), ("min", "max"), ("minimum", "maximum"), ("cos", "sin"),
    ]
    for one, other in [(a, b), (b, a)]
}  # fmt: skip
COMMUTATIVE = {"maximum", "minimum", "max", "min", "add", "multiply", "logical_and", "logical_or", "may_share_memory"}
FIRST_IS_TEXT = {
    "number",
    "cast",
    "Versioned",
    "OneWriter",
}  # whose first argument is part of an error message, or a type
ARGUMENTS_STAY = {"len", "isinstance", "issubclass", "cast", "TypeVar", "super", "zip"}


@dataclass(frozen=True)
class Edit:
    """A change of a tree: the child of ``parent`` in ``field``, at ``index`` where that is a list, becomes ``new``."""

    parent: Any
    field: str
    index: int | None
    new: Any

    @property
    def old(self) -> Any:
        """Return what stands there."""
        value = getattr(self.parent, self.field)
        return value if self.index is None else value[self.index]

    def apply(self) -> Edit:
        """Make the change, and return the one that undoes it."""
        undo = Edit(self.parent, self.field, self.index, self.old)
        if self.index is None:
            setattr(self.parent, self.field, self.new)
        else:
            getattr(self.parent, self.field)[self.index] = self.new
        return undo


def edits(node: ast.AST, slot: Slot) -> Iterator[Edit]:
    """Yield the changes of one node, without those of its children.

    Parameters
    ----------
    node : ast.AST
        The node.
    slot : tuple
        Where it stands.

    Yields
    ------
    Edit
        A change.
    """
    for change in CHANGES.get(type(node), ()):
        for new in change(node, *slot[:2]):
            if isinstance(new, Edit):
                edit = new
            else:
                edit = Edit(*slot, ast.fix_missing_locations(ast.copy_location(new, node)))
            yield edit


# ---- values ----------------------------------------------------------------------------------------------------------


def other_constant(node: ast.Constant, parent: ast.AST, field: str) -> Iterator[ast.expr]:
    """Change a number by 1, a truth value, a text; and where an axis is meant, 0 and 1."""
    value = node.value
    if isinstance(parent, ast.keyword) and parent.arg == "axis":
        yield ast.Constant(1 if value == 0 else 0)
    elif isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int | float | complex):
        yield ast.Constant(value + 1)
    elif isinstance(value, str | bytes):
        mark = "XX" if isinstance(value, str) else b"XX"
        yield ast.Constant(value.swapcase() if value.swapcase() != value else mark + value + mark)


def without_sign(node: ast.UnaryOp, parent: ast.AST, field: str) -> Iterator[ast.expr]:
    """Leave out `not`, `-` and `~`; and take the first axis for the last."""
    if isinstance(parent, ast.keyword) and parent.arg == "axis":
        yield ast.Constant(0)
    else:
        yield node.operand


def other_arithmetic(node: ast.BinOp, parent: ast.AST, field: str) -> Iterator[ast.expr | Edit]:
    """Compute with another operator; of a matrix product swap the factors."""
    if type(node.op) in ARITHMETIC:
        yield Edit(node, "op", None, ARITHMETIC[type(node.op)]())
    elif isinstance(node.op, ast.MatMult):
        yield ast.BinOp(node.right, node.op, node.left)


def other_comparison(node: ast.Compare, parent: ast.AST, field: str) -> Iterator[Edit]:
    """Move the boundary of an inequality; turn the others around."""
    for i, op in enumerate(node.ops):
        yield Edit(node, "ops", i, COMPARISONS[type(op)]())


def other_connective(node: ast.BoolOp, parent: ast.AST, field: str) -> Iterator[Edit]:
    """Exchange `and` and `or`."""
    yield Edit(node, "op", None, ast.Or() if isinstance(node.op, ast.And) else ast.And())


def nothing_from_lambda(node: ast.Lambda, parent: ast.AST, field: str) -> Iterator[Edit]:
    """Let a lambda return None."""
    yield Edit(node, "body", None, _none_or_zero(node.body))


def without_transpose(node: ast.Attribute, parent: ast.AST, field: str) -> Iterator[ast.expr]:
    """Leave out `.T`."""
    if node.attr == "T" and isinstance(node.ctx, ast.Load):
        yield node.value


def _none_or_zero(value: ast.expr) -> ast.expr:
    """Return None, or 0 in the place of None."""
    none = isinstance(value, ast.Constant) and value.value is None
    return ast.copy_location(ast.Constant(0 if none else None), value)


# ---- calls -----------------------------------------------------------------------------------------------------------


def other_arguments(node: ast.Call, parent: ast.AST, field: str) -> Iterator[Edit]:
    """Pass None, leave an argument out, or swap two neighbours."""
    name = called(node)
    if name in ARGUMENTS_STAY:
        return
    many = len(node.args) + len(node.keywords) > 1
    for i, arg in enumerate(node.args):
        if isinstance(arg, ast.Starred) or (i == 0 and name in FIRST_IS_TEXT):
            continue
        if not _is_none_or_bool(arg):
            yield Edit(node, "args", i, ast.copy_location(ast.Constant(None), arg))
        if many:
            yield Edit(node, "args", None, node.args[:i] + node.args[i + 1 :])
        if i and name not in COMMUTATIVE and not _order_is_free(node.args[i - 1], arg):
            yield Edit(node, "args", None, [*node.args[: i - 1], arg, node.args[i - 1], *node.args[i + 1 :]])
    for i, keyword in enumerate(node.keywords):
        if keyword.arg is None:
            continue
        if keyword.arg != "axis" and not _is_none_or_bool(keyword.value):
            yield Edit(keyword, "value", None, ast.copy_location(ast.Constant(None), keyword.value))
        if many:
            yield Edit(node, "keywords", None, node.keywords[:i] + node.keywords[i + 1 :])


def without_copy(node: ast.Call, parent: ast.AST, field: str) -> Iterator[ast.expr]:
    """Take the array itself for a copy of it."""
    match node:
        case ast.Call(func=ast.Attribute(value=value, attr="copy"), args=[]):
            yield value
        case ast.Call(func=ast.Attribute(value=ast.Name(id="copy"), attr="copy" | "deepcopy"), args=[value]):
            yield value
        case ast.Call(func=ast.Attribute(value=ast.Name(id="np") as np, attr="array"), args=[_, *_]):
            asarray = ast.Attribute(np, "asarray", ast.Load())
            yield ast.Call(asarray, node.args, [key for key in node.keywords if key.arg not in ("copy", "ndmin")])


def other_method(node: ast.Call, parent: ast.AST, field: str) -> Iterator[Edit]:
    """Call a sibling: `max` for `min`, `upper` for `lower`."""
    if isinstance(node.func, ast.Attribute) and node.func.attr in OTHER_METHOD:
        yield Edit(node.func, "attr", None, OTHER_METHOD[node.func.attr])
    elif isinstance(node.func, ast.Name) and node.func.id in OTHER_METHOD:
        yield Edit(node.func, "id", None, OTHER_METHOD[node.func.id])


def called(node: ast.Call) -> str | None:
    """Return the name of what is called, without the object it belongs to."""
    return getattr(node.func, "attr", getattr(node.func, "id", None))


def _is_none_or_bool(arg: ast.expr) -> bool:
    return isinstance(arg, ast.Constant) and (arg.value is None or isinstance(arg.value, bool))


def _order_is_free(one: ast.expr, other: ast.expr) -> bool:
    """Return whether two arguments are not worth a swap: two names in a list, or what is no single argument."""
    texts = all(isinstance(arg, ast.Constant) and isinstance(arg.value, str) for arg in (one, other))
    return texts or isinstance(one, ast.Starred)


# ---- statements ------------------------------------------------------------------------------------------------------


def other_assignment(node: ast.Assign | ast.AnnAssign, parent: ast.AST, field: str) -> Iterator[Edit]:
    """Assign None; and bind a name anew instead of writing into its array."""
    if node.value is None:
        return
    if not isinstance(node.value, ast.Constant) or node.value.value is None:
        yield Edit(node, "value", None, _none_or_zero(node.value))
    match node:
        case ast.Assign(targets=[ast.Subscript(value=ast.Name() | ast.Attribute() as array, slice=part)]):
            if _is_everything(part):
                name = ast.parse(f"{ast.unparse(array)} = 0").body[0].targets[0]  # the same, to be stored to
                yield Edit(node, "targets", 0, ast.fix_missing_locations(ast.copy_location(name, array)))


def other_update(node: ast.AugAssign, parent: ast.AST, field: str) -> Iterator[ast.stmt | Edit]:
    """Update with another operator, overwrite, and bind the name anew to a new array."""
    if type(node.op) in ARITHMETIC:
        yield Edit(node, "op", None, ARITHMETIC[type(node.op)]())
    yield ast.Assign([node.target], node.value)
    if getattr(node, "may_be_shared", True) and not isinstance(node.value, ast.Constant):
        value = ast.parse(ast.unparse(node.target), mode="eval").body
        yield ast.Assign([node.target], ast.BinOp(value, node.op, node.value))


def mark_shared(function: ast.FunctionDef) -> None:
    """Tell the updates of arrays that may have another name from those of intermediate results."""
    args = function.args
    shared = {arg.arg for arg in [*args.posonlyargs, *args.args, *args.kwonlyargs]}
    for node in ast.walk(function):
        if isinstance(node, ast.For | ast.comprehension):
            shared |= _names(node.target)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name | ast.Attribute | ast.Subscript):
            shared |= {name for target in node.targets for name in _names(target)}
    for node in ast.walk(function):
        if isinstance(node, ast.AugAssign):
            target = node.target
            node.may_be_shared = (
                target.id in shared if isinstance(target, ast.Name) else isinstance(target, ast.Attribute)
            )


def _names(target: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}


def without_guard(node: ast.If, parent: ast.AST, field: str) -> Iterator[Edit]:
    """Never raise."""
    if isinstance(node.body[0], ast.Raise):
        yield Edit(node, "test", None, ast.copy_location(ast.Constant(False), node.test))


def without_call(node: ast.Expr, parent: ast.AST, field: str) -> Iterator[ast.stmt]:
    """Leave out a call whose result is not used, such as a check."""
    if isinstance(node.value, ast.Call):
        yield ast.Pass()


def other_jump(node: ast.Break | ast.Continue, parent: ast.AST, field: str) -> Iterator[ast.stmt]:
    """Go on where a loop ends, and end it where it goes on."""
    yield ast.Return() if isinstance(node, ast.Break) else ast.Break()


def without_case(node: ast.Match, parent: ast.AST, field: str) -> Iterator[Edit]:
    """Leave out one of several cases."""
    for i in range(len(node.cases) if len(node.cases) > 1 else 0):
        yield Edit(node, "cases", None, node.cases[:i] + node.cases[i + 1 :])


def _is_everything(part: ast.expr) -> bool:
    return ast.unparse(part) in ("...", ":")


CHANGES: dict[type, tuple[Callable[..., Iterator[Any]], ...]] = {
    ast.Constant: (other_constant,),
    ast.UnaryOp: (without_sign,),
    ast.BinOp: (other_arithmetic,),
    ast.Compare: (other_comparison,),
    ast.BoolOp: (other_connective,),
    ast.Lambda: (nothing_from_lambda,),
    ast.Attribute: (without_transpose,),
    ast.Call: (other_arguments, without_copy, other_method),
    ast.Assign: (other_assignment,),
    ast.AnnAssign: (other_assignment,),
    ast.AugAssign: (other_update,),
    ast.If: (without_guard,),
    ast.Expr: (without_call,),
    ast.Break: (other_jump,),
    ast.Continue: (other_jump,),
    ast.Match: (without_case,),
}
