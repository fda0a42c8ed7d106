"""The loop: every update happens in every way of running steps, and what is logged is what happened."""

import fnmatch
import logging
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox

STEPS = 200


def _counting(model_fn, hooks=()):
    """`model_fn`, with three further things to count and to average: an op, an UPDATE_OP, a batch normalization."""

    def counting_model_fn(inputs, mode):
        spec = model_fn(inputs, mode)
        made = {"trainable": False, "initializer": tf.compat.v1.zeros_initializer()}
        tf.compat.v1.get_variable("calls", [], **made).assign_add(1.0)
        average = tf.compat.v1.get_variable("average", [3], **made)
        update = average.assign_sub(0.1 * (average - tf.reduce_mean(inputs[0], axis=0)))
        tf.compat.v1.add_to_collection(tf.compat.v1.GraphKeys.UPDATE_OPS, update)
        keras.layers.BatchNormalization(momentum=0.95)(inputs[0], training=mode == mox.ModeKeys.TRAIN)
        return mox.ModelSpec(loss=spec.loss, log_info=spec.log_info, hooks=list(hooks))

    return counting_model_fn


OPTIMIZERS = {
    "a name of mox": (mox.get_optimizer_fn("momentum", 0.02, momentum=0.8), "weights/Momentum", 1.0),
    "v1": (lambda: tf.compat.v1.train.MomentumOptimizer(0.02, 0.8), "weights/Momentum", 1.0),
    # Keras's velocity holds the learning rate and the sign; its versions write the name in other ways.
    "Keras 3": (lambda: keras.optimizers.SGD(0.02, momentum=0.8), "[sS][gG][dD]/weights*_momentum", -0.02),
}


@pytest.mark.parametrize("single", [False, True], ids=["compiled chunks", "single steps"])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_every_update_happens_in_every_step(kind, single, regression, variables, every_step, tmp_path):
    optimizer_fn, slot_name, factor = OPTIMIZERS[kind]
    seen = []
    hooks = [every_step(lambda step, _results, _context: seen.append(step))] if single else []
    result = mox.run(
        input_fn=regression.input_fn,
        model_fn=_counting(regression.model_fn, hooks),
        optimizer_fn=optimizer_fn,
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=6,
        log_dir=tmp_path,
        max_number_of_steps=STEPS,
        log_every_n_steps=70,
    )
    assert seen == (list(range(STEPS)) if single else [])
    found = variables(result.checkpoint)
    assert found["global_step"] == STEPS
    assert found["calls"] == STEPS

    expected = regression.train(STEPS, batch_size=6, rate=0.02, momentum=0.8)
    np.testing.assert_allclose(found["weights"], expected.weights, rtol=1e-4)
    np.testing.assert_allclose(found["bias"], expected.bias, rtol=1e-4)
    np.testing.assert_allclose(
        found[fnmatch.filter(found, slot_name)[0]], factor * expected.slots[:3], rtol=1e-3, atol=1e-5
    )
    np.testing.assert_allclose(result.metrics["loss"], expected.losses[-1], rtol=1e-3)

    average, mean, variance = np.zeros(3), np.zeros(3), np.ones(3)
    for features, _ in regression.batches(STEPS, 6):
        average += 0.1 * (features.mean(0) - average)
        mean += 0.05 * (features.mean(0) - mean)
        variance += 0.05 * (features.var(0) - variance)
    np.testing.assert_allclose(found["average"], average, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["batch_normalization/moving_mean"], mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["batch_normalization/moving_variance"], variance, rtol=1e-4)


def test_lines_of_the_log_are_the_manuals_with_the_values_of_their_steps(regression, said):
    result = mox.run(
        input_fn=regression.input_fn,
        model_fn=regression.model_fn,
        optimizer_fn=regression.sgd,
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=8,
        max_number_of_steps=21,
        log_every_n_steps=5,
    )
    losses = regression.train(21, batch_size=8, rate=0.1).losses
    highest = [targets.max() for _, targets in regression.batches(21, 8)]
    expected = [
        rf"INFO:tensorflow:step: {n}\(global step: {n}\)\tsample/sec: \d+\.\d{{3}}"
        rf"\tloss: {re.escape(f'{losses[n]:.3f}')}\thighest: {re.escape(f'{highest[n]:.3f}')}"
        for n in (0, 5, 10, 15, 20)
    ]
    lines = said.starting("step:")
    assert len(lines) == len(expected)
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), line
    assert result.metrics == {
        "loss": pytest.approx(losses[20], rel=1e-4),
        "highest": pytest.approx(highest[20], rel=1e-6),
    }
    assert (result.steps, result.samples, result.global_step) == (21, 21 * 8, 21)


