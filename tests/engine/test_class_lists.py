"""Labels stand for the same classes in TRAIN, in EVAL, and in what a checkpoint has learned, or the run is refused."""

import json
import logging
from pathlib import Path

import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.sdk import SampleSource

ABC = ("ant", "bee", "cow")


def source(*names, vector=False):
    """Samples of which each is of the class after that of the one before."""

    def fetch(index):
        label = index % len(names)
        return {"x": tf.cast(label, tf.float32), "label": tf.one_hot(label, len(names)) if vector else label}

    return SampleSource(num_samples=12, fetch=fetch, describe=str, num_epochs=1, class_names=names)


def run(sources, *, mode="TRAIN", label=lambda label, _mode: label, steps=0, width=5, **options):
    """Run with the sources of each mode; each label goes on as `label` has it."""

    def input_fn(mode):
        read = [each.read() for each in sources[mode]]
        return [read[0]["x"], *(label(each["label"], mode) for each in read)]

    def model_fn(inputs, mode):
        x, labels = inputs[:2]
        weights = tf.compat.v1.get_variable("w", [1, width], initializer=tf.compat.v1.zeros_initializer())
        logits = tf.matmul(x[:, tf.newaxis], weights)
        loss = tf.reduce_mean(tf.square(logits)) + 0.0 * tf.reduce_sum(tf.cast(labels, tf.float32))
        evaluates = {"TRAIN", "EVAL"} <= sources.keys() and mode in {"TRAIN", "EVAL"}
        hooks = [mox.LogEvaluationMetricHook({"loss": loss}, 4, 12, 12)] if evaluates else []
        export = mox.ExportSpec({"x": x}, {"logits": logits})
        return mox.ModelSpec(
            loss=loss, log_info={"loss": loss}, hooks=hooks, export_spec=export, output_info={"logits": logits}
        )

    return mox.run(
        input_fn=input_fn,
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1),
        run_mode=mode,
        inter_mode="EVAL" if mode == "TRAIN" and "EVAL" in sources else None,
        batch_size=4,
        max_number_of_steps=steps,
        **options,
    )


def exported_names(found):
    return json.loads((Path(found.export_path) / "assets.extra" / "mox.json").read_text())["classes"]["names"]


def test_the_same_classes_in_another_order_are_refused_with_the_labels_to_give_them():
    with pytest.raises(mox.DataError) as raised:
        run({"TRAIN": [source(*ABC)], "EVAL": [source("bee", "ant", "cow")]})
    assert str(raised.value).startswith(
        "labels of EVAL stand for other classes than those of TRAIN: label 0 is 'ant' in TRAIN and 'bee' in EVAL; "
        "label 1 is 'bee' in TRAIN and 'ant' in EVAL. Its results would be wrong."
    )
    assert str(raised.value).endswith("Or number them anew in input_fn: label = tf.gather([1, 0, 2], label).")


def test_of_many_labels_some_are_named_and_the_others_counted():
    many = [f"class {number:03}" for number in range(100)]
    with pytest.raises(mox.DataError, match=r"; and 97 more\. EVAL lacks 'class 000'\. Its results"):
        run({"TRAIN": [source(*many)], "EVAL": [source(*many[1:])]})


def test_labels_that_input_fn_numbers_anew_are_its_own_affair():
    def label(label, mode):
        return label if mode == "TRAIN" else tf.gather(tf.constant([1, 2], tf.int64), label)

    assert run({"TRAIN": [source(*ABC)], "EVAL": [source("bee", "cow")]}, label=label).steps == 3


@pytest.mark.parametrize(
    "label",
    [
        lambda label, _mode: tf.one_hot(label, 3),
        lambda label, _mode: tf.one_hot(label, 3) * 0.9 + 0.1 / 3,
        lambda label, _mode: tf.cast(label, tf.float32),
    ],
)
def test_labels_in_another_form_are_compared(label):
    with pytest.raises(mox.DataError, match=r"label 2 is 'cow' in TRAIN and 'dog' in EVAL\. EVAL lacks 'cow' and has"):
        run({"TRAIN": [source(*ABC)], "EVAL": [source("ant", "bee", "dog")]}, label=label)


def test_labels_that_are_vectors_get_no_advice_for_numbers():
    with pytest.raises(mox.DataError, match=r"split_image_classification_dataset makes have them\.$"):
        run({"TRAIN": [source(*ABC, vector=True)], "EVAL": [source("bee", "ant", "cow", vector=True)]})


