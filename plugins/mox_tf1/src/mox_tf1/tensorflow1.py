"""`import tensorflow` as a script of TensorFlow 1 has it: a view of `tensorflow.compat.v1`, with what it lacks."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from mox_tf1.contrib import contrib_view
from mox_tf1.estimator.view import estimator_view
from mox_tf1.views import View, constant, module

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

VERSION: Final = "1.15.0"
"""The version of TensorFlow that scripts see."""


class ScriptGraph:
    """The default graph of a script that opens sessions, which TensorFlow 1 always had."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.is_open = False

    def open(self) -> None:
        """Make a new graph the default one."""
        import tensorflow as tf  # noqa: PLC0415  (only scripts with sessions need it at once)

        self._stack.enter_context(tf.Graph().as_default())
        self.is_open = True

    def close(self) -> None:
        """Leave the graph."""
        self.is_open = False
        self._stack.close()

    def reset(self) -> None:
        """Do what `tf.reset_default_graph` did."""
        if self.is_open:
            self.close()
            self.open()
        else:
            module("tensorflow")().compat.v1.reset_default_graph()

    def left(self) -> AbstractContextManager[Any]:
        """Return a context outside of the graph, for `mox.run`, which makes its own."""
        if not self.is_open:
            return ExitStack()
        from mox_core.sdk import outside_of_graphs  # noqa: PLC0415  (mox.run loads the engine, too)

        return outside_of_graphs()


def tensorflow_view(graph: ScriptGraph, run: Callable[..., Any], patches: ExitStack) -> View:
    """Return `tensorflow` for the modules of a script.

    Args:
        graph: its default graph.
        run: `mox.run` of the script.
        patches: what is put back into TensorFlow as long as the script runs.
    """
    keras = _keras_view
    own: dict[str, Callable[[], Any]] = {
        "VERSION": constant(VERSION),
        "__version__": constant(VERSION),
        "app": _app_view,
        "contrib": lambda: _contrib_view(patches, keras, run),
        "estimator": partial(estimator_view, run),
        "examples": _examples_view,
        "flags": _flags_view,
        "keras": partial(keras, "tensorflow.keras"),
        "layers": partial(_LegacyView, "tensorflow.layers", "layers", lambda: _compat_v1().layers),
        "nn": _nn_view,
        "python": _python_view,
        "reset_default_graph": constant(graph.reset),
    }
    return View("tensorflow", own, behind=_compat_v1, missing=_missing)


def _contrib_view(patches: ExitStack, keras: Callable[[str], View], run: Callable[..., Any]) -> View:
    from mox_core.sdk import slim_layers  # noqa: PLC0415  (the engine, only for scripts that ask for contrib)

    patches.enter_context(slim_layers())  # tf_slim needs names that TensorFlow has lost, also outside of mox.run
    return contrib_view(keras, lambda: _nn_view().rnn_cell, run)


def _compat_v1() -> Any:
    return module("tensorflow")().compat.v1


def _missing(name: str) -> str:
    if hasattr(module("tensorflow")(), name):
        return f"tf.{name} is of TensorFlow 2, and the script runs as one of TensorFlow {VERSION}: run it with python."
    return f"TensorFlow {VERSION}, as mox-tf1 gives it, has no tf.{name}."


def _examples_view() -> View:
    def tutorials() -> View:
        own = {"mnist": lambda: View("tensorflow.examples.tutorials.mnist", {"input_data": module("mox_tf1.mnist")})}
        return View(
            "tensorflow.examples.tutorials", own, missing=lambda name: f"Only the tutorial mnist is there, no {name}."
        )

    return View("tensorflow.examples", {"tutorials": tutorials})


def _python_view() -> View:
    """TensorFlow's private modules, as a script asks for them, with Keras in place of the copy among them."""
    from mox_tf1.tf_internals import private_modules  # noqa: PLC0415  (only a script that asks for them needs them)

    name = private_modules().__name__
    own = {"keras": partial(_keras_view, f"{name}.keras")}
    return View(name, own, behind=private_modules, submodules=True)


class _KerasView(View):
    """Keras 3 under a path of Keras 2; a private module on that path is what is around it.

    `keras.layers.core` is `keras.layers`.
    """

    def __getattr__(self, name: str) -> Any:
        real = self.__dict__["_view"][1]()
        value = getattr(real, name, None)
        if type(value) is type(real) and not name.startswith("__"):  # a module
            value = self.__dict__[name] = _KerasView(f"{self.__name__}.{name}", behind=constant(value))
            return value
        if value is None and name in _PRIVATE_MODULES:
            return self
        return super().__getattr__(name)


_PRIVATE_MODULES: Final = {
    "advanced_activations",
    "convolutional",
    "core",
    "embeddings",
    "engine",
    "input_layer",
    "merge",
    "network",
    "normalization",
    "pooling",
    "recurrent",
    "training",
    "wrappers",
}
"""Modules of Keras 2 whose names scripts import from, and whose contents their packages show too."""


def _keras_view(name: str) -> View:
    return _KerasView(
        name,
        behind=lambda: _resolved(module("tensorflow")().keras),
        missing=lambda missing: f"Keras 3, which TensorFlow 2 brings, has no keras.{missing}.",
    )


def _resolved(keras: Any) -> Any:
    """Return the module behind TensorFlow's lazy loader."""
    return module(keras.layers.__name__.rpartition(".")[0])()


class _LegacyView(View):
    """A part of TensorFlow 1 that has been left to tf_keras; in `mox.run`, mox has its own way to it."""

    def __init__(self, name: str, part: str, behind: Callable[[], Any]) -> None:
        super().__init__(name, behind=behind)
        self.__dict__["_part"] = part

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__"):
                raise
        from mox_tf1.tf_internals import legacy_part  # noqa: PLC0415  (tf_keras takes seconds)

        return getattr(legacy_part(self.__dict__["_part"]), name)


def _nn_view() -> View:
    nn = _compat_v1().nn
    cells = partial(_LegacyView, "tensorflow.nn.rnn_cell", "rnn_cell", constant(nn.rnn_cell))
    return View(
        "tensorflow.nn", {"rnn_cell": cells}, behind=constant(nn), missing=lambda name: f"There is no tf.nn.{name}."
    )


def _flags_view() -> View:
    real = _compat_v1().flags
    names = [name for name in dir(real) if name.startswith("DEFINE_")]
    own = {name: constant(partial(_define, getattr(real, name))) for name in names}
    return View("tensorflow.flags", own, behind=constant(real))


def _define(define: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Define a flag of the script. One of that name in a library, like absl's own --log_dir, steps back."""
    flags = _compat_v1().flags.FLAGS
    name = arguments[0] if arguments else options.get("name", options.get("flag_name"))
    if name in flags and flags.find_module_defining_flag(name) not in _defined_by_script:
        options.setdefault("allow_override", True)
    result = define(*arguments, **options)
    _defined_by_script.add(flags.find_module_defining_flag(name))
    return result


_defined_by_script: set[Any] = set()
"""The names of the modules that have defined flags through a view."""


def _app_view() -> View:
    return View("tensorflow.app", {"flags": _flags_view}, behind=lambda: _compat_v1().app)
