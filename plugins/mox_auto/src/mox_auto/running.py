"""`mox.run` with functions that are given a `param_spec`."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

import mox_core as mox
from mox_auto.specs import ParamSpec
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable


def run(*arguments: Any, param_spec: ParamSpec, **options: Any) -> mox.RunResult:
    """Do what `mox.run` does, and give the parameters to its functions: `optimizer_fn(**kwargs)`, for instance.

    Args:
        *arguments: those of `mox.run`.
        param_spec: the parameters, of `mox.auto.search` for instance. `model_fn` and `optimizer_fn` get it by this name
            where they take it.
        **options: those of `mox.run`.

    Returns:
        How the run ended.

    Raises:
        UsageError: if param_spec is no ParamSpec, and as `mox.run` does.
    """
    check_spec("param_spec", param_spec)
    bound = inspect.signature(mox.run).bind(*arguments, **options)
    for name in ("model_fn", "optimizer_fn"):
        if name in bound.arguments:
            bound.arguments[name] = with_spec(bound.arguments[name], param_spec)
    return mox.run(*bound.args, **bound.kwargs)


def check_spec(name: str, spec: object) -> None:
    """Refuse what is no ParamSpec.

    Raises:
        UsageError: with its name.
    """
    if not isinstance(spec, ParamSpec):
        raise UsageError(f"{name} is {spec!r}; write mox.auto.ParamSpec(learning_rate=..., momentum=...).")


def with_spec(function: Any, spec: ParamSpec) -> Any:
    """Return a function, or a list of them, that is given the parameters if it takes them."""
    if isinstance(function, (list, tuple)):
        return [with_spec(each, spec) for each in function]
    return functools.partial(function, param_spec=spec) if takes_spec(function) else function


def takes_spec(function: Callable[..., Any] | Any) -> bool:
    """Whether a function takes an argument `param_spec`, by name or in `**kwargs`."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # what mox.run refuses, and callables written in C
        return False
    return "param_spec" in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())
