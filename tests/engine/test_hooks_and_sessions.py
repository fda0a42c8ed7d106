"""Session hooks: what they may fetch and feed, what they remember, and that each that has begun also ends."""

import os
import signal
import typing

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.engine.hooks.hook_variable import hook_variable


class Pair(typing.NamedTuple):
    first: float
    second: list


class Telling(mox.AggregativeSessionRunHook):
    """Tells what is called, and raises where it is told to."""

    def __init__(self, name, calls, raises=()):
        super().__init__()
        self.name, self.calls, self.raises = name, calls, raises

    def _tell(self, what):
        self.calls.append(f"{self.name} {what}")
        if what in self.raises:
            raise RuntimeError(f"{self.name} {what}")

    def begin(self):
        self._tell("begin")

    def after_create_session(self, session, coord):
        del session, coord
        self._tell("created")

    def after_run(self, run_context, run_values):
        del run_values
        self._tell(f"step {run_context.global_step}")

    def end(self, session):
        self.complete = session.complete
        self._tell("end")

    def support_aggregation(self):
        return False

    def support_sync_workers(self):
        return False

    def run_inter_mode(self):
        return False


def _run(regression, hooks, change_loss=lambda loss: loss, **options):
    def model_fn(inputs, mode):
        spec = regression.model_fn(inputs, mode)
        loss = change_loss(spec.loss)
        return mox.ModelSpec(loss=loss, log_info={"loss": loss}, hooks=hooks)

    return mox.run(
        **{
            "input_fn": regression.input_fn,
            "model_fn": model_fn,
            "optimizer_fn": regression.sgd,
            "run_mode": mox.ModeKeys.TRAIN,
            "batch_size": 8,
            "max_number_of_steps": 4,
            "log_every_n_steps": 1000,
            **options,
        }
    )


@pytest.mark.parametrize(
    ("raises", "expected"),
    [
        ("begin", ["A begin", "B begin", "A end"]),
        ("created", ["A begin", "B begin", "A created", "B created", "A end", "B end"]),
        (
            "step 1",
            [f"{name} {what}" for what in ("begin", "created", "step 0", "step 1", "end") for name in "AB"],
        ),
    ],
)
def test_an_error_in_a_hook_ends_all_that_have_begun_in_their_order(regression, raises, expected):
    calls = []
    hooks = [Telling("A", calls), Telling("B", calls, raises=[raises])]
    with pytest.raises(RuntimeError, match=rf"^B {raises}$"):
        _run(regression, hooks)
    assert calls == expected
    assert not hooks[0].complete


def _bad_at_step_2(loss):
    calls = tf.compat.v1.get_variable("calls", initializer=0.0, trainable=False).assign_add(1.0)
    with tf.control_dependencies([tf.debugging.assert_less(calls, 3.0, message="the third step")]):
        return tf.identity(loss)


def _nan_at_step_2(loss):
    calls = tf.compat.v1.get_variable("calls", initializer=0.0, trainable=False).assign_add(1.0)
    return loss * tf.sqrt(2.5 - calls)


@pytest.mark.parametrize(
    ("change_loss", "error"),
    [(_bad_at_step_2, tf.errors.InvalidArgumentError), (_nan_at_step_2, mox.NanLossError)],
    ids=["an op that fails", "a loss that is not finite"],
)
def test_a_step_that_fails_ends_the_hooks_and_their_errors_do_not_hide_its_own(regression, said, change_loss, error):
    calls = []
    hooks = [Telling("A", calls, raises=["end"]), Telling("B", calls)]
    with pytest.raises(error):
        _run(regression, hooks, change_loss)
    assert calls[-2:] == ["A end", "B end"]
    assert "ERROR:tensorflow:Telling.end: RuntimeError: A end" in said.lines
    assert not hooks[1].complete


def test_a_signal_ends_the_hooks_of_a_run_that_is_not_complete(regression):
    class Signalling(Telling):
        def after_run(self, run_context, run_values):
            super().after_run(run_context, run_values)
            if run_context.global_step == 1:
                os.kill(os.getpid(), signal.SIGTERM)

    calls = []
    hook = Signalling("A", calls)
    result = _run(regression, [hook], max_number_of_steps=1000)
    assert result.stopped_by == "SIGTERM"
    assert calls[-1] == "A end"
    assert not hook.complete


def test_the_first_error_of_an_end_is_raised_when_all_have_ended(regression, said):
    calls = []
    hooks = [Telling("A", calls, raises=["end"]), Telling("B", calls, raises=["end"]), Telling("C", calls)]
    with pytest.raises(RuntimeError, match=r"^A end$"):
        _run(regression, hooks)
    assert calls[-3:] == ["A end", "B end", "C end"]
    assert [line for line in said.lines if line.startswith("ERROR")] == [
        "ERROR:tensorflow:Telling.end: RuntimeError: A end",
        "ERROR:tensorflow:Telling.end: RuntimeError: B end",
    ]
    assert hooks[2].complete


