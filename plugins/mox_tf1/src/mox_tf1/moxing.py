"""`moxing` as its scripts import it: views of mox under the paths of the original."""

from __future__ import annotations

import functools
import inspect
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import mox_core
from mox_core import flags
from mox_tf1.views import View, constant

if TYPE_CHECKING:
    from collections.abc import Callable

    from mox_tf1.tensorflow1 import ScriptGraph

    Limit = Callable[[Callable[..., Any], str], Callable[..., Any]]

Own = dict[str, "Callable[[], Any]"]

_GONE: Final = {
    "auto": "`pip install mox-auto` adds it",
    "file": "paths are those of this machine: open and tf.gfile read and write them; `pip install mox-file` adds it",
}
"""For names that are not here, what to do instead."""

_OF_THE_PLATFORM: Final = {
    "common": {
        "metrics": "compute the metrics of object detection by pycocotools, or by keras.metrics",
        "task_enum": "it named the tasks of the platform: write their names",
    },
    "data": {"manifest_metadata": "a manifest is a file of JSON lines: read it by json.loads"},
    "unittest": {"base": "derive tests from unittest.TestCase"},
}
"""Parts of `moxing.framework` that are not here, and what to do instead."""

_OTHER_ENGINES: Final = "mox trains with TensorFlow only: this part of MoXing is not there."


def moxing_view(limit: Limit) -> View:
    """Return `moxing` for the modules of a script.

    Args:
        limit: what makes a function of mox that of the script, see `limited`.
    """
    tensorflow = functools.cache(partial(_tensorflow_view, limit))
    own: Own = {
        "file": _file,
        "framework": _framework_view,
        "tensorflow": tensorflow,
        "__version__": lambda: mox_core.__version__,
    }
    return View("moxing", own, missing=_missing_above)


def _missing_above(name: str) -> str:
    if name in ("mxnet", "pytorch"):
        return _OTHER_ENGINES
    return f"moxing.{name} is not there: it is in moxing.tensorflow. Write import moxing.tensorflow as mox."


