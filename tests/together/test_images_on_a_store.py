"""Folders of images on a store: a real server that speaks S3, and what was asked of it."""

import errno
import gc
import json
import os
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import forked
import mox_core as mox
from mox_core import cli
from mox_core.datasets import originals
from mox_core.engine.input.bad_samples import BadSampleReport
from mox_core.engine.input.batching import Batching
from mox_core.engine.input.order import Order
from mox_core.engine.input.pipeline import build_pipeline
from mox_core.stores import transfers
from mox_file import store

TRAIN, EVAL = mox.ModeKeys.TRAIN, mox.ModeKeys.EVAL
JOB = Path(__file__).parents[1] / "engine" / "job.py"
COUNTS = {"daisy": 7, "roses": 9, "tulips": 8}
FILES = sorted(f"data/{name}/{number}.png" for name, count in COUNTS.items() for number in range(count))


@pytest.fixture(autouse=True)
def _places(monkeypatch, tmp_path):
    monkeypatch.setattr(transfers, "_FIRST_PAUSE", 0.01)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # botocore's own
    monkeypatch.setenv("DLS_LOCAL_CACHE_PATH", str(tmp_path / "copies"))
    yield
    gc.collect()  # the traceback of an expected error may hold an iterator


@pytest.fixture(scope="module")
def flowers(tmp_path_factory):
    """Three classes of images of one size, in an order of labels.txt that is not theirs by name."""
    root, random = tmp_path_factory.mktemp("flowers"), np.random.default_rng(3)
    for name, count in COUNTS.items():
        (root / name).mkdir()
        for number in range(count):
            pixels = random.integers(0, 255, [4, 5, 3], np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    (root / "labels.txt").write_text("0: tulips\n1: daisy\n2: roses\n")
    return root


def dataset_of(base, **options):
    return mox.ImageClassificationRawDataset(mox.ImageClassificationRawMetadata(base), **options)


def run(base, log_dir, mode=TRAIN, steps=1000, **options):
    """Train a linear classifier with Adam, or evaluate it."""

    def input_fn(mode):
        endless = {} if mode == TRAIN else {"num_epochs": 1, "shuffle": False}
        image, label = dataset_of(base, **endless, **options).get(["image", "label"])
        return tf.reshape(tf.cast(image, tf.float32) / 255.0, [60]), label

    def model_fn(inputs, mode):
        del mode
        weights = tf.compat.v1.get_variable("weights", initializer=tf.zeros([60, 3]))
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(inputs[1], inputs[0] @ weights)
        return mox.ModelSpec(loss=tf.reduce_mean(losses), log_info={"loss": tf.reduce_mean(losses)})

    tf.random.set_seed(11)
    return mox.run(
        input_fn=input_fn, model_fn=model_fn, optimizer_fn=lambda: tf.compat.v1.train.AdamOptimizer(0.1),
        run_mode=mode, batch_size=4, log_dir=log_dir, max_number_of_steps=steps,
    )  # fmt: skip


def weights_in(log_dir):
    return tf.train.load_checkpoint(str(log_dir)).get_tensor("weights")


def read(dataset, limit=None, report=None):
    found = dataset.source().dataset(order=Order(seed=1), start=0, needed=None, report=report or BadSampleReport())
    taken = found if limit is None else found.take(limit)
    return [{key: value.numpy() for key, value in features.items()} for _, features in taken]


def read_as_a_run(dataset, mode=EVAL):
    pipeline = build_pipeline(
        lambda _: dataset.get(["image"])[0], mode, Batching(batch_size=4, auto=True), order=Order(seed=1)
    )
    with pipeline.open() as opened:
        while opened.next() is not None:
            pass


def same(first, second):
    return len(first) == len(second) and all(
        each.keys() == other.keys() and all(np.array_equal(each[key], other[key]) for key in each)
        for each, other in zip(first, second, strict=True)
    )


def test_a_training_a_resume_and_an_evaluation_are_those_of_the_same_files_on_a_disk(
    flowers, uploaded, tmp_path, s3_server, s3
):
    results = {}
    for name, base in (("disk", str(flowers)), ("store", uploaded(flowers))):
        for steps in (5, 9):  # the second one goes on in the second epoch
            run(base, tmp_path / name, steps=steps)
        results[name] = run(base, tmp_path / name, EVAL).metrics["loss"]
    np.testing.assert_array_equal(weights_in(tmp_path / "disk"), weights_in(tmp_path / "store"))
    assert np.any(weights_in(tmp_path / "disk"))
    assert results["disk"] == results["store"]
    assert s3_server.fetched(s3, end=".png") == FILES  # each once: the later runs have found the copies
    assert not [each for each in s3_server.requests if each.startswith(f"HEAD /{s3}/") and ".png" in each]


def test_several_labels_an_image_and_redirect_dir(flowers, uploaded, tmp_path, s3, s3_server):
    street = tmp_path / "street"
    (street / "images").mkdir(parents=True)
    (street / "labels").mkdir()
    for number, path in enumerate(sorted((flowers / "roses").iterdir())):
        (street / "images" / path.name).write_bytes(path.read_bytes())
        (street / "labels" / f"{path.name}.txt").write_text("\n".join(["car", "bus", "tram"][: 1 + number % 3]))
    url = uploaded(street, "street")

    def both(make, **options):
        return [read(make(base, options), limit=30) for base in (str(street), url)]

    def multilabel(base, options):
        meta = mox.MultilabelClassificationRawMetadata(base, **options)
        assert (meta.labels_list, meta.total_num_samples) == (["bus", "car", "tram"], 9)
        return mox.MultilabelClassificationRawDataset(meta)

    assert same(*both(multilabel))
    assert same(*both(multilabel, redirect_dir=str(street)))
    assert len(s3_server.fetched(s3, end=".png")) == 9

    base, before = uploaded(flowers), len(s3_server.requests)
    here = read(dataset_of(str(flowers)), limit=30)
    meta = mox.ImageClassificationRawMetadata(str(flowers), redirect_dir=f"{base}/")
    assert same(here, read(mox.ImageClassificationRawDataset(meta), limit=30))
    assert any(".png" in each for each in s3_server.requests[before:])
    before = len(s3_server.requests)
    meta = mox.ImageClassificationRawMetadata(f"{base}/", redirect_dir=str(flowers))
    assert same(here, read(mox.ImageClassificationRawDataset(meta), limit=30))
    assert not any(".png" in each for each in s3_server.requests[before:])


def test_each_of_two_workers_fetches_its_share(flowers, uploaded, tmp_path, s3, s3_server):
    base = uploaded(flowers)
    program = f"""
        os.environ["DLS_LOCAL_CACHE_PATH"] = str(folder / f"copies-{{index}}")  # as on two machines

        def input_fn(mode):
            meta = mox.ImageClassificationRawMetadata({base!r})
            dataset = mox.ImageClassificationRawDataset(meta, num_epochs=1, shuffle=True)
            image, label = dataset.get(["image", "label"])
            return tf.reshape(tf.cast(image, tf.float32), [60])[:3], tf.cast(label, tf.float32)

        result = train("run", input_fn=input_fn, steps=100)
        tell(samples=result.samples)
    """
    command = [sys.executable, str(JOB), str(tmp_path), "2", "0", "1", textwrap.dedent(program)]
    done = forked.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert set(result["codes"].values()) == {0}, result["logs"]
    assert s3_server.fetched(s3, end=".png") == FILES


def test_copies_that_are_kept_serve_the_next_run_until_their_original_changes(
    flowers, uploaded, tmp_path, s3, s3_server, s3_client
):
    base, options = uploaded(flowers), {"num_epochs": 1, "shuffle": False, "cache_dir": tmp_path / "kept"}
    options["remove_cache_on_finish"] = False
    read(dataset_of(base, **options))
    (copy,) = (tmp_path / "kept").rglob("daisy/3.png")
    copy.write_bytes(bytes(copy.stat().st_size))  # damaged
    (copy.parent / "4.png").write_bytes(b"")
    (copy.parent / "5.png").unlink()
    s3_client.upload_file(str(flowers / "daisy" / "1.png"), s3, "data/daisy/0.png")
    found = {each["label_desc"] + b"/" + each["image_name"]: each for each in read(dataset_of(base, **options))}
    s3_client.upload_file(str(flowers / "daisy" / "0.png"), s3, "data/daisy/0.png")
    assert sorted(s3_server.fetched(s3, end=".png")) == sorted(
        [*FILES, *(f"data/daisy/{number}.png" for number in (0, 3, 4, 5))]
    )
    here = {each["label_desc"] + b"/" + each["image_name"]: each for each in read(dataset_of(str(flowers), **options))}
    np.testing.assert_array_equal(found[b"daisy/0.png"]["image"], here[b"daisy/1.png"]["image"])
    np.testing.assert_array_equal(found[b"daisy/3.png"]["image"], here[b"daisy/3.png"]["image"])
    assert found.keys() == here.keys()


def test_a_file_that_has_gone_or_is_another_one_is_left_out_and_named_by_its_url(
    flowers, uploaded, s3, s3_client, caplog
):
    base = uploaded(flowers)
    dataset = dataset_of(base, num_epochs=1, shuffle=False)
    s3_client.delete_object(Bucket=s3, Key="data/daisy/2.png")
    s3_client.put_object(Bucket=s3, Key="data/roses/1.png", Body=b"something else")
    s3_client.put_object(Bucket=s3, Key="data/tulips/0.png", Body=b"no image")
    report = BadSampleReport()
    assert len(read(dataset, report=report)) == 24 - 3
    assert sorted(report.names) == [f"{base}/daisy/2.png", f"{base}/roses/1.png", f"{base}/tulips/0.png"]
    (gone,) = [line for line in caplog.messages if "daisy/2.png" in line]
    assert gone == f"'{base}/daisy/2.png' cannot be read (No such file or directory): it is left out."
    (other,) = [line for line in caplog.messages if "roses/1.png" in line]
    size = (flowers / "roses" / "1.png").stat().st_size
    assert f"(14 bytes came, and the store had listed {size})" in other
    dataset = dataset_of(base, num_epochs=1, on_bad_image="raise")
    with pytest.raises(mox.DataError, match=f"'{base}/(tulips/0|roses/1).png' cannot be read: it is damaged"):
        read_as_a_run(dataset)


def test_many_files_are_fetched_at_a_time_before_they_are_read(flowers, uploaded, monkeypatch):
    together = threading.Barrier(12, timeout=60)  # two reads a core are far fewer, unless the machine is large

    class Slow(store.Folder):
        def read(self, name):
            together.wait()
            return super().read(name)

    monkeypatch.setattr(originals, "open_folder", Slow)
    assert len(read(dataset_of(uploaded(flowers), num_epochs=1))) == 24


@pytest.mark.parametrize("mode", [TRAIN, EVAL])
def test_a_store_that_cannot_be_reached_any_more_ends_the_run(mode, tmp_path, monkeypatch):
    Image.fromarray(np.zeros([2, 2, 3], np.uint8)).save(tmp_path / "0.png")
    for number in range(1500):
        mox.file.write(f"memory://data/a/{number}.png", (tmp_path / "0.png").read_bytes(), binary=True)
    asked = []

    class Cut(store.Folder):
        def read(self, name):
            asked.append(name)
            if len(asked) > 100:
                raise OSError(errno.ECONNREFUSED, "Connection refused")
            return super().read(name)

    monkeypatch.setattr(originals, "open_folder", Cut)
    dataset = dataset_of("memory://data", **({} if mode == TRAIN else {"num_epochs": 1}))
    with pytest.raises(
        mox.DataError, match=r"'memory://data' cannot be read: Connection refused \('a/.*\.png'\)"
    ) as raised:
        read_as_a_run(dataset, mode)
    assert "goes on from its last checkpoint" in str(raised.value)
    assert len(set(asked)) < 200, "what was being fetched when it was cut"
    mox.file.remove("memory://data", recursive=True)


@pytest.mark.parametrize("first", [0, 20])
def test_a_store_that_refuses_all_is_told_from_a_file_that_is_refused(flowers, uploaded, monkeypatch, first):
    """`first`: how many files are given before one is refused."""
    asked = []

    class Refusing(store.Folder):
        def read(self, name):
            asked.append(name)
            if first < len(asked) < first + 2 or not first:
                raise PermissionError(errno.EACCES, "Access Denied")
            return super().read(name)

    monkeypatch.setattr(originals, "open_folder", Refusing)
    dataset, report = dataset_of(url := uploaded(flowers), num_epochs=1, shuffle=False), BadSampleReport()
    if first:
        assert len(read(dataset, report=report)) == 23
        assert list(report.names) == [f"{url}/{asked[first]}"]
    else:
        with pytest.raises(mox.DataError, match=f"'{url}' cannot be read: Access Denied"):
            read_as_a_run(dataset)
    assert len(asked) <= 24  # none a second time


def test_a_disk_without_room_is_no_reason_to_end(flowers, uploaded, tmp_path, caplog):
    (tmp_path / "file").write_text("where a folder should be")
    found = read(dataset_of(uploaded(flowers), cache_dir=tmp_path / "file"), limit=60)
    assert same(found, read(dataset_of(str(flowers)), limit=60))
    assert len([line for line in caplog.messages if "files are read without a copy in cache_dir" in line]) == 1


def test_a_process_ends_while_files_are_still_being_fetched(flowers, uploaded, tmp_path):
    program = """
        import sys, time
        import mox_core as mox
        from mox_core.datasets import originals
        from mox_file import store

        class Slow(store.Folder):
            def read(self, name):
                if name != "daisy/0.png":
                    time.sleep(1000)
                return super().read(name)

        originals.open_folder = Slow
        dataset = mox.ImageClassificationRawDataset(mox.ImageClassificationRawMetadata(sys.argv[1]))
        dataset._cache.read_ahead([f"{sys.argv[1]}/daisy/{number}.png" for number in range(7)])
        print(len(dataset._cache.read(f"{sys.argv[1]}/daisy/0.png".encode())))
    """
    command = [sys.executable, "-c", textwrap.dedent(program), uploaded(flowers)]
    done = forked.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert int(done.stdout.splitlines()[-1]) == (flowers / "daisy" / "0.png").stat().st_size
    assert not [*(tmp_path / "copies").rglob("*")]


def test_a_forked_process_reads_for_itself(flowers, uploaded):
    dataset = dataset_of(uploaded(flowers))
    path = dataset.metadata.files.path(3)
    dataset._cache.read_ahead([path])
    content = dataset._cache.read(path.encode())
    other = dataset.metadata.files.path(4)
    child = os.fork()
    if child == 0:
        dataset._cache.read_ahead([other])
        os._exit(0 if dataset._cache.read(path.encode()) == content and dataset._cache.read(other.encode()) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_writes_files_names_the_way_out(uploaded, flowers, tmp_path, capsys):
    base = uploaded(flowers)
    way = r"mox\.file\.copy_parallel\("
    with pytest.raises(mox.UsageError, match=f"src_dir is '{base}'.*{way}'{base}'"):
        mox.split_image_classification_dataset({"a": 0.5, "b": 0.5}, src_dir=base, dst_dir=tmp_path / "parts")
    with pytest.raises(mox.UsageError, match=f"dst_dir is '{base}'.*{way}"):
        mox.split_image_classification_dataset({"a": 0.5, "b": 0.5}, src_dir=flowers, dst_dir=base)
    with pytest.raises(mox.UsageError, match=f"src_dir is '{base}'.*{way}'{base}'"):
        mox.write_image_classification_tfrecords(base, tmp_path / "records")
    with pytest.raises(mox.UsageError, match=f"dst_dir is '{base}'.*{way}"):
        mox.write_image_classification_tfrecords(flowers, base)
    for arguments in (["write", base, str(tmp_path / "records")], ["inspect", f"{base}/daisy/0.png"]):
        assert cli.main(["tfrecord", *arguments]) != 0
        assert "mox.file.copy" in capsys.readouterr().err