def _with_graph(make_fetches, *, every_step, feed=None, then=None):
    """Fetches something of a little graph with the value 3 as input: y = w * x, z = y + 1, w = 2, k = 5."""
    got = []

    class Hook(every_step):
        def before_run(self, run_context):
            del run_context
            return tf.compat.v1.train.SessionRunArgs(made["fetches"], feed_dict=made["feed"])

        def after_run(self, run_context, run_values):
            got.append(then(run_context.session, made) if then else run_values.results)

    made = {}

    def model_fn(inputs, mode):
        del mode
        (x,) = inputs
        w = tf.compat.v1.get_variable("w", initializer=2.0)
        k = keras.Variable(5.0, name="k")
        y = tf.multiply(w, x, name="y")
        z = tf.add(y, 1.0, name="z")
        count = tf.compat.v1.get_variable("count", initializer=0.0, trainable=False)
        fed = tf.compat.v1.placeholder_with_default(10.0, [], name="fed")
        made.update(x=x, w=w, k=k, y=y, z=z, add=count.assign_add(1.0).op, count=count, fed=fed, sum=fed + z)
        made["fetches"] = make_fetches(made) if make_fetches else None
        made["feed"] = feed(made) if feed else None
        return mox.ModelSpec(loss=z + k.value, hooks=[Hook()])

    mox.run(
        input_fn=lambda mode: [tf.constant(3.0)],  # noqa: ARG005
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.0),
        run_mode=mox.ModeKeys.TRAIN,
        max_number_of_steps=2,
    )
    return got


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda g: g["z"], 7.0),
        (lambda g: {"a": g["y"], "b": [g["z"], (g["w"],)]}, {"a": 6.0, "b": [7.0, (2.0,)]}),
        (lambda g: Pair(g["y"], [g["k"]]), Pair(6.0, [5.0])),
        (lambda g: [g["z"], g["z"].op, "y:0", "z"], [7.0, None, 6.0, None]),
        (lambda g: g["add"], None),
    ],
    ids=["a tensor", "dict, list and tuple", "a named tuple", "operations and names", "an operation"],
)
def test_fetches_of_any_nesting_come_back_in_their_structure(every_step, make, expected):
    assert _with_graph(make, every_step=every_step) == [expected, expected]


def test_a_sparse_tensor_comes_back_as_tensorflow_1_gave_it(every_step):
    got = _with_graph(lambda g: tf.sparse.from_dense([0.0, g["z"]]), every_step=every_step)
    assert isinstance(got[0], tf.compat.v1.SparseTensorValue)
    assert (got[0].indices.tolist(), got[0].values.tolist(), got[0].dense_shape.tolist()) == ([[1]], [7.0], [2])


def test_an_operation_that_is_fetched_runs_once_a_step(every_step):
    got = _with_graph(lambda g: {"op": g["add"], "count": g["count"]}, every_step=every_step)
    assert [each["count"] for each in got] == [1.0, 2.0]


def test_a_tensor_that_is_no_placeholder_may_be_fed(every_step):
    assert _with_graph(lambda g: g["z"], feed=lambda g: {g["y"]: 100}, every_step=every_step) == [101.0, 101.0]


def test_a_session_computes_with_the_inputs_of_the_step_and_what_it_is_fed(every_step):
    def then(session, made):
        fed = session.run({"sum": made["sum"]}, feed_dict={made["fed"]: 1})
        return fed["sum"], session.run(made["sum"]), session.run(made["z"], {made["y"]: 0.5})

    assert _with_graph(None, then=then, every_step=every_step) == [(8.0, 17.0, 1.5)] * 2


def test_an_input_of_model_fn_is_not_fed(every_step):
    with pytest.raises(mox.UsageError) as refusal:
        _with_graph(lambda g: g["z"], feed=lambda g: {g["x"]: 1.0}, every_step=every_step)
    assert str(refusal.value).startswith("Hook feeds 'Placeholder")
    assert str(refusal.value).endswith(
        ", which is an input of model_fn: input_fn gives its values. "
        "Feed a placeholder, or what is computed from the input: tf.identity(input)."
    )


@pytest.mark.parametrize("fetch", ["nothing:0", 3, None, tf.constant(1.0)], ids=["a name", "3", "None", "eager"])
def test_what_model_fn_did_not_make_cannot_be_fetched(every_step, fetch):
    with pytest.raises(mox.UsageError) as refusal:
        _with_graph(lambda g: [g["z"], fetch], every_step=every_step)
    assert str(refusal.value) == (
        f"Hook fetches {fetch!r}, which is no tensor, operation or variable that this call of model_fn made, "
        "nor the name of one."
    )