def limited(graph: ScriptGraph, max_steps: int | None, function: Callable[..., Any], steps: str) -> Callable[..., Any]:
    """Return a function of mox that leaves the script's graph, and makes no more steps than the command line says.

    Args:
        graph: that graph.
        max_steps: the limit; None for none.
        function: `mox.run`, or one that calls it.
        steps: the name of its argument that is limited; 0 stands for any number.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        bound = signature.bind(*arguments, **options)
        given = bound.arguments
        # Those of a function that hands its arguments on are in its **options.
        given = given if steps in signature.parameters else given.setdefault("options", {})
        asked = given.get(steps, 0)
        if max_steps is not None and isinstance(asked, int):  # anything else is refused by mox.run
            given[steps] = min(asked or max_steps, max_steps)
        with graph.left():
            return function(*bound.args, **bound.kwargs)

    return call


def _tensorflow_view(limit: Limit) -> View:
    """`moxing.tensorflow`, which shows everything; its parts show the same under the paths that scripts import."""
    shown: Own = {
        "auto": lambda: _auto_view(limit),
        "cache": constant(_cache),
        "file": _file,
        "run": constant(limit(mox_core.run, "max_number_of_steps")),
    }

    def part(name: str, inner: Own | None = None) -> Callable[[], View]:
        return lambda: _MoxView(f"moxing.tensorflow.{name}", {**shown, **(inner or {})})

    shown["builtin_algorithms"] = lambda: View(
        "moxing.tensorflow.builtin_algorithms",
        missing=lambda name: (
            f"builtin_algorithms.{name} was a program of the platform: mox.run trains a network by name."
        ),
    )
    scheduler: Own = {"learning_rate_scheduler": lambda: mox_core.learning_rate_scheduler}
    modules = {
        "datasets": ("dataset_utils", "raw", "reader", "tfrecord_common", "tfrecord_image"),
        "executor": ("executor", "hooks"),
        "nets": ("nets_factory",),
        "optimizer": ("dynamic_momentum", "dynamic_momentumw", "simple_sync_optimizer"),
        "preprocessing": ("preprocessing_factory",),
    }
    deeper: dict[str, Own] = {
        package: {name: part(f"{package}.{name}") for name in names} for package, names in modules.items()
    }
    deeper["datasets"]["raw"] = part("datasets.raw", {"raw_dataset": part("datasets.raw.raw_dataset")})
    deeper["datasets"]["reader"] = part("datasets.reader", {"raw_reader": part("datasets.reader.raw_reader")})
    deeper["executor"]["ops_adapter"] = _ops_adapter
    deeper["optimizer"] |= scheduler
    packages: Own = {package: part(package, inner) for package, inner in deeper.items()}
    return _MoxView("moxing.tensorflow", {**shown, **packages, **scheduler, "utils": _utils_view})


class _MoxView(View):
    """A view of the public names of mox."""

    def __init__(self, name: str, own: Own) -> None:
        super().__init__(name, own, behind=constant(mox_core), missing=_missing)

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__["_view"][0]
        if name in _GONE and name not in own and name not in dir(mox_core):
            raise AttributeError(_missing(name), name=name, obj=None)
        if name not in own and not name.startswith("_"):
            return getattr(mox_core, name)  # whose own error names what there is
        return super().__getattr__(name)


def _missing(name: str) -> str:
    return f"mox.{name} is not there: {_GONE[name]}." if name in _GONE else ""


def _file() -> Any:
    if "file" not in dir(mox_core):
        raise AttributeError(_missing("file"), name="file", obj=None)
    return mox_core.file


def _auto_view(limit: Limit) -> View:
    if "auto" not in dir(mox_core):
        raise AttributeError(_missing("auto"), name="auto", obj=None)
    auto = mox_core.auto
    own: Own = {
        "run": constant(limit(auto.run, "max_number_of_steps")),
        "search": constant(limit(auto.search, "total_steps")),
    }
    return View("moxing.tensorflow.auto", own, behind=constant(auto))


def _cache(*_: Any, **__: Any) -> None:
    """`mox.cache()`, behind which TensorFlow wrote to the machine what was to go to a remote store."""
    logging.getLogger("tensorflow").warning(
        "mox.cache is not needed: what goes to a remote store is written on this machine first, by itself."
    )


def _ops_adapter() -> View:
    def size() -> int:
        hosts = mox_core.get_flag("worker_hosts")
        return len(hosts.split(",")) if hosts else 1

    def rank() -> int:
        index: int = mox_core.get_flag("task_index")
        return index

    return View("moxing.tensorflow.executor.ops_adapter", {"size": constant(size), "rank": constant(rank)})


def _utils_view() -> View:
    name = "moxing.tensorflow.utils"
    shown: Own = {"get_flag": constant(mox_core.get_flag), "set_flag": constant(mox_core.set_flag)}
    shown["get_help"] = constant(flags.describe)
    mox_flags: Own = {"mox_flags": lambda: View(f"{name}.hyper_param_flags.mox_flags", shown)}
    tf_util: Own = {"version_info": constant(lambda: (1, 15, 0))}
    return View(
        name,
        {
            "hyper_param_flags": lambda: View(f"{name}.hyper_param_flags", mox_flags),
            "tf_util": lambda: View(f"{name}.tf_util", tf_util),
        },
    )


def _framework_view() -> View:
    def compat() -> Any:
        import tensorflow as tf  # noqa: PLC0415  (only a script that asks for it needs it)

        return tf.compat

    runtime: Own = {
        "mpi_local_sync_barrier": constant(lambda function: function),
        "reset_logger": constant(_reset_logger),
    }
    util: Own = {"compat": compat, "runtime": lambda: View("moxing.framework.util.runtime", runtime)}

    own: Own = {"file": _file, "util": lambda: View("moxing.framework.util", util)}
    for part in _OF_THE_PLATFORM:
        own[part] = partial(View, f"moxing.framework.{part}", missing=partial(_missing_of_platform, part))
    return View("moxing.framework", own, missing=partial(_missing_of_platform, ""))


def _missing_of_platform(part: str, name: str) -> str:
    path = ".".join(filter(None, ("moxing.framework", part, name)))
    instead = _OF_THE_PLATFORM.get(part, {}).get(name)
    return f"{path} belonged to the platform, and is not there{f': {instead}' if instead else ''}."


def _reset_logger(level: int | str = logging.INFO) -> None:
    logging.getLogger("tensorflow").setLevel(level)
