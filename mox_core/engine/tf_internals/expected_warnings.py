"""Warnings of TensorFlow and tf_keras about what mox does on purpose; only their texts tell them from others."""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_SEED_OF_GRAPH: Final = "Seed .* from outer graph"
_NO_SUMMARY_WRITER: Final = "Cannot activate TF2 compatibility"
_TF1_LAYERS: Final = r"`tf\.layers\.\w+` is deprecated"


def ignore_seed_of_graph() -> contextlib.AbstractContextManager[None]:
    """Ignore in the block that functions of tf.data may use the seed of the graph around them: they are meant to."""
    return _ignored(_SEED_OF_GRAPH)


def ignore_missing_summary_writer() -> contextlib.AbstractContextManager[None]:
    """Ignore in the block that summary operations of TF1 find no writer: none is open where none is to be written."""
    return _ignored(_NO_SUMMARY_WRITER)


def ignore_advice_on_tf1_layers() -> contextlib.AbstractContextManager[None]:
    """Ignore in the block that tf_keras recommends its own layers, which are not those of Keras 3."""
    return _ignored(_TF1_LAYERS)


@contextlib.contextmanager
def _ignored(message: str) -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=message)
        yield
