"""Summaries: what TensorBoard reads back, with the steps and values of the run."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import mox_core as mox


@pytest.fixture
def train(regression, tmp_path):
    def train(model_fn=None, *, steps=21, **options):
        arguments = {
            "input_fn": regression.input_fn,
            "model_fn": model_fn or regression.model_fn,
            "optimizer_fn": regression.sgd,
            "run_mode": mox.ModeKeys.TRAIN,
            "batch_size": 8,
            "log_dir": tmp_path / "log",
            "max_number_of_steps": steps,
            "save_summary_steps": 5,
            "log_every_n_steps": 7,
        }
        return mox.run(**arguments | options)

    return train


class _Events:
    """What the event files of a folder hold, as TensorBoard sees it."""

    def __init__(self, folder):
        self._read = EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 0})
        self._read.Reload()

    @property
    def tags(self):
        return sorted(self._read.Tags()["tensors"])

    def tensors(self, tag):
        return [(event.step, tf.make_ndarray(event.tensor_proto)) for event in self._read.Tensors(tag)]

    def scalars(self, tag):
        return [(step, float(value)) for step, value in self.tensors(tag)]

    def steps(self, tag):
        return [step for step, _ in self.tensors(tag)]

    def kind(self, tag):
        return self._read.SummaryMetadata(tag).plugin_data.plugin_name


def test_scalars_are_those_of_the_log_the_learning_rate_and_the_speed(train, regression, tmp_path):
    train()
    events = _Events(tmp_path / "log")
    assert events.tags == ["global_step/sec", "highest", "learning_rate", "loss"]
    assert {events.kind(tag) for tag in events.tags} == {"scalars"}
    expected = regression.train(21, batch_size=8, rate=0.1)
    highest = [targets.max() for _, targets in regression.batches(21, 8)]
    steps = [0, 5, 10, 15, 20]
    assert events.scalars("loss") == [(n, pytest.approx(expected.losses[n], rel=1e-4)) for n in steps]
    assert events.scalars("highest") == [(n, pytest.approx(highest[n], rel=1e-6)) for n in steps]
    assert events.scalars("learning_rate") == [(n, pytest.approx(0.1)) for n in steps]
    assert events.steps("global_step/sec") == steps[1:]  # a speed needs two points in time
    assert all(speed > 0 for _, speed in events.scalars("global_step/sec"))


SCHEDULES = {
    "a Keras schedule in a Keras optimizer": lambda: keras.optimizers.SGD(
        keras.optimizers.schedules.PiecewiseConstantDecay([5, 12], [0.1, 0.03, 0.01])
    ),
    "a tensor of the global step": lambda: tf.compat.v1.train.GradientDescentOptimizer(
        tf.compat.v1.train.piecewise_constant(
            tf.compat.v1.train.get_global_step(),
            [tf.constant(5, tf.int64), tf.constant(12, tf.int64)],
            [0.1, 0.03, 0.01],
        )
    ),
    "a schedule by name": mox.get_optimizer_fn(
        "sgd", keras.optimizers.schedules.PiecewiseConstantDecay([5, 12], [0.1, 0.03, 0.01])
    ),
    "a callable of the step": mox.get_optimizer_fn(
        "sgd", lambda step: tf.where(step <= 5, 0.1, tf.where(step <= 12, 0.03, 0.01))
    ),
}


@pytest.mark.parametrize("kind", SCHEDULES)
def test_the_learning_rate_is_the_one_with_which_the_step_was_done(train, regression, tmp_path, kind):
    train(optimizer_fn=SCHEDULES[kind])

    def rate(step):  # both kinds of piecewise constants keep the value up to and with the boundary
        return 0.1 if step <= 5 else 0.03 if step <= 12 else 0.01

    events = _Events(tmp_path / "log")
    expected = regression.train(21, batch_size=8, rate=rate)
    assert events.scalars("learning_rate") == [(n, pytest.approx(rate(n))) for n in (0, 5, 10, 15, 20)]
    assert events.scalars("loss") == [(n, pytest.approx(expected.losses[n], rel=1e-4)) for n in (0, 5, 10, 15, 20)]


def test_a_resumed_run_goes_on_with_its_global_steps(train, tmp_path):
    train(steps=7)
    train(steps=20)
    events = _Events(tmp_path / "log")
    assert events.steps("loss") == [0, 5, 7, 12, 17]  # the local steps 0, 5 and 0, 5, 10


def _summarizing(model_fn):
    def summarizing_model_fn(inputs, mode):
        spec = model_fn(inputs, mode)
        first = tf.reduce_sum(inputs[0][0])
        tf.summary.scalar("two/scalar", first)
        tf.summary.histogram("two/histogram", inputs[1])
        tf.summary.image("two/image", tf.ones([2, 4, 5, 3]) * 0.5, max_outputs=1)
        tf.summary.text("two/text", "words")
        tf.compat.v1.summary.scalar("one/scalar", 2 * first)
        tf.compat.v1.summary.histogram("one/histogram", inputs[1])
        tf.compat.v1.summary.image("one/image", tf.ones([2, 4, 5, 3]) * 0.5)
        with tf.name_scope("tower"):
            tf.summary.scalar("scoped", first)
        return spec

    return summarizing_model_fn


@pytest.mark.parametrize("single", [False, True], ids=["compiled chunks", "single steps"])
def test_summaries_of_the_model_are_written_at_summary_steps_alone(train, regression, every_step, tmp_path, single):
    def model_fn(inputs, mode):
        spec = _summarizing(regression.model_fn)(inputs, mode)
        return mox.ModelSpec(loss=spec.loss, log_info=spec.log_info, hooks=[every_step()] if single else [])

    train(model_fn)
    events = _Events(tmp_path / "log")
    own = [tag for tag in events.tags if tag not in ("loss", "highest", "learning_rate", "global_step/sec")]
    kinds = {"scalar": "scalars", "histogram": "histograms", "image": "images", "text": "text"}
    expected = {f"two/{name}": plugin for name, plugin in kinds.items()}
    expected |= {"one/scalar": "scalars", "one/histogram": "histograms", "one/image": "images"}
    expected |= {"tower/scoped": "scalars"}
    assert {tag: events.kind(tag) for tag in own} == expected
    assert {tag: events.steps(tag) for tag in own} == {tag: [0, 5, 10, 15, 20] for tag in own}

    batches = list(regression.batches(21, 8))
    sums = [(n, pytest.approx(batches[n][0][0].sum(), rel=1e-5)) for n in (0, 5, 10, 15, 20)]
    assert events.scalars("two/scalar") == sums
    assert events.scalars("tower/scoped") == sums
    assert events.scalars("one/scalar") == [(n, pytest.approx(2 * value.expected, rel=1e-5)) for n, value in sums]
    for tag in ("one/histogram", "two/histogram"):
        for step, buckets in events.tensors(tag):
            targets = batches[step][1]
            assert buckets[:, 2].sum() == len(targets)
            assert (buckets[0, 0], buckets[-1, 1]) == (pytest.approx(targets.min()), pytest.approx(targets.max()))
    _, (width, height, png) = events.tensors("two/image")[0]
    assert (width, height) == (b"5", b"4")
    assert np.unique(tf.io.decode_png(png)).tolist() == [127]


def test_summaries_of_the_optimizer_function_are_written_too(train, tmp_path):
    def optimizer_fn():
        rate = 0.1 / (1.0 + tf.cast(tf.compat.v1.train.get_global_step(), tf.float32))
        tf.compat.v1.summary.scalar("my_rate", rate)
        return tf.compat.v1.train.GradientDescentOptimizer(rate)

    train(optimizer_fn=optimizer_fn, steps=11)
    assert _Events(tmp_path / "log").scalars("my_rate") == [(n, pytest.approx(0.1 / (1 + n))) for n in (0, 5, 10)]


def test_there_are_no_summaries_without_log_dir(train, regression, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = train(_summarizing(regression.model_fn), log_dir=None)
    assert result.steps == 21
    assert list(tmp_path.rglob("*")) == []


def test_the_inter_mode_and_the_export_write_no_summaries(train, regression, tmp_path):
    def model_fn(inputs, mode):
        tf.summary.scalar(f"in_{mode}", 1.0)
        tf.compat.v1.summary.scalar(f"also_in_{mode}", 1.0)
        return regression.model_fn(inputs, mode)

    train(model_fn, inter_mode=mox.ModeKeys.EVAL, export_model=lambda model, directory: None)  # noqa: ARG005
    assert [tag for tag in _Events(tmp_path / "log").tags if "in_" in tag] == ["also_in_TRAIN", "in_TRAIN"]


def test_evaluation_writes_its_means_beside_the_training(train, regression, tmp_path):
    train(steps=6)
    result = train(_summarizing(regression.model_fn), run_mode=mox.ModeKeys.EVAL, optimizer_fn=None, steps=0)
    assert result.global_step == 6
    trained = regression.train(6, batch_size=8, rate=0.1)
    errors = regression.features @ trained.weights + trained.bias - regression.targets
    events = _Events(tmp_path / "log" / "eval")
    assert events.tags == ["highest", "loss"]
    assert events.scalars("loss") == [(6, pytest.approx(np.mean(errors**2), rel=1e-4))]
    assert _Events(tmp_path / "log").steps("loss") == [0, 5]  # as it was


def test_prediction_leaves_no_event_files(train, tmp_path):
    train(steps=2)
    before = sorted((tmp_path / "log").rglob("*"))
    train(
        run_mode=mox.ModeKeys.PREDICT,
        optimizer_fn=None,
        output_fn=lambda outputs: None,  # noqa: ARG005
        output_every_n_steps=1,
    )
    assert sorted((tmp_path / "log").rglob("*")) == before


def test_a_users_own_summary_writer_is_there_again_after_the_run(train, tmp_path):
    writer = tf.summary.create_file_writer(str(tmp_path / "own"))
    with writer.as_default(step=3):
        train(steps=2)
        tf.summary.scalar("after", 1.5)
        assert tf.summary.experimental.get_step() == 3
    writer.close()
    assert _Events(tmp_path / "own").scalars("after") == [(3, 1.5)]
    assert "loss" not in _Events(tmp_path / "own").tags


def test_what_a_failed_run_has_written_stays(train, regression, every_step, tmp_path):
    def fail(step, _results, _context):
        if step == 7:
            raise KeyError("in a hook")

    def model_fn(inputs, mode):
        spec = regression.model_fn(inputs, mode)
        return mox.ModelSpec(loss=spec.loss, log_info=spec.log_info, hooks=[every_step(fail)])

    with pytest.raises(KeyError):
        train(model_fn)
    assert _Events(tmp_path / "log").steps("loss") == [0, 5]
