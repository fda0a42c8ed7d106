"""The inter mode: evaluation in the middle of training, with the weights of that step, from its input's beginning."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import mox_core as mox
from mox_core.sdk import SampleSource

EVERY = 4


class Validating(mox.AggregativeSessionRunHook):
    """Runs the inter mode after every fourth step, and keeps what it gives."""

    def __init__(self, monitor_info, *, max_steps=100):
        super().__init__()
        self.monitor_info, self.max_steps, self.got = monitor_info, max_steps, []

    def next_step(self, step):
        return step + -(step + 1) % EVERY

    def after_run(self, run_context, run_values):
        del run_values
        self.got.append((run_context.global_step, run_context.run_inter_mode(self.max_steps)))

    def support_aggregation(self):
        return False

    def support_sync_workers(self):
        return False

    def run_inter_mode(self):
        return True


@pytest.fixture
def train(regression):
    """Trains `steps` steps; returns what the hook of TRAIN got, and the modes in which `model_fn` was called."""

    def train(steps, *, model_fn=None, max_steps=100, **options):
        hooks = {}

        def validating_model_fn(inputs, mode):
            spec = regression.model_fn(inputs, mode)
            hooks[mode] = Validating({"loss": spec.loss}, max_steps=max_steps)
            return mox.ModelSpec(loss=spec.loss, log_info=spec.log_info, hooks=[hooks[mode]])

        arguments = {
            "input_fn": regression.input_fn,
            "model_fn": model_fn or validating_model_fn,
            "optimizer_fn": regression.sgd,
            "run_mode": mox.ModeKeys.TRAIN,
            "inter_mode": mox.ModeKeys.EVAL,
            "batch_size": 8,
            "max_number_of_steps": steps,
        }
        result = mox.run(**arguments | options)
        return (hooks[mox.ModeKeys.TRAIN].got if hooks else None), list(hooks), result

    return train


def _mean_loss(regression, steps, batch_size, count=40):
    weights = regression.train(steps, batch_size=batch_size, rate=0.1)
    errors = regression.features[:count] @ weights.weights + weights.bias - regression.targets[:count]
    return np.mean(errors**2)


@pytest.mark.parametrize(
    "batch_size", [8, 7], ids=["40 samples in fives of 8", "40 samples in 7s, the last batch of 5"]
)
def test_validation_has_the_weights_of_its_step_and_every_sample_once(train, regression, batch_size):
    got, modes, _ = train(12, batch_size=batch_size)
    assert modes == ["TRAIN", "EVAL"]
    assert [step for step, _ in got] == [3, 7, 11]
    expected = [_mean_loss(regression, step + 1, batch_size) for step, _ in got]
    np.testing.assert_allclose([means["loss"] for _, means in got], expected, rtol=1e-4)
    assert expected[0] > expected[1] > expected[2]


def test_validation_starts_at_the_beginning_of_its_input_each_time(train, regression):
    got, _, _ = train(8, max_steps=2)
    expected = [_mean_loss(regression, steps, 8, count=16) for steps in (4, 8)]
    np.testing.assert_allclose([means["loss"] for _, means in got], expected, rtol=1e-4)


def test_validation_changes_nothing_in_the_training(train, variables, tmp_path):
    """Batch normalization has averages that EVAL must not move, dropout and shuffling have their random numbers."""

    def input_fn(mode):
        sample = SampleSource(
            num_samples=40, fetch=lambda index: {"x": tf.cast(index, tf.float32)}, describe=str, shuffle=mode == "TRAIN"
        ).read()
        return sample["x"] + tf.random.uniform([3])

    def model_fn(inputs, mode):
        training = mode == mox.ModeKeys.TRAIN
        x = keras.layers.BatchNormalization(momentum=0.5)(inputs[0], training=training)
        x = keras.layers.Dropout(0.3)(keras.layers.Dense(4)(x), training=training)
        loss = tf.reduce_mean(x**2)
        return mox.ModelSpec(loss=loss, hooks=[Validating({"loss": loss})] if validates else [])

    found = []
    for validates in (True, False):
        tf.random.set_seed(5)
        _, _, result = train(
            10,
            model_fn=model_fn,
            input_fn=input_fn,
            inter_mode=mox.ModeKeys.EVAL if validates else None,
            log_dir=tmp_path / str(validates),
        )
        found.append(variables(result.checkpoint))
    assert sorted(found[0]) == sorted(found[1])
    assert "batch_normalization/moving_mean" in found[0]
    for name, value in found[0].items():
        np.testing.assert_array_equal(value, found[1][name], err_msg=name)


def test_averages_of_the_training_are_what_validation_normalizes_with(train, regression):
    """By hand: a moving mean with momentum 0.5 of the batches that were trained on, from 0."""

    def model_fn(inputs, mode):
        made = keras.layers.BatchNormalization(momentum=0.5, epsilon=0.0, scale=False, center=False)
        made(inputs[0], training=mode == mox.ModeKeys.TRAIN)
        loss = tf.compat.v1.get_variable("weight", initializer=1.0) * 1.0
        hooks.append(Validating({"average": tf.reduce_sum(made.moving_mean)}))
        return mox.ModelSpec(loss=loss, hooks=[hooks[-1]])

    hooks = []
    train(8, model_fn=model_fn)
    average, expected = np.zeros(3), []
    for features, _ in regression.batches(8, 8):
        average = 0.5 * average + 0.5 * features.mean(0)
        expected.append(average.sum())
    got = [means["average"] for _, means in hooks[0].got]
    np.testing.assert_allclose(got, [expected[3], expected[7]], rtol=1e-4, atol=1e-6)


def test_a_hook_that_validates_without_inter_mode_is_refused_before_training(train, tmp_path):
    with pytest.raises(mox.UsageError) as refusal:
        train(8, inter_mode=None, log_dir=tmp_path / "log")
    assert str(refusal.value) == (
        "Validating runs the inter mode, and there is none: pass inter_mode=mox.ModeKeys.EVAL to mox.run."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_hook_that_is_missing_in_the_inter_mode_is_refused_before_training(train, regression, tmp_path):
    def model_fn(inputs, mode):
        spec = regression.model_fn(inputs, mode)
        hooks = [Validating({"loss": spec.loss})] * (2 if mode == mox.ModeKeys.TRAIN else 1)
        return mox.ModelSpec(loss=spec.loss, hooks=[*hooks[:-1], Validating({"loss": spec.loss})])

    def lonely_model_fn(inputs, mode):
        spec = regression.model_fn(inputs, mode)
        hooks = [Validating({"loss": spec.loss})] if mode == mox.ModeKeys.TRAIN else []
        return mox.ModelSpec(loss=spec.loss, hooks=hooks)

    for each in (model_fn, lonely_model_fn):
        with pytest.raises(mox.UsageError) as refusal:
            train(8, model_fn=each, log_dir=tmp_path / "log")
        assert str(refusal.value) == (
            "model_fn returns Validating in TRAIN and not in EVAL: "
            "return it in both modes, its values come from the second."
        )
        assert list(tmp_path.iterdir()) == []


class Feeding(mox.AggregativeSessionRunHook):
    """Feeds 1, 2, 3, ..., and tells what is called."""

    def __init__(self, placeholder, mode, calls):
        super().__init__()
        self.placeholder, self.mode, self.calls, self.fed = placeholder, mode, calls, 0

    def begin(self):
        self.calls.append(f"{self.mode} begin")

    def before_run(self, run_context):
        del run_context
        self.fed += 1
        return tf.compat.v1.train.SessionRunArgs(None, feed_dict={self.placeholder: self.fed})

    def after_run(self, run_context, run_values):
        del run_values
        self.calls.append(f"{self.mode} step {run_context.step} of {run_context.global_step}")

    def end(self, session):
        del session
        self.calls.append(f"{self.mode} end")

    def support_aggregation(self):
        return False

    def support_sync_workers(self):
        return False

    def run_inter_mode(self):
        return False


def _fed_model_fn(regression, calls, hooks, *, feeding=("EVAL",), also=()):
    def model_fn(inputs, mode):
        spec = regression.model_fn(inputs, mode)
        hooks[mode] = [Validating({"fed": tf.constant(0.0)})]
        if mode in feeding or mode in also:
            fed = tf.compat.v1.placeholder(tf.float32, [], name="fed")
            hooks[mode] = [Validating({"fed": fed, "loss": spec.loss})]
            hooks[mode] += [Feeding(fed, mode, calls)] if mode in feeding else []
        return mox.ModelSpec(loss=spec.loss, hooks=hooks[mode])

    return model_fn


def test_placeholders_of_the_inter_mode_are_fed_by_its_own_hooks(train, regression):
    """40 samples in batches of 7, the last of 5: 1 to 6, then 8 to 13, weighted by samples.

    7 is for the step that finds the end of the input.
    """
    calls, hooks = [], {}
    train(8, model_fn=_fed_model_fn(regression, calls, hooks), batch_size=7)
    got = hooks["TRAIN"][0].got
    expected = [sum(7 * n for n in range(1, 6)) + 5 * 6, sum(7 * n for n in range(8, 13)) + 5 * 13]
    assert [means["fed"] for _, means in got] == [pytest.approx(total / 40) for total in expected]
    losses = [_mean_loss(regression, steps, 7) for steps in (4, 8)]
    np.testing.assert_allclose([means["loss"] for _, means in got], losses, rtol=1e-4)
    steps = [f"EVAL step {step} of {at}" for at in (3, 7) for step in range(6)]
    assert calls == ["EVAL begin", *steps, "EVAL end"]


def test_hooks_of_the_inter_mode_end_when_the_training_fails(train, regression):
    def fail(mode):
        raise RuntimeError(mode)

    calls, hooks = [], {}
    inner = _fed_model_fn(regression, calls, hooks)

    def model_fn(inputs, mode):
        spec = inner(inputs, mode)
        if mode == mox.ModeKeys.TRAIN:
            hooks[mode][0].after_run = lambda context, values: (
                Validating.after_run(hooks[mode][0], context, values),
                fail(mode),
            )
        return spec

    with pytest.raises(RuntimeError, match=r"^TRAIN$"):
        train(8, model_fn=model_fn)
    assert calls[-1] == "EVAL end"


def test_a_hook_of_the_inter_mode_may_end_an_evaluation_and_not_the_training(train, regression):
    calls, hooks = [], {}
    inner = _fed_model_fn(regression, calls, hooks)

    def model_fn(inputs, mode):
        spec = inner(inputs, mode)
        if mode == mox.ModeKeys.EVAL:
            hooks[mode][1].after_run = lambda context, values: context.request_stop()  # noqa: ARG005
        return spec

    _, _, result = train(8, model_fn=model_fn)
    assert [means["fed"] for _, means in hooks["TRAIN"][0].got] == [1.0, 2.0]
    assert result.stopped_by == "max_number_of_steps"


def test_placeholders_that_nobody_feeds_in_the_inter_mode_are_refused_before_training(train, regression, tmp_path):
    model_fn = _fed_model_fn(regression, [], {}, feeding=(), also=("EVAL",))
    with pytest.raises(mox.UsageError) as refusal:
        train(8, model_fn=model_fn, log_dir=tmp_path / "log")
    assert str(refusal.value) == (
        "nobody feeds the placeholders 'fed' that model_fn made in EVAL. Return a hook that does: "
        "hooks=[mox.FeedSessionRunHook(feed_dict={placeholder: value})]."
    )
    assert list(tmp_path.iterdir()) == []


def _scalars(folder):
    """What TensorBoard would show: tag to the values by step."""
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    tags = accumulator.Tags()["tensors"]
    return {tag: {e.step: float(tf.make_ndarray(e.tensor_proto)) for e in accumulator.Tensors(tag)} for tag in tags}


def test_means_are_written_beside_the_summaries_of_the_training_under_the_same_tags(train, regression, tmp_path):
    got, _, _ = train(8, log_dir=tmp_path, save_summary_steps=1)
    assert _scalars(tmp_path / "eval") == {"loss": {step: pytest.approx(means["loss"]) for step, means in got}}
    losses = regression.train(8, batch_size=8, rate=0.1).losses
    assert _scalars(tmp_path)["loss"] == {step: pytest.approx(losses[step], rel=1e-4) for step in range(8)}


def test_a_run_without_an_evaluation_leaves_no_file_for_its_means(train, tmp_path):
    train(3, log_dir=tmp_path)
    assert not (tmp_path / "eval").exists()


def test_hooks_that_evaluate_at_the_same_step_share_the_evaluation(train, regression, tmp_path):
    read = []

    def input_fn(mode):
        def note(features, targets):
            read.append(mode)
            return features, targets

        def py_note(features, targets):
            features, targets = tf.numpy_function(note, [features, targets], [tf.float32, tf.float32])
            return tf.ensure_shape(features, [3]), tf.ensure_shape(targets, [])

        dataset = regression.input_fn(mode)
        return dataset.map(py_note) if mode == mox.ModeKeys.EVAL else dataset

    hooks = {}

    def model_fn(inputs, mode):
        spec = regression.model_fn(inputs, mode)
        hooks[mode] = [Validating({"loss": spec.loss}), Validating({"loss": spec.loss, "three": 3.0})]
        return mox.ModelSpec(loss=spec.loss, hooks=hooks[mode])

    train(8, model_fn=model_fn, input_fn=input_fn, log_dir=tmp_path)
    assert len(read) == 2 * 40
    first, second = (dict(hook.got) for hook in hooks["TRAIN"])
    assert {step: {**means, "three": 3.0} for step, means in first.items()} == second
    events = list((tmp_path / "eval").glob("events*"))
    records = [tf.compat.v1.Event.FromString(r.numpy()) for r in tf.data.TFRecordDataset(list(map(str, events)))]
    assert sorted((v.tag, e.step) for e in records for v in e.summary.value) == [
        ("loss", 3),
        ("loss", 7),
        ("three", 3),
        ("three", 7),
    ]


def test_inter_mode_without_a_hook_that_runs_it_trains_as_ever(train, regression):
    _, _, result = train(3, model_fn=regression.model_fn)
    assert result.metrics["loss"] == pytest.approx(regression.train(3, batch_size=8, rate=0.1).losses[-1], rel=1e-4)


def test_what_is_monitored_may_be_a_variable_or_a_number(train, regression):
    hooks = []

    def model_fn(inputs, mode):
        spec = regression.model_fn(inputs, mode)
        with tf.compat.v1.variable_scope(tf.compat.v1.get_variable_scope(), reuse=True):
            bias = tf.compat.v1.get_variable("bias", shape=[])
        hooks.append(Validating({"bias": bias, "count": tf.size(inputs[1]), "three": 3.0}))
        return mox.ModelSpec(loss=spec.loss, hooks=[hooks[-1]])

    train(4, model_fn=model_fn, batch_size=7)
    ((_, means),) = hooks[0].got
    # 5 batches of 7 and one of 5: the mean of their sizes, weighted by samples, is (5 * 49 + 25) / 40
    assert means == {
        "bias": pytest.approx(regression.train(4, batch_size=7, rate=0.1).bias, rel=1e-4),
        "count": 270 / 40,
        "three": 3.0,
    }


def test_an_evaluation_may_read_fewer_data_sets_than_the_training(train, regression):
    arrays = {"x": regression.features, "y": regression.targets}

    def read(*names, num_epochs):
        def fetch(index):
            return {name: tf.gather(arrays[name], index) for name in names}

        return SampleSource(num_samples=40, fetch=fetch, describe=str, num_epochs=num_epochs).read()

    def input_fn(mode):
        if mode == mox.ModeKeys.TRAIN:
            return read("x", num_epochs=None)["x"], read("y", num_epochs=None)["y"]
        both = read("x", "y", num_epochs=1)
        return both["x"], both["y"]

    ((step, means),), _, _ = train(4, input_fn=input_fn)
    assert (step, means["loss"]) == (3, pytest.approx(_mean_loss(regression, 4, 8), rel=1e-4))


def test_bad_validation_samples_are_counted_at_the_end_once_each(train, regression, said):
    def input_fn(mode):
        bad = 2 if mode == mox.ModeKeys.EVAL else -1

        def fetch(index):
            with tf.control_dependencies([tf.debugging.assert_none_equal(index, tf.constant(bad, tf.int64))]):
                return {"x": tf.gather(regression.features, index), "y": tf.gather(regression.targets, index)}

        sample = SampleSource(
            num_samples=40, fetch=fetch, describe=lambda index: f"sample {index}", num_epochs=None if bad < 0 else 1
        ).read()
        return sample["x"], sample["y"]

    got, _, _ = train(8, input_fn=input_fn)
    assert [line for line in said.lines if line.startswith("WARNING")] == [
        "WARNING:tensorflow:'sample 2' cannot be read (damaged, empty, or of no known format): it is left out.",
        "WARNING:tensorflow:1 bad sample was left out of this run in mode EVAL.",
    ]
    kept = np.delete(np.arange(40), 2)
    weights = regression.train(4, batch_size=8, rate=0.1)
    errors = regression.features[kept] @ weights.weights + weights.bias - regression.targets[kept]
    np.testing.assert_allclose(got[0][1]["loss"], np.mean(errors**2), rtol=1e-4)


def test_an_inter_mode_that_no_hook_asks_for_is_told(train, regression, said):
    train(2, model_fn=regression.model_fn)
    (line,) = [line for line in said.lines if "inter_mode" in line]
    assert line == (
        "WARNING:tensorflow:inter_mode is EVAL, and nothing will be evaluated: model_fn returned no hook in mode TRAIN "
        "that asks for it, as mox.LogEvaluationMetricHook does."
    )