def test_an_evaluation_without_the_last_classes_is_sound_and_the_export_has_the_names_of_the_training(tmp_path, caplog):
    found = run(
        {"TRAIN": [source(*ABC)], "EVAL": [source("ant", "bee")]},
        width=3,
        log_dir=tmp_path / "log",
        export_model=mox.ExportKeys.TF_SERVING,
    )
    assert exported_names(found) == list(ABC)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_classes_that_a_training_does_not_know_are_named_in_a_warning(caplog):
    run({"TRAIN": [source("ant", "bee")], "EVAL": [source(*ABC, "dog")]})
    assert (
        "The data set of EVAL has classes that TRAIN does not know: 2: 'cow', 3: 'dog'. Their samples count as wrong "
        "answers." in [record.getMessage() for record in caplog.records]
    )


def test_two_data_sets_are_each_compared_with_its_like():
    animals, fruits = source(*ABC), source("apple", "pear")
    assert run({"TRAIN": [animals, fruits], "EVAL": [fruits, animals]}).steps == 3
    assert run({"TRAIN": [animals, fruits], "EVAL": [fruits]}, steps=1).steps == 1
    with pytest.raises(mox.DataError, match=r"label 1 is 'pear' in TRAIN and 'fig' in EVAL"):
        run({"TRAIN": [animals, fruits], "EVAL": [animals, source("apple", "fig")]})


def test_a_checkpoint_remembers_its_classes(tmp_path):
    log_dir, shifted = tmp_path / "log", source("bee", "cow", "dog")
    first = run({"TRAIN": [source(*ABC)]}, steps=1, log_dir=log_dir)
    with pytest.raises(mox.CheckpointError) as raised:
        run({"TRAIN": [shifted]}, steps=2, log_dir=log_dir)
    assert str(raised.value) == (
        f"checkpoint {first.checkpoint!r} was trained with labels that stand for other classes in the data set of "
        "TRAIN: label 0 was 'ant' and is 'bee'; label 1 was 'bee' and is 'cow'; label 2 was 'cow' and is 'dog'. The "
        "data set lacks 'ant' and has 'dog' besides. To go on with its weights, give the data set the classes of then "
        "in the order of then, by their folders or by labels.txt (of records: label_map_file); to train them for other "
        "classes, use a new log_dir and pass the old one as checkpoint_path."
    )
    for where in ({"log_dir": log_dir}, {"checkpoint_path": log_dir}):
        with pytest.raises(mox.CheckpointError, match=r"in the data set of EVAL: label 0 was 'ant' and is 'bee';"):
            run({"EVAL": [shifted]}, mode="EVAL", **where)
    assert run({"TRAIN": [source(*ABC)]}, steps=2, log_dir=log_dir).steps == 1

    other = tmp_path / "other"  # fine-tuning: other classes may begin with these weights
    assert run({"TRAIN": [shifted]}, steps=3, log_dir=other, checkpoint_path=log_dir).steps == 1
    with pytest.raises(mox.CheckpointError, match=r"label 0 was 'bee' and is 'ant'"):
        run({"EVAL": [source(*ABC)]}, mode="EVAL", log_dir=other)


def test_a_class_at_the_end_moves_no_label_and_is_remembered(tmp_path, caplog):
    log_dir = tmp_path / "log"
    for step, names in enumerate((("ant", "bee"), ABC, ("ant", "bee")), start=1):
        assert run({"TRAIN": [source(*names)]}, steps=step, log_dir=log_dir).steps == 1
    with pytest.raises(mox.CheckpointError, match=r"TRAIN: label 2 was 'cow' and is 'dog'\. The data set lacks"):
        run({"TRAIN": [source("ant", "bee", "dog")]}, steps=4, log_dir=log_dir)
    run({"EVAL": [source(*ABC, "dog")]}, mode="EVAL", log_dir=log_dir)
    said = [record.getMessage() for record in caplog.records]
    assert any(
        each.startswith("The data set of EVAL has classes that the checkpoint does not know: 3:") for each in said
    )


def test_a_prediction_that_reads_no_label_reads_any_classes_and_exports_those_that_were_learned(tmp_path):
    log_dir = tmp_path / "log"
    run({"TRAIN": [source(*ABC)]}, width=3, steps=1, log_dir=log_dir)
    found = run(
        {"PREDICT": [source("unsorted")]},
        mode="PREDICT",
        label=lambda _label, _mode: tf.constant(0),
        width=3,
        log_dir=log_dir,
        output_fn=lambda _outputs: None,
        output_every_n_steps=1,
        export_model=mox.ExportKeys.TF_SERVING,
    )
    assert found.samples == 12
    assert exported_names(found) == list(ABC)
