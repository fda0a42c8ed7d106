"""Errors of mox where scripts, notebooks and pytest show them: with the user's own lines, whichever name raised them.

What shows an error is asked, not what raises it: so the functions, classes and methods of mox and of its plugins stay
as they are, and no frame of a wrapper lies between them and the user.
"""

from __future__ import annotations

import functools
import importlib
import sys
from typing import TYPE_CHECKING, Any

from mox_core.errors import MoxError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


def install() -> None:
    """Fold errors that end a script, before they go to the `sys.excepthook` that there is, and those of a notebook."""
    sys.excepthook = functools.partial(_show, sys.excepthook)
    setattr(MoxError, "_render_traceback_", _render)  # noqa: B010  (what IPython asks the classes of errors for)


def _show(
    show: Callable[[type[BaseException], BaseException, TracebackType | None], Any],
    kind: type[BaseException],
    error: BaseException,
    traceback: TracebackType | None,
) -> None:
    if "mox_core.runner" in sys.modules or isinstance(error, MoxError):
        from mox_core import tracebacks  # noqa: PLC0415  (for errors only: `import mox_core` is fast)

        error = tracebacks.for_display(error)
        kind, traceback = type(error), error.__traceback__
    show(kind, error, traceback)


def _render(error: MoxError) -> list[str]:
    """Return the lines that IPython shows."""
    from mox_core import tracebacks  # noqa: PLC0415

    shown = tracebacks.for_display(error)
    how = importlib.import_module("IPython").get_ipython().InteractiveTB
    lines: list[str] = how.structured_traceback(type(shown), shown, shown.__traceback__)
    return lines
