"""The mutants of a module: one small change each, at expressions and statements that decide something."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_COMPARED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_COMPUTED: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_CALLED: Final = {
    "min": "max",
    "max": "min",
    "floor": "ceil",
    "ceil": "floor",
    "any": "all",
    "all": "any",
    "sorted": "list",
}
_DESCRIBE: Final = frozenset(("Annotated", "Literal", "ConfigDict", "Field", "WithJsonSchema", "lru_cache"))


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: its place (line and number on that line), and the expression before and after it.

    `key` stays the same when lines above it move: it is the function, the texts, and the how manieth of such.
    """

    line: int
    function: str
    before: str
    after: str
    nth: int
    source: str

    @property
    def key(self) -> str:
        """What identifies the mutant within its module."""
        return f"{self.function}: {self.before} -> {self.after} #{self.nth}"


def mutants(source: str) -> Iterator[Mutant]:
    """Every mutant of a module. Messages of errors, annotations, docstrings and imports are left as they are."""
    seen: dict[tuple[str, str, str], int] = {}
    tree = ast.parse(source)
    places = list(_places(tree, ""))
    for number, (function, node) in enumerate(places):
        for change in range(_changes(node)):
            changed = copy.deepcopy(tree)
            _, twin = list(_places(changed, ""))[number]
            before = _text(twin)
            _change(twin, change)
            after = _text(twin)
            name = (function, before, after)
            seen[name] = seen.get(name, 0) + 1
            yield Mutant(node.lineno, function, before, after, seen[name], ast.unparse(changed))


Place = ast.expr | ast.stmt


def _places(node: ast.AST, function: str) -> Iterator[tuple[str, Place]]:
    """What can be changed, in the order of the source, with the name of the function or class around it."""
    for child in _children(node):
        name = function
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            name = f"{function}.{child.name}" if function else child.name
        if isinstance(child, ast.expr | ast.stmt) and _changes(child):
            yield name, child
        yield from _places(child, name)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Raise | ast.Import | ast.ImportFrom | ast.JoinedStr):
        return
    if (isinstance(node, ast.If) and _is_for_types(node)) or _describes(node):
        return
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield child


def _is_for_types(node: ast.If) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _describes(node: ast.AST) -> bool:
    """Types and schemas, which decide nothing about an amount."""
    if isinstance(node, ast.Subscript):
        return isinstance(node.value, ast.Name) and node.value.id in _DESCRIBE
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _DESCRIBE


def _changes(node: ast.AST) -> int:
    """How many changes a node allows."""
    if isinstance(node, ast.Compare):
        return sum(type(each) in _COMPARED for each in node.ops)
    if isinstance(node, ast.BinOp):
        # `A | B` at the top of a module is a type.
        return int(type(node.op) in _COMPUTED)
    if isinstance(node, ast.BoolOp | ast.IfExp):
        return 1
    if isinstance(node, ast.UnaryOp):
        return int(isinstance(node.op, ast.Not | ast.USub))
    if isinstance(node, ast.Constant):
        return int(isinstance(node.value, bool | int) and node.value is not None)
    if isinstance(node, ast.Call):
        return int(isinstance(node.func, ast.Name) and node.func.id in _CALLED)
    if isinstance(node, ast.AugAssign):
        return int(type(node.op) in _COMPUTED)
    return int(isinstance(node, ast.Continue | ast.Break) or _is_effect(node))


def _is_effect(node: ast.AST) -> bool:
    """A call for its effect: it can be left out."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)


def _change(node: Place, which: int) -> None:
    if isinstance(node, ast.Compare):
        at = [index for index, each in enumerate(node.ops) if type(each) in _COMPARED][which]
        node.ops[at] = _COMPARED[type(node.ops[at])]()
    elif isinstance(node, ast.BinOp | ast.AugAssign):
        node.op = _COMPUTED[type(node.op)]()
    elif isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, ast.IfExp):
        node.body, node.orelse = node.orelse, node.body
    elif isinstance(node, ast.UnaryOp):
        node.op = ast.UAdd() if isinstance(node.op, ast.USub) else ast.Not()
        if isinstance(node.op, ast.Not):
            node.operand = ast.UnaryOp(ast.Not(), node.operand)
    elif isinstance(node, ast.Constant):
        node.value = not node.value if isinstance(node.value, bool) else int(str(node.value)) + 1
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        node.func.id = _CALLED[node.func.id]
    elif isinstance(node, ast.Expr):
        node.value = ast.Constant(...)
    else:
        # A loop that goes on where it ended, or the other way round.
        node.__class__ = ast.Break if isinstance(node, ast.Continue) else ast.Continue


def _text(node: Place) -> str:
    return " ".join(ast.unparse(node).split())
