"""Metrics over the whole set: counts begin anew in each evaluation, are in no checkpoint, and are read once.

Expected are the definitions, worked out in NumPy over all samples at once, and the functions of scikit-learn.
"""

import keras
import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf

import mox_core as mox
from mox_hooks.evaluation import LogEvaluationMetricHook
from mox_hooks.stopping import EarlyStoppingHook

v1 = tf.compat.v1
RANDOM = np.random.default_rng(3)
LABELS = RANDOM.integers(0, 2, 41).astype(np.float32)  # an odd number, and a smaller last batch
SCORES = np.clip(LABELS * 0.3 + RANDOM.random(41) * 0.7, 0, 1).astype(np.float32)
CLASSES = RANDOM.integers(0, 3, 41)
FOUND = np.where(RANDOM.random(41) < 0.6, CLASSES, RANDOM.integers(0, 3, 41))
CONFUSION = np.array([[np.sum((row == CLASSES) & (column == FOUND)) for column in range(3)] for row in range(3)])


def auc(labels=LABELS, scores=SCORES, thresholds=200):
    """The area under the ROC curve by the trapezoidal rule over evenly spaced thresholds, as Keras defines it."""
    places = [-1e-7, *(n / (thresholds - 1) for n in range(1, thresholds - 1)), 1 + 1e-7]
    above = np.float32(scores)[np.newaxis] > np.array(places, np.float32)[:, np.newaxis]
    hits = (above & (labels == 1)).sum(1) / (labels == 1).sum()
    alarms = (above & (labels == 0)).sum(1) / (labels == 0).sum()
    return float(np.sum((alarms[:-1] - alarms[1:]) * (hits[:-1] + hits[1:]) / 2))


def f1():
    hits = np.sum((SCORES > 0.5) & (LABELS == 1))
    return 2 * hits / (np.sum(SCORES > 0.5) + np.sum(LABELS == 1))


def iou():
    return np.mean(np.diag(CONFUSION) / (CONFUSION.sum(0) + CONFUSION.sum(1) - np.diag(CONFUSION)))


RECALLS = np.diag(CONFUSION) / CONFUSION.sum(1)
EXPECTED = {
    "auc": auc(),
    "auc_of_result": auc(),
    "auc_of_tf1": auc(),
    "auc_of_update": auc(),
    "f1": f1(),
    "iou": iou(),
    "iou_of_tf1": iou(),
    "accuracy": np.mean((SCORES > 0.5) == LABELS),
    "recalls": RECALLS,
    "confusion": CONFUSION,
}


class Confusion(keras.metrics.Metric):
    def __init__(self, classes, **kwargs):
        super().__init__(**kwargs)
        self.counts = self.add_variable([classes, classes], "zeros", name="counts")

    def update_state(self, labels, found):
        self.counts.assign_add(tf.math.confusion_matrix(labels, found, self.counts.shape[0], dtype=tf.float32))

    def result(self):
        return tf.convert_to_tensor(self.counts)


def metrics(scores, labels, classes, found):
    """Metrics of Keras and TF1 in each form in which they may be logged."""
    of_keras = {
        "auc": keras.metrics.AUC(),
        "f1": keras.metrics.F1Score(average="micro", threshold=0.5),
        "iou": keras.metrics.MeanIoU(3),
        "confusion": Confusion(3),
    }
    of_keras["auc"].update_state(labels, scores)
    of_keras["f1"].update_state(labels[:, tf.newaxis], scores[:, tf.newaxis])
    of_keras["iou"].update_state(classes, found)
    of_keras["confusion"].update_state(classes, found)
    counts = tf.convert_to_tensor(of_keras["confusion"].counts)
    of_tf1 = v1.metrics.auc(labels, scores)
    return of_keras | {
        "auc_of_result": of_keras["auc"].result(),
        "auc_of_tf1": of_tf1,
        "auc_of_update": of_tf1[1],
        "iou_of_tf1": v1.metrics.mean_iou(classes, found, 3),
        "accuracy": v1.metrics.accuracy(labels, scores > 0.5)[0],
        "recalls": tf.linalg.diag_part(counts) / tf.reduce_sum(counts, 1),
    }


def input_fn(mode):
    data = tf.data.Dataset.from_tensor_slices((SCORES, LABELS, CLASSES, FOUND))
    return data.repeat() if mode == mox.ModeKeys.TRAIN else data


def model_fn(inputs, _):
    scores, labels, classes, found = inputs
    weight = v1.get_variable("weight", initializer=1.0)
    values = metrics(scores * weight, labels, classes, found)
    return mox.ModelSpec(loss=weight * 0.0, log_info=values)