def test_a_resumed_run_counts_its_own_steps_and_the_global_ones(regression, said, tmp_path):
    options = {
        "input_fn": regression.input_fn,
        "model_fn": regression.model_fn,
        "optimizer_fn": regression.sgd,
        "run_mode": mox.ModeKeys.TRAIN,
        "batch_size": 8,
        "log_dir": tmp_path,
        "log_every_n_steps": 4,
    }
    mox.run(max_number_of_steps=6, **options)
    said.clear()
    result = mox.run(max_number_of_steps=12, **options)
    losses = regression.train(12, batch_size=8, rate=0.1).losses
    lines = [re.sub(r"sample/sec: [\d.]+", "sample/sec: R", line) for line in said.starting("step:")]
    assert [line.rsplit("\thighest", 1)[0] for line in lines] == [
        f"INFO:tensorflow:step: {n}(global step: {n + 6})\tsample/sec: R\tloss: {losses[n + 6]:.3f}" for n in (0, 4)
    ]
    assert (result.steps, result.global_step) == (6, 12)


def test_each_line_is_there_once_whenever_the_root_logger_gets_handlers(run_python):
    program = """
import logging
import mox_core as mox
import tensorflow as tf

def model_fn(inputs, mode):
    logging.warning("gives the root logger a handler, in the middle of the first run")
    loss = tf.compat.v1.get_variable("w", []) * inputs[0][0]
    return mox.ModelSpec(loss=loss, log_info={"loss": loss})

for steps in 3, 6:
    mox.run(input_fn=lambda mode: tf.constant(1.0), model_fn=model_fn, optimizer_fn=mox.get_optimizer_fn("sgd", 0.1),
            batch_size=1, run_mode="TRAIN", max_number_of_steps=steps, log_every_n_steps=steps - 1)
"""
    err = run_python(program).stderr
    assert err.count("gives the root logger a handler, in the middle of the first run") == 2
    assert err.count("INFO:tensorflow:step: 0(global step: 0)") == err.count("step: 0(global step: 0)") == 2
    for step in (2, 5):
        assert err.count(f"step: {step}(global step: {step})") == 1, err
        assert err.count(f"Training stops at global step {step + 1}: max_number_of_steps is reached.") == 1


def test_a_level_that_the_user_chose_stays(regression, said):
    logger = tf.get_logger()
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        _train(regression, max_number_of_steps=2)
        assert logger.level == logging.WARNING
    finally:
        logger.setLevel(before)
    assert said.lines == []


def _train(regression, model_fn=None, **options):
    return mox.run(
        **{
            "input_fn": regression.input_fn,
            "model_fn": model_fn or regression.model_fn,
            "optimizer_fn": regression.sgd,
            "run_mode": mox.ModeKeys.TRAIN,
            "batch_size": 8,
            "log_every_n_steps": 1000,
            **options,
        }
    )


def test_max_number_of_steps_stops_and_is_named(regression, said):
    result = _train(regression, max_number_of_steps=3)
    assert (result.stopped_by, result.steps) == ("max_number_of_steps", 3)
    assert said.lines[-1] == "INFO:tensorflow:Training stops at global step 3: max_number_of_steps is reached."


@pytest.mark.parametrize("max_number_of_steps", [0, 1000])
def test_the_end_of_the_input_stops_and_is_named(regression, said, max_number_of_steps):
    once = tf.data.Dataset.from_tensor_slices((regression.features, regression.targets))
    result = _train(regression, input_fn=lambda mode: once, max_number_of_steps=max_number_of_steps)  # noqa: ARG005
    assert (result.stopped_by, result.steps, result.samples) == ("end of input", 5, 40)
    assert said.lines[-1] == "INFO:tensorflow:Training stops at global step 5: the input has ended."


def test_an_input_that_ends_with_the_last_step_is_not_what_stopped(regression):
    once = tf.data.Dataset.from_tensor_slices((regression.features, regression.targets))
    result = _train(regression, input_fn=lambda mode: once, max_number_of_steps=5)  # noqa: ARG005
    assert (result.stopped_by, result.steps) == ("max_number_of_steps", 5)


def test_an_input_without_one_batch_is_refused_with_the_numbers_and_nothing_is_exported(regression, tmp_path):
    few = tf.data.Dataset.from_tensor_slices((regression.features[:3], regression.targets[:3]))
    words = r"TRAIN did not one step: input_fn gives 3 samples, and a step takes 8 \(batch_size=8\)"
    for _ in range(2):  # also with the checkpoint of step 0 that the first one has left
        with pytest.raises(mox.DataError, match=words):
            _train(regression, input_fn=lambda mode: few, log_dir=tmp_path, export_model=mox.ExportKeys.TF_SERVING)  # noqa: ARG005
    assert [path for path in tmp_path.iterdir() if path.name.isdecimal()] == []
    with pytest.raises(mox.DataError, match=r"gives 0 batches, and a step takes 1 \(one batch\)"):
        _train(regression, input_fn=lambda mode: few.take(0).batch(8), batch_size=None)  # noqa: ARG005
    none = few.filter(lambda *_: False).repeat()
    with pytest.raises(mox.DataError, match="should go on for ever and has ended"):
        _train(regression, input_fn=lambda mode: none, max_number_of_steps=3)  # noqa: ARG005


