"""Exported models: the version folder they go to, and how they appear there whole or not at all."""

from __future__ import annotations

import keyword
import os
import shutil
from typing import TYPE_CHECKING, Any, cast

import tensorflow as tf
from attrs import frozen

from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mox_core.engine.inputs import InputPipeline
    from mox_core.engine.modelgraph import ModelGraph
    from mox_core.specs import ExportSpec

_UNFINISHED = ".unfinished-export-"


@frozen(kw_only=True)
class ExportedModel:
    """What an exporter gets: a function with named inputs and outputs, and the variables it reads.

    Attributes:
        function: takes tensors by the names of `inputs` and returns tensors by the names of `outputs`.
        inputs: shape and dtype of each input by name; the batch dimension is None with auto_batch.
        outputs: shape and dtype of each output by name.
        variables: the variables that the function reads.
    """

    function: Callable[..., dict[str, tf.Tensor]]
    inputs: dict[str, tf.TensorSpec]
    outputs: dict[str, tf.TensorSpec]
    variables: tuple[tf.Variable, ...]


def input_specs(pipeline: InputPipeline) -> list[tf.TensorSpec]:
    """Returns the inputs of `model_fn` in mode EXPORT: of any batch size where mox makes the batches."""
    if not pipeline.by_mox:
        return list(pipeline.specs)
    return [tf.TensorSpec([None, *spec.shape[1:]], spec.dtype) for spec in pipeline.specs]


def check(graph: ModelGraph, log_dir: Path, exporter: Callable[[ExportedModel, str], None]) -> None:
    """Refuses what could not be exported, before a run.

    An exporter may have a method `check(model)`, which raises where its format cannot hold the model.

    Raises:
        UsageError: where the version exists, or outputs need more than the inputs give.
    """
    model = exported_model(graph)
    _check_version(log_dir, _spec_of(graph).version)
    if (refuse := getattr(exporter, "check", None)) is not None:
        refuse(model)


def _check_version(log_dir: Path, version: int | str) -> None:
    """Refuses a version that exists.

    Raises:
        UsageError: with the folder and what to do.
    """
    if version != -1 and (log_dir / str(version)).exists():
        msg = (
            f"Export directory already exists. Please specify a different export directory: {log_dir / str(version)}. "
            f"Pass another version to mox.ExportSpec, or version=-1 for the next number ({_next_version(log_dir)})."
        )
        raise UsageError(msg)


def write(graph: ModelGraph, exporter: Callable[[ExportedModel, str], None], log_dir: Path) -> str:
    """Exports a graph of mode EXPORT with an exporter and returns the folder."""
    spec = _spec_of(graph)
    _check_version(log_dir, spec.version)
    log_dir.mkdir(parents=True, exist_ok=True)
    for leftover in log_dir.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    place = log_dir / f"{_UNFINISHED}{os.getpid()}"
    place.mkdir()
    try:
        exporter(exported_model(graph), str(place))
        name = str(_next_version(log_dir) if spec.version == -1 else spec.version)
        place.rename(log_dir / name)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    tf.get_logger().info("Exported model written to: %s", log_dir / name)
    return str(log_dir / name)


def exported_model(graph: ModelGraph) -> ExportedModel:
    """Cuts the function from the inputs to the outputs of its export_spec out of a graph.

    Raises:
        UsageError: where the outputs need more than the inputs of the export_spec give.
    """
    spec = _spec_of(graph)
    inputs = {name: _tensor_of(graph, tensor, f"inputs_dict[{name!r}]") for name, tensor in spec.inputs_dict.items()}
    outputs = {name: _tensor_of(graph, tensor, f"outputs_dict[{name!r}]") for name, tensor in spec.outputs_dict.items()}
    _check_names(inputs)
    _check_reachable(graph, inputs, outputs)
    pruned = graph.traced.prune(list(inputs.values()), list(outputs.values()))

    def function(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(zip(outputs, pruned(*(tensors[name] for name in inputs)), strict=True))

    return ExportedModel(
        function=function,
        inputs={name: tf.TensorSpec(tensor.shape, tensor.dtype, name) for name, tensor in inputs.items()},
        outputs={name: tf.TensorSpec(tensor.shape, tensor.dtype, name) for name, tensor in outputs.items()},
        variables=tuple(pruned.graph.variables),
    )


def _spec_of(graph: ModelGraph) -> ExportSpec:
    return cast("ExportSpec", graph.spec.export_spec)  # a graph of mode EXPORT has one


def _tensor_of(graph: ModelGraph, value: Any, name: str) -> tf.Tensor:
    if getattr(value, "graph", None) is not graph.graph:
        msg = f"ExportSpec {name} is {value!r}, which is no tensor that model_fn made in this call."
        raise UsageError(msg)
    return value


def _check_names(inputs: dict[str, tf.Tensor]) -> None:
    names: dict[str, str] = {}
    for name, tensor in inputs.items():
        if not (name.isascii() and name.isidentifier() and name[0] != "_") or keyword.iskeyword(name):
            msg = (
                f"ExportSpec inputs_dict has the name {name!r}; inputs of an exported model are arguments of a "
                "function: their names hold letters, digits and underscores, begin with a letter, and are no keyword "
                "of Python."
            )
            raise UsageError(msg)
        if (first := names.setdefault(tensor.name, name)) != name:
            msg = f"ExportSpec inputs_dict[{name!r}] is the tensor of inputs_dict[{first!r}]: leave one of them out."
            raise UsageError(msg)


def _check_reachable(graph: ModelGraph, inputs: dict[str, tf.Tensor], outputs: dict[str, tf.Tensor]) -> None:
    given = {tensor.name for tensor in inputs.values()}
    given_ops = {tensor.op.name for tensor in inputs.values()}
    fed = {tensor.op.name: f"inputs[{number}] of model_fn" for number, tensor in enumerate(graph.inputs[2:])}
    fed |= {name: f"the placeholder {name!r} of model_fn" for name in graph.placeholders()}
    waiting = [tensor.op for tensor in outputs.values() if tensor.name not in given]
    seen: set[str] = set()
    while waiting:
        op = waiting.pop()
        if op.name in seen:
            continue
        seen.add(op.name)
        if op.name in fed:
            msg = (
                f"the outputs of ExportSpec ({', '.join(outputs)}) depend on {fed[op.name]}, "
                f"which is not among its inputs ({', '.join(inputs)}): add it to inputs_dict, "
                "or export outputs without it."
            )
            raise UsageError(msg)
        waiting.extend(tensor.op for tensor in op.inputs if tensor.name not in given)
        waiting.extend(before for before in op.control_inputs if before.name not in given_ops)


def _next_version(log_dir: Path) -> int:
    numbers = [int(path.name) for path in log_dir.iterdir() if path.name.isdecimal()] if log_dir.is_dir() else []
    return max(numbers, default=0) + 1
