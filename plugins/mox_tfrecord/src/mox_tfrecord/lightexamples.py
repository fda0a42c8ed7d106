"""A parser of `tf.train.Example` without TensorFlow, which takes seconds to import."""

from __future__ import annotations

import functools
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "mox_tfrecord"
_MESSAGES: dict[str, dict[str, tuple[int, bool, Any]]] = {
    "BytesList": {"value": (1, True, _Field.TYPE_BYTES)},
    "FloatList": {"value": (1, True, _Field.TYPE_FLOAT)},
    "Int64List": {"value": (1, True, _Field.TYPE_INT64)},
    "Feature": {"bytes": (1, False, "BytesList"), "float": (2, False, "FloatList"), "int64": (3, False, "Int64List")},
    "Named": {"key": (1, False, _Field.TYPE_BYTES), "value": (2, False, "Feature")},
    "Features": {"feature": (1, True, "Named")},
    "Example": {"features": (1, False, "Features")},
}
"""Message to field to number, whether it is repeated, and type: those of tensorflow/core/example."""

Features = dict[str, tuple[str, list[Any]]]
"""Name to type (bytes, float, int64, or none for an empty feature) and values."""


def parse_example(content: bytes) -> Features | None:
    """Return the features of a serialized Example by name; None if it cannot be parsed."""
    try:
        example = _example_class().FromString(content)
    except DecodeError:
        return None
    features: Features = {}
    for named in example.features.feature:
        held = named.value.ListFields()
        kind, values = (held[0][0].name, list(held[0][1].value)) if held else ("none", [])
        features[named.key.decode(errors="backslashreplace")] = (kind, values)
    return dict(sorted(features.items()))


@functools.cache
def _example_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, is_repeated, kind) in fields.items():
            added = message.field.add(name=field, number=number)
            added.label = _Field.LABEL_REPEATED if is_repeated else _Field.LABEL_OPTIONAL
            if isinstance(kind, str):
                added.type, added.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                added.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Example"))