def validating(inputs, mode):
    spec = model_fn(inputs, mode)
    hook = LogEvaluationMetricHook(spec.log_info, 8, 16, 41)
    return mox.ModelSpec(loss=spec.loss, log_info=spec.log_info, hooks=[hook])


pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")


def run(mode, **options):
    training = {"optimizer_fn": lambda: keras.optimizers.SGD(0.0)} if mode == mox.ModeKeys.TRAIN else {}
    return mox.run(
        **{"input_fn": input_fn, "model_fn": model_fn, "run_mode": mode, "batch_size": 8, **training, **options}
    )


def close(values):
    of_keras, results = ["auc", "f1", "iou", "confusion"], ["auc_of_result", "auc_of_tf1", "auc_of_update"]
    assert list(values) == [*of_keras, *results, "iou_of_tf1", "accuracy", "recalls"]  # the order of log_info
    for name, value in values.items():
        np.testing.assert_allclose(value, EXPECTED[name], rtol=0, atol=1e-6, err_msg=name)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training whose last step is no line of the log, so that counts of TRAIN are left over."""
    folder = tmp_path_factory.mktemp("trained")
    run(mox.ModeKeys.TRAIN, log_dir=folder, max_number_of_steps=7, log_every_n_steps=5)
    return folder


def test_an_evaluation_reads_metrics_once_over_all_samples(trained):
    close(run(mox.ModeKeys.EVAL, log_dir=trained).metrics)


def test_no_count_is_in_a_checkpoint(trained):
    names = {name for name, _ in tf.train.list_variables(str(trained))}
    assert {name for name in names if not name.startswith(("mox/", "save_counter"))} == {
        "weight",
        "global_step",
        "sgd/iteration",
        "sgd/learning_rate",
    }


def test_the_log_shows_a_vector_and_the_shape_of_a_matrix(trained, caplog):
    with caplog.at_level("INFO"):
        run(mox.ModeKeys.EVAL, log_dir=trained, log_every_n_steps=6)
    (line,) = [each.getMessage() for each in caplog.records if "sample/sec" in each.getMessage()]
    recalls = " ".join(f"{each:.3f}" for each in RECALLS)
    assert "\tconfusion: <3 x 3>\t" in line
    assert line.endswith(f"\trecalls: [{recalls}]")


def test_tensorboard_has_a_scalar_for_each_class_and_a_picture_of_a_matrix(trained):
    run(mox.ModeKeys.EVAL, log_dir=trained)
    written = {}
    for path in (trained / "eval").glob("events*"):
        for event in v1.train.summary_iterator(str(path)):
            written |= {value.tag: tf.make_ndarray(value.tensor) for value in event.summary.value}
    np.testing.assert_allclose([written[f"recalls/{n}"] for n in range(3)], RECALLS, atol=1e-6)
    picture = tf.image.decode_png(written["confusion"][2]).numpy()
    assert picture.shape == (318, 318, 3)
    # On the diagonal brighter than off it: most samples are found right.
    assert picture[50, 50].sum() > picture[50, 150].sum()


def test_a_validation_while_training_and_a_resumed_one_give_the_values_of_the_set(tmp_path, caplog):
    options = {"model_fn": validating, "log_dir": tmp_path, "inter_mode": mox.ModeKeys.EVAL, "log_every_n_steps": 1}
    with caplog.at_level("INFO"):
        run(mox.ModeKeys.TRAIN, max_number_of_steps=2, **options)
        run(mox.ModeKeys.TRAIN, max_number_of_steps=4, **options)
    lines = [each.getMessage() for each in caplog.records if "VALIDATION" in each.getMessage()]
    assert len(lines) == 2
    for line in lines:
        assert f" auc: {EXPECTED['auc']:.3f} f1: {EXPECTED['f1']:.3f} iou: {EXPECTED['iou']:.3f} " in line
        assert f" auc_of_update: {EXPECTED['auc']:.3f} " in line


def test_a_line_of_training_shows_what_was_counted_since_the_line_before(tmp_path, caplog):
    def counting(inputs, mode):
        del mode
        total = keras.metrics.Sum()
        total.update_state(tf.ones_like(inputs[0]))
        return mox.ModelSpec(loss=v1.get_variable("weight", initializer=1.0), log_info={"total": total})

    with caplog.at_level("INFO"):
        result = run(
            mox.ModeKeys.TRAIN, model_fn=counting, log_dir=tmp_path, max_number_of_steps=8, log_every_n_steps=5
        )
    lines = [each.getMessage().split("\t") for each in caplog.records if "sample/sec" in each.getMessage()]
    # The steps 0 and 5: 1 and 5 batches of 8 samples.
    assert [line[-1] for line in lines] == ["total: 8.000", "total: 40.000"]
    assert result.metrics == {"total": 16.0}


def test_an_early_stop_may_wait_for_an_auc(tmp_path):
    def stopping(inputs, mode):
        del mode
        scores, labels, *_ = inputs
        weight = v1.get_variable("weight", initializer=1.0)
        area = keras.metrics.AUC()
        area.update_state(labels, scores * weight)
        hook = EarlyStoppingHook({"auc": area}, "auc", 8, 8, 41, patience=2)
        return mox.ModelSpec(loss=weight * 0.0, log_info={"auc": area}, hooks=[hook])

    result = run(
        mox.ModeKeys.TRAIN,
        model_fn=stopping,
        log_dir=tmp_path,
        max_number_of_steps=20,
        inter_mode=mox.ModeKeys.EVAL,
    )
    assert (result.steps, result.stopped_by) == (3, "EarlyStoppingHook")


def test_a_metric_made_outside_counts_anew_in_each_run(trained):
    area = keras.metrics.AUC()
    area.update_state([0.0, 1.0], [1.0, 0.0])

    def outside(inputs, mode):
        del mode
        area.update_state(inputs[1], inputs[0] * v1.get_variable("weight", initializer=1.0))
        return mox.ModelSpec(log_info={"auc": area})

    for _ in range(2):
        assert run(mox.ModeKeys.EVAL, model_fn=outside, log_dir=trained).metrics["auc"] == pytest.approx(
            EXPECTED["auc"], abs=1e-6
        )


def test_a_metric_that_nothing_updates_is_refused(trained):
    with pytest.raises(mox.UsageError, match=r"^auc is read from a metric that model_fn never updates"):
        run(
            mox.ModeKeys.EVAL,
            model_fn=lambda inputs, mode: mox.ModelSpec(log_info={"auc": keras.metrics.AUC()}),  # noqa: ARG005
            log_dir=trained,
        )


def test_a_value_of_a_metric_and_of_the_step_is_averaged_with_a_warning(trained, caplog):
    def mixed(inputs, mode):
        del mode
        mean = keras.metrics.Mean()
        mean.update_state(inputs[0])
        return mox.ModelSpec(log_info={"mixed": mean.result() + tf.reduce_mean(inputs[0])})

    run(mox.ModeKeys.EVAL, model_fn=mixed, log_dir=trained)
    assert "mixed is computed from a metric and from the inputs of the step" in caplog.text


def test_metrics_of_keras_tf1_and_slim_are_those_of_scikit_learn_over_the_set(trained):
    slim = pytest.importorskip("tf_slim")
    shares = RANDOM.random([41, 3]).astype(np.float32) + 0.4 * np.eye(3, dtype=np.float32)[CLASSES]
    best, second = np.sort(shares)[:, -1], np.sort(shares)[:, -2]
    own = shares[np.arange(41), CLASSES]
    precisions, recalls, _ = sklearn.metrics.precision_recall_curve(LABELS, SCORES)
    alarms, hits, _ = sklearn.metrics.roc_curve(LABELS, SCORES)
    at = {threshold: threshold < SCORES for threshold in (0.3, 0.5)}
    expected = {
        "precision_at_recall": precisions[:-1][recalls[:-1] >= 0.7].max(),
        "precision_at_recall_of_slim": precisions[:-1][recalls[:-1] >= 0.7].max(),
        "sensitivity": hits[1 - alarms >= 0.6].max(),
        "sensitivity_of_tf1": hits[1 - alarms >= 0.6].max(),
        "precisions": [sklearn.metrics.precision_score(LABELS, each) for each in at.values()],
        "precisions_of_slim": [sklearn.metrics.precision_score(LABELS, each) for each in at.values()],
        "recall_at_2": np.mean(own >= second),
        "recall_of_class": np.mean((own == best)[CLASSES == 1]),
        "f1": sklearn.metrics.f1_score(CLASSES, shares.argmax(1), average=None),
        "iou": sklearn.metrics.jaccard_score(CLASSES, FOUND, average="macro"),
        "iou_of_slim": sklearn.metrics.jaccard_score(CLASSES, FOUND, average="macro"),
        "accuracy": sklearn.metrics.balanced_accuracy_score(CLASSES, FOUND),
        "covariance": np.cov(SCORES, LABELS)[0, 1],
    }

    def model_fn(inputs, mode):
        del mode
        scores, labels, classes, found, shares = inputs
        scores *= v1.get_variable("weight", initializer=1.0)
        at_recall, f1 = keras.metrics.PrecisionAtRecall(0.7), keras.metrics.F1Score()
        sensitivity = keras.metrics.SensitivityAtSpecificity(0.6)
        at_recall.update_state(labels, scores)
        sensitivity.update_state(labels, scores)
        f1.update_state(tf.one_hot(classes, 3), shares)
        values = {
            "precision_at_recall": at_recall,
            "precision_at_recall_of_slim": slim.metrics.precision_at_recall(labels, scores, 0.7),
            "sensitivity": sensitivity,
            "sensitivity_of_tf1": v1.metrics.sensitivity_at_specificity(labels, scores, 0.6),
            "precisions": v1.metrics.precision_at_thresholds(labels, scores, list(at)),
            "precisions_of_slim": slim.metrics.streaming_precision_at_thresholds(scores, labels, list(at)),
            "recall_at_2": v1.metrics.recall_at_k(classes[:, tf.newaxis], shares, 2),
            "recall_of_class": v1.metrics.recall_at_k(classes[:, tf.newaxis], shares, 1, class_id=1),
            "f1": f1,
            "iou": v1.metrics.mean_iou(classes, found, 3)[0],
            "iou_of_slim": slim.metrics.streaming_mean_iou(found, classes, 3)[0],
            "accuracy": tf.reduce_mean(v1.metrics.mean_per_class_accuracy(classes, found, 3)[0]),
            "covariance": slim.metrics.streaming_covariance(scores, labels)[0],
        }
        return mox.ModelSpec(log_info=values)

    def with_shares(mode):
        del mode
        return tf.data.Dataset.from_tensor_slices((SCORES, LABELS, CLASSES, FOUND, shares))

    values = run(mox.ModeKeys.EVAL, input_fn=with_shares, model_fn=model_fn, log_dir=trained).metrics
    assert list(values) == list(expected)
    for name, value in values.items():
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-6, err_msg=name)


ON_SEVERAL = """
    def odd(mode):
        data = tf.data.Dataset.from_tensor_slices((FEATURES[:39], TARGETS[:39]))
        return data.repeat() if mode == mox.ModeKeys.TRAIN else data

    def counting(inputs, mode):
        predictions, loss = line(inputs)
        labels, scores = tf.cast(inputs[1] > 0, tf.float32), tf.sigmoid(inputs[0][:, 1])
        area, mean = keras.metrics.AUC(), keras.metrics.Mean()
        area.update_state(labels, scores)
        mean.update_state(inputs[1])
        values = {
            "auc": area,
            "mean": mean,
            "auc_of_tf1": tf.compat.v1.metrics.auc(labels, scores),
            "cells": tf.compat.v1.metrics.mean_iou(labels > 0, scores > 0.5, 2)[1],
            "at": tf.compat.v1.metrics.precision_at_thresholds(labels, scores, [0.3, 0.5]),
            "at_recall": keras.metrics.PrecisionAtRecall(0.7),
        }
        values["at_recall"].update_state(labels, scores)
        return mox.ModelSpec(loss=loss, log_info=values)

    def running_mean(inputs, mode):
        count, mean = keras.metrics.Sum(name="count"), keras.metrics.Sum(name="mean")
        count.update_state(tf.ones_like(inputs[1]))
        mean.total.assign_add(tf.reduce_sum(inputs[1] - mean.total) / count.total)
        return mox.ModelSpec(loss=line(inputs)[1], log_info={"mean": mean})

    train("log", steps=3, model_fn=counting, input_fn=odd)
    values = evaluate("log", batch_size=4, model_fn=counting, input_fn=odd).metrics
    try:
        refused = str(evaluate("log", batch_size=4, model_fn=running_mean, input_fn=odd))
    except mox.UsageError as error:
        refused = str(error)
    tell(**{name: np.asarray(value).tolist() for name, value in values.items()}, refused=refused)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "replicas"), [(1, 2), (2, 1), (2, 2)])
def test_each_sample_counts_once_on_several_devices_and_workers(told, regression, workers, replicas):
    found = told(ON_SEVERAL, workers=workers, replicas=replicas)
    features, targets = regression.features[:39], regression.targets[:39]
    labels, scores = targets > 0, 1 / (1 + np.exp(-features[:, 1]))
    cells = [[np.sum((labels == row) & ((scores > 0.5) == column)) for column in (0, 1)] for row in (0, 1)]
    precisions, recalls, _ = sklearn.metrics.precision_recall_curve(labels, scores)
    expected = {
        "auc": auc(labels, scores),
        "auc_of_tf1": auc(labels, scores),
        "mean": targets.mean(),
        "cells": cells,
        "at": [sklearn.metrics.precision_score(labels, scores > threshold) for threshold in (0.3, 0.5)],
        "at_recall": precisions[:-1][recalls[:-1] >= 0.7].max(),
    }
    assert len(found) == workers
    for values in found.values():
        assert values.pop("refused").startswith("a metric of model_fn keeps 'mean/total', which is no sum over samples")
        for name, value in values.items():
            np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-6, err_msg=name)
