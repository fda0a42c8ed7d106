"""`FeedSessionRunHook` (the manual's chapter 4.5.1): what is fed is what the step computes with."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox


def _run(model_fn, *, steps=4, rate=0.0, **options):
    windows = []
    result = mox.run(
        **{
            "input_fn": lambda run_mode: [tf.constant(0.0)],  # noqa: ARG005
            "model_fn": model_fn,
            "optimizer_fn": lambda: tf.compat.v1.train.GradientDescentOptimizer(rate),
            "output_fn": windows.extend,
            "output_every_n_steps": 1,
            "run_mode": mox.ModeKeys.TRAIN,
            "auto_batch": False,
            "batch_size": 16,
            "max_number_of_steps": steps,
            **options,
        }
    )
    return result, windows


def test_the_script_of_the_manual_trains_on_what_is_fed(tmp_path):
    """By hand, in NumPy: four steps of softmax regression on one fixed batch."""
    images = np.random.default_rng(1).random(size=[16, 4, 4, 3])
    labels = np.arange(16) % 10

    def model_fn(inputs, mode, **kwargs):
        del inputs, mode, kwargs
        fed_images = tf.compat.v1.placeholder(dtype=tf.float32, shape=[16, 4, 4, 3])
        fed_labels = tf.compat.v1.placeholder(dtype=tf.int64, shape=[16])
        weights = tf.compat.v1.get_variable("weights", initializer=tf.zeros([48, 10]))
        logits = tf.reshape(fed_images, [16, 48]) @ weights
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(fed_labels, logits))
        feed_hook = mox.FeedSessionRunHook(feed_dict={fed_images: images, fed_labels: labels})
        return mox.ModelSpec(loss=loss, log_info={"loss": loss}, output_info={"loss": loss}, hooks=[feed_hook])

    result, windows = _run(model_fn, rate=0.5, log_dir=tmp_path, log_every_n_steps=10)

    weights, losses = np.zeros([48, 10]), []
    rows, wanted = images.reshape(16, 48), np.eye(10)[labels]
    for _ in range(4):
        scores = np.exp(rows @ weights)
        chances = scores / scores.sum(1, keepdims=True)
        losses.append(-np.log((chances * wanted).sum(1)).mean())
        weights -= 0.5 * rows.T @ (chances - wanted) / 16
    np.testing.assert_allclose([step["loss"] for step in windows], losses, rtol=1e-5)
    saved = tf.train.load_checkpoint(result.checkpoint)
    np.testing.assert_allclose(saved.get_tensor("weights"), weights, rtol=1e-4, atol=1e-6)


def _echo(dtype, shape, feed_dict_of, hooks=()):
    """Puts out what a placeholder is fed."""

    def model_fn(inputs, mode):
        del inputs, mode
        fed = tf.compat.v1.placeholder(dtype, shape, name="fed")
        loss = tf.compat.v1.get_variable("weight", initializer=1.0)
        made = [mox.FeedSessionRunHook(feed_dict_of(fed)), *hooks]
        return mox.ModelSpec(loss=loss * 1.0, output_info={"fed": fed}, hooks=made)

    return model_fn


class _Changing(mox.FeedSessionRunHook):
    """Feeds the number of the next step, by changing feed_dict between steps."""

    def after_run(self, run_context, run_values):
        del run_values
        (fed,) = self.feed_dict
        if run_context.global_step % 2:
            self.feed_dict[fed] = [run_context.global_step + 1]  # the same dict
        else:
            self.feed_dict = {fed: np.array([run_context.global_step + 1])}  # another one


def test_each_step_is_fed_what_feed_dict_holds_then():
    def model_fn(inputs, mode):
        del inputs, mode
        fed = tf.compat.v1.placeholder(tf.float32, [None])
        loss = tf.compat.v1.get_variable("weight", initializer=1.0) * tf.reduce_sum(fed)
        return mox.ModelSpec(loss=loss, output_info={"fed": fed}, hooks=[_Changing({fed: [0, 0]})])

    _, windows = _run(model_fn, steps=5)
    assert [step["fed"].tolist() for step in windows] == [[0, 0], [1], [2], [3], [4]]


def test_a_value_that_is_a_function_is_called_for_each_step():
    numbers = itertools.count(5)
    _, windows = _run(_echo(tf.float32, [2], lambda fed: {fed: lambda: [next(numbers), 0]}), steps=3)
    assert [step["fed"].tolist() for step in windows] == [[5, 0], [6, 0], [7, 0]]


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        (tf.float64, 0.1, 0.1),  # not the float32 nearest to it
        (tf.float64, [0.1, 1e-300], [0.1, 1e-300]),
        (tf.int64, 2**40 + 1, 2**40 + 1),
        (tf.int64, np.array([7], np.int32), [7]),
        (tf.float32, np.array([1, 2], np.int64), [1, 2]),
        (tf.bool, [True, False], [True, False]),
        (tf.string, "text", b"text"),
        (tf.string, np.array(["a", "bc"]), [b"a", b"bc"]),
    ],
    ids=str,
)
def test_values_arrive_as_they_are_in_the_type_of_the_placeholder(dtype, value, expected):
    _, windows = _run(_echo(dtype, None, lambda fed: {fed: value}), steps=1)
    fed = windows[0]["fed"]
    assert (fed.tolist() if isinstance(fed, np.ndarray) else fed) == expected


@pytest.mark.parametrize(
    ("dtype", "shape", "value", "text"),
    [
        (tf.float32, [2, 3], np.zeros([2, 4]), r"feeds 'fed' of shape \(2, 3\) with a value of shape \(2, 4\)\."),
        (tf.float32, [2], "text", r"feeds 'fed' with str, which is no float32: "),
        (tf.int64, [], None, r"feeds 'fed' with NoneType, which is no int64: "),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(dtype, shape, value, text):
    with pytest.raises(mox.UsageError, match=rf"^FeedSessionRunHook {text}"):
        _run(_echo(dtype, shape, lambda fed: {fed: value}))


class _Silent(mox.AggregativeSessionRunHook):
    """Wants no step at all."""

    def support_aggregation(self):
        return False

    def support_sync_workers(self):
        return False

    def run_inter_mode(self):
        return False


@pytest.mark.parametrize(
    ("hooks", "written"),
    [
        (lambda _: [], []),
        (lambda _: [_Silent()], []),
        (lambda other: [mox.FeedSessionRunHook({other: 1.0})], ["model.ckpt-0.index"]),
    ],
    ids=["no hook", "a hook that wants no step", "a hook that feeds another placeholder"],
)
def test_a_placeholder_that_nobody_feeds_is_refused_by_name(hooks, written, tmp_path):
    def model_fn(inputs, mode):
        del inputs, mode
        other = tf.compat.v1.placeholder_with_default(0.0, [])
        scale = tf.compat.v1.placeholder(tf.float32, [], name="loss_scale")
        loss = tf.compat.v1.get_variable("weight", initializer=1.0) * scale
        return mox.ModelSpec(loss=loss, output_info={"loss": loss}, hooks=hooks(other))

    with pytest.raises(mox.UsageError) as refusal:
        _run(model_fn, log_dir=tmp_path / "log")
    assert str(refusal.value) == (
        "nobody feeds the placeholders 'loss_scale' that model_fn made in TRAIN. Return a hook that does: "
        "hooks=[mox.FeedSessionRunHook(feed_dict={placeholder: value})]."
    )
    # Where no hook overrides before_run it is known before anything is written, else at the first step.
    assert [path.name for path in tmp_path.glob("log/*.index")] == written


def test_a_placeholder_with_a_default_needs_no_hook():
    def model_fn(inputs, mode):
        del inputs, mode
        scale = tf.compat.v1.placeholder_with_default(3.0, [], name="scale")
        loss = tf.compat.v1.get_variable("weight", initializer=1.0) * scale
        return mox.ModelSpec(loss=loss, output_info={"loss": loss})

    _, windows = _run(model_fn, steps=2)
    assert [float(step["loss"]) for step in windows] == [3.0, 3.0]


def test_two_hooks_feed_together():
    def model_fn(inputs, mode):
        del inputs, mode
        first, second = (tf.compat.v1.placeholder(tf.float32, []) for _ in range(2))
        loss = tf.compat.v1.get_variable("weight", initializer=1.0) * first * second
        hooks = [mox.FeedSessionRunHook({first: 3.0}), mox.FeedSessionRunHook({second: 5.0})]
        return mox.ModelSpec(loss=loss, output_info={"loss": loss}, hooks=hooks)

    _, windows = _run(model_fn, steps=1)
    assert float(windows[0]["loss"]) == 15.0


def test_evaluation_is_fed_too(tmp_path):
    def model_fn(inputs, mode):
        del inputs
        fed = tf.compat.v1.placeholder(tf.float32, [])
        loss = tf.compat.v1.get_variable("weight", initializer=1.0) * fed
        value = 2.0 if mode == mox.ModeKeys.EVAL else 1.0
        return mox.ModelSpec(loss=loss, log_info={"loss": loss}, hooks=[mox.FeedSessionRunHook({fed: value})])

    _run(model_fn, output_fn=None, log_dir=tmp_path)
    result, _ = _run(model_fn, output_fn=None, log_dir=tmp_path, run_mode=mox.ModeKeys.EVAL, optimizer_fn=None)
    assert result.metrics == {"loss": 2.0}


def test_it_is_the_manuals_class():
    hook = mox.FeedSessionRunHook({})
    assert hook.before_run(None) is None
    arguments = mox.FeedSessionRunHook({"tensor": 1}).before_run(None)
    assert arguments == tf.compat.v1.train.SessionRunArgs(fetches=None, feed_dict={"tensor": 1})
    assert not hook.support_aggregation()
    assert not hook.support_sync_workers()
    assert not hook.run_inter_mode()
