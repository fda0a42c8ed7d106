"""Exported models: whole or not at all, each in a version folder of its format."""

from __future__ import annotations

import contextlib
import functools
import keyword
import re
import shutil
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import tensorflow as tf
from attrs import evolve, field, frozen

from mox_core import file_lock
from mox_core.engine.checkpoint.files import UNFINISHED_EXPORT
from mox_core.engine.export_description import describe
from mox_core.engine.run_folder import writing_into
from mox_core.engine.tensors import ancestors
from mox_core.engine.tf_internals import func_graph
from mox_core.errors import UsageError
from mox_core.export_formats import taken_by_a_format
from mox_core.file_lock import FileLock
from mox_core.quoting import shown
from mox_core.serving.description import Description

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from mox_core.engine.export_description import Described
    from mox_core.engine.input.image_cut import ToldClasses
    from mox_core.engine.input.pipeline import InputPipeline
    from mox_core.engine.input.structure import InputStructure
    from mox_core.engine.model.model_graph import ModelGraph
    from mox_core.export_formats import ExportFormat
    from mox_core.specs import ExportSpec


_LOCK = ".lock"


@frozen(kw_only=True)
class ExportedModel:
    """A function with named inputs and outputs, and the variables that it reads: what an exporter writes.

    Attributes:
        function: takes tensors by the names of `inputs` and returns tensors by the names of `outputs`.
        inputs: shape and dtype of each input by name; the batch dimension is None with auto_batch. Behind those of the
            export_spec come further ones that its outputs depend on.
        outputs: shape and dtype of each output by name.
        variables: the variables that the function reads.
        description: what is known of its classes, and of its input if that is images.
        preprocess: a concrete function from a decoded image (uint8, [height, width, 3]) to one sample of that input, as
            `input_fn` makes it; None where that is not known.
    """

    function: Callable[..., dict[str, tf.Tensor]]
    inputs: dict[str, tf.TensorSpec]
    outputs: dict[str, tf.TensorSpec]
    variables: tuple[tf.Variable, ...]
    description: Description = field(factory=Description)
    preprocess: Callable[..., Any] | None = None


def export_inputs(pipeline: InputPipeline) -> InputStructure:
    """Return the inputs of `model_fn` in mode EXPORT: of any batch size where mox makes the batches."""
    return pipeline.structure.of_any_batch_size() if pipeline.batching.by_mox else pipeline.structure


class NoExport:
    """The export of a run that exports nothing."""

    def write(self, giving_up: AbstractContextManager[None]) -> dict[str, str]:  # noqa: ARG002  (as that of Export)
        """Write nothing."""
        return {}


@frozen(kw_only=True)
class Export:
    """What a run exports when it ends; it is checked before, so that what cannot be exported is known at the start.

    Attributes:
        graph: the graph of mode EXPORT.
        formats: the formats, each with a function of (model, directory) that writes it. One may have a method
            `check(model)`, which raises where its format cannot hold the model.
        log_dir: the folder of the version folders, or of the formats' folders that have them.
        input_names: how `model_fn` gets at each tensor that it is fed, for errors.
        pipeline: the input of EVAL if the run evaluates, else of its mode: what new images are treated as.
        told: what the data sets of its mode tell of the classes, which the model has learned.
    """

    graph: ModelGraph
    formats: Sequence[ExportFormat]
    log_dir: Path
    input_names: Sequence[str]
    pipeline: InputPipeline
    told: ToldClasses

    def __attrs_post_init__(self) -> None:
        """Refuse what could not be exported.

        Raises:
            UsageError: if the version exists, or the export_spec makes no function.
        """
        model = self._model()
        _warn_of_further_inputs(self.graph, self.input_names, _spec_of(self.graph))
        self._check_versions()
        for each in self.formats:
            if (check := getattr(each.find(), "check", None)) is not None:
                check(model)

    def write(self, giving_up: AbstractContextManager[None]) -> dict[str, str]:
        """Export the model with the present weights in all formats, or in none.

        A run whose export was given up exports again when it goes on: one format of its version would be in the way.

        Args:
            giving_up: a context in which a signal ends the exporters: what they have written is removed then.

        Returns:
            The folder of each format, by its name.
        """
        with contextlib.ExitStack() as unfinished, writing_into(self.log_dir):
            self._check_versions()
            self.log_dir.mkdir(parents=True, exist_ok=True)
            _sweep(self.log_dir)
            folders = [unfinished.enter_context(_unfinished(self.log_dir)) for _ in self.formats]
            with giving_up:
                for each, folder in zip(self.formats, folders, strict=True):
                    each.find()(self._model(), str(folder))
            paths = {
                each.name: _publish(folder, each.base(self.log_dir), self._version)
                for each, folder in zip(self.formats, folders, strict=True)
            }
        for path in paths.values():
            tf.get_logger().info("Exported model written to: %s", shown(path))
        return {name: str(path) for name, path in paths.items()}

    @property
    def _version(self) -> int | str:
        return _spec_of(self.graph).version

    def _check_versions(self) -> None:
        for each in self.formats:
            _check_version(each, self.log_dir, self._version)

    def _model(self) -> ExportedModel:
        model = exported_model(self.graph, self.input_names)
        return evolve(model, description=self._described.description, preprocess=self._described.preprocess)

    @functools.cached_property
    def _described(self) -> Described:
        inputs, outputs = _tensors_of(self.graph)
        further = _further_inputs(self.graph, self.input_names, inputs, outputs)
        inputs |= {name: tensor for name, (tensor, _) in further.items()}
        return describe(self.graph, inputs, outputs, self.pipeline, self.told, _spec_of(self.graph).class_names)


