"""Records on a store: a real server that speaks S3, and what was asked of it."""

import gc
import gzip
import shutil
import signal
import struct
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import forked
import mox_core as mox
from mox_core.datasets import originals
from mox_core.stores import transfers
from mox_file import store
from mox_tfrecord import index

TRAIN, EVAL = mox.ModeKeys.TRAIN, mox.ModeKeys.EVAL
SHARDS = [f"data/train-{number:05}-of-00003.tfrecord" for number in range(3)]
FEATURES = {"x": tf.io.FixedLenFeature([], tf.int64)}


@pytest.fixture(autouse=True)
def _places(monkeypatch, tmp_path):
    monkeypatch.setattr(transfers, "_FIRST_PAUSE", 0.01)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # botocore's own
    monkeypatch.setenv("DLS_LOCAL_CACHE_PATH", str(tmp_path / "copies"))
    index._known.clear()  # what this process has counted before
    yield
    gc.collect()  # the traceback of an expected error may hold an iterator


def write(path, numbers, compression=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for number in numbers:
            feature = tf.train.Feature(int64_list=tf.train.Int64List(value=[number]))
            example = tf.train.Example(features=tf.train.Features(feature={"x": feature}))
            writer.write(example.SerializeToString())


@pytest.fixture
def records(tmp_path):
    """The numbers from 0 to 29 in three files, and some more in a folder."""
    for number in range(3):
        write(tmp_path / "records" / f"train-{number:05}-of-00003.tfrecord", range(10 * number, 10 * number + 10))
    write(tmp_path / "records" / "more" / "a.tfrecord", range(100, 103))
    return tmp_path / "records"


def dataset_of(folder, pattern="train-*", **options):
    handlers = {"x": mox.tfexample_decoder.Tensor("x")}
    return mox.get_tfrecord(folder, pattern, keys_to_features=FEATURES, items_to_handlers=handlers, **options)


def run(folder, log_dir, mode=TRAIN, steps=1000):
    """Train a mean, or evaluate it."""

    def input_fn(mode):
        endless = {} if mode == TRAIN else {"num_epochs": 1, "shuffle": False}
        (number,) = dataset_of(folder, **endless).get(["x"])
        return tf.cast(number, tf.float32)

    def model_fn(inputs, mode):
        del mode
        mean = tf.compat.v1.get_variable("mean", initializer=0.0)
        loss = tf.reduce_mean((inputs[0] - mean) ** 2)
        return mox.ModelSpec(loss=loss, log_info={"loss": loss})

    tf.random.set_seed(11)
    return mox.run(
        input_fn=input_fn, model_fn=model_fn, optimizer_fn=lambda: tf.compat.v1.train.AdamOptimizer(0.1),
        run_mode=mode, batch_size=4, log_dir=log_dir, max_number_of_steps=steps,
    )  # fmt: skip


def mean_in(log_dir):
    return tf.train.load_checkpoint(str(log_dir)).get_tensor("mean")


def read(dataset, make=lambda each: int(each["x"])):
    from mox_core.engine.input.bad_samples import BadSampleReport
    from mox_core.engine.input.order import Order

    found = dataset.source().dataset(order=Order(seed=1), start=0, needed=None, report=BadSampleReport())
    return [make(features) for _, features in found]


def numbers(folder, pattern="train-*"):
    return read(dataset_of(folder, pattern, num_epochs=1, shuffle=False))


def test_a_training_a_resume_and_an_evaluation_are_those_of_the_same_files_on_a_disk(
    records, uploaded, tmp_path, s3, s3_server, monkeypatch
):
    results = {}
    for name, folder in (("disk", str(records)), ("store", uploaded(records))):
        for steps in (6, 11):  # the second one goes on in the second epoch
            run(folder, tmp_path / name, steps=steps)
        index._known.clear()
        with monkeypatch.context() as patch:  # a later process has the counts of the earlier one
            patch.setattr(index, "scan_file", lambda *_: pytest.fail("scanned again"))
            results[name] = run(folder, tmp_path / name, EVAL).metrics["loss"]
    assert mean_in(tmp_path / "disk") == mean_in(tmp_path / "store") != 0
    assert results["disk"] == results["store"]
    assert s3_server.fetched(s3) == SHARDS  # each once


def test_images_in_records_have_the_labels_of_the_store(tmp_path, uploaded, s3, s3_server, caplog):
    for name, count in (("daisy", 5), ("roses", 4)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.random.default_rng(number).integers(0, 255, [4, 5, 3], np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    mox.write_image_classification_tfrecords(tmp_path / "images", tmp_path / "records", num_shards=3)
    url = uploaded(tmp_path / "records")

    def elements(folder, **options):
        meta = mox.ImageClassificationTFRecordMetadata(folder, "train-*")
        assert meta.labels_to_names == {0: "daisy", 1: "roses"}
        dataset = mox.ImageClassificationTFRecordDataset(meta, num_epochs=1, **options)
        assert meta.num_samples == 9
        return read(dataset, lambda each: [np.asarray(each[key]).tolist() for key in ("image", "label", "label_desc")])

    here = elements(str(tmp_path / "records"))
    assert sorted(label for _, label, _ in here) == [0] * 5 + [1] * 4
    assert {text for _, _, text in here} == {b"daisy", b"roses"}
    for _ in range(2):
        assert elements(f"{url}/", cache_dir=tmp_path / "kept", remove_cache_on_finish=False) == here
    assert s3_server.fetched(s3, end=".tfrecord") == SHARDS
    assert len([*(tmp_path / "kept").rglob("*.tfrecord")]) == 3
    assert not [line for line in caplog.messages if "cache_dir" in line]
    meta = mox.ImageClassificationTFRecordMetadata(url, "train-*")
    meta.local_files()
    mox.ImageClassificationTFRecordDataset(meta, cache_dir=tmp_path / "kept")
    (line,) = [line for line in caplog.messages if "cache_dir" in line]
    assert line.startswith(f"cache_dir has no effect: {url} was fetched before, to {tmp_path / 'copies'}")


def test_compressed_records_are_read_as_a_stream_of_their_copies(tmp_path, uploaded):
    for number in range(2):
        write(tmp_path / "records" / f"{number}.gz", range(10 * number, 10 * number + 10), compression="GZIP")
    url = uploaded(tmp_path / "records")
    whole = read(dataset_of(str(tmp_path / "records"), "*.gz", num_epochs=2))
    assert whole == read(dataset_of(url, "*.gz", num_epochs=2))
    assert sorted(whole) == sorted([*range(20), *range(20)])


def test_named_data_sets_are_found_on_a_store(tmp_path, uploaded):
    digits = tmp_path / "digits"
    digits.mkdir()
    sizes = [struct.pack(">3I", 3, 28, 28), struct.pack(">I", 3)]
    pixels = np.random.default_rng(5).integers(0, 255, 3 * 28 * 28, np.uint8).tobytes()
    (digits / "t10k-images-idx3-ubyte").write_bytes(b"\0\0\x08\3" + sizes[0] + pixels)
    (digits / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\1" + sizes[1] + bytes([7, 1, 4])))
    write(tmp_path / "flowers" / "flowers_train_00000-of-00001.tfrecord", range(3))

    def elements(folder):
        dataset = mox.get_dataset("mnist", "test", folder, shuffle=False, num_epochs=1)
        return read(dataset, lambda each: (int(each["label"]), each["image"].numpy().tobytes()))

    assert elements(uploaded(digits)) == elements(str(digits))
    assert [label for label, _ in elements(str(digits))] == [7, 1, 4]
    url = uploaded(tmp_path / "flowers")
    flowers = mox.get_dataset("flowers", "train", url)
    assert flowers.metadata.files == [f"{url}/flowers_train_00000-of-00001.tfrecord"]
    with pytest.raises(
        mox.DataError, match=f"'{url}' holds no records named 'validation-.*It holds 'flowers_train_0000"
    ):
        mox.get_dataset("imagenet", "validation", url)


def test_files_are_found_by_patterns_as_on_a_disk(records, uploaded):
    url = uploaded(records)
    assert numbers(f"{url}/", ["train-0000[01]*", "m*/*.tfrecord"]) == [100, 101, 102, *range(20)]
    assert numbers(url, "more/a.tfrecord") == [100, 101, 102]
    meta = mox.BaseTFRecordMetadata(url, "*", redirect_dir=str(records))
    assert meta.files == [str(records / Path(name).name) for name in SHARDS]
    meta = mox.BaseTFRecordMetadata(str(records), ["train-*", "*/*"], redirect_dir=f"{url}/")
    assert meta.files == [f"{url}/{name}" for name in ("more/a.tfrecord", *(Path(each).name for each in SHARDS))]
    assert meta.num_samples == 33


def test_what_is_missing_is_named_by_its_url(records, uploaded, s3, s3_client):
    url = uploaded(records)
    with pytest.raises(mox.DataError, match=rf"there is no folder '{url}/none', or nothing is in it"):
        numbers(f"{url}/none")
    with pytest.raises(
        mox.DataError, match=rf"no file in '{url}' is named like file_pattern '\*.rec'. It holds 'more'"
    ):
        numbers(url, "*.rec")
    with pytest.raises(mox.DataError, match="One slash is missing behind 's3:'"):
        numbers(Path(url))
    s3_client.delete_object(Bucket=s3, Key=SHARDS[1])
    with pytest.raises(mox.DataError, match=f"in '{url}', 1 of 3 shards are missing: 1"):
        numbers(url)
    with pytest.raises(mox.DataError, match=f"redirect_dir lacks '{url}/train-00001-of-00003.tfrecord'"):
        mox.BaseTFRecordMetadata(str(records), "train-*", redirect_dir=url)


@pytest.mark.parametrize("harm", ["shorter", "other"])
def test_a_damaged_copy_and_a_changed_original_are_fetched_again(records, uploaded, tmp_path, s3, s3_server, harm):
    url = uploaded(records)
    assert numbers(url) == [*range(30)]
    (copy,) = (tmp_path / "copies").rglob("train-00001-of-00003.tfrecord")
    content = copy.read_bytes()
    copy.write_bytes(content[:-5] if harm == "shorter" else bytes(len(content)))
    assert numbers(url) == [*range(30)]
    assert s3_server.fetched(s3) == sorted([*SHARDS, SHARDS[1]])
    write(records / "train-00002-of-00003.tfrecord", range(50, 60))  # of the same size, within the same second
    uploaded(records)
    assert numbers(url) == [*range(20), *range(50, 60)]
    assert s3_server.fetched(s3) == sorted([*SHARDS, SHARDS[1], SHARDS[2]])


def test_a_damaged_record_is_named_by_its_url(records, uploaded):
    damaged = records / "train-00001-of-00003.tfrecord"
    content = bytearray(damaged.read_bytes())
    content[12 + 3] ^= 1  # in the first record
    damaged.write_bytes(content)
    url = uploaded(records)
    with pytest.raises(mox.DataError, match=f"'{url}/train-00001-of-00003.tfrecord: record 0, at byte 0' cannot be"):
        run(url, None)
    damaged.write_bytes(content[:-7])
    uploaded(records)
    with pytest.raises(mox.DataError, match=rf"'{url}/train-00001-of-00003.tfrecord' is cut off"):
        read(dataset_of(url))


def test_what_comes_damaged_is_fetched_again(records, uploaded, monkeypatch):
    fetched = []

    class BadLine(store.Folder):
        def download(self, name, path):
            super().download(name, path)
            fetched.append(name)
            if name == "train-00001-of-00003.tfrecord" and len(fetched) <= 3:
                Path(path).write_bytes(bytes(Path(path).stat().st_size))

    monkeypatch.setattr(originals, "open_folder", BadLine)
    assert numbers(uploaded(records)) == [*range(30)]
    assert sorted(fetched) == sorted(Path(name).name for name in [*SHARDS, SHARDS[1]])


def test_a_tag_that_looks_like_an_md5_and_is_none_does_not_matter(records, uploaded, monkeypatch):
    """As those of a bucket that is encrypted by a key of KMS."""

    class Encrypted(store.Folder):
        def files(self, *, deep):
            return {
                name: type(each)(each.size, "0123456789abcdef" * 2, "0123456789abcdef" * 2)
                for name, each in super().files(deep=deep).items()
            }

    from mox_core.datasets import folders

    monkeypatch.setattr(originals, "open_folder", Encrypted)
    monkeypatch.setattr(folders, "open_folder", Encrypted)
    assert numbers(uploaded(records)) == [*range(30)]


def test_a_store_that_cannot_be_reached_is_said_by_its_url(records, uploaded, monkeypatch):
    url = uploaded(records)
    meta = mox.BaseTFRecordMetadata(url, "train-*")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(mox.DataError, match=f"'{url}' cannot be copied to '.*': .*(?i:connect)"):
        meta.num_samples  # noqa: B018  (it counts)


def test_processes_of_one_machine_fetch_each_file_once(tmp_path, uploaded, s3, s3_server):
    for number in range(12):
        write(tmp_path / "many" / f"{number}.tfrecord", range(number, number + 50))
    url = uploaded(tmp_path / "many")
    program = (
        "import mox_core as mox, sys\n"
        "print(mox.BaseTFRecordMetadata(sys.argv[1], '*.tfrecord').num_samples)\n"
        "sys.stdout.flush(); input()"
    )
    command = [sys.executable, "-c", program, url]
    processes = [
        forked.Popen(command, stdin=forked.PIPE, stdout=forked.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(3)
    ]
    outputs = []
    for process in processes:
        while not (line := process.stdout.readline()).strip().isdigit():
            assert line, "it ended"
        outputs.append(int(line))
    assert outputs == [600] * 3
    names = sorted(f"data/{number}.tfrecord" for number in range(12))
    assert s3_server.fetched(s3) == names
    for left, process in enumerate(reversed(processes)):
        assert [*(tmp_path / "copies").rglob("0.tfrecord")], "others still use the copies"
        process.communicate("\n")
        assert (process.returncode, left) == (0, left)
    assert not [*(tmp_path / "copies").rglob("*")]  # the last one has removed them


def test_a_process_that_is_killed_while_it_fetches_leaves_nothing_in_the_way(records, uploaded, tmp_path):
    program = """
        import os, signal, sys
        from pathlib import Path
        import mox_core as mox
        from mox_core.datasets import originals
        from mox_file import store

        class Killed(store.Folder):
            def download(self, name, path):
                super().download(name, path)
                if "00001" in name:
                    Path(path).write_bytes(b"half of it")
                    os.kill(os.getpid(), signal.SIGKILL)

        originals.open_folder = Killed
        mox.BaseTFRecordMetadata(sys.argv[1], "train-*").num_samples
    """
    url = uploaded(records)
    done = forked.run([sys.executable, "-c", textwrap.dedent(program), url], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [*(tmp_path / "copies").rglob(".*00001*")]
    assert numbers(url) == [*range(30)]
    assert sorted(path.name for path in (tmp_path / "copies").rglob("*") if "00001" in path.name) == [
        "train-00001-of-00003.tfrecord"
    ]


def test_records_without_room_are_refused_before_they_are_fetched(records, uploaded, monkeypatch, s3, s3_server):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1))
    url = uploaded(records)
    size = sum(path.stat().st_size for path in records.glob("*.tfrecord"))
    with pytest.raises(
        mox.DataError, match=rf"'{url}' cannot be copied to '.*': {size} bytes are missing there, and 1 bytes are free"
    ):
        numbers(url)
    assert not s3_server.fetched(s3)