def test_a_session_that_lacks_a_fed_value_names_the_placeholder(regression):
    class Hook(Telling):
        def before_run(self, run_context):
            del run_context
            return tf.compat.v1.train.SessionRunArgs(None, feed_dict={self.placeholder: 2.0})

        def after_run(self, run_context, run_values):
            del run_values
            run_context.session.run(self.doubled)

    hook = Hook("A", [])

    def change_loss(loss):
        hook.placeholder = tf.compat.v1.placeholder(tf.float32, [], name="scale")
        hook.doubled = 2 * hook.placeholder
        return loss * hook.placeholder

    with pytest.raises(mox.UsageError) as refusal:
        _run(regression, [hook], change_loss)
    assert str(refusal.value) == "session.run computes from the placeholders 'scale': feed them in its feed_dict."


def test_a_hook_of_tensorflow_works_when_its_class_says_the_three_things(regression, said):
    class Logging(tf.compat.v1.train.LoggingTensorHook, mox.AggregativeSessionRunHook):
        def support_aggregation(self):
            return False

        def support_sync_workers(self):
            return False

        def run_inter_mode(self):
            return False

    hook = Logging({"highest": "highest:0"}, every_n_iter=2, formatter=lambda values: f"got {values['highest']:.3f}")
    _run(regression, [hook], lambda loss: tf.identity(loss, name="highest"), max_number_of_steps=4)
    losses = regression.train(4, batch_size=8, rate=0.1).losses
    assert said.starting("got") == [f"INFO:tensorflow:got {losses[step]:.3f}" for step in (0, 2)]


def test_a_plain_hook_of_tensorflow_is_refused_with_what_to_add(regression, tmp_path):
    with pytest.raises(mox.UsageError) as refusal:
        _run(regression, [tf.compat.v1.train.StopAtStepHook(last_step=3)], log_dir=tmp_path / "log")
    assert str(refusal.value) == (
        "hooks[0] of ModelSpec is a 'StopAtStepHook'; derive its class from mox.AggregativeSessionRunHook and give it "
        "support_aggregation, support_sync_workers, run_inter_mode."
    )
    assert list(tmp_path.iterdir()) == []


class Counting(Telling):
    """Counts evaluations of its own in a variable that is saved."""

    def __init__(self):
        super().__init__("A", [])
        self.count = hook_variable(self, "count", 0)

    def after_create_session(self, session, coord):
        super().after_create_session(session, coord)
        self.began_with = int(self.count.numpy())

    def after_run(self, run_context, run_values):
        del run_context, run_values
        self.count.assign_add(1)


def _counting(regression, number, **options):
    made = []

    def model_fn(inputs, mode):
        spec = regression.model_fn(inputs, mode)
        made.extend(Counting() for _ in range(number))
        return mox.ModelSpec(loss=spec.loss, log_info=spec.log_info, hooks=made[-number:] if number else [])

    result = _run(regression, [], model_fn=model_fn, **options)
    return result, made


def test_what_a_hook_remembers_is_saved_and_there_after_a_resume(regression, variables, tmp_path):
    result, _ = _counting(regression, 2, log_dir=tmp_path)
    saved = variables(result.checkpoint)
    assert (saved["hooks/Counting/count"], saved["hooks/Counting/count_1"]) == (4, 4)
    result, made = _counting(regression, 2, log_dir=tmp_path, max_number_of_steps=7)
    assert [each.began_with for each in made] == [4, 4]
    assert variables(result.checkpoint)["hooks/Counting/count"] == 7


@pytest.mark.parametrize("mode", ["TRAIN", "EVAL"])
def test_a_checkpoint_from_before_the_hook_lets_it_begin_anew(regression, said, tmp_path, mode):
    _counting(regression, 0, log_dir=tmp_path)
    said.clear()
    options = {"log_dir": tmp_path, "max_number_of_steps": 6, "run_mode": mode}
    _, made = _counting(regression, 1, **options | ({} if mode == "TRAIN" else {"optimizer_fn": None}))
    assert made[0].began_with == 0
    assert said.starting("1 variables of hooks and flags begin with their initial values: hooks/Counting/count")
    assert not [line for line in said.lines if line.startswith("WARNING")]


@pytest.mark.parametrize("mode", ["TRAIN", "EVAL"])
def test_a_checkpoint_with_a_hook_serves_a_model_without_it(regression, tmp_path, mode):
    _counting(regression, 1, log_dir=tmp_path)
    options = {"log_dir": tmp_path, "max_number_of_steps": 6, "run_mode": mode}
    result, _ = _counting(regression, 0, **options | ({} if mode == "TRAIN" else {"optimizer_fn": None}))
    assert result.global_step == (6 if mode == "TRAIN" else 4)


