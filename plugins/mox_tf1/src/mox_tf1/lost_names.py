"""What objects have lost since scripts of TensorFlow 1 were written, for the modules of a script only.

A method cannot be given to `dict`, `int` or pandas for some modules and not for others. So in the modules of a script,
and in no others, asking an object for one of these names goes through `attribute`, which asks the object first.
"""

from __future__ import annotations

import ast
import numbers
import operator
import sys
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_ATTRIBUTE: Final = "__mox_tf1_attribute__"
_DIVIDE: Final = "__mox_tf1_divide__"

_OF_DICT: Final[Mapping[str, Callable[[Any], Any]]] = {
    "has_key": lambda mapping: mapping.__contains__,
    "iteritems": lambda mapping: lambda: iter(mapping.items()),
    "iterkeys": lambda mapping: lambda: iter(mapping.keys()),
    "itervalues": lambda mapping: lambda: iter(mapping.values()),
    "viewitems": lambda mapping: mapping.items,
    "viewkeys": lambda mapping: mapping.keys,
    "viewvalues": lambda mapping: mapping.values,
}
"""Methods of dicts in Python 2."""
_OF_PANDAS: Final = ("append", "as_matrix", "get_values", "iteritems")
"""Methods of DataFrame and Series in pandas 1."""
_DIMENSION: Final = "value"
_OPERATION: Final = "op"
_SHAPES: Final = {"dims", "get_shape", "shape"}


def adapt(tree: ast.Module, *, old_division: bool) -> ast.Module:
    """Have a module of a script ask for lost names by `attribute`; lines stay as they are.

    Args:
        tree: the module, which is changed.
        old_division: whether `/` is that of Python 2.
    """
    uses_pandas = any(isinstance(node, (ast.Import, ast.ImportFrom)) and _names_pandas(node) for node in ast.walk(tree))
    names = {_OPERATION, *_OF_DICT, *(_OF_PANDAS if uses_pandas else ())}
    adapted: ast.Module = _Adapter(names, _dimensions(tree), old_division=old_division).visit(tree)
    return ast.fix_missing_locations(adapted)


def built_in_names() -> dict[str, Any]:
    """Return the functions that adapted modules call, for their built-in names."""
    return {_ATTRIBUTE: attribute, _DIVIDE: divide}


def attribute(owner: Any, name: str) -> Any:
    """Return `owner.name`, or what was there under this name."""
    try:
        return getattr(owner, name)
    except AttributeError:
        if name == _DIMENSION and (owner is None or type(owner) is int):
            return owner  # a dimension of a shape, which was an object
        if name == _OPERATION and (called := _name_of_variable(owner)):
            return SimpleNamespace(name=called, type="VarHandleOp")
        if name in _OF_PANDAS and _is_of_pandas(owner):
            return partial(_PANDAS[name], owner)
        if name in _OF_DICT and hasattr(owner, "keys") and hasattr(owner, "__getitem__"):
            return _OF_DICT[name](owner)
        raise


def divide(left: Any, right: Any) -> Any:
    """Return `left / right` as in Python 2: a whole number of whole numbers, also for arrays and tensors of them."""
    return operator.floordiv(left, right) if _is_whole(left) and _is_whole(right) else operator.truediv(left, right)


class _Adapter(ast.NodeTransformer):
    """Replaces lost names, and divisions."""

    def __init__(self, names: set[str], dimensions: set[str], *, old_division: bool) -> None:
        self._names = names
        self._dimensions = dimensions
        self._old_division = old_division

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        self.generic_visit(node)
        if not isinstance(node.ctx, ast.Load) or not (node.attr in self._names or self._is_dimension(node)):
            return node
        return _call(_ATTRIBUTE, node, node.value, ast.Constant(node.attr))

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        if self._old_division and isinstance(node.op, ast.Div):
            return _call(_DIVIDE, node, node.left, node.right)
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt:
        self.generic_visit(node)
        if not (self._old_division and isinstance(node.op, ast.Div) and isinstance(node.target, ast.Name)):
            return node
        present = ast.Name(node.target.id, ast.Load())
        return ast.copy_location(ast.Assign([node.target], _call(_DIVIDE, node, present, node.value)), node)

    def _is_dimension(self, node: ast.Attribute) -> bool:
        """Whether this is `shape[0].value`, or `each.value` in a loop over a shape."""
        of_loop = isinstance(node.value, ast.Name) and node.value.id in self._dimensions
        return node.attr == _DIMENSION and (of_loop or isinstance(node.value, ast.Subscript))


