"""What hooks fetch and feed, put into the form in which the functions of a graph take it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mox_core.engine.modelgraph import ModelGraph


def fetched(fetches: Any, graph: ModelGraph, who: str) -> Any:
    """Returns fetches in their structure, each a tensor, an operation or a variable of the graph.

    Args:
        fetches: a nest of tensors, operations, variables, or their names.
        graph: the graph that they belong to.
        who: whose they are, for messages.

    Raises:
        UsageError: with what cannot be fetched.
    """
    return tf.nest.map_structure(lambda each: _fetched(each, graph, who), fetches)


def once(*nests: Any, graph: ModelGraph, effects: bool) -> dict[int, Any]:
    """Returns what is to be computed for nests of `fetched`, each once, by its id.

    Args:
        *nests: what several ask for.
        graph: the graph.
        effects: whether the ops with an effect run anyway: an operation has no value, so those need no second request.
    """
    anyway = {id(op) for op in graph.effects} if effects else set()
    return {id(each): each for nest in nests for each in tf.nest.flatten(nest) if id(each) not in anyway}


def filled(nest: Any, values: Mapping[int, Any]) -> Any:
    """Returns a nest of `fetched` with the values that were computed; operations have none."""
    return tf.nest.map_structure(lambda each: values.get(id(each)), nest)


def fed(feed_dict: Mapping[Any, Any] | None, graph: ModelGraph, who: str) -> dict[tf.Tensor, tf.Tensor]:
    """Returns the values of a feed_dict as tensors of the types of those that they replace.

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
        values[tensor] = _fed(tensor, value, who)
    return values


def hungry(fetches: Any, feeds: Mapping[tf.Tensor, Any], graph: ModelGraph) -> list[str]:
    """Returns the names of the placeholders that fetches are computed from and that are not fed."""
    placeholders = graph.placeholders()
    found, seen = [], {tensor.op for tensor in feeds}
    waiting = [getattr(each, "op", each) for each in tf.nest.flatten(fetches) if not isinstance(each, tf.Variable)]
    while waiting:
        op = waiting.pop()
        if op in seen:
            continue
        seen.add(op)
        found += [op.name] if op.name in placeholders else []
        waiting += [*(tensor.op for tensor in op.inputs), *op.control_inputs]
    return sorted(found)


def _fetched(fetch: Any, graph: ModelGraph, who: str) -> Any:
    if isinstance(fetch, tf.SparseTensor):
        parts = (fetch.indices, fetch.values, fetch.dense_shape)
        return tf.compat.v1.SparseTensorValue(*(_fetched(part, graph, who) for part in parts))
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


def _fed(tensor: tf.Tensor, value: Any, who: str) -> tf.Tensor:
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
