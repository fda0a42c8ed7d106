"""What the exporters use of TensorFlow that has no public name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.lite.python.convert_phase import ConverterError  # type: ignore[import-not-found]  # not in the stubs
from tensorflow.python.framework import convert_to_constants
from tensorflow.python.saved_model import fingerprinting_utils  # type: ignore[attr-defined]  # not in the stubs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["ConverterError", "change_graphs", "unconverted_ops", "variables_to_constants"]


def variables_to_constants(function: Any) -> Any:
    """Return a concrete function with the values of its variables as constants, and its branches and loops as they are.

    TensorFlow's own converters use it; TF1's public `convert_variables_to_constants` takes sessions.
    """
    return convert_to_constants.convert_variables_to_constants_v2(  # type: ignore[no-untyped-call]
        function, lower_control_flow=False, aggressive_inlining=True
    )


def change_graphs(directory: Path, change: Callable[[Any], None]) -> None:
    """Change the graphs in the file of a SavedModel, and write its fingerprint anew: it holds a checksum of the file.

    Args:
        directory: the folder of the SavedModel.
        change: is called with each `GraphDef`.
    """
    file = directory / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for meta_graph in saved.meta_graphs:
        change(meta_graph.graph_def)
    file.write_bytes(saved.SerializeToString(deterministic=True))
    fingerprinting_utils.write_fingerprint(str(directory))


def unconverted_ops(error: ConverterError) -> list[str]:
    """Return the types of the operations for which the converter to LiteRT has failed; its message is for people."""
    return [each.operator.name.removeprefix("tf.") for each in error.errors if each.operator.name]
