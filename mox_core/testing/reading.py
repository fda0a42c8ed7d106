"""The elements of an `input_fn`, read by the pipeline of `mox.run`."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import frozen

from mox_core.engine.input.batching import Batching
from mox_core.engine.input.order import Order
from mox_core.engine.input.pipeline import build_pipeline
from mox_core.engine.tf_patches.run_scope import run_scope

if TYPE_CHECKING:
    from collections.abc import Callable


@frozen
class Element:
    """One element of an input: a sample, or a batch.

    Attributes:
        after: the position in the input after it, from which a resumed run continues.
        values: the `inputs` of `model_fn`, with arrays for tensors; what is ragged or sparse stays that.
    """

    after: list[int]
    values: list[Any]


def read(
    input_fn: Callable[..., Any],
    mode: str,
    *,
    order: Order | None = None,
    start: list[int] | None = None,
    batch_size: int | None = None,
    limit: int | None = None,
) -> list[Element]:
    """Return the elements of an input.

    Args:
        input_fn: the argument of `mox.run`.
        mode: the mode with which it is called.
        order: the seed of the run, and the worker's share.
        start: the position to start from, an `Element.after`.
        batch_size: samples in a batch; None: the elements of `input_fn`, unbatched.
        limit: highest number of elements; None: all.
    """
    batching = Batching(batch_size=batch_size, auto=batch_size is not None)
    found: list[Element] = []
    try:
        with run_scope():
            pipeline = build_pipeline(input_fn, mode, batching, order=order or Order(seed=1))
            with pipeline.open(start) as opened:
                while len(found) != limit and (element := opened.next()) is not None:
                    after, values = element
                    inputs = tf.nest.map_structure(_to_array, pipeline.structure.pack(values))
                    found.append(Element(after.numpy().tolist(), inputs))
    except Exception:
        gc.collect()  # the traceback may hold an iterator, and a process cannot exit while it reads
        raise
    return found


def _to_array(value: Any) -> Any:
    return value.numpy() if isinstance(value, tf.Tensor) else value
