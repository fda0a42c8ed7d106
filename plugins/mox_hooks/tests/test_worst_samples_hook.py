"""`WorstSamplesHook`: what it writes, against cross-entropies and counts worked out by hand."""

import base64
import io
import json
import math

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import mox_core as mox

TRAIN, EVAL = mox.ModeKeys.TRAIN, mox.ModeKeys.EVAL

# Logits are the logarithms of these, so that the probabilities are these; the label of each, and its name.
SAMPLES = [
    ([0.7, 0.2, 0.1], 0, "good"),
    ([0.6, 0.3, 0.1], 1, "bad"),
    ([0.1, 0.1, 0.8], 2, "better"),
    ([0.05, 0.05, 0.9], 0, "worst"),
    ([0.25, 0.5, 0.25], 1, "so-so"),
]


def _pictures():
    """Picture n has 4 x 6 pixels of -1, and one of n + 1 at (1, n)."""
    pictures = np.full((5, 4, 6, 1), -1, np.float32)
    for number in range(5):
        pictures[number, 1, number] = number + 1
    return pictures


def _input_fn(mode):
    rows, labels, names = zip(*SAMPLES, strict=True)
    data = tf.data.Dataset.from_tensor_slices((_pictures(), np.log(rows).astype(np.float32), list(labels), list(names)))
    return data.repeat() if mode == TRAIN else data


def _model_fn(**options):
    def model_fn(inputs, mode):
        del mode
        images, logits, labels, names = inputs
        weight = tf.compat.v1.get_variable("weight", initializer=0.0)
        hooks = [
            mox.LogEvaluationMetricHook({"weight": 1.0 * weight}, 2, 4, 5),
            mox.WorstSamplesHook(images, labels, logits, **{"names": names, "keep": 3} | options),
        ]
        return mox.ModelSpec(loss=weight + 0.0 * tf.reduce_mean(images), log_info={"weight": 1.0 * weight}, hooks=hooks)

    return model_fn


def _run(mode, model_fn, log_dir, **options):
    training = {
        "optimizer_fn": lambda: tf.compat.v1.train.GradientDescentOptimizer(1.0),
        "inter_mode": EVAL,
        "max_number_of_steps": 4,
    }
    arguments = {"input_fn": _input_fn, "model_fn": model_fn, "batch_size": 2, "log_dir": log_dir, **options}
    mox.run(run_mode=mode, **(training if mode == TRAIN else {}), **arguments)


def _written(log_dir):
    return json.loads((log_dir / ".mox" / "worst_samples.json").read_text())


def _check(found):
    assert [each["name"] for each in found["worst"]] == ["worst", "bad", "so-so"]
    assert [each["loss"] for each in found["worst"]] == pytest.approx([-math.log(0.05), -math.log(0.3), math.log(2)])
    assert [(each["label"], each["prediction"]) for each in found["worst"]] == [(0, 2), (1, 0), (1, 1)]
    assert [each["probability"] for each in found["worst"]] == pytest.approx([0.9, 0.6, 0.5])
    assert found["confusion"] == [[0, 0, 1], [0, 2, 1], [1, 0, 1], [1, 1, 1], [2, 2, 1]]
    assert found["samples"] == 5
    for each, number in zip(found["worst"], (3, 1, 4), strict=True):
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(each["image"]))))
        expected = np.zeros((4, 6), np.uint8)
        expected[1, number] = 255
        np.testing.assert_array_equal(picture, expected)


def test_a_validation_leaves_its_worst_samples_and_counts(tmp_path):
    _run(TRAIN, _model_fn(), tmp_path)
    found = _written(tmp_path)
    _check(found)
    assert (found["mode"], found["step"], found["one_of"]) == ("VALIDATION", 3, 1)
    assert found["classes"] == ["0", "1", "2"]
    _run(EVAL, _model_fn(class_names=["a", "b", "c"]), tmp_path)
    found = _written(tmp_path)
    _check(found)
    assert (found["mode"], found["step"], found["classes"]) == ("EVAL", 4, ["a", "b", "c"])


def test_labels_may_be_one_hot_and_labels_of_no_class_are_left_out_with_a_word(tmp_path, caplog):
    def one_hot_fn(inputs, mode):
        images, logits, labels, names = inputs
        return _model_fn()((images, logits, tf.one_hot(labels, 3), names), mode)

    def shifted_fn(inputs, mode):
        images, logits, labels, names = inputs
        return _model_fn()((images, logits, labels + 1, names), mode)

    _run(TRAIN, one_hot_fn, tmp_path / "one_hot")
    _check(_written(tmp_path / "one_hot"))
    tf.get_logger().addHandler(caplog.handler)
    try:
        _run(TRAIN, shifted_fn, tmp_path / "shifted")
    finally:
        tf.get_logger().removeHandler(caplog.handler)
    assert _written(tmp_path / "shifted")["samples"] == 4
    words = "WorstSamplesHook leaves out 1 samples of 5, whose labels are not among 0 to 2, the classes of the logits."
    assert words in caplog.messages


def test_without_a_log_dir_it_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _run(TRAIN, _model_fn(), None)
    assert list(tmp_path.rglob("*.json")) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"images": tf.zeros([2, 4, 4])}, "images of WorstSamplesHook have the shape (2, 4, 4); it must be "),
        ({"images": tf.zeros([2, 4, 4, 2])}, "images of WorstSamplesHook have the shape (2, 4, 4, 2); it must be "),
        ({"logits": tf.zeros([2])}, "logits of WorstSamplesHook have the shape (2,); it must be (batch, classes)"),
        ({"logits": tf.zeros([2, 1])}, "logits of WorstSamplesHook have the shape (2, 1); it must be (batch, classes)"),
        (
            {"labels": tf.zeros([2, 4])},
            "labels of WorstSamplesHook have the shape (2, 4); it must be (batch,), or that",
        ),
        ({"keep": 0}, "keep of WorstSamplesHook is 0; it must be 1 or more."),
        ({"class_names": ["a"]}, "class_names of WorstSamplesHook has 1 names, and logits 3 classes."),
    ],
)
def test_what_cannot_be_is_refused(options, text):
    good = {"images": tf.zeros([2, 4, 4, 3]), "labels": tf.zeros([2], tf.int32), "logits": tf.zeros([2, 3])}
    with pytest.raises(mox.UsageError) as refusal:
        mox.WorstSamplesHook(**good | options)
    assert str(refusal.value).startswith(text)
