"""What every data augmentation must keep to."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import tensorflow as tf

import mox_core as mox
from mox_core.engine.input.order import Order
from mox_core.testing.once import working
from mox_core.testing.reading import read

if TYPE_CHECKING:
    from collections.abc import Mapping

    Image = np.ndarray[Any, Any]

_COUNT = 8
_MODES = (mox.ModeKeys.TRAIN, mox.ModeKeys.EVAL)


class AugmentationContract:
    """Tests for a data augmentation that a plugin offers to `mox.get_data_augmentation_fn`.

    One picture goes through an `input_fn` several times. Checked are the size and the type of what comes out; that
    TRAIN gives another picture for each sample, the same seed the same ones and another seed other ones; that EVAL
    always gives one and the same; and that pictures of several sizes can be batched.

    Example:
        class TestCrop(AugmentationContract):
            augmentation = "my_crop"
            options = {"output_height": 32, "output_width": 40}
            output_shape = (32, 40, 3)

    Attributes:
        augmentation: the name.
        options: what `mox.get_data_augmentation_fn` gets beside name and mode.
        image_shape: of the picture that goes in; it is uint8, as decoding gives it.
        output_shape: of what comes out with these options; not checked if not given, but it has to be known before the
            pictures are, as batches need it.
        deterministic: whether TRAIN draws no random numbers either.
    """

    augmentation: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    image_shape: ClassVar[tuple[int, int, int]] = (48, 64, 3)
    output_shape: ClassVar[tuple[int, int, int] | None] = None
    deterministic: ClassVar[bool] = False

    def test_shape_and_type_are_known_and_the_same_in_all_modes(self) -> None:
        """TRAIN and EVAL give images of `output_shape`, of one numeric type, with numbers that are finite."""
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
        """In TRAIN no two samples are distorted alike, unless the augmentation is declared deterministic."""
        images = self._pictures(mox.ModeKeys.TRAIN)
        if self.deterministic:
            assert _all_alike(images), (
                f"{self._who} is declared deterministic and gives one picture several faces in TRAIN: leave "
                "`deterministic` out."
            )
            return
        assert not _all_alike(images), (
            f"{self._who} gives {_COUNT} samples of TRAIN the same face. Draw random numbers by tf.random in the "
            "function of the image: NumPy and Python draw once, when input_fn is traced. If it means to draw none, set "
            "deterministic = True."
        )

    def test_eval_is_always_the_same(self) -> None:
        """In EVAL one picture has one face, whatever the sample and the seed."""
        images = [*self._pictures(mox.ModeKeys.EVAL), *self._pictures(mox.ModeKeys.EVAL, seed=2)]
        assert _all_alike(images), (
            f"{self._who} gives one picture several faces in EVAL: draw random numbers where run_mode is TRAIN only."
        )

    def test_the_same_seed_gives_the_same_pictures(self) -> None:
        """A run with the seed of another sees the same pictures; with another seed it sees others."""
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
        """In each mode, batches of pictures whose sizes nobody knows before hold what single pictures hold."""
        for mode in _MODES:
            with working(f"batching what {self._who} makes of pictures of several sizes in {mode}"):
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
        with working(f"augmenting by {self._who} in {mode}"):
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
        """Returns what comes out, and appends its static shape."""

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
    """A smooth picture without symmetry, so that crops, flips and colours show."""
    rows, columns, channels = np.mgrid[0 : shape[0], 0 : shape[1], 0 : shape[2]]
    values = 200 * (rows / shape[0]) ** 2 + 30 * columns / shape[1] + 8 * channels
    return values.astype(np.uint8)


def _all_alike(images: list[Image]) -> bool:
    return all(np.array_equal(images[0], image) for image in images[1:])
