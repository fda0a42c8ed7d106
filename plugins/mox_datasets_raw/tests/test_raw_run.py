"""Image folders through `mox.run`."""

import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.errors import DataError


def model_fn(inputs, _mode):
    images, labels = inputs
    weights = tf.compat.v1.get_variable("weights", [8 * 8 * 3, 3], initializer=tf.zeros_initializer())
    logits = tf.reshape(tf.cast(images, tf.float32) / 255, [-1, 8 * 8 * 3]) @ weights
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    # The mean label says which images were seen.
    return mox.ModelSpec(loss=loss, log_info={"loss": loss, "label": tf.reduce_mean(tf.cast(labels, tf.float32))})


def input_fn_of(base_dir, **options):
    def input_fn(mode):
        dataset = mox.ImageClassificationRawDataset(
            mox.ImageClassificationRawMetadata(base_dir),
            image_size=8,
            num_epochs=None if mode == mox.ModeKeys.TRAIN else 1,
            **options,
        )
        return dataset.get(["image", "label"])

    return input_fn


def train(base_dir, log_dir, **options):
    return mox.run(
        input_fn=input_fn_of(base_dir, **options),
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=4,
        max_number_of_steps=6,
        log_dir=log_dir,
    )


def test_bad_files_end_neither_training_nor_evaluation_and_count_nowhere(flowers, tmp_path):
    (flowers / "tulips" / "tulips_1.jpg").write_bytes(b"")
    (flowers / "roses" / "roses_0.png").write_bytes((flowers / "roses" / "roses_0.png").read_bytes()[:90])
    assert train(flowers, tmp_path / "log").global_step == 6
    result = mox.run(
        input_fn=input_fn_of(flowers),
        model_fn=model_fn,
        run_mode=mox.ModeKeys.EVAL,
        batch_size=4,
        log_dir=tmp_path / "log",
    )
    assert result.samples == 7
    # Left are three images of class 0, one of class 1, three of class 2: each once.
    assert result.metrics["label"] == pytest.approx((1 * 1 + 3 * 2) / 7)


def test_on_bad_image_raise_ends_the_run_with_the_name_of_the_file(flowers, tmp_path):
    (flowers / "tulips" / "tulips_1.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"tulips_1\.jpg' cannot be read: it is damaged, empty, or"):
        train(flowers, tmp_path / "log", on_bad_image="raise")


def test_what_is_wrong_with_the_folder_is_said_before_training(flowers, tmp_path):
    (flowers / "labels.txt").write_text("0: daisy\n1: roses\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"it does not name the folders 'tulips'"):
        train(flowers, tmp_path / "log")


def script(program, *arguments):
    return subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys\nsys.path.insert(0, sys.argv[1])\n{program}",
            Path(__file__).parent,
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_process_prints_a_line_for_each_bad_file_and_tensorflow_imported_first_none(flowers, monkeypatch):
    """TensorFlow writes past Python's log: of operations that fail, with tracebacks where they call Python."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    jpeg, png = (flowers / "tulips" / f"tulips_{name}" for name in ("3.jpg", "2.png"))
    bad = {
        "cut.jpg": jpeg.read_bytes()[:-200],
        "cut.png": png.read_bytes()[:-20],
        "empty.jpg": b"",
        "page.jpg": b"<html>404 not found</html>",
        "noise.jpg": b"\xff\xd8\xff" + bytes(100),
        "noise.gif": b"GIF89a" + bytes(100),
        "noise.webp": b"RIFF\x10\0\0\0WEBPVP8 ",
        "really.png": b"II*\0 a TIFF",
    }
    for name, content in bad.items():
        (flowers / "tulips" / name).write_bytes(content)
    run = script(
        "import tensorflow as tf\nx = tf.constant(1) + 1\nprint('begins', file=sys.stderr)\n"
        "from test_raw_run import train\ntrain(sys.argv[2], None)\n",
        flowers,
    )
    assert run.returncode == 0, run.stderr
    lines = run.stderr[run.stderr.index("begins") :].splitlines()[1:]
    assert [line for line in lines if not line.startswith(("INFO:tensorflow:", "WARNING:tensorflow:"))] == []
    why = "damaged, empty, or of no known format"
    assert sorted(line for line in lines if line.startswith("WARNING")) == sorted(
        [
            f"WARNING:tensorflow:{str(flowers / 'tulips' / name)!r} cannot be read ({why}): it is left out."
            for name in bad
        ]
        + ["WARNING:tensorflow:8 bad samples were left out of this run in mode TRAIN."]
    )


def test_a_process_that_a_bad_image_ends_says_so_and_exits(flowers):
    (flowers / "tulips" / "tulips_1.jpg").write_bytes(b"")
    run = script(
        "from test_raw_run import train\ntrain(sys.argv[2], None, on_bad_image='raise', cache_dir=sys.argv[3])\n",
        flowers,
        flowers.parent / "cache",
    )
    assert run.returncode == 1
    assert "tulips_1.jpg' cannot be read" in run.stderr.splitlines()[-1]


def test_a_process_that_reads_without_a_run_ends_though_session_and_iterator_stay_open(flowers, tmp_path):
    """What reads ahead calls Python, and nobody says that it is over."""
    run = script(
        "import tensorflow.compat.v1 as tf\n"
        "import mox_core as mox\n"
        "def image():\n"
        "    meta = mox.ImageClassificationRawMetadata(sys.argv[2])\n"
        "    dataset = mox.ImageClassificationRawDataset(meta, cache_dir=sys.argv[3])\n"
        "    return dataset, dataset.get(['image'])[0]\n"
        "dataset, eager = image()\n"
        "with tf.Graph().as_default():\n"
        "    of_graph = image()[1]\n"
        "    session = tf.Session()\n"
        "print('read', eager.shape[-1], session.run(of_graph).shape[-1])\n",
        flowers,
        tmp_path / "cache",
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "read 3 3"


def test_a_process_that_reads_through_a_cache_ends_and_takes_the_copies_with_it(flowers, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "of someone else").touch()
    run = script(
        "from pathlib import Path\n"
        "from test_raw_run import train\n"
        "train(sys.argv[2], None, cache_dir=sys.argv[3])\n"
        "print('copies', len(list(Path(sys.argv[3]).rglob('*.png'))))\n",
        flowers,
        tmp_path / "cache",
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "copies 5"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["of someone else"]
