"""The input of workers that run the chief's graphs: what cannot be sent to them, and samples that they cannot read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

from mox_core.engine.input.bad_samples import BadSampleReport, ReadSource
from mox_core.engine.input.sample_source import SampleSource
from mox_core.engine.tensors import PYTHON_OPS, dataset_op_types, op_types
from mox_core.engine.tf_internals import func_graph
from mox_core.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mox_core.engine.input.order import Order
    from mox_core.engine.input.pipeline import InputPipeline
    from mox_core.engine.model.model_graph import ModelGraph
    from mox_core.engine.tensors import Dataset


NOTHING_READ: Final = "none of the samples of a block can be read"


class RemoteReport(BadSampleReport):
    """The report of bad samples in the input of another worker, which cannot call a Python function of this process.

    What is missing shows in the positions that the steps of the worker return, see `report_remote_gaps`.
    """

    def call_op(self, function: Callable[..., bool], values: list[tf.Tensor]) -> tf.Tensor:
        """Return an operation that reports nothing."""
        del function, values
        return tf.constant(False)

    def tail_op(
        self, source: ReadSource, order: Order, first: tf.Tensor, stop: tf.Tensor, samples: Callable[[], Dataset]
    ) -> tf.Tensor:
        """Return an operation that fails where no sample can be read: the input would go round for ever."""
        del source, order, first, stop
        some = samples().ignore_errors().take(1).map(lambda *_: True).concatenate(tf.data.Dataset.from_tensors(False))
        with tf.control_dependencies([tf.debugging.Assert(some.take(1).get_single_element(), [NOTHING_READ])]):
            return tf.constant(False)


def check_remote_input(pipeline: InputPipeline, graph: ModelGraph) -> None:
    """Refuse Python functions, and what only the chief has, in the graphs that other workers run.

    Raises:
        UsageError: with what to use instead.
    """
    outside = _datasets_from_outside(pipeline)
    if _calls_python(pipeline.graph) or any(map(_reads_python, outside)):
        raise UsageError(
            "input_fn reads a Python generator or calls a Python function (from_generator, py_function, "
            "numpy_function): with parameter servers, the other workers run the chief's graph, and have no Python of "
            "their own. Read files by a data set of mox or by tf.data, and work on them with TensorFlow's ops; or let "
            "the workers step together, without --sync_replicas=False: then each of them calls input_fn itself."
        )
    if any(getattr(source, "read_ahead", None) for source in pipeline.sources):
        raise UsageError(
            "input_fn reads files from a store as they are needed, in Python: with parameter servers, the other "
            "workers run the chief's graph, and have no Python of their own. Copy the files to each machine "
            "(mox.file.copy_parallel), or let the workers step together, without --sync_replicas=False."
        )
    if outside:
        raise UsageError(
            "input_fn reads a tf.data.Dataset that was made outside of it, in the chief's memory: with parameter "
            "servers, the other workers cannot look there. Make the dataset inside input_fn."
        )
    has_table = any("HashTable" in op.type for op in pipeline.graph.get_operations())
    if has_table or any(outer.dtype == tf.resource for outer, _ in func_graph.captures(pipeline.graph)):
        raise UsageError(
            "input_fn uses a lookup table or a variable, which is in the chief's memory: with parameter servers, the "
            "other workers cannot look there. Use a constant: tf.gather(tf.constant([...]), index), for instance."
        )
    if _calls_python(graph.graph):
        raise UsageError(
            "model_fn calls a Python function (py_function, numpy_function): with parameter servers, the other "
            "workers run the chief's graph, and have no Python of their own. Use TensorFlow's ops, or a hook, which "
            "runs on the chief."
        )
    _check_made_inside(pipeline, graph)


def _check_made_inside(pipeline: InputPipeline, graph: ModelGraph) -> None:
    """Refuse variables that only the chief has, and tensors made before TensorFlow connected to the others."""
    for variable in func_graph.variables(graph.graph):
        if "/job:ps/" not in variable.device:
            raise UsageError(
                f"model_fn uses {variable.name!r}, which was made outside of it, in the chief's memory: with parameter "
                "servers, make variables and Keras models inside model_fn."
            )
    for name, traced in (("input_fn", pipeline.graph), ("model_fn", graph.graph)):
        if any("/job:localhost/" in outer.device for outer, _ in func_graph.captures(traced)):
            raise UsageError(
                f"{name} uses a tensor that was made before mox.run had connected TensorFlow to the other processes: "
                f"make it inside {name}, or leave it a NumPy array."
            )


def _calls_python(graph: Any) -> bool:
    return not PYTHON_OPS.isdisjoint(op_types(graph.as_graph_def()))


def _datasets_from_outside(pipeline: InputPipeline) -> list[tf.Tensor]:
    """Return the datasets that `input_fn` has not made itself, as tensors."""
    captured = [outer for outer, _ in func_graph.captures(pipeline.graph) if outer.dtype == tf.variant]
    read = [getattr(source, "variant", None) for source in pipeline.sources]
    return captured + [variant for variant in read if variant is not None and not tf.is_symbolic_tensor(variant)]


def _reads_python(variant: tf.Tensor) -> bool:
    return not PYTHON_OPS.isdisjoint(dataset_op_types(variant))


def report_remote_gaps(result: Mapping[str, Any], pipeline: InputPipeline, order: Order) -> None:
    """Report the samples that another worker has left out: those that the chief cannot read either.

    Args:
        result: result of a call of steps on the worker.
        pipeline: the input, as the chief has it.
        order: the share of the worker.

    Raises:
        DataError: if such a sample is to end the run.
    """
    for number, source in enumerate(pipeline.sources):
        if not isinstance(source, SampleSource):
            continue
        own = order.of_source(number)
        for before, after in result["gaps"][:, :, number].tolist():
            _report_gap(source, own, before, after, pipeline)
        if not result["more"] and source.end is not None:
            pipeline.report.report_between(source, own, int(result["positions"][number]), source.end - order.worker)


def _report_gap(source: SampleSource, order: Order, before: int, after: int, pipeline: InputPipeline) -> None:
    width = order.workers * pipeline.samples_in_element * (source.batch_size or 1)
    unread = (after - before - width) // order.workers
    if pipeline.report.report_between(source, order, before, after) >= unread:
        return
    pipeline.report.check_input_fn(source, order, range(before, after, order.workers))
    text = (
        f"worker {order.worker} has left out {unread} samples between {source.name_at(before, order)!r} and "
        f"{source.name_at(after - order.workers, order)!r}, and the chief can read them. Each worker needs the same "
        "files, under the same paths, and of formats that TensorFlow decodes: JPEG and PNG, not GIF, BMP and WebP, "
        "which Python decodes."
    )
    if source.on_bad_sample == "raise":
        raise DataError(text)
    pipeline.report.warn_once(f"worker {order.worker}", text)
