"""`ExportKeys.ONNX`: one file for ONNX Runtime and the other runtimes that read ONNX. tf2onnx converts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

try:  # before TensorFlow is imported, which takes seconds
    import onnx
    from tf2onnx import convert
except ImportError as missing:
    raise ImportError(f"{missing}; ONNX needs more packages: pip install 'mox-export[onnx]'") from missing

from mox_core.errors import UsageError
from mox_export.graphs import freeze, no_such_op, quiet

if TYPE_CHECKING:
    from mox_core.sdk import ExportedModel

FILE = "model.onnx"


class _Onnx:
    """The exporter: `FILE` is of ONNX's own ops, with the model's names on its inputs and outputs."""

    def check(self, model: ExportedModel) -> None:
        """Raise UsageError if the model cannot be converted, by converting it."""
        _convert(model)

    def __call__(self, model: ExportedModel, directory: str) -> None:
        """Write the file.

        Args:
            model: the model.
            directory: an empty folder.

        Raises:
            UsageError: if the model cannot be exported, or ONNX lacks an op.
        """
        onnx.save_model(_convert(model), str(Path(directory, FILE)))


export = _Onnx()


def _convert(model: ExportedModel) -> onnx.ModelProto:
    inputs, outputs = ([f"{name}:0" for name in names] for names in (model.inputs, model.outputs))
    with quiet():
        converted, _ = convert.from_graph_def(
            freeze(model),
            name="mox",
            input_names=inputs,
            output_names=outputs,
            tensors_to_rename={name: name.removesuffix(":0") for name in (*inputs, *outputs)},
        )
    # tf2onnx leaves an op that it cannot convert as it is, and only logs it.
    unknown = [node.op_type for node in converted.graph.node if not onnx.defs.has(node.op_type, domain=node.domain)]
    if unknown:
        raise no_such_op("ONNX", unknown)
    try:
        onnx.checker.check_model(converted)
    except onnx.checker.ValidationError as error:
        raise UsageError(f"the model cannot be converted to ONNX: {str(error).splitlines()[0]}") from error
    return converted
