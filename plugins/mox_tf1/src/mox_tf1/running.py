"""Running a script as Python would, with the imports of TensorFlow 1."""

from __future__ import annotations

import ast
import contextlib
import linecache
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from mox_core.errors import UsageError
from mox_tf1.importing import ScriptImports
from mox_tf1.sources import compile_module, parse_module

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

_SESSIONS: Final = {"InteractiveSession", "MonitoredSession", "MonitoredTrainingSession", "Session", "Supervisor"}
"""A script that names one of these expects a default graph, as TensorFlow 1 had it."""


def read_script(name: str) -> tuple[Path, bytes]:
    """Return the path and the text of a script.

    Raises:
        UsageError: if it cannot be read.
    """
    path = Path(name).resolve()  # modules beside it are found where it lies, as Python does it for a link
    try:
        return path, path.read_bytes()
    except OSError as error:
        raise UsageError(f"the script {name!r} cannot be read: {error.strerror}.") from error


def run_script(path: Path, source: bytes, argv: Sequence[str], max_steps: int | None = None) -> int:
    """Run a script as `__main__`; return 0, or 1 after an error, which is shown.

    Args:
        path: the script.
        source: its text.
        argv: its name as it was given, and its arguments.
        max_steps: the limit of every `max_number_of_steps`; None for none.

    Raises:
        SystemExit: if the script does.
    """
    main = ModuleType("__main__")
    with _as_main(main, path.parent, argv):
        imports = ScriptImports(path.parent, max_steps)
        main.__dict__.update({"__builtins__": imports.builtins, "__file__": str(path)})
        sys.meta_path.insert(0, imports.finder)
        try:
            tree = parse_module(source, path)
            if _opens_session(tree):
                imports.graph.open()
            exec(compile_module(tree, path), main.__dict__)  # noqa: S102 (it is the purpose)
        except Exception as error:  # noqa: BLE001 (as Python's own main program)
            sys.stdout.flush()
            sys.stderr.write(describe(error, path))
            return 1
        finally:
            sys.meta_path.remove(imports.finder)
            imports.patches.close()
            if imports.graph.is_open:
                imports.graph.close()
    return 0


def describe(error: BaseException, script: Path) -> str:
    """Return the report of an error: the script's own line first, then Python's report from there on."""
    own = _first_own(error.__traceback__, script)
    lines = "".join(traceback.format_exception(type(error), error, own))
    last = traceback.format_exception_only(error)[-1]
    if isinstance(error, SyntaxError) and own is None:
        return f"{Path(error.filename or script).name}:{error.lineno}: {(error.text or '').strip()}\n{lines}"
    inner = [f for f in traceback.extract_tb(own) if _is_own(f.filename, script)]
    if not inner:
        return lines
    frame = inner[-1]
    code = linecache.getline(frame.filename, frame.lineno or 0).strip()
    return f"{Path(frame.filename).name}:{frame.lineno}: {code}\n{last}\n{lines}"


def _first_own(trace: TracebackType | None, script: Path) -> TracebackType | None:
    """Return the traceback from the script's first line on, without what has started it."""
    while trace is not None and not _is_own(trace.tb_frame.f_code.co_filename, script):
        trace = trace.tb_next
    return trace


def _is_own(filename: str, script: Path) -> bool:
    path = Path(filename)
    installed = "site-packages" in path.parts or "dist-packages" in path.parts
    here = Path(__file__).parents[1]
    return path.is_relative_to(script.parent) and not installed and not path.is_relative_to(here)


def _opens_session(tree: ast.AST) -> bool:
    return any(
        (isinstance(node, ast.Attribute) and node.attr in _SESSIONS)
        or (isinstance(node, ast.Name) and node.id in _SESSIONS)
        for node in ast.walk(tree)
    )


@contextlib.contextmanager
def _as_main(main: ModuleType, folder: Path, argv: Sequence[str]) -> Iterator[None]:
    """Make a module the main program: `__main__`, the arguments and the path for imports are those of the script."""
    saved: tuple[Any, ...] = (sys.modules["__main__"], sys.argv, sys.path)
    sys.modules["__main__"], sys.argv = main, list(argv)
    # In place of the folder that Python has put there for the program that runs the script.
    sys.path = [str(folder), *sys.path[0 if getattr(sys.flags, "safe_path", False) else 1 :]]
    try:
        yield
    finally:
        sys.modules["__main__"], sys.argv, sys.path = saved