def _call(function: str, place: ast.AST, *arguments: ast.expr) -> ast.expr:
    called = ast.Call(ast.copy_location(ast.Name(function, ast.Load()), place), list(arguments), [])
    return ast.copy_location(called, place)


def _names_pandas(node: ast.Import | ast.ImportFrom) -> bool:
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    return any(name.partition(".")[0] == "pandas" for name in names)


def _dimensions(tree: ast.Module) -> set[str]:
    """Return the names of loops over shapes: `[each.value for each in x.get_shape()]`."""
    return {
        name.id
        for node in ast.walk(tree)
        if isinstance(node, (ast.comprehension, ast.For))
        and any(isinstance(each, ast.Attribute) and each.attr in _SHAPES for each in ast.walk(node.iter))
        for name in ast.walk(node.target)
        if isinstance(name, ast.Name)
    }


def _is_whole(value: Any) -> bool:
    if isinstance(value, numbers.Integral):
        return True
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        return False
    return bool(getattr(dtype, "is_integer", False)) or getattr(dtype, "kind", "") in {"i", "u"}


def _name_of_variable(owner: Any) -> str:
    """Return the name of the operation that a variable of TensorFlow had; nothing for anything else."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None or not isinstance(owner, tensorflow.Variable):
        return ""
    name: str = owner.name
    return name.partition(":")[0]


def _is_of_pandas(owner: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(owner, (pandas.DataFrame, pandas.Series))


def _append(
    owner: Any,
    other: Any,
    ignore_index: bool = False,  # noqa: FBT001, FBT002  (the signature of pandas 1)
    verify_integrity: bool = False,  # noqa: FBT001, FBT002  (as above)
    sort: bool = False,  # noqa: FBT001, FBT002  (as above)
) -> Any:
    """Return rows behind those of a DataFrame, or values behind those of a Series, as pandas 1 did."""
    pandas = sys.modules["pandas"]
    others = list(other) if isinstance(other, (list, tuple)) else [other]
    options: dict[str, Any] = {"ignore_index": ignore_index, "verify_integrity": verify_integrity}
    if isinstance(owner, pandas.DataFrame):
        options["sort"] = sort
        if isinstance(other, (list, tuple)) and others and not isinstance(others[0], pandas.DataFrame):
            others = [pandas.DataFrame(others)]  # a list of rows
        others = [_rows(owner, each, ignore_index=ignore_index) for each in others]
    return pandas.concat([owner, *others], **options)


def _rows(owner: Any, other: Any, *, ignore_index: bool) -> Any:
    """Return what is appended to a DataFrame as one: a dict or a Series is a row."""
    pandas = sys.modules["pandas"]
    if isinstance(other, pandas.DataFrame):
        return other
    if isinstance(other, dict):
        if not ignore_index:
            raise TypeError("Can only append a dict if ignore_index=True")
        other = pandas.Series(other, dtype=None if other else object)
    if not isinstance(other, pandas.Series):
        return pandas.DataFrame(other)
    if other.name is None and not ignore_index:
        raise TypeError("Can only append a Series if ignore_index=True or if the Series has a name")
    row = other.to_frame().T.infer_objects()
    return row.rename_axis(owner.index.names)


_PANDAS: Final[Mapping[str, Callable[..., Any]]] = {
    "append": _append,
    "as_matrix": lambda owner: owner.to_numpy(),
    "get_values": lambda owner: owner.to_numpy(),
    "iteritems": lambda owner: iter(owner.items()),
}
