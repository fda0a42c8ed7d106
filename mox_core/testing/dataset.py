"""The contract of data sets."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

import mox_core as mox
from mox_core.engine.input.order import Order
from mox_core.testing.helpers import attempt
from mox_core.testing.reading import Element, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    import tensorflow as tf

    Key = tuple[Any, ...]


class DatasetContract:
    """Tests for a data set that is read inside `input_fn` by `get([...])`, whether it has a name or is a class.

    Its samples are read by the pipeline of `mox.run`. The tests check the features; that an epoch without shuffling
    contains each sample once, always in the same order; that the shares of several workers are disjoint and complete;
    that shuffling depends on the seed and the epoch; and that a resumed run reads the samples that are left.

    Example:
        class TestBirds(DatasetContract):
            features = ("image", "label", "name")
            num_samples = 7
            key = "name"

            def dataset(self, folder, *, shuffle, num_epochs):
                write_birds(folder, 7)
                return mox.get_dataset("birds", "train", str(folder), shuffle=shuffle, num_epochs=num_epochs)

    Attributes:
        features: the names of all features that `get` accepts.
        num_samples: number of samples in `dataset`; 5 or more, so that orders differ.
        key: a feature that identifies a sample, and does not depend on the path of the folder.
    """

    features: ClassVar[Sequence[str]]
    num_samples: ClassVar[int]
    key: ClassVar[str]

    def dataset(self, folder: Path, *, shuffle: bool, num_epochs: int | None) -> Any:
        """Write the files of the data set, the same at each call, and return the data set that reads them.

        It is called inside `input_fn`, where TensorFlow's operations are traced instead of run: write the files with
        NumPy, Pillow and the like, or with TensorFlow inside `tf.init_scope()`.

        Args:
            folder: an empty folder, another one at each call.
            shuffle: whether the samples are to be shuffled in each epoch.
            num_epochs: number of epochs; None: no end.

        Returns:
            An object with a method `get(keys)`, which returns a list of tensors.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks the method `dataset`")

    def test_it_gives_the_features_that_it_names(self, tmp_path: Path) -> None:
        """`get` returns a tensor for each feature, whose rank is known and whose static shape is right."""
        shapes: dict[str, tf.TensorShape] = {}
        self._read(tmp_path, names=self.features, shapes=shapes)  # TensorFlow checks the values against them
        without = [name for name, shape in shapes.items() if shape.rank is None]
        assert not without, (
            f"{self._who} gives {', '.join(map(repr, without))} of no known rank: call set_shape in the function that "
            "reads a sample, with None for what differs between samples."
        )

    def test_it_refuses_unknown_features_by_name(self, tmp_path: Path) -> None:
        """`get(["no_such_feature"])` raises an error that contains the name, while the input is built."""
        input_fn = self._input_fn(tmp_path, ["no_such_feature"], {}, shuffle=False, num_epochs=1)
        try:
            read(input_fn, mox.ModeKeys.EVAL, limit=1)
        except AssertionError:
            raise
        except Exception as error:
            if "no_such_feature" in str(error):
                return
            raise AssertionError(
                f"{self._who} refuses the feature 'no_such_feature' without its name: {type(error).__name__}: {error}"
            ) from error
        raise AssertionError(f"{self._who} gives a feature 'no_such_feature': refuse what it does not know.")

    def test_eval_sees_each_sample_once_in_one_order(self, tmp_path: Path) -> None:
        """An epoch without shuffling contains each sample once, always in the same order."""
        first = self._keys(tmp_path, names=[self.key])
        self._check_complete(first, "one epoch without shuffling")
        assert first == self._keys(tmp_path, order=Order(seed=2)), (
            f"the order of {self._who} without shuffling differs between two runs: sort the files, and let nothing "
            "depend on the order of a set or of the file system."
        )

    def test_epochs_are_counted(self, tmp_path: Path) -> None:
        """`num_epochs=2` yields each sample twice, and `num_epochs=None` has no end."""
        twice = self._keys(tmp_path, num_epochs=2)
        counts = set(collections.Counter(twice).values())
        assert (len(twice), counts) == (2 * self.num_samples, {2}), (
            f"two epochs of {self._who} hold {len(twice)} samples, and not each of {self.num_samples} twice: hand "
            "num_epochs on."
        )
        more = 2 * self.num_samples + 1
        endless = self._keys(tmp_path, num_epochs=None, limit=more)
        assert len(endless) == more, (
            f"{self._who} ends after {len(endless)} samples with num_epochs=None, which means for ever: hand it on."
        )

    def test_shares_of_workers_are_disjoint_and_complete(self, tmp_path: Path) -> None:
        """With and without shuffling, each sample of an epoch is read by exactly one of several workers."""
        for workers, shuffle in ((2, False), (3, True)):
            orders = [Order(seed=1, workers=workers, worker=worker) for worker in range(workers)]
            shares = [self._keys(tmp_path, shuffle=shuffle, order=order) for order in orders]
            self._check_complete([key for share in shares for key in share], f"the shares of {workers} workers")

    def test_shuffling_depends_on_seed_and_epoch(self, tmp_path: Path) -> None:
        """The order is the same for the same seed, and differs between seeds and between epochs."""
        first = self._shuffled(tmp_path, seed=1)
        epochs = [tuple(first[start : start + self.num_samples]) for start in range(0, len(first), self.num_samples)]
        self._check_complete(list(epochs[0]), "one epoch with shuffling")
        assert first == self._shuffled(tmp_path, seed=1), (
            f"{self._who} shuffles in another order with the same seed: let SampleSource(shuffle=True) shuffle."
        )
        # A few samples may have the same order by chance, but not for two other seeds.
        assert any(self._shuffled(tmp_path, seed=seed) != first for seed in (2, 3)), (
            f"{self._who} has the same order with other seeds: hand shuffle on to SampleSource, and shuffle with no "
            "seed of your own."
        )
        assert len(set(epochs)) > 1, (
            f"{self._who} has the same order in each of {len(epochs)} epochs: shuffle each anew, as SampleSource does."
        )

    def test_a_run_goes_on_where_another_stopped(self, tmp_path: Path) -> None:
        """A run resumed in the middle of the second epoch reads the samples that the first run had left."""
        order = Order(seed=3)
        whole = self._read(tmp_path, shuffle=True, num_epochs=3, order=order)
        seen = self.num_samples + self.num_samples // 2
        rest = self._keys(tmp_path, shuffle=True, num_epochs=3, order=order, start=whole[seen - 1].after)
        assert rest == [self._key_of(element) for element in whole[seen:]], (
            f"{self._who} goes on with other samples after {seen}, where a run has stopped: let the sample depend on "
            "its index only, and keep no count."
        )

    @property
    def _who(self) -> str:
        return f"the data set of {type(self).__name__}"

    def _check_complete(self, keys: list[Key], what: str) -> None:
        twice = {key for key in keys if keys.count(key) > 1}
        assert not twice, (
            f"in {what} of {self._who}, {_listed(twice)} are there more than once: one index is one sample, and the "
            f"feature {self.key!r} must tell samples apart."
        )
        assert len(keys) == self.num_samples, (
            f"in {what} of {self._who} there are {len(keys)} samples, and num_samples is {self.num_samples}: read each "
            "file, and leave none out."
        )

    def _shuffled(self, folder: Path, *, seed: int) -> list[Key]:
        return self._keys(folder, shuffle=True, num_epochs=3, order=Order(seed=seed))

    def _keys(self, folder: Path, **options: Any) -> list[Key]:
        return [self._key_of(element) for element in self._read(folder, **options)]

    @staticmethod
    def _key_of(element: Element) -> Key:
        return tuple(np.ravel(element.values[0]).tolist())

    def _read(
        self,
        folder: Path,
        *,
        names: Sequence[str] | None = None,
        shuffle: bool = False,
        num_epochs: int | None = 1,
        shapes: dict[str, tf.TensorShape] | None = None,
        **options: Any,
    ) -> list[Element]:
        """Read the features `names`, by default the key; record their static shapes in `shapes`."""
        mode = mox.ModeKeys.TRAIN if shuffle else mox.ModeKeys.EVAL
        noted = {} if shapes is None else shapes
        input_fn = self._input_fn(folder, names or [self.key], noted, shuffle=shuffle, num_epochs=num_epochs)
        with attempt(f"reading {self._who}"):
            return read(input_fn, mode, **options)

    def _input_fn(
        self, folder: Path, names: Sequence[str], shapes: dict[str, tf.TensorShape], **options: Any
    ) -> Callable[[str], list[tf.Tensor]]:
        own = folder / str(len(list(folder.iterdir())))
        own.mkdir()

        def input_fn(_mode: str) -> list[tf.Tensor]:
            tensors = list(self.dataset(own, **options).get(list(names)))
            assert len(tensors) == len(names), (
                f"{self._who} gives {len(tensors)} tensors for get({list(names)!r}): give one for each name, in order."
            )
            shapes.update({name: tensor.shape for name, tensor in zip(names, tensors, strict=True)})
            return tensors

        return input_fn


def _listed(keys: Iterable[Key]) -> str:
    return ", ".join(sorted(map(str, keys))[:3])
