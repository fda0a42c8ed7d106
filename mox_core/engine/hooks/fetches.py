"""What hooks fetch and feed, in the form in which the functions of a graph take it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.engine.tensors import ancestors
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mox_core.engine.model.model_graph import ModelGraph


def resolve_fetches(fetches: Any, graph: ModelGraph, who: str) -> Any:
    """Return fetches in their structure, each a tensor, an operation or a variable of the graph.

    Args:
        fetches: a nest of tensors, operations, variables, or their names.
        graph: the graph that they belong to.
        who: who fetches, for errors.

    Raises:
        UsageError: with what cannot be fetched.
    """
    return tf.nest.map_structure(lambda each: _resolve_fetch(each, graph, who), fetches)


def unique_fetches(*nests: Any, graph: ModelGraph, effects: bool) -> dict[int, Any]:
    """Return what is to be computed for resolved fetches, each once, by its id.

    Args:
        *nests: nests of `resolve_fetches`.
        graph: the graph.
        effects: whether the operations with an effect run anyway: an operation has no value, so those need no second
            request.
    """
    anyway = {id(op) for op in graph.effects} if effects else set()
    return {id(each): each for nest in nests for each in tf.nest.flatten(nest) if id(each) not in anyway}


def fill_fetches(nest: Any, values: Mapping[int, Any]) -> Any:
    """Return a nest of resolved fetches with the values that were computed; operations have none."""
    return tf.nest.map_structure(lambda each: values.get(id(each)), nest)


def resolve_feeds(feed_dict: Mapping[Any, Any] | None, graph: ModelGraph, who: str) -> dict[tf.Tensor, tf.Tensor]:
    """Return the values of a feed_dict as tensors of the dtypes of those that they replace.

    Raises:
        UsageError: with what cannot be fed, or does not fit.
    """
    inputs = {tensor.op.name for tensor in graph.inputs}
    values = {}
    for tensor, value in (feed_dict or {}).items():
        if tensor.op.name in inputs:
            raise UsageError(
                f"{who} feeds {tensor.op.name!r}, which is an input of model_fn: input_fn gives its values. "
                "Feed a placeholder, or what is computed from the input: tf.identity(input)."
            )
        values[tensor] = _resolve_feed(tensor, value, who)
    return values


def unfed_placeholders(nest: Any, feeds: Mapping[tf.Tensor, Any], graph: ModelGraph) -> list[str]:
    """Return the names of the placeholders that resolved fetches are computed from and that are not fed."""
    placeholders = graph.placeholders()
    computed = [each for each in tf.nest.flatten(nest) if not isinstance(each, tf.Variable)]
    return sorted(op.name for op in ancestors(computed, given=feeds) if op.name in placeholders)


def quoted(names: Sequence[str]) -> str:
    """Return `'a', 'b'`."""
    return ", ".join(map(repr, names))


def _resolve_fetch(fetch: Any, graph: ModelGraph, who: str) -> Any:
    if isinstance(fetch, tf.SparseTensor):
        parts = (fetch.indices, fetch.values, fetch.dense_shape)
        return tf.compat.v1.SparseTensorValue(*(_resolve_fetch(part, graph, who) for part in parts))
    if isinstance(fetch, tf.Variable):
        return fetch
    if isinstance(getattr(fetch, "value", None), tf.Variable):  # a variable of Keras
        return fetch.value
    try:
        return graph.graph.as_graph_element(fetch)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{who} fetches {fetch!r}, which is no tensor, operation or variable that this call of model_fn made, "
            "nor the name of one."
        ) from error


def _resolve_feed(tensor: tf.Tensor, value: Any, who: str) -> tf.Tensor:
    try:
        converted = tf.convert_to_tensor(value, dtype_hint=tensor.dtype)
        if converted.dtype != tensor.dtype:
            converted = tf.cast(converted, tensor.dtype)
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise UsageError(
            f"{who} feeds {tensor.op.name!r} with {type(value).__name__}, which is no {tensor.dtype.name}: {error}"
        ) from error
    if not tensor.shape.is_compatible_with(converted.shape):
        raise UsageError(
            f"{who} feeds {tensor.op.name!r} of shape {tensor.shape} with a value of shape {converted.shape}."
        )
    return converted
