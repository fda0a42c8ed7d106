"""Data sets prepared by TensorFlow Datasets' own writer, from what a builder of the test makes."""

import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import mox_core as mox

NUM = {"train": 23, "test": 6}
IMAGES = np.random.default_rng(1).integers(0, 256, size=(29, 28, 28, 1), dtype=np.uint8)


class FashionMnist(tfds.core.GeneratorBasedBuilder):
    """Images of noise in the form of the data set of this name."""

    VERSION = tfds.core.Version("3.0.1")

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(28, 28, 1)),
                "label": tfds.features.ClassLabel(names=["shirt", "shoe", "bag"]),
                "words": tfds.features.Text(),
            }
        )
        return self.dataset_info_from_configs(features=features)

    def _split_generators(self, dl_manager):
        del dl_manager
        return {"train": self._samples(0, NUM["train"]), "test": self._samples(NUM["train"], 29)}

    def _generate_examples(self):
        raise NotImplementedError

    def _samples(self, first, end):
        for number in range(first, end):
            yield number, {"image": IMAGES[number], "label": number % 3, "words": f"number {number}"}


@pytest.fixture(scope="module", params=["tfrecord", "array_record"])
def data_dir(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    config = tfds.download.DownloadConfig(num_shards=3, compute_stats="skip")
    FashionMnist(data_dir=folder, file_format=request.param).download_and_prepare(download_config=config)
    return str(folder)


def read(dataset_fn, steps, log_dir=None, keys=("image", "label", "words", "tfds_id"), **options):
    """The samples that a training of batches of one sees."""
    seen = []

    def model_fn(inputs, mode):
        del mode
        weight = tf.compat.v1.get_variable("w", initializer=0.0)
        seen_info = {f"value_{number}": tensor for number, tensor in enumerate(inputs)}
        return mox.ModelSpec(loss=weight**2, output_info=seen_info)

    result = mox.run(
        input_fn=lambda mode: dataset_fn().get(list(keys)),  # noqa: ARG005
        model_fn=model_fn,
        optimizer_fn=mox.get_optimizer_fn("sgd", 0.1),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=1,
        max_number_of_steps=steps,
        output_fn=lambda outputs: seen.extend([each[f"value_{n}"][0] for n in range(len(keys))] for each in outputs),
        output_every_n_steps=1,
        log_dir=log_dir,
        **options,
    )
    assert result.global_step == steps
    return seen


def test_samples_are_those_that_were_prepared(data_dir):
    def dataset():
        return mox.get_dataset("fashion_mnist", "train", data_dir, shuffle=False, num_epochs=1)

    found = read(dataset, NUM["train"])
    assert {sample[2] for sample in found} == {b"number %d" % number for number in range(23)}
    for image, label, words, _ in found:
        number = int(words.split()[1])
        np.testing.assert_array_equal(image, IMAGES[number])
        assert label == number % 3
        assert image.dtype == np.uint8
    assert len({sample[3] for sample in found}) == NUM["train"]


def test_each_epoch_is_shuffled_as_a_whole_and_a_resumed_run_goes_on(data_dir, tmp_path):
    def dataset():
        return mox.get_dataset("fashion_mnist", "train", data_dir)

    tf.random.set_seed(3)
    whole = [sample[2] for sample in read(dataset, 50, tmp_path / "whole")]
    first, second = whole[:23], whole[23:46]
    assert sorted(first) == sorted(second)
    assert len(set(first)) == NUM["train"]
    assert first != second
    parts = [read(dataset, steps, tmp_path / "parts") for steps in (10, 30, 50)]
    assert [sample[2] for part in parts for sample in part] == whole
    tf.compat.v1.random.set_random_seed(None)


def test_parts_of_splits_are_those_of_tensorflow_datasets(data_dir):
    folder = f"{data_dir}/fashion_mnist/3.0.1"
    builder, part = tfds.builder_from_directory(folder), "train[20%:80%]"
    if "array_record" in data_dir:
        expected = [each["words"] for each in builder.as_data_source(split=part)]
    else:
        expected = [each["words"].numpy() for each in builder.as_dataset(split=part)]

    def dataset():
        return mox.get_dataset("tfds", part, folder, shuffle=False, num_epochs=1)

    assert sorted(sample[0] for sample in read(dataset, len(expected), keys=["words"])) == sorted(expected)


def test_what_is_known_of_a_data_set_is_there_without_reading_it(data_dir, caplog):
    meta = mox.get_dataset_meta("fashion_mnist")
    assert (meta.num_classes, meta.splits_to_sizes["train"]) == (10, 60_000)
    dataset = mox.get_dataset("fashion_mnist", "train", data_dir)
    assert (dataset.num_samples, dataset.class_names) == (23, ("shirt", "shoe", "bag"))
    assert "split 'train' of fashion_mnist has 60000 samples" in caplog.text


def test_what_is_not_there_is_refused_with_what_prepares_it(data_dir, tmp_path):
    with pytest.raises(mox.DataError) as refusal:
        mox.get_dataset("cifar100", "train", str(tmp_path))
    assert str(refusal.value) == (
        f"{str(tmp_path)!r} holds no prepared data set 'cifar100'. Nothing is fetched here. Where there is a network: "
        'python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('cifar100', data_dir={str(tmp_path)!r}).download_and_prepare()\""
    )
    with pytest.raises(mox.UsageError, match=r"^data set 'fashion_mnist': .*'shufle'\.\nDid you mean 'shuffle'\?"):
        mox.get_dataset("fashion_mnist", "train", data_dir, shufle=False)
    with pytest.raises(mox.UsageError, match=r"tfds_name is not given, and .* holds .*: tfds_name='fashion_mnist'"):
        mox.get_dataset("tfds", "train", data_dir)
    with pytest.raises(mox.DataError, match="Did you mean 'fashion_mnist'"):
        mox.get_dataset("tfds", "train", data_dir, tfds_name="fashion_mnits")
    with pytest.raises(
        mox.UsageError, match=r"split_name is 'valid', and the data set in .* has 'train' \(23\), 'test'"
    ):
        mox.get_dataset("fashion_mnist", "valid", data_dir)
    with pytest.raises(mox.DataError, match="holds 'fashion_mnist', and not 'kmnist'"):
        mox.get_dataset("kmnist", "train", f"{data_dir}/fashion_mnist/3.0.1")
    with pytest.raises(mox.UsageError, match="'lable'"):
        mox.get_dataset("fashion_mnist", "train", data_dir).get(["lable"])


def test_a_file_that_is_cut_off_is_refused(data_dir, tmp_path):
    copy = shutil.copytree(f"{data_dir}/fashion_mnist", tmp_path / "fashion_mnist") / "3.0.1"
    victim = next(each for each in sorted(copy.iterdir()) if "train" in each.name and "-00000-" in each.name)
    victim.write_bytes(victim.read_bytes()[:-20])
    with pytest.raises(mox.DataError, match="is cut off or damaged"):
        mox.get_dataset("fashion_mnist", "train", str(tmp_path))
    victim.unlink()
    with pytest.raises(mox.DataError, match=r"00000-of-00003' is not in .* 3 files hold the split: the folder is dam"):
        mox.get_dataset("fashion_mnist", "train", str(tmp_path))
    (copy / "features.json").unlink()
    with pytest.raises(mox.DataError, match="is damaged, or was copied in part"):
        mox.get_dataset("fashion_mnist", "train", str(tmp_path))
