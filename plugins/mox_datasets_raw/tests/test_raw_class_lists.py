"""Labels stand for the same classes in TRAIN, in EVAL, and in what a checkpoint has learned, or the run is refused."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import mox_core as mox

BRIGHTNESS = {"forest": 20, "ocean": 120, "sunset": 230, "woods": 20}
"""A model that knows brightness alone tells these classes apart."""


@pytest.fixture
def folder(tmp_path):
    """Return a function that makes a folder with three images of each of some classes."""

    def make(name, *classes, labels=None):
        for each in classes:
            (tmp_path / name / each).mkdir(parents=True)
            for number in range(3):
                pixels = np.full((8, 8, 3), BRIGHTNESS[each] + number, np.uint8)
                Image.fromarray(pixels).save(tmp_path / name / each / f"{each}{number}.png")
        if labels:
            text = "".join(f"{label}: {each}\n" for label, each in enumerate(labels))
            (tmp_path / name / "labels.txt").write_text(text)
        return str(tmp_path / name)

    return make


def _model_fn(width=4, *, validated=True):
    def model_fn(inputs, mode):
        image, label = inputs
        x = tf.reshape(tf.cast(image, tf.float32)[:, 0, 0, 0], [-1, 1]) / 255.0
        weights = tf.compat.v1.get_variable("w", [1, width], initializer=tf.compat.v1.zeros_initializer())
        logits = tf.matmul(x, weights)
        if label.dtype.is_integer:
            label = tf.one_hot(label, width)
        label = tf.pad(label, [[0, 0], [0, width - label.shape[-1]]])
        loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(label, logits))
        hooks = (
            [mox.LogEvaluationMetricHook({"loss": loss}, 3, 9, 9)] if validated and mode in {"TRAIN", "EVAL"} else []
        )
        export = mox.ExportSpec({"images": image}, {"logits": logits})
        return mox.ModelSpec(
            loss=loss, log_info={"loss": loss}, hooks=hooks, export_spec=export, output_info={"logits": logits}
        )

    return model_fn


def _run(train, evaluated=None, *, mode="TRAIN", steps=2, label=None, width=4, data=None, **options):
    def input_fn(called):
        base_dir = train if called == "TRAIN" else evaluated
        meta = mox.ImageClassificationRawMetadata(base_dir)
        read = mox.ImageClassificationRawDataset(
            meta, shuffle=False, num_epochs=4 if called == "TRAIN" else 1, **(data or {})
        )
        image, found = read.get(["image", "label"])
        image.set_shape([8, 8, 3])
        return image, found if label is None else label(found, called)

    return mox.run(
        input_fn=input_fn,
        model_fn=_model_fn(width, validated=mode == "TRAIN" and evaluated is not None),
        optimizer_fn=mox.get_optimizer_fn("sgd", learning_rate=0.1),
        run_mode=mode,
        inter_mode="EVAL" if mode == "TRAIN" and evaluated else None,
        batch_size=3,
        max_number_of_steps=steps,
        **options,
    )


def test_an_evaluation_that_lacks_a_class_is_refused_with_the_labels_that_shift(folder):
    train, evaluated = folder("train", "forest", "ocean", "sunset"), folder("eval", "ocean", "sunset")
    with pytest.raises(mox.DataError) as raised:
        _run(train, evaluated)
    assert str(raised.value) == (
        "labels of EVAL stand for other classes than those of TRAIN: label 0 is 'forest' in TRAIN and 'ocean' in EVAL; "
        "label 1 is 'ocean' in TRAIN and 'sunset' in EVAL; label 2 is 'sunset' in TRAIN and no class in EVAL. EVAL "
        "lacks 'forest'. Its results would be wrong. Give both data sets the same classes in the same order, by their "
        "folders or by labels.txt (of records: label_map_file); the parts that "
        "mox.split_image_classification_dataset makes have them. Or number them anew in input_fn: "
        "label = tf.gather([1, 2], label)."
    )
    found = _run(
        train,
        evaluated,
        steps=3,
        label=lambda label, called: label if called == "TRAIN" else tf.gather(tf.constant([1, 2], tf.int64), label),
    )
    assert found.validation.keys() == {"loss"}


def test_labels_as_vectors_are_compared_too_after_smoothing(folder):
    train, evaluated = folder("train", "forest", "ocean", "sunset"), folder("eval", "ocean", "sunset", "woods")
    with pytest.raises(mox.DataError, match=r"label 2 is 'sunset' in TRAIN and 'woods' in EVAL\. EVAL lacks 'forest'"):
        _run(train, evaluated, label=lambda label, _: label * 0.9 + 0.1 / 3, data={"label_one_hot": True})


def test_a_training_does_not_go_on_when_labels_stand_for_other_classes(folder, tmp_path):
    train = folder("train", "forest", "ocean", "sunset")
    log_dir = tmp_path / "log"
    first = _run(train, log_dir=log_dir)
    (tmp_path / "train" / "forest").rename(tmp_path / "train" / "woods")
    with pytest.raises(mox.CheckpointError) as raised:
        _run(train, log_dir=log_dir, steps=4)
    assert str(raised.value) == (
        f"checkpoint {first.checkpoint!r} was trained with labels that stand for other classes in the data set of "
        "TRAIN: label 0 was 'forest' and is 'ocean'; label 1 was 'ocean' and is 'sunset'; label 2 was 'sunset' and is "
        "'woods'. The data set lacks 'forest' and has 'woods' besides. To go on with its weights, give the data set "
        "the classes of then in the order of then, by their folders or by labels.txt (of records: label_map_file); to "
        "train them for other classes, use a new log_dir and pass the old one as checkpoint_path."
    )
    with pytest.raises(mox.CheckpointError, match=r"in the data set of EVAL: label 0 was 'forest' and is 'ocean';"):
        _run(train, train, mode="EVAL", steps=0, log_dir=log_dir)
    with pytest.raises(mox.CheckpointError, match=r"in the data set of EVAL: label 0 was 'forest' and is 'ocean';"):
        _run(train, train, mode="EVAL", steps=0, checkpoint_path=log_dir)
    other = tmp_path / "other"
    assert _run(train, log_dir=other, checkpoint_path=log_dir, steps=4).steps == 2  # fine-tuning
    assert _run(train, train, mode="EVAL", steps=0, log_dir=other).samples == 9

    (tmp_path / "train" / "woods").rename(tmp_path / "train" / "forest")
    assert _run(train, log_dir=log_dir, steps=4).steps == 2
    with pytest.raises(mox.CheckpointError, match=r"label 2 was 'woods' and is 'sunset'"):
        _run(train, train, mode="EVAL", steps=0, log_dir=other)
