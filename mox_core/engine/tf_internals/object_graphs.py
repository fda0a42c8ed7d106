"""The graph of objects in a checkpoint of `tf.train.Checkpoint` and in a SavedModel: which key holds which variable.

The message is found by its name among those that TensorFlow has registered with protobuf.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pool, message_factory

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
_MESSAGE = "tensorflow.TrackableObjectGraph"


def has_one(values: Mapping[str, Any]) -> bool:
    """Whether the keys of a checkpoint are places in objects."""
    return _KEY in values


def full_names(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of the variables of a checkpoint of objects by their keys, as far as it has them."""
    kind = message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(_MESSAGE))
    graph: Any = kind.FromString(values[_KEY])
    pairs = [(each.checkpoint_key, each.full_name) for node in graph.nodes for each in node.attributes]
    return {key: name.partition(":")[0] for key, name in pairs if name}
