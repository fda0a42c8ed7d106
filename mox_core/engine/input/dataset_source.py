"""A dataset that is read element by element in `input_fn`, as a source of samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import define, field

from mox_core.engine.input.input_trace import InputTrace, trace_of
from mox_core.engine.tensors import dataset_op_types, no_autograph
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from mox_core.engine.input.bad_samples import BadSampleReport
    from mox_core.engine.input.order import Order
    from mox_core.engine.tensors import Dataset, Features

READ_TWICE: Final = (
    "{} is read twice in input_fn, which is called once and describes one sample. Read it once; "
    "dataset.batch(n) puts several elements into one, and `return dataset` reads all of it."
)


def get_next(dataset: Dataset) -> Any:
    """Read a dataset in `input_fn`, in place of an iterator.

    Args:
        dataset: a `tf.data.Dataset` of samples, or of batches with `auto_batch=False`.

    Returns:
        The tensors of the next element, in the structure of the dataset's elements.

    Raises:
        UsageError: outside `input_fn`, the second time, and if it is no dataset.
    """
    if not isinstance(dataset, tf.data.Dataset):
        raise UsageError(f"mox.get_next was given {dataset!r}; it reads a tf.data.Dataset.")
    trace = trace_of(tf.compat.v1.get_default_graph())
    if trace is None:
        raise UsageError(
            "mox.get_next gives the tensors of one sample: call it inside input_fn. Elsewhere a dataset is read by "
            "`for element in dataset`."
        )
    variant = tf.data.experimental.to_variant(dataset)
    if any(isinstance(source, DatasetSource) and source.variant is variant for source, _ in trace.sources):
        raise UsageError(READ_TWICE.format("a dataset"))
    return read_dataset(dataset, trace)


def read_dataset(dataset: Dataset, trace: InputTrace) -> Any:
    """Make a dataset a source, and return the placeholders of its next element, in the structure of its elements."""
    trace.datasets.append(dataset)
    source = DatasetSource(dataset.element_spec, tf.data.experimental.to_variant(dataset))
    features = trace.add_placeholders(source, source.named(source.spec))
    return tf.nest.pack_sequence_as(source.spec, [features[name] for name in sorted(features)])


@define(eq=False)
class DatasetSource:
    """A dataset that was made in `input_fn`, as a source: its order is its own, a position counts its elements.

    Attributes:
        spec: the specs of its elements.
        variant: the dataset as a tensor: of the trace, or an eager one where it was made outside of it.
        traced: `input_fn` as a function; known when the trace is over.
    """

    spec: Any
    variant: tf.Tensor
    traced: Any = field(default=None, init=False)

    @property
    def end(self) -> int | None:
        """The number of its elements, None where it never ends."""
        number = int(self.dataset().cardinality())
        return None if number == tf.data.INFINITE_CARDINALITY else number

    def elements(self, *, order: Order, start: int, needed: frozenset[str] | None, report: BadSampleReport) -> Dataset:
        """Return (next position, features), as `SampleSource.elements` does; the names of the features are numbers."""
        del report

        @no_autograph
        def named(element: Any) -> Features:
            return {name: value for name, value in self.named(element).items() if needed is None or name in needed}

        # An element that is a tuple comes as several arguments.
        alone = no_autograph(lambda *element: named(element[0] if len(element) == 1 else element))
        positions = tf.data.Dataset.range(start + order.workers, tf.int64.max, order.workers)
        return tf.data.Dataset.zip((positions, worker_share(self.dataset(), order, start).map(alone)))

    def element_at(self, position: int, order: Order) -> Dataset:
        """Return a dataset of the element that a worker reads at a position."""
        return worker_share(self.dataset(), order, position).take(1)

    @staticmethod
    def named(element: Any) -> dict[str, Any]:
        """Return the tensors of an element, or their specs, by their numbers."""
        return {f"{number:04}": tensor for number, tensor in enumerate(tf.nest.flatten(element))}

    def dataset(self) -> Dataset:
        """Return the dataset itself."""
        variant = self.traced.prune([], self.variant)() if tf.is_symbolic_tensor(self.variant) else self.variant
        return tf.data.experimental.from_variant(variant, self.spec)


def worker_share(dataset: Dataset, order: Order, start: int) -> Dataset:
    """Return the elements of a dataset that this worker reads, from a position on; of a generator, all elements."""
    if order.workers > 1 and tf.executing_eagerly() and reads_generator(dataset):
        return dataset.skip(start // order.workers) if start else dataset
    rest = dataset.skip(start) if tf.is_tensor(start) or start else dataset
    return rest.shard(order.workers, order.worker) if order.workers > 1 else rest


def reads_generator(dataset: Dataset) -> bool:
    """Whether elements come from a Python generator, in any stage of a dataset."""
    return "GeneratorDataset" in dataset_op_types(tf.data.experimental.to_variant(dataset))
