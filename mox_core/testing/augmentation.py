"""The contract of data augmentations."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import tensorflow as tf

import mox_core as mox
from mox_core.engine.input.order import Order
from mox_core.testing.helpers import attempt
from mox_core.testing.reading import read

if TYPE_CHECKING:
    from collections.abc import Mapping

    Image = np.ndarray[Any, Any]

_COUNT = 8
_MODES = (mox.ModeKeys.TRAIN, mox.ModeKeys.EVAL)


class AugmentationContract:
    """Tests for a data augmentation that a plugin offers to `mox.get_data_augmentation_fn`.

    One image passes an `input_fn` several times. The tests check the shape and dtype of the result; that in TRAIN it
    differs between samples and seeds and is the same for the same seed; that in EVAL it is always the same; and that
    images of several sizes can be batched.

    Example:
        class TestCrop(AugmentationContract):
            augmentation = "my_crop"
            options = {"output_height": 32, "output_width": 40}
            output_shape = (32, 40, 3)

    Attributes:
        augmentation: the name of the augmentation.
        options: arguments of `mox.get_data_augmentation_fn` besides name and mode.
        image_shape: (height, width, channels) of the uint8 image that is augmented.
        output_shape: the expected shape of the result with these options. None: any shape; it must be static in any
            case, as batches need it.
        deterministic: whether the augmentation draws no random numbers in TRAIN either.
    """

    augmentation: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    image_shape: ClassVar[tuple[int, int, int]] = (48, 64, 3)
    output_shape: ClassVar[tuple[int, int, int] | None] = None
    deterministic: ClassVar[bool] = False

    def test_shape_and_type_are_known_and_the_same_in_all_modes(self) -> None:
        """In TRAIN and EVAL the result has the shape `output_shape`, one numeric dtype, and finite values."""
        types = {}
        for mode in _MODES:
            static: list[Any] = []
            image = self._pictures(mode, limit=1, static=static)[0]
            expected = tuple(self.output_shape or image.shape)
            assert image.shape == expected, (
                f"{self._who} gives images of shape {image.shape} in {mode}; expected is {expected}."
            )
            assert static[0] == list(expected), (
                f"{self._who} gives images of the static shape {static[0]} in {mode}, and {expected} when they are "
                "there: batches need it before; call image.set_shape, or tf.ensure_shape."
            )
            assert np.issubdtype(image.dtype, np.number), f"{self._who} gives {image.dtype} in {mode}, not numbers."
            assert np.all(np.isfinite(image)), f"{self._who} gives numbers in {mode} that are not finite."
            types[mode] = image.dtype.name
        assert len(set(types.values())) == 1, (
            f"{self._who} gives images of several types, {types}: cast them to the same in all modes."
        )

    def test_train_differs_between_samples(self) -> None:
        """In TRAIN the results differ between samples, unless the augmentation is declared deterministic."""
        images = self._pictures(mox.ModeKeys.TRAIN)
        if self.deterministic:
            assert _all_alike(images), (
                f"{self._who} is declared deterministic and returns different results for one image in TRAIN: leave "
                "`deterministic` out."
            )
            return
        assert not _all_alike(images), (
            f"{self._who} gives {_COUNT} samples of TRAIN the same face. Draw random numbers by tf.random in the "
            "function of the image: NumPy and Python draw once, when input_fn is traced. If it means to draw none, set "
            "deterministic = True."
        )

    def test_eval_is_always_the_same(self) -> None:
        """In EVAL the result depends on neither sample nor seed."""
        images = [*self._pictures(mox.ModeKeys.EVAL), *self._pictures(mox.ModeKeys.EVAL, seed=2)]
        assert _all_alike(images), (
            f"{self._who} returns different results for one image in EVAL: "
            "draw random numbers where run_mode is TRAIN only."
        )

    def test_the_same_seed_gives_the_same_pictures(self) -> None:
        """In TRAIN runs with one seed have the same results, and runs with another seed have others."""
        first, second = self._pictures(mox.ModeKeys.TRAIN), self._pictures(mox.ModeKeys.TRAIN)
        assert np.array_equal(first, second), (
            f"{self._who} gives other pictures with the same seed: draw random numbers by tf.random, which mox seeds, "
            "outside of loops."
        )
        if not self.deterministic:
            other = self._pictures(mox.ModeKeys.TRAIN, seed=2)
            assert not np.array_equal(first, other), (
                f"{self._who} gives the same pictures with another seed: draw random numbers by tf.random without a "
                "seed of your own."
            )

    def test_pictures_of_several_sizes_make_batches(self) -> None:
        """In each mode, images of several sizes can be batched, with the same results as one by one."""
        for mode in _MODES:
            with attempt(f"batching what {self._who} makes of pictures of several sizes in {mode}"):
                batches = self._read(mode, several_sizes=True, batch_size=_COUNT // 2, limit=2)
                singles = self._read(mode, several_sizes=True, limit=_COUNT)
            together = np.concatenate(batches)
            assert np.array_equal(together, np.stack(singles)), (
                f"{self._who} gives other pictures in batches than one by one in {mode}: let it depend on its image "
                "and tf.random only."
            )

    @property
    def _who(self) -> str:
        return f"augmentation {self.augmentation!r}"

    def _pictures(
        self, mode: str, *, seed: int = 1, limit: int = _COUNT, static: list[Any] | None = None
    ) -> list[Image]:
        with attempt(f"augmenting by {self._who} in {mode}"):
            return self._read(mode, seed=seed, limit=limit, static=static)

    def _read(
        self,
        mode: str,
        *,
        seed: int = 1,
        limit: int,
        batch_size: int | None = None,
        several_sizes: bool = False,
        static: list[Any] | None = None,
    ) -> list[Image]:
        """Return the augmented images, and append their static shape to `static`."""

        def input_fn(mode: str) -> Any:
            image = tf.constant(_picture(self.image_shape))
            if several_sizes:
                number = tf.cast(mox.get_next(tf.data.Dataset.range(_COUNT)), tf.int32)
                image = image[: self.image_shape[0] - number % 4]
            augmented = mox.get_data_augmentation_fn(self.augmentation, mode, **self.options)(image)
            if static is not None:
                static.append(augmented.shape.as_list() if augmented.shape.rank is not None else None)
            return augmented

        elements = read(input_fn, mode, order=Order(seed=seed), batch_size=batch_size, limit=limit)
        return [element.values[0] for element in elements]


def _picture(shape: tuple[int, int, int]) -> Image:
    """Return a smooth image without symmetry, which crops, flips and changes of colors all change."""
    rows, columns, channels = np.mgrid[0 : shape[0], 0 : shape[1], 0 : shape[2]]
    values = 200 * (rows / shape[0]) ** 2 + 30 * columns / shape[1] + 8 * channels
    return values.astype(np.uint8)


def _all_alike(images: list[Image]) -> bool:
    return all(np.array_equal(images[0], image) for image in images[1:])
