"""Checks of specs for `tf.io.parse_single_example`, and of records against them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from mox_core.errors import DataError, UsageError
from mox_core.quoting import shown
from mox_core.sdk import outside_of_graphs
from mox_tfrecord.lightexamples import parse_example

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mox_tfrecord.sources import Records

_LOOK_AT_MOST = 10  # records, until one can be read


def spec_outside_graphs(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spec whose default values are arrays: a tensor that was made in `input_fn` belongs to its graph.

    Raises:
        UsageError: if a default value is not a constant.
    """
    return {key: _outside_graphs(key, feature) for key, feature in spec.items()}


def warn_of_padding(spec: Mapping[str, Any]) -> None:
    """Warn of a value that is to pad sequences: a record is parsed alone, and batches are padded with zeros."""
    for key, feature in spec.items():
        value = getattr(feature, "default_value", None) if isinstance(feature, tf.io.FixedLenSequenceFeature) else None
        if value is not None and np.any(np.asarray(value) != np.zeros_like(value)):
            tf.get_logger().warning(
                "default_value=%r of the FixedLenSequenceFeature %r has no effect: records are parsed one by one, and "
                "batches pad sequences with zeros (strings with ''). Where a zero means something, pad in input_fn to "
                "a fixed length: tf.pad(sequence, [[0, length - tf.size(sequence)]], constant_values=value).",
                value,
                key,
            )


def check_first(records: Records, spec: Mapping[str, Any]) -> None:
    """Parse the first record that can be read, to find a wrong spec before training.

    Raises:
        DataError: if it cannot be parsed; the message lists its features.
    """
    with outside_of_graphs():
        for number in range(min(len(records.index), _LOOK_AT_MOST)):
            try:
                content = records.one(tf.constant(number, tf.int64))
            except tf.errors.OpError:
                continue  # a bad record, which the run reports when it reads it
            try:
                tf.io.parse_single_example(content, dict(spec))
            except (tf.errors.InvalidArgumentError, ValueError) as error:
                reason = shown(str(getattr(error, "message", error)).splitlines()[0])
                raise DataError(
                    f"{records.index.describe(number)!r}: it does not hold the features that are asked for: {reason} "
                    f"{_what_it_holds(content.numpy())}"
                ) from error
            return


def _outside_graphs(key: str, feature: Any) -> Any:
    if not tf.is_tensor(getattr(feature, "default_value", None)):
        return feature
    value = tf.get_static_value(feature.default_value)
    if value is None:
        raise UsageError(f"default_value of feature {key!r} is {feature.default_value!r}; it must be a constant.")
    return feature._replace(default_value=np.asarray(value))


def _what_it_holds(content: Any) -> str:
    features = parse_example(bytes(content))
    if features is None:
        return "It is no tf.train.Example."
    held = [f"{name!r} ({kind}, {len(values)} values)" for name, (kind, values) in features.items()]
    return f"It holds {', '.join(held)}." if held else "It holds no feature."
