"""Errors of a run with the user's own lines, and without those of mox, TensorFlow and Keras between them."""

from __future__ import annotations

import os
import re
import sysconfig
from types import TracebackType
from typing import TYPE_CHECKING, Final, TypeVar

from mox_core.errors import MoxError
from mox_core.plugins.known_names import FIRST_PARTY
from mox_core.user_code import is_users

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    AnyError = TypeVar("AnyError", bound=BaseException)

_FOLDED: Final = frozenset(
    {
        *("mox_core", "tensorflow", "keras", "tf_keras", "absl", "wrapt", "optree"),
        *(distribution.replace("-", "_") for distribution in FIRST_PARTY),
    }
)
_FRAME: Final = re.compile(r'^  File "(?P<file>[^"\n]*)", line \d+, in .*\n(?:    .*\n)*', re.MULTILINE)
"""How TensorFlow writes a line of those where an operation was defined."""
_AUTOGRAPH: Final = "__autograph_generated_file"
"""Part of the path of what TensorFlow makes of a function; the error names the lines of the function itself."""
_STDLIB: Final = sysconfig.get_path("stdlib") + os.sep
_PACKAGES: Final = (sysconfig.get_path("purelib") + os.sep, sysconfig.get_path("platlib") + os.sep)


def is_wanted_whole() -> bool:
    """Return whether the user wants to see all lines."""
    return os.environ.get("MOX_FULL_TRACEBACK", "") not in ("", "0")


def for_display(error: AnyError) -> AnyError:
    """Return an error as it is shown: those of mox folded, others without the frames of mox that ask to be hidden."""
    if is_wanted_whole():
        return error
    if isinstance(error, MoxError):
        return folded(error)
    for each in _chain(error):
        entries = list(_entries(each.__traceback__))
        shown = [entry for entry in entries if not (_is_folded(entry) and _asks_to_be_hidden(entry))]
        if len(shown) != len(entries):
            each.__traceback__ = _joined(shown)
    return error


def folded(error: AnyError) -> AnyError:
    """Return an error whose traceback, and those of what caused it, show the lines of others alone.

    One that has no such line, and is no error of mox, keeps all: it may be a defect of mox.
    """
    if (shorter := _in_graph(error)) is not error:
        return shorter
    for each in _chain(error):
        each.__traceback__ = _folded(each)
        cause = each.__cause__ or each.__context__
        if isinstance(each, MoxError) and cause is not None and not _has_lines_of_others(cause):
            each.__cause__ = None  # its text says what the cause said
            each.__suppress_context__ = True
    return error


def _in_graph(error: AnyError) -> AnyError:
    """Return an error in an operation of a graph with the user's lines alone of those where it was defined."""
    message = getattr(error, "message", None)
    if not isinstance(message, str) or not hasattr(error, "node_def") or not hasattr(error, "op"):
        return error
    own = [match["file"] for match in _FRAME.finditer(message) if is_users(match["file"])]
    if not own:
        return error
    text = _FRAME.sub(lambda match: match[0] if match["file"] in own else "", message)
    return type(error)(error.node_def, error.op, re.sub(r"\n{2,}", "\n", text))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)


def _folded(error: BaseException) -> TracebackType | None:
    entries = list(_entries(error.__traceback__))
    kept = [entry for entry in entries if not _is_folded(entry)]
    if not kept and not isinstance(error, MoxError):
        return error.__traceback__
    return _joined(kept)


def _joined(entries: Sequence[TracebackType]) -> TracebackType | None:
    following = None
    for entry in reversed(entries):
        following = TracebackType(following, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return following


def _has_lines_of_others(error: BaseException) -> bool:
    return any(not _is_folded(entry) for each in _chain(error) for entry in _entries(each.__traceback__))


def _entries(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _is_folded(entry: TracebackType) -> bool:
    name, code = entry.tb_frame.f_globals.get("__name__", ""), entry.tb_frame.f_code
    if str(name).partition(".")[0] in _FOLDED:
        return True
    file = code.co_filename
    in_stdlib = file.startswith((_STDLIB, "<frozen")) and not file.startswith(_PACKAGES)
    is_made = file.startswith("<attrs") or (file == "<string>" and code.co_name.startswith("__"))  # `python -c` is not
    return in_stdlib or is_made or _AUTOGRAPH in file


def _asks_to_be_hidden(entry: TracebackType) -> bool:
    return bool(entry.tb_frame.f_locals.get("__tracebackhide__"))