def test_a_run_from_checkpoint_path_has_hooks_that_remember_nothing(regression, tmp_path):
    _counting(regression, 1, log_dir=tmp_path)
    _, made = _counting(regression, 1, checkpoint_path=tmp_path, max_number_of_steps=6)
    assert made[0].began_with == 0


def test_the_best_weights_are_those_of_the_step_and_nothing_else_comes_back(regression, variables, tmp_path):
    class Keeping(Counting):
        def after_run(self, run_context, run_values):
            super().after_run(run_context, run_values)
            if run_context.global_step in {1, 3}:
                run_context.session.save_best()

        def end(self, session):
            self.restored = session.restore_best()

    hooks = []

    def model_fn(inputs, mode):
        spec = regression.model_fn(inputs, mode)
        hooks.append(Keeping())
        return mox.ModelSpec(loss=spec.loss, hooks=[hooks[-1]])

    momentum = lambda: tf.compat.v1.train.MomentumOptimizer(0.02, 0.8)  # noqa: E731
    result = _run(regression, [], model_fn=model_fn, optimizer_fn=momentum, max_number_of_steps=6, log_dir=tmp_path)
    saved, expected = variables(result.checkpoint), regression.train(4, batch_size=8, rate=0.02, momentum=0.8)
    np.testing.assert_allclose(saved["weights"], expected.weights, rtol=1e-4)
    np.testing.assert_allclose(saved["weights/Momentum"], expected.slots[:3], rtol=1e-4)
    assert (saved["global_step"], saved["hooks/Keeping/count"]) == (6, 6)
    assert saved["mox/input_positions"].tolist() == [48]
    assert hooks[0].restored == str(tmp_path / "best" / "model.ckpt-4")
    assert [path.name for path in (tmp_path / "best").glob("*.index")] == ["model.ckpt-4.index"]


def test_best_weights_are_kept_while_training_only(regression, tmp_path):
    class Keeping(Telling):
        def after_run(self, run_context, run_values):
            del run_values
            run_context.session.save_best()

    _run(regression, [], log_dir=tmp_path)
    with pytest.raises(mox.UsageError, match=r"^the best weights are kept and restored while training"):
        _run(regression, [Keeping("A", [])], log_dir=tmp_path, run_mode="EVAL", optimizer_fn=None)


def test_best_weights_of_a_run_that_was_cut_short_give_way_to_those_of_the_run_that_goes_on(regression, tmp_path):
    """The first run keeps those of 4 steps and fails with a checkpoint of 0 steps; the second keeps those of 2."""

    class Keeping(Telling):
        def after_run(self, run_context, run_values):
            if run_context.global_step == self.kept:
                run_context.session.save_best()
            super().after_run(run_context, run_values)

        def end(self, session):
            if session.complete:
                self.restored = session.restore_best()

    first, second = Keeping("A", [], raises=["step 4"]), Keeping("B", [])
    first.kept, second.kept = 3, 1
    with pytest.raises(RuntimeError, match=r"^A step 4$"):
        _run(regression, [first], max_number_of_steps=9, log_dir=tmp_path)
    assert [path.name for path in (tmp_path / "best").glob("*.index")] == ["model.ckpt-4.index"]
    result = _run(regression, [second], max_number_of_steps=3, log_dir=tmp_path)
    assert second.restored == str(tmp_path / "best" / "model.ckpt-2")
    assert [path.name for path in (tmp_path / "best").glob("*.index")] == ["model.ckpt-2.index"]
    for prefix in (result.checkpoint, str(tmp_path / "best")):
        weights = tf.train.load_checkpoint(prefix).get_tensor("weights")
        np.testing.assert_allclose(weights, regression.train(2, batch_size=8, rate=0.1).weights, rtol=1e-4)


def test_an_export_has_the_best_weights_and_nothing_that_hooks_remember(regression, tmp_path):
    class Keeping(Counting):
        def after_run(self, run_context, run_values):
            super().after_run(run_context, run_values)
            if run_context.global_step == 1:
                run_context.session.save_best()

        def end(self, session):
            session.restore_best()

    def model_fn(inputs, mode):
        spec = regression.model_fn(inputs, mode)
        return mox.ModelSpec(loss=spec.loss, export_spec=spec.export_spec, hooks=[Keeping()])

    result = _run(regression, [], model_fn=model_fn, log_dir=tmp_path, export_model=mox.ExportKeys.TF_SERVING)
    exported = tf.train.load_checkpoint(result.export_path + "/variables/variables")
    assert not [name for name in exported.get_variable_to_shape_map() if "hooks" in name or "Keeping" in name]
    predict = tf.saved_model.load(result.export_path).signatures["predict_object"]
    expected = regression.train(2, batch_size=8, rate=0.1)
    np.testing.assert_allclose(
        predict(features=tf.constant(regression.features))["predictions"],
        regression.features @ expected.weights + expected.bias,
        rtol=1e-3,
        atol=1e-5,
    )
