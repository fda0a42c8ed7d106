"""`tf.contrib`, which TensorFlow 2 has dropped: what lives on elsewhere, by name."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from mox_tf1.estimator.view import predictor_view, tpu_view
from mox_tf1.views import View, constant, module

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_INSTEAD: Final = {
    "crf": "TensorFlow Addons had it, and has ended",
    "cudnn_rnn": "keras.layers.LSTM and GRU use cuDNN by themselves",
    "distribute": "mox.run trains on several devices and machines: --num_gpus, docs/distributed.md",
    "eager": "TensorFlow 2 is eager by itself",
    "image": "tf.image, and keras.layers.RandomRotation and its like",
    "estimator": "the optimizers of tf.train with compute_gradients, and hooks of mox",
    "learn": "tf.estimator.Estimator, mox.run and keras.Model",
    "opt": "keras.optimizers, among them AdamW and Lion",
    "quantize": "tf.lite quantizes when it converts: mox.ExportKeys.TFLITE",
    "seq2seq": "keras.layers.RNN, or a loop of one's own",
    "tensorrt": "TensorRT of NVIDIA reads exported models",
}
"""For parts that are gone, what to look at."""


def contrib_view(keras: Callable[[str], View], cells: Callable[[], View], run: Callable[..., Any]) -> View:
    """Return `tf.contrib` for the modules of a script.

    Args:
        keras: returns Keras under a name.
        cells: returns `tf.nn.rnn_cell`.
        run: `mox.run` of the script.
    """
    slim = module("tf_slim")
    tf1 = _compat_v1
    whole: Mapping[str, Callable[[], Any]] = {
        "framework": slim,
        "layers": slim,
        "lookup": lambda: tf1().lookup,
        "losses": module("tf_slim.losses"),
        "metrics": module("tf_slim.metrics"),
        "rnn": cells,
        "slim": slim,
        "summary": lambda: tf1().summary,
        "training": slim,
    }
    extra: dict[str, Mapping[str, Callable[[], Any]]] = {
        "framework": {"nest": lambda: tf1().nest, "sort": lambda: tf1().sort, "argsort": lambda: tf1().argsort},
        "layers": {"layers": slim},
        "rnn": {name: _of_nn(name) for name in ("static_rnn", "static_bidirectional_rnn")},
        "training": {"HParams": lambda: module("mox_tf1.hparams")().HParams},
        "slim": {"nets": _nets_view, "python": lambda: View("tensorflow.contrib.slim.python", {"slim": _slim_view})},
    }
    own: dict[str, Callable[[], Any]] = {
        name: partial(_part, name, extra.get(name), behind) for name, behind in whole.items()
    }
    own["data"] = _data_view
    own["predictor"] = predictor_view
    own["tpu"] = partial(tpu_view, run)
    own["keras"] = partial(keras, "tensorflow.contrib.keras")
    return View("tensorflow.contrib", own, missing=_missing)


def _part(name: str, own: Mapping[str, Callable[[], Any]] | None, behind: Callable[[], Any]) -> View:
    path = f"tensorflow.contrib.{name}"

    def missing(inner: str) -> str:
        return f"tf.contrib.{name}.{inner} went with TensorFlow 2, and {behind().__name__} has no {inner} in its place."

    def code() -> View:  # `tensorflow.contrib.layers.python.layers` and `.python.ops` are where its code lay
        inner: Mapping[str, Callable[[], Any]] = {name: lambda: _part(name, own, behind), "ops": _ops_view}
        return View(f"{path}.python", inner, behind=behind, submodules=True)

    inner: Mapping[str, Callable[[], Any]] = {"python": code}
    return View(path, {**inner, **(own or {})}, behind=behind, missing=missing, submodules=True)


def _missing(name: str) -> str:
    instead = f" Look at: {_INSTEAD[name]}." if name in _INSTEAD else ""
    return f"tf.contrib.{name} went with TensorFlow 2, and nothing stands in for it here.{instead}"


def _compat_v1() -> Any:
    return module("tensorflow")().compat.v1


def _of_nn(name: str) -> Callable[[], Any]:
    return lambda: getattr(_compat_v1().nn, name)


def _nets_view() -> View:
    return View("tensorflow.contrib.slim.nets", behind=module("tf_slim.nets"), submodules=True)


def _slim_view() -> View:
    return View("tensorflow.contrib.slim.python.slim", {"nets": _nets_view}, behind=module("tf_slim"), submodules=True)


def _ops_view() -> View:
    """Modules like `arg_scope` and `variables`, and what is in them."""
    functions = {
        name: partial(getattr, module("tf_slim")(), name) for name in ("add_arg_scope", "arg_scoped_arguments")
    }
    return View("tensorflow.contrib.framework.python.ops", functions, behind=module("tf_slim.ops"), submodules=True)


def _data_view() -> View:
    experimental = _compat_v1().data.experimental

    def batch_and_drop_remainder(batch_size: Any) -> Callable[[Any], Any]:
        return lambda dataset: dataset.batch(batch_size, drop_remainder=True)

    own: dict[str, Callable[[], Any]] = {
        "batch_and_drop_remainder": constant(batch_and_drop_remainder),
        "Dataset": lambda: _compat_v1().data.Dataset,
        "Iterator": lambda: _compat_v1().data.Iterator,
    }
    return View("tensorflow.contrib.data", own, behind=constant(experimental))
