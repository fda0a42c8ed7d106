"""The page of a training that `mox.run` has done, from its folder and from a store."""

import xml.etree.ElementTree as ET

import pytest
import tensorflow as tf

import mox_core as mox
from mox_report.commands import main


def _run(log_dir, mode, **options):
    """Run a classifier of grey pictures by their brightness."""

    def input_fn(mode):
        numbers = tf.data.Dataset.range(12).repeat(None if mode == mox.ModeKeys.TRAIN else 1)
        return numbers.map(lambda n: (tf.fill([8, 8, 1], tf.cast(n, tf.float32) / 12), n // 6))

    def model_fn(inputs, mode):
        del mode
        images, labels = inputs
        scale = tf.compat.v1.get_variable("scale", initializer=1.0)
        brightness = tf.reduce_mean(images, axis=[1, 2])
        logits = tf.concat([0.0 * brightness, scale * (brightness - 0.3)], axis=1)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        hooks = [
            mox.LogEvaluationMetricHook({"loss": loss}, 4, 8, 12),
            mox.WorstSamplesHook(images, labels, logits, class_names=["dark", "bright"], keep=4),
        ]
        return mox.ModelSpec(loss=loss, log_info={"loss": loss}, hooks=hooks)

    return mox.run(input_fn=input_fn, model_fn=model_fn, run_mode=mode, batch_size=4, log_dir=log_dir, **options)


def _train(log_dir):
    """Train 6 steps, with a validation every two."""
    return _run(
        log_dir,
        mox.ModeKeys.TRAIN,
        optimizer_fn=mox.get_optimizer_fn("sgd", learning_rate=0.25),
        inter_mode=mox.ModeKeys.EVAL,
        max_number_of_steps=6,
        log_every_n_steps=1,
    )


def _check(page, result, where="the validation at step 5"):
    root = ET.fromstring(page.read_text())  # noqa: S314  (our own)
    said = " ".join("".join(root.itertext()).split())
    assert "6 steps in " in said
    assert "It came to its max_number_of_steps." in said
    (validation,) = (row for row in root.iter("tr") if row[0].text == "loss, validation")
    assert validation[1].text == f"{result.validation['loss']:.3f}"
    # 0 to 11 twelfths, of which those from 4 on are above 0.3, and those from 6 on are bright: 4 and 5 are wrong.
    assert f"10 of 12 samples right (83.3%) in {where}." in said
    samples = root.findall(".//ul[@class='samples']/li")
    assert [each.find("span").get("class") for each in samples].count("wrong") == 2
    (batch_size,) = (row for row in root.iter("tr") if row[0].text == "batch_size")
    assert batch_size[1].text == "4"


def test_the_page_shows_a_training_of_mox(tmp_path):
    result = _train(tmp_path / "log")
    assert main([str(tmp_path / "log"), "--output", str(tmp_path / "page.html")]) == 0
    _check(tmp_path / "page.html", result)


def test_the_page_shows_a_training_on_a_store(tmp_path):
    log_dir, page = "memory://mox-report/log", tmp_path / "page.html"
    result = _train(log_dir)
    assert main([log_dir, "--output", str(page)]) == 0
    _check(page, result)
    _run(log_dir, mox.ModeKeys.EVAL)
    main([log_dir, "--output", str(page)])
    _check(page, result, "an evaluation at step 6")
    with pytest.raises(mox.UsageError, match="'memory://mox-report/none' holds nothing that a training has logged"):
        main(["memory://mox-report/none"])
