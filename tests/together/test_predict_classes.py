"""Which classes an export knows, and what is said where it knows none."""

import json
import logging

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import mox_core as mox
from mox_core import serving
from predict_cases import CLASSES, SIZE, make_job, says, train


@pytest.fixture
def warnings():
    """The warnings of TensorFlow's logger."""
    texts, handler = [], logging.Handler(logging.WARNING)
    handler.emit = lambda record: texts.append(record.getMessage())
    tf.get_logger().addHandler(handler)
    yield texts
    tf.get_logger().removeHandler(handler)


def _classes(log_dir):
    return json.loads((log_dir / "1" / "assets.extra" / "mox.json").read_text("utf-8"))["classes"]


def test_a_training_that_never_evaluates_does_not_know_and_says_so(images, tmp_path, capsys):
    """The augmentation of TRAIN draws random numbers; what is done instead is plain, and checked by hand."""
    model = train(make_job(images), tmp_path / "log").export_path
    file = images / "daisy" / "1x.png"
    status, out, _ = says(capsys, model, file, "--json")
    assert status == 0
    told = json.loads(out)
    assert told["input"] == (
        "images resized to 24 x 24, values 0 to 255: what input_fn makes of them is not known to the model"
    )
    with Image.open(file) as opened:
        batch = tf.image.resize(np.float32(opened)[np.newaxis], [SIZE, SIZE])
    logits = tf.saved_model.load(model).signatures["serving_default"](images=batch)["logits"]
    scores = {top["class"]: top["score"] for top in told["images"][0]["top"]}
    np.testing.assert_allclose([scores[name] for name in CLASSES], tf.nn.softmax(logits)[0], atol=1e-6)


def test_without_chance_training_makes_images_as_evaluation_does(images, tmp_path):
    model = train(make_job(images, augmentation=None, image_size=SIZE), tmp_path / "log").export_path
    assert serving.load(model).says == "images as input_fn makes them in TRAIN"


def test_labels_that_input_fn_changes_have_no_names(images, tmp_path, warnings):
    train(make_job(images, label=lambda label: 2 - label), tmp_path / "log")
    assert warnings == [
        (
            "input_fn makes other numbers of the labels of the data set (Sub): the exported model goes without the "
            "names of its classes. Give it the right ones: mox.ExportSpec(..., class_names=[...])."
        )
    ]
    assert _classes(tmp_path / "log") is None


def test_names_for_another_width_are_left_out_with_a_warning(images, tmp_path, warnings):
    train(make_job(images, outputs=lambda logits: {"score": logits[:, 1:]}), tmp_path / "log")
    assert warnings == [
        (
            "The data set has 3 classes, and the outputs of ExportSpec are of other widths (score: 2): the exported "
            "model goes without their names. Give it the right ones: mox.ExportSpec(..., class_names=[...])."
        )
    ]
    assert _classes(tmp_path / "log") is None


def test_names_of_the_script_come_first_and_have_to_fit(images, tmp_path):
    names = ["none", "one", "two"]
    outputs = {
        "wide": lambda logits: tf.concat([logits, logits], 1),
        "logits": lambda logits: logits,
        "probabilities": tf.nn.softmax,
    }

    def made(logits):
        return {name: function(logits) for name, function in outputs.items()}

    train(make_job(images, outputs=made, spec={"class_names": names}), tmp_path / "log")
    assert _classes(tmp_path / "log") == {"output": "probabilities", "names": names, "scores": "probabilities"}
    with pytest.raises(mox.UsageError) as refused:
        train(make_job(images, outputs=made, spec={"class_names": ["a", "b"]}), tmp_path / "other")
    assert str(refused.value) == (
        "class_names of ExportSpec has 2 names, and no output of the model has as many values for a sample "
        "(wide: 6, logits: 3, probabilities: 3)."
    )
    with pytest.raises(mox.UsageError, match=r"^class_names of ExportSpec is 'abc'; it must be a list of names by"):
        mox.ExportSpec({"x": 1}, {"y": 1}, class_names="abc")
