"""`ProgressiveImagenetDataset`: a training that begins with small images in large batches.

The idea is that of fast.ai's record on ImageNet (Howard et al. 2018, DAWNBench): epochs of small images cost little,
and what they teach holds for large ones. MoXing's documents give the arguments of the class and not what it does with
an image: that is fast.ai's here, a random region as Inception's trainings cut it.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import define, field

import mox_core
from mox_core.datasets import checks
from mox_core.datasets.requested_keys import check_known, check_names
from mox_core.errors import UsageError
from mox_core.networks.augmentation import flipped, resized
from mox_core.sdk import read_once, read_source
from mox_core.whole_numbers import is_whole_number
from mox_tfrecord.classification import ImageClassificationTFRecordDataset, ImageClassificationTFRecordMetadata
from mox_tfrecord.stages import StagedSource, stages_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attrs import Attribute

_STAGE = "(file_pattern, batch_size, image_size, min_scale)"
_PARTS_OF_STAGE = 4
_ASPECT_RATIOS = (3 / 4, 4 / 3)


def _as_list(values: Any) -> list[Any]:
    return list(values)


@define(eq=False, slots=False)
class ProgressiveImagenetDataset:
    """Batches of images of ImageNet whose size grows at given steps of a training, read inside `input_fn`.

    `get` returns batches, so `mox.run` is called with auto_batch=False: 'image' (float32, [batch, size, size, 3], RGB
    from 0 to 255), 'label' (int64, [batch]), 'label_desc' and 'image_name'. Of each image a random region is cut, of
    min_scale to all of its area and of an aspect ratio from 3/4 to 4/3, resized bilinearly, and mirrored at random. It
    is for TRAIN: evaluate on another data set.

    Steps are counted from the beginning of the training in its log_dir. A resumed run goes on at its step, behind the
    last sample. Each stage has an order of its own, and shuffles over the whole set.

    Example:
        def input_fn(mode):
            dataset = mox.ProgressiveImagenetDataset(
                num_samples=1281167,
                strategy_spec=[
                    ("imagenet-160/train-*", 512, 128, 0.08),
                    ("imagenet/train-*", 224, 224, 0.08),
                    ("imagenet/train-*", 128, 288, 0.5),
                ],
                ds_switch_steps=[35000, 112000],
                labels_offset=1,
            )
            return dataset.get(["image", "label"])

    Attributes:
        num_samples: number of records in the files of each stage, if known.
        strategy_spec: for each stage (file_pattern, batch_size, image_size, min_scale): the records, with slim's
            features; images in a batch, on each device; height and width; the least part of an image's area.
        ds_switch_steps: the global steps at which the second stage begins, the third, and so on.
        shuffle: whether each epoch has an order of its own.
        num_parallel: no effect; tf.data decides.
        labels_offset: what is taken from the labels of the records: 1 for a network without slim's background class.
        private_num_threads: no effect; tf.data decides.
        shuffle_buffer_size: for compressed files only.
    """

    num_samples: int | None = field(default=None, validator=checks.at_least(1, or_none=True))
    strategy_spec: Sequence[Any] = field(default=(), converter=_as_list, kw_only=True)
    ds_switch_steps: Sequence[int] = field(default=(), converter=_as_list, kw_only=True)
    shuffle: bool = field(default=True, validator=checks.is_bool, kw_only=True)
    num_parallel: int = field(default=8, validator=checks.at_least(1), kw_only=True)
    labels_offset: int = field(default=0, validator=checks.at_least(0), kw_only=True)
    private_num_threads: int = field(default=0, validator=checks.at_least(0), kw_only=True)
    shuffle_buffer_size: int = field(default=6400, validator=checks.at_least(1), kw_only=True)
    _parts: list[_Part] = field(init=False)

    @strategy_spec.validator
    def _check_spec(self, _attribute: Attribute[Any], value: list[Any]) -> None:
        if not value:
            raise checks.refuse(self, "strategy_spec", value, f"a list with {_STAGE} for each stage")
        for number, stage in enumerate(value):
            if not isinstance(stage, (list, tuple)) or len(stage) != _PARTS_OF_STAGE:
                raise checks.refuse(self, f"strategy_spec[{number}]", stage, _STAGE)
            pattern, batch_size, image_size, min_scale = stage
            rules: tuple[tuple[bool, str], ...] = (
                (isinstance(pattern, (str, os.PathLike)), "file_pattern, a path as 'imagenet/train-*'"),
                (is_whole_number(batch_size, least=1), "batch_size, a whole number from 1"),
                (is_whole_number(image_size, least=1), "image_size, a whole number from 1"),
                (isinstance(min_scale, (int, float)) and 0 < min_scale <= 1, "min_scale, above 0 and up to 1"),
            )
            for place, (holds, rule) in enumerate(rules):
                if not holds:
                    raise checks.refuse(self, f"strategy_spec[{number}][{place}]", stage[place], rule)

    @ds_switch_steps.validator
    def _check_switches(self, _attribute: Attribute[Any], value: list[Any]) -> None:
        rising = all(is_whole_number(step, least=1) for step in value) and value == sorted(set(value))
        if not rising or len(value) != len(self.strategy_spec) - 1:
            raise UsageError(
                f"ds_switch_steps of {type(self).__name__} is {value!r} for {len(self.strategy_spec)} stages of "
                f"strategy_spec; it must be {len(self.strategy_spec) - 1} steps, each a whole number above the one "
                "before: those at which the second stage begins, the third, and so on."
            )

    def __attrs_post_init__(self) -> None:
        metadata = functools.cache(self._metadata)  # stages of the same files are counted and listed once
        self._parts = [
            _Part(
                metadata(os.fspath(pattern)),
                int(batch_size),
                labels_offset=self.labels_offset,
                augmentation_fn=functools.partial(_random_region, size=int(image_size), min_scale=float(min_scale)),
                shuffle=self.shuffle,
                shuffle_buffer_size=self.shuffle_buffer_size,
            )
            for pattern, batch_size, image_size, min_scale in self.strategy_spec
        ]

    def get(self, keys: Sequence[str]) -> list[tf.Tensor]:
        """Return features of a batch in the order of `keys`, inside `input_fn`.

        Args:
            keys: names of features: 'image', 'label', 'label_desc', 'image_name'.

        Raises:
            UsageError: if a name is unknown, or where no data set is read.
            DataError: if the files are damaged, or their records have other features.
        """
        check_names(keys, owner=type(self).__name__)
        features = read_once(self, lambda: read_source(self.source()))
        check_known(keys, features, owner=type(self).__name__)
        return [features[key] for key in keys]

    def source(self) -> StagedSource:
        """Return the source of batches.

        Raises:
            DataError: if the files are damaged, or their records have other features.
        """
        sources = [part.source() for part in self._parts]
        switches = [int(step) for step in self.ds_switch_steps]
        return StagedSource(stages_of(sources, switches), replicas=int(mox_core.get_flag("num_gpus")))

    def _metadata(self, pattern: str) -> ImageClassificationTFRecordMetadata:
        folder, name = os.path.split(pattern)
        return ImageClassificationTFRecordMetadata(folder or ".", name, self.num_samples)


@define(eq=False, slots=False)
class _Part(ImageClassificationTFRecordDataset):
    """The images of one stage.

    Attributes:
        labels_offset: what is taken from the labels.
    """

    labels_offset: int = field(default=0, kw_only=True)

    def _source_options(self) -> dict[str, Any]:
        below = f", or its label is below labels_offset={self.labels_offset}" if self.labels_offset else ""
        return super()._source_options() | {"why_bad": f"damaged, or no image with slim's features{below}"}

    def _build_features(self, *tensors: Any) -> None:
        super()._build_features(*tensors)
        label = self._found["label"]
        least = tf.constant(self.labels_offset, label.dtype)
        with tf.control_dependencies([tf.debugging.assert_less_equal(least, label)]):
            self._add_feature("label", label - least)


def _random_region(image: tf.Tensor, *, size: int, min_scale: float) -> tf.Tensor:
    """Return a random region of an image, float32 of shape [size, size, 3], mirrored in half of all cases."""
    begin, region, _ = tf.image.sample_distorted_bounding_box(
        tf.shape(image),
        tf.zeros([1, 0, 4]),
        min_object_covered=0.0,
        aspect_ratio_range=_ASPECT_RATIOS,
        area_range=(min_scale, 1.0),
        use_image_if_no_bounding_boxes=True,
    )
    part = resized(tf.slice(image, begin, region), [size, size])
    return tf.ensure_shape(flipped(part, tf.random.uniform([])), [size, size, 3])