def test_a_hook_stops_after_the_step_in_which_it_asks_and_is_named(regression, said, every_step, tmp_path):
    class StopAtSeven(every_step):
        def after_run(self, run_context, run_values):
            del run_values
            if run_context.global_step == 7:
                run_context.request_stop()

    def model_fn(inputs, mode):
        spec = regression.model_fn(inputs, mode)
        return mox.ModelSpec(loss=spec.loss, hooks=[StopAtSeven()])

    result = _train(regression, model_fn, log_dir=tmp_path, max_number_of_steps=100)
    assert (result.stopped_by, result.steps, result.global_step) == ("StopAtSeven", 8, 8)
    assert said.lines[-1] == "INFO:tensorflow:Training stops at global step 8: StopAtSeven asked for it."
    assert result.checkpoint == str(tmp_path / "model.ckpt-8")


def test_a_hook_may_stop_the_run_before_its_first_step(regression, every_step):
    class Never(every_step):
        def after_create_session(self, session, coord):
            del session
            coord.request_stop()

    def model_fn(inputs, mode):
        spec = regression.model_fn(inputs, mode)
        return mox.ModelSpec(loss=spec.loss, hooks=[Never()])

    result = _train(regression, model_fn, max_number_of_steps=100)
    assert (result.stopped_by, result.steps) == ("a hook", 0)


def test_hooks_fetch_what_their_step_computes_in_the_order_of_the_session_run_hook(regression, every_step):
    calls = []

    class Telling(every_step):
        def begin(self):
            calls.append("begin")

        def after_create_session(self, session, coord):
            del coord
            calls.append(("created", int(session.run(tf.compat.v1.train.get_global_step(session.graph)))))

        def end(self, session):
            calls.append(("end", int(session.run(tf.compat.v1.train.get_global_step(session.graph)))))

    def model_fn(inputs, mode):
        spec = regression.model_fn(inputs, mode)
        hook = Telling(
            lambda step, results, _context: calls.append((step, results["x"].shape, float(results["nested"][0]))),
            {"x": inputs[0], "nested": [spec.loss]},
        )
        return mox.ModelSpec(loss=spec.loss, hooks=[hook])

    _train(regression, model_fn, max_number_of_steps=3)
    losses = regression.train(3, batch_size=8, rate=0.1).losses
    middle = [(step, (8, 3), pytest.approx(losses[step], rel=1e-4)) for step in range(3)]
    assert calls == ["begin", ("created", 0), *middle, ("end", 3)]


def test_a_hook_that_wants_some_steps_sees_those_and_no_others(regression, every_step):
    seen = []

    class EveryFourth(every_step):
        def next_step(self, step):
            return step + -step % 4

    def model_fn(inputs, mode):
        spec = regression.model_fn(inputs, mode)
        hook = EveryFourth(lambda step, loss, _context: seen.append((step, float(loss))), spec.loss)
        return mox.ModelSpec(loss=spec.loss, hooks=[hook])

    result = _train(regression, model_fn, max_number_of_steps=11)
    losses = regression.train(11, batch_size=8, rate=0.1).losses
    assert seen == [(step, pytest.approx(losses[step], rel=1e-4)) for step in (0, 4, 8)]
    assert result.steps == 11


def test_a_nan_loss_stops_with_its_step_and_name_and_saves_nothing(regression, said, tmp_path):
    def model_fn(inputs, mode):
        del mode
        calls = tf.compat.v1.get_variable("calls", initializer=0.0, trainable=False)
        weight = tf.compat.v1.get_variable("weight", initializer=1.0)
        loss = weight * tf.sqrt(7.0 - calls.assign_add(1.0)) * tf.reduce_mean(inputs[0] * 0 + 1)
        return mox.ModelSpec(loss=loss, log_info={"cross_entropy": loss})

    with pytest.raises(mox.NanLossError) as refusal:
        _train(regression, model_fn, log_dir=tmp_path, max_number_of_steps=20, save_model_steps=20)
    assert str(refusal.value) == (
        "cross_entropy is nan at global step 7: training stops, and its weights are not saved. "
        "A lower learning rate, or a look at the input of this step, is the usual way out."
    )
    assert sorted(path.name for path in tmp_path.glob("*.index")) == ["model.ckpt-0.index"]
    assert not said.starting("Training stops")


def test_of_two_losses_the_bad_one_is_named(regression, every_step):
    def model_fn(inputs, mode):
        spec = regression.model_fn(inputs, mode)
        weight = tf.compat.v1.get_variable("weight", initializer=0.0)
        hooks = [every_step()]
        return mox.ModelSpec(loss=[spec.loss, 1 / weight], hooks=hooks)

    with pytest.raises(mox.NanLossError, match=r"^loss\[1\] is inf at global step 0: "):
        _train(regression, model_fn, max_number_of_steps=3)


def test_a_run_that_nothing_would_end_is_refused_before_it_begins(regression):
    with pytest.raises(mox.UsageError) as refusal:
        _train(regression)
    assert str(refusal.value) == (
        "max_number_of_steps is 0 and the input of TRAIN never ends: nothing would end the run. "
        "Pass max_number_of_steps, or num_epochs to the data set."
    )
