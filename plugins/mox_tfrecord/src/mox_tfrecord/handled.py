"""`get_tfrecord`: records whose features are turned into items by handlers."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from attrs import define, field

from mox_core.did_you_mean import did_you_mean, nearest
from mox_core.errors import UsageError
from mox_tfrecord.datasets import BaseTFRecordDataset, BaseTFRecordMetadata
from mox_tfrecord.tf_internals import is_of_slim, ops_of_slim

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Iterator, Mapping, Sequence


def get_tfrecord(  # noqa: PLR0913 (the manual's arguments)
    dataset_dir: str | os.PathLike[str],
    file_pattern: str | Sequence[str],
    *,
    keys_to_features: Mapping[str, Any],
    items_to_handlers: Mapping[str, Any],
    num_samples: int | None = None,
    num_epochs: int | None = None,
    num_readers: int = 8,
    shuffle: bool = True,
    shuffle_buffer_size: int = 6400,
    compression_type: str | None = None,
    on_bad_record: str = "raise",
) -> BaseTFRecordDataset:
    """Read records, whose features handlers turn into items, inside `input_fn`.

    Example:
        dataset = mox.get_tfrecord(
            "flowers",
            "train-*.tfrecord",
            keys_to_features={
                "image/encoded": tf.io.FixedLenFeature([], tf.string),
                "image/format": tf.io.FixedLenFeature([], tf.string, default_value=""),
                "image/class/label": tf.io.FixedLenFeature([], tf.int64),
            },
            items_to_handlers={
                "image": mox.tfexample_decoder.Image(),
                "label": mox.tfexample_decoder.Tensor("image/class/label"),
            },
        )
        image, label = dataset.get(["image", "label"])

    Args:
        dataset_dir: the folder of the files, or its URL; see `BaseTFRecordMetadata`.
        file_pattern: which files in it; or a list of patterns.
        keys_to_features: name to `tf.io.FixedLenFeature` and the like, as `tf.io.parse_single_example` takes it.
        items_to_handlers: name, for `get`, to handler: of `mox.tfexample_decoder` or of tf_slim.
        num_samples: number of records, if known.
        num_epochs: number of epochs; None for no end.
        num_readers: no effect; tf.data decides.
        shuffle: whether each epoch has an order of its own.
        shuffle_buffer_size: for compressed files only, see `BaseTFRecordDataset`.
        compression_type: see `BaseTFRecordMetadata`.
        on_bad_record: see `BaseTFRecordDataset`.

    Returns:
        An object whose `get([...])` returns the items of one record.

    Raises:
        UsageError: if an argument is wrong.
        DataError: if no file matches.
    """
    metadata = BaseTFRecordMetadata(dataset_dir, file_pattern, num_samples, compression_type=compression_type)
    return HandledTFRecordDataset(
        metadata,
        feature_keys=list(keys_to_features),
        feature_values=list(keys_to_features.values()),
        items_to_handlers=items_to_handlers,
        num_epochs=num_epochs,
        num_readers=num_readers,
        shuffle=shuffle,
        shuffle_buffer_size=shuffle_buffer_size,
        on_bad_record=on_bad_record,
    )


@define(eq=False, slots=False)
class HandledTFRecordDataset(BaseTFRecordDataset):
    """Records whose features handlers turn into items.

    Attributes:
        items_to_handlers: the handler of each item.
    """

    items_to_handlers: Mapping[str, Any] = field(kw_only=True)

    @items_to_handlers.validator
    def _check_handlers(self, _attribute: object, value: Any) -> None:
        check_handlers(value, self.feature_keys)

    def _build_features(self, *tensors: Any) -> None:
        items = apply_handlers(self.items_to_handlers, dict(zip(self.feature_keys, tensors, strict=True)))
        for item, tensor in items:
            self._add_feature(item, tensor)


def check_handlers(handlers: Mapping[str, Any], feature_keys: Collection[str]) -> None:
    """Check that handlers are some, and that the features that they want are there.

    Args:
        handlers: the handler of each item.
        feature_keys: the names of the features, the argument keys_to_features.

    Raises:
        UsageError: if not, with the name of the item.
    """
    for item, handler in handlers.items():
        if not hasattr(handler, "keys") or not hasattr(handler, "tensors_to_item"):
            raise UsageError(
                f"the handler of item {item!r} is {handler!r}; it must be one of mox.tfexample_decoder, as "
                f"mox.tfexample_decoder.Tensor({item!r}), or of tf_slim."
            )
        for key in handler.keys:
            if key not in feature_keys:
                sentences = [
                    f"the handler of item {item!r} wants feature {key!r}, which is not in keys_to_features.",
                    did_you_mean(nearest(key, feature_keys)),
                    f"keys_to_features has {', '.join(map(repr, feature_keys))}.",
                ]
                raise UsageError(" ".join(filter(None, sentences)))


def apply_handlers(handlers: Mapping[str, Any], parsed: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each item and the tensor that its handler makes.

    Args:
        handlers: the handler of each item.
        parsed: the features of a record.
    """
    uses_slim = any(map(is_of_slim, handlers.values()))
    with ops_of_slim() if uses_slim else contextlib.nullcontext():
        for item, handler in handlers.items():
            yield item, handler.tensors_to_item({key: parsed[key] for key in handler.keys})
