"""DatasetContract finds what is wrong with a data set, and nothing in a good one."""

import random

import numpy as np
import pytest
import tensorflow as tf
from attrs import frozen

from mox_core.sdk import SampleSource
from mox_core.testing import DatasetContract

FEATURES, UNKNOWN, ONCE, EPOCHS, SHARES, SHUFFLING, RESUME = (
    "test_it_gives_the_features_that_it_names",
    "test_it_refuses_unknown_features_by_name",
    "test_eval_sees_each_sample_once_in_one_order",
    "test_epochs_are_counted",
    "test_shares_of_workers_are_disjoint_and_complete",
    "test_shuffling_depends_on_seed_and_epoch",
    "test_a_run_goes_on_where_another_stopped",
)


class Numbers:
    """Numbers in a file; broken ones override one method or attribute."""

    source_class = SampleSource

    def __init__(self, file, *, shuffle, num_epochs):
        self.numbers = np.load(file)
        self.shuffle, self.num_epochs = shuffle, num_epochs

    def get(self, names):
        features = self.source_class(
            num_samples=len(self.numbers),
            fetch=self.fetch,
            describe=str,
            shuffle=self.shuffle,
            num_epochs=self.num_epochs,
        ).read()
        return [self.feature(features, name) for name in names]

    def feature(self, features, name):
        if name not in features:
            raise ValueError(f"there is no feature {name!r}")
        return features[name]

    def fetch(self, index):
        number = tf.gather(tf.constant(self.numbers), index)
        return {"number": number, "text": tf.strings.as_string(number), "pair": tf.stack([number, index])}


def contract_of(numbers_class, *, samples=6):
    class Contract(DatasetContract):
        features = ("number", "text", "pair")
        num_samples = samples
        key = "number"

        def dataset(self, folder, *, shuffle, num_epochs):
            np.save(folder / "numbers.npy", np.arange(10, 16))
            return numbers_class(folder / "numbers.npy", shuffle=shuffle, num_epochs=num_epochs)

    return Contract


def test_a_good_data_set_passes(run_check):
    run_check(contract_of(Numbers))


class Failing(Numbers):
    def fetch(self, _index):
        raise OSError("no file")


class Missing(Numbers):
    def get(self, names):
        return super().get(names)[1:]


class WithoutRank(Numbers):
    def fetch(self, index):
        features = super().fetch(index)
        return features | {"pair": tf.py_function(lambda pair: pair, [features["pair"]], tf.int64)}


class OfAnotherShape(Numbers):
    def feature(self, features, name):
        tensor = features[name]
        if name == "pair":
            tensor = tf.numpy_function(lambda pair: pair, [tensor], tf.int64)
            tensor.set_shape([3])
        return tensor


class TakingAnyName(Numbers):
    def feature(self, features, name):
        return features.get(name, features["number"])


class WithoutTheName(Numbers):
    def feature(self, features, name):
        if name not in features:
            raise ValueError("unknown feature")
        return features[name]


class Twice(Numbers):
    def fetch(self, index):
        return super().fetch(index // 2)


class InSomeOrder(Numbers):
    def __init__(self, file, **options):
        super().__init__(file, **options)
        random.shuffle(self.numbers)


class Once(Numbers):
    def __init__(self, file, *, shuffle, num_epochs):
        del num_epochs
        super().__init__(file, shuffle=shuffle, num_epochs=1)


class Ending(Numbers):
    def __init__(self, file, *, shuffle, num_epochs):
        super().__init__(file, shuffle=shuffle, num_epochs=num_epochs or 2)


@frozen(kw_only=True)
class SharelessSource(SampleSource):
    def index_at(self, position, order):
        del order
        return position % self.num_samples


class Shareless(Numbers):
    source_class = SharelessSource


class Unshuffled(Numbers):
    def __init__(self, file, *, shuffle, num_epochs):
        del shuffle
        super().__init__(file, shuffle=False, num_epochs=num_epochs)


class ShuffledByItself(Unshuffled):
    def __init__(self, file, **options):
        super().__init__(file, **options)
        self.numbers = np.random.default_rng().permutation(self.numbers)


@frozen(kw_only=True)
class OneOrderSource(SampleSource):
    def index_at(self, position, order):
        return super().index_at(position % self.num_samples, order)


class OneOrder(Numbers):
    source_class = OneOrderSource


class Counting(Numbers):
    def fetch(self, index):
        numbers = iter(range(1000))
        count = tf.numpy_function(lambda: np.int64(next(numbers)), [], tf.int64)
        count.set_shape([])
        return super().fetch(index) | {"number": count}


@pytest.mark.parametrize(
    ("broken", "check", "words"),
    [
        (Failing, FEATURES, "reading the data set of Contract fails: OSError: no file"),
        (Missing, FEATURES, "gives 2 tensors for get(['number', 'text', 'pair']): give one for each name, in order"),
        (WithoutRank, FEATURES, "the data set of Contract gives 'pair' of no known rank: call set_shape"),
        (OfAnotherShape, FEATURES, "(expected [3], got [2])"),
        (TakingAnyName, UNKNOWN, "gives a feature 'no_such_feature': refuse what it does not know"),
        (
            WithoutTheName,
            UNKNOWN,
            "refuses the feature 'no_such_feature' without its name: ValueError: unknown feature",
        ),
        (
            Twice,
            ONCE,
            "in one epoch without shuffling of the data set of Contract, (10,), (11,), (12,) are there more than once",
        ),
        (InSomeOrder, ONCE, "without shuffling differs between two runs: sort the files"),
        (Once, EPOCHS, "two epochs of the data set of Contract hold 6 samples, and not each of 6 twice"),
        (Ending, EPOCHS, "ends after 12 samples with num_epochs=None, which means for ever"),
        (Shareless, SHARES, "in the shares of 2 workers of the data set of Contract, "),
        (Unshuffled, SHUFFLING, "has the same order with other seeds: hand shuffle on to SampleSource"),
        (ShuffledByItself, SHUFFLING, "shuffles in another order with the same seed"),
        (OneOrder, SHUFFLING, "has the same order in each of 3 epochs: shuffle each anew"),
        (Counting, RESUME, "goes on with other samples after 9, where a run has stopped"),
    ],
)
def test_what_is_wrong_is_found(caught, broken, check, words):
    caught(contract_of(broken), check, words)


def test_samples_that_are_left_out_are_found(caught):
    caught(contract_of(Numbers, samples=7), ONCE, "there are 6 samples, and num_samples is 7: read each file")


def test_a_contract_without_its_method_says_which(caught):
    class Contract(DatasetContract):
        features, num_samples, key = ("number",), 6, "number"

    caught(Contract, ONCE, "fails: NotImplementedError: Contract lacks the method `dataset`")
