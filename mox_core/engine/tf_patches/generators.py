"""The iterators that `tf.data.Dataset.from_generator` reads, looked at while a run lasts."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.engine.input.read_iterators import check_is_new
from mox_core.engine.tf_patches.replaced import replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def watched_generators() -> Iterator[None]:
    """Look at each iterator that a dataset of the block is about to read, also of one that was made before."""
    state = tf.data.Dataset._GeneratorState  # type: ignore[attr-defined]  # noqa: SLF001  (what asks the user's function)
    with replaced((state, "get_iterator", _checked(state.get_iterator))):
        yield


def _checked(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def get_iterator(state: Any, iterator_id: Any) -> Any:
        begins = state._normalize_id(iterator_id) in state._args  # noqa: SLF001  (what the function is called with)
        iterator = original(state, iterator_id)
        if begins:
            check_is_new(iterator)
        return iterator

    return get_iterator