def exported_model(graph: ModelGraph, input_names: Sequence[str]) -> ExportedModel:
    """Cut the function from the inputs to the outputs of its export_spec out of a graph.

    What the outputs depend on besides is an input of the function too, see `_further_inputs`.

    Raises:
        UsageError: if a tensor of the export_spec is none of the graph, or a name that of no argument.
    """
    inputs, outputs = _tensors_of(graph)
    _check_names(inputs)
    inputs |= {name: tensor for name, (tensor, _) in _further_inputs(graph, input_names, inputs, outputs).items()}
    pruned = graph.traced.prune(list(inputs.values()), list(outputs.values()))

    def function(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(zip(outputs, pruned(*(tensors[name] for name in inputs)), strict=True))

    return ExportedModel(
        function=function,
        inputs={name: tf.TensorSpec(tensor.shape, tensor.dtype, name) for name, tensor in inputs.items()},
        outputs={name: tf.TensorSpec(tensor.shape, tensor.dtype, name) for name, tensor in outputs.items()},
        variables=tuple(func_graph.variables(pruned.graph)),
    )


def _tensors_of(graph: ModelGraph) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Return the inputs and the outputs of the export_spec."""
    spec = _spec_of(graph)
    inputs = {name: _tensor_of(graph, tensor, f"inputs_dict[{name!r}]") for name, tensor in spec.inputs_dict.items()}
    outputs = {name: _tensor_of(graph, tensor, f"outputs_dict[{name!r}]") for name, tensor in spec.outputs_dict.items()}
    return inputs, outputs


def _spec_of(graph: ModelGraph) -> ExportSpec:
    return cast("ExportSpec", graph.spec.export_spec)  # a graph of mode EXPORT has one


def _tensor_of(graph: ModelGraph, value: Any, name: str) -> tf.Tensor:
    if getattr(value, "graph", None) is not graph.graph:
        msg = f"ExportSpec {name} is {value!r}, which is no tensor that model_fn made in this call.{_hint(value)}"
        raise UsageError(msg)
    return value


def _hint(value: Any) -> str:
    """Return what to write for a value that holds several tensors."""
    if isinstance(value, tf.RaggedTensor):
        return (
            " An exported model takes and gives dense tensors: of a RaggedTensor, values.flat_values and "
            "values.nested_row_splits, each under a name of its own."
        )
    if isinstance(value, tf.SparseTensor):
        return (
            " An exported model takes and gives dense tensors: of a SparseTensor, values.indices, values.values and "
            "values.dense_shape, each under a name of its own."
        )
    if isinstance(value, Mapping):
        names = ", ".join(map(str, value))
        return f" Each tensor has a name of its own: use those of this dict, {names}."
    return " Give each of its tensors a name of its own." if tf.nest.is_nested(value) else ""


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


def _check_version(exported: ExportFormat, log_dir: Path, version: int | str) -> None:
    """Refuse a version that exists, and one that is called like the folder of a format.

    Raises:
        UsageError: with the folder and the way out.
    """
    base = exported.base(log_dir)
    if base.exists() and not base.is_dir():
        raise UsageError(f"{str(base)!r} is a file, where the exports of {exported.name} go: give another log_dir.")
    if version != -1 and (base / str(version)).exists():
        msg = (
            f"Export directory already exists. Please specify a different export directory: {base / str(version)}. "
            f"Pass another version to mox.ExportSpec, or version=-1 for the next number ({_next_version(base)})."
        )
        raise UsageError(msg)
    if not exported.folder and (other := taken_by_a_format(version)) is not None:
        raise UsageError(
            f"version of ExportSpec is {version!r}, and that folder of log_dir has the exports of {other}: "
            "pass another one."
        )


def _further_inputs(
    graph: ModelGraph, input_names: Sequence[str], inputs: dict[str, tf.Tensor], outputs: dict[str, tf.Tensor]
) -> dict[str, tuple[tf.Tensor, str]]:
    """Return what the outputs depend on and the inputs of the export_spec do not give: labels, for instance.

    TensorFlow 1 exported a placeholder there that no name of the signature fed.

    Returns:
        Tensors with what each of them is, by names that are made of that.

    Raises:
        UsageError: if that is what an input of the export_spec is computed from, by an operation that gives more.
    """
    named = zip(graph.inputs[2:], input_names, strict=True)
    fed = {tensor.op.name: (tensor, name, f"{name} of model_fn") for tensor, name in named}
    for name, tensor in graph.placeholders().items():
        fed[name] = (tensor, name, f"the placeholder {name!r} of model_fn")
    needed = {op.name for op in ancestors(outputs.values(), given=inputs.values())}
    further: dict[str, tuple[tf.Tensor, str]] = {}
    for tensor, name, meaning in (each for op_name, each in fed.items() if op_name in needed):
        further[_argument_name(name, taken={*inputs, *further})] = (tensor, meaning)
        if (part := next((name for name, given in inputs.items() if given.op.name in needed), None)) is not None:
            raise UsageError(
                f"the outputs of ExportSpec ({', '.join(outputs)}) depend on {meaning}, and its input {part!r} is a "
                f"part of what one operation makes of that: put the whole into inputs_dict in the place of {part!r}."
            )
    return further


def _argument_name(name: str, taken: Collection[str]) -> str:
    """Return `inputs_1_age` for `inputs[1]['age']`: a name that an argument of a function can have."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
    name = name if name[:1].isalpha() else f"input_{name}"
    while name in taken or keyword.iskeyword(name):
        name += "_"
    return name


def _warn_of_further_inputs(graph: ModelGraph, input_names: Sequence[str], spec: ExportSpec) -> None:
    for name, (_, meaning) in _further_inputs(graph, input_names, *_tensors_of(graph)).items():
        tf.get_logger().warning(
            "The outputs of ExportSpec (%s) depend on %s, which is not among its inputs (%s): the exported model has a "
            "further input %r for it, which has to be fed as the others are. Add it to inputs_dict under a name of "
            "yours, or export outputs without it.",
            ", ".join(spec.outputs_dict),
            meaning,
            ", ".join(spec.inputs_dict),
            name,
        )


def _next_version(base: Path) -> int:
    numbers = [int(path.name) for path in base.iterdir() if path.name.isdecimal()] if base.is_dir() else []
    return max(numbers, default=0) + 1


@contextlib.contextmanager
def _unfinished(log_dir: Path) -> Iterator[Path]:
    """Make an empty folder for the block that no other export sweeps, and remove what is left of it."""
    folder = log_dir / f"{UNFINISHED_EXPORT}{uuid.uuid4().hex}"
    lock = file_lock.take(folder.with_suffix(_LOCK))
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(lock, FileLock):
            lock.release()


def _sweep(log_dir: Path) -> None:
    """Remove what exports have left whose process has gone; others may be at work."""
    for leftover in log_dir.glob(f"{UNFINISHED_EXPORT}*"):
        folder = leftover.with_suffix("")
        lock = file_lock.take(folder.with_suffix(_LOCK))
        if isinstance(lock, FileLock):
            if lock.shared:
                shutil.rmtree(folder, ignore_errors=True)
            lock.release()


def _publish(folder: Path, base: Path, version: int | str) -> Path:
    """Rename a finished folder to its version; another export may take the next number at the same moment."""
    base.mkdir(exist_ok=True)
    while True:
        path = base / str(_next_version(base) if version == -1 else version)
        try:
            return folder.rename(path)
        except OSError:
            if version != -1 or not path.exists():
                raise
