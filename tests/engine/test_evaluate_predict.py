"""EVAL and PREDICT: every sample once, means weighted by samples, windows of outputs, never without a checkpoint."""

import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.engine.model.step_runner import StepRunner
from mox_core.sdk import SampleSource

SAMPLES = 295
VALUES = (np.random.default_rng(3).random(SAMPLES) * 2).astype(np.float32)


def _input_fn(mode):
    """A shuffled set: its order is no excuse for samples that come twice or not at all."""
    return SampleSource(
        num_samples=SAMPLES,
        fetch=lambda index: {"index": index, "value": tf.gather(VALUES, index)},
        describe=str,
        shuffle=True,
        num_epochs=None if mode == mox.ModeKeys.TRAIN else 1,
    ).read()


def _inputs_fn(mode):
    features = _input_fn(mode)
    return features["index"], features["value"]


def _model_fn(inputs, mode):
    del mode
    index, value = inputs
    weight = tf.compat.v1.get_variable("weight", initializer=1.0)
    average = tf.compat.v1.get_variable("average", initializer=0.0, trainable=False)
    average.assign_add(1.0)
    loss = tf.reduce_mean((weight * value - 1) ** 2)
    accuracy = tf.reduce_mean(tf.cast(value > 1, tf.float32))
    return mox.ModelSpec(
        loss=loss,
        log_info={"loss": loss, "accuracy": accuracy},
        output_info={"index": index, "twice": 2 * value},
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A log_dir with the checkpoint of two steps, and the weight in it."""
    log_dir = tmp_path_factory.mktemp("trained")
    tf.random.set_seed(1)
    result = mox.run(
        input_fn=_inputs_fn,
        model_fn=_model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=5,
        log_dir=log_dir,
        max_number_of_steps=2,
    )
    return log_dir, float(tf.train.load_checkpoint(result.checkpoint).get_tensor("weight"))


def _run(run_mode, **options):
    return mox.run(**{"input_fn": _inputs_fn, "model_fn": _model_fn, "run_mode": run_mode, **options})


def _predict(**options):
    windows = []
    result = _run(mox.ModeKeys.PREDICT, **{"output_fn": windows.append, "output_every_n_steps": 10, **options})
    return windows, result


@pytest.mark.parametrize("batch_size", [5, 7, 64, 295, 1000], ids=lambda size: f"batches of {size}")
def test_eval_gives_the_means_over_every_sample(batch_size, trained, said):
    log_dir, weight = trained
    result = _run(mox.ModeKeys.EVAL, batch_size=batch_size, checkpoint_path=log_dir, log_every_n_steps=1000)
    errors = (weight * VALUES.astype(np.float64) - 1) ** 2
    assert result.steps == -(-SAMPLES // batch_size)
    assert (result.samples, result.stopped_by, result.global_step) == (SAMPLES, "end of input", 2)
    # A plain mean of the batches' means would be off by far more: the last one may hold one sample.
    assert result.metrics == {
        "loss": pytest.approx(errors.mean(), rel=1e-6),
        "accuracy": pytest.approx((VALUES > 1).mean(), rel=1e-6),
    }
    line = f"INFO:tensorflow:loss: {result.metrics['loss']}\taccuracy: {result.metrics['accuracy']}\t[295 examples]"
    assert said.lines[-1] == line
    assert re.fullmatch(r"INFO:tensorflow:loss: 0\.\d{10,}\taccuracy: 0\.\d{10,}\t\[295 examples\]", line)


def test_lines_of_eval_have_no_global_step_and_come_at_the_end_of_every_n_steps(trained, said):
    seen = []
    options = {"batch_size": 5, "checkpoint_path": trained[0], "output_fn": seen.extend, "output_every_n_steps": 1}
    _run(mox.ModeKeys.EVAL, log_every_n_steps=20, **options)
    expected = []
    for step in (19, 39):
        values = seen[step]["twice"].astype(np.float64) / 2
        loss, accuracy = ((trained[1] * values - 1) ** 2).mean(), (values > 1).mean()
        expected.append(f"INFO:tensorflow:step: {step}\tsample/sec: R\tloss: {loss:.3f}\taccuracy: {accuracy:.3f}")
    lines = said.starting("step: ")
    assert [re.sub(r"sample/sec: \d+\.\d{3}\t", "sample/sec: R\t", line) for line in lines] == expected


def test_eval_stops_after_max_number_of_steps(trained):
    result = _run(mox.ModeKeys.EVAL, batch_size=5, checkpoint_path=trained[0], max_number_of_steps=4)
    assert (result.steps, result.samples, result.stopped_by) == (4, 20, "max_number_of_steps")


def test_eval_and_predict_leave_the_checkpoint_alone(trained, variables):
    log_dir, _ = trained
    before = {path.name: path.read_bytes() for path in log_dir.glob("model.ckpt*")}
    result = _run(mox.ModeKeys.EVAL, batch_size=5, log_dir=log_dir)
    _predict(batch_size=5, log_dir=log_dir)
    assert {path.name: path.read_bytes() for path in log_dir.glob("model.ckpt*")} == before
    assert result.checkpoint == str(log_dir / "model.ckpt-2")
    assert variables(result.checkpoint)["average"] == 2  # of the two steps of training


def test_predict_hands_over_every_sample_in_windows_the_last_of_them_shorter(trained):
    windows, result = _predict(batch_size=50, output_every_n_steps=4, log_dir=trained[0])
    assert [len(window) for window in windows] == [4, 2]
    assert all(type(window) is list and type(step) is dict for window in windows for step in window)
    steps = [step for window in windows for step in window]
    assert all(isinstance(array, np.ndarray) for step in steps for array in step.values())
    assert [len(step["index"]) for step in steps] == [50] * 5 + [45]
    assert sorted(np.concatenate([step["index"] for step in steps]).tolist()) == list(range(SAMPLES))
    for step in steps:
        np.testing.assert_allclose(step["twice"], 2 * VALUES[step["index"]], rtol=1e-6)
    assert (result.steps, result.samples) == (6, SAMPLES)


def test_a_window_ends_with_the_run_too(trained):
    windows, _ = _predict(batch_size=5, output_every_n_steps=4, log_dir=trained[0], max_number_of_steps=6)
    assert [len(window) for window in windows] == [4, 2]
    windows, _ = _predict(batch_size=5, output_every_n_steps=3, log_dir=trained[0], max_number_of_steps=6)
    assert [len(window) for window in windows] == [3, 3]


def test_lines_of_predict_without_log_info_are_the_manuals(trained, said):
    def model_fn(inputs, mode):
        spec = _model_fn(inputs, mode)
        return mox.ModelSpec(output_info=spec.output_info)

    windows, result = _predict(model_fn=model_fn, batch_size=1, log_dir=trained[0], log_every_n_steps=50)
    assert len(windows) == 30
    rate = re.compile(r"sample/sec: [\d.]+$")
    assert [rate.sub("sample/sec: R", line) for line in said.starting("step: ")] == [
        f"INFO:tensorflow:step: {step}\tsample/sec: R" for step in (49, 99, 149, 199, 249)
    ]
    assert said.lines[-1] == "INFO:tensorflow:\t[295 examples]"
    assert result.metrics == {}


def test_outputs_of_many_steps_a_call_are_those_of_each_step_and_come_before_the_lines_of_later_ones(
    trained, said, monkeypatch
):
    """Each step puts out another shape; the log has a line of each 50th."""
    calls, order = [], []
    run_loop = StepRunner.run_loop

    def counted(runner, count, **options):
        outcome = run_loop(runner, count, **options)
        calls.append(outcome.steps)
        return outcome

    def model_fn(inputs, mode):
        _model_fn(inputs, mode)
        index = inputs[0][0]
        texts = tf.strings.as_string(tf.range(index % 5))
        return mox.ModelSpec(output_info={"index": index, "square": tf.range(index) ** 2, "texts": texts})

    def output_fn(window):
        order.append((len(said.starting("step: ")), [int(step["index"]) for step in window]))
        steps.extend(window)

    steps = []
    monkeypatch.setattr(StepRunner, "run_loop", counted)
    options = {"batch_size": 1, "log_dir": trained[0], "log_every_n_steps": 50}
    result = _predict(model_fn=model_fn, output_fn=output_fn, output_every_n_steps=3, **options)[1]
    assert (result.steps, sum(calls), sorted(int(step["index"]) for step in steps)) == (295, 295, list(range(SAMPLES)))
    assert len(calls) < 60, "several steps a call"
    for step in steps:
        index = int(step["index"])
        np.testing.assert_array_equal(step["square"], np.arange(index) ** 2)
        assert step["texts"].tolist() == [b"%d" % each for each in range(index % 5)]
    assert [len(window) for _, window in order] == [3] * 98 + [1]
    # A line comes before the outputs of its own step: that of step 49 before the window of the steps 48 to 50.
    assert [lines for lines, _ in order] == [(3 * number + 3) // 50 for number in range(98)] + [5]
    # The same samples in the same order where a hook asks for each step.
    alone, calls[:] = [], []

    class EachStep(mox.Hook):
        def after_run(self, run_context, run_values):
            pass

    def watched_model_fn(inputs, mode):
        return mox.ModelSpec(output_info=model_fn(inputs, mode).output_info, hooks=[EachStep()])

    _predict(model_fn=watched_model_fn, output_fn=alone.extend, **options)
    assert ([int(step["index"]) for step in alone], calls) == ([int(step["index"]) for step in steps], [])


def test_strings_and_batches_of_any_shape_are_put_out(trained):
    def model_fn(inputs, mode):
        _model_fn(inputs, mode)
        names = tf.strings.join(["sample ", tf.strings.as_string(inputs[0])])
        return mox.ModelSpec(output_info={"names": names, "one": tf.constant(1), "none": tf.zeros([0, 3])})

    windows, _ = _predict(model_fn=model_fn, batch_size=2, max_number_of_steps=1, log_dir=trained[0])
    step = windows[0][0]
    assert re.fullmatch(rb"sample \d+", step["names"][0])
    assert (step["one"], step["none"].shape) == (1, (0, 3))


def test_output_fn_works_while_training_too(trained, tmp_path):
    windows = []
    result = mox.run(
        input_fn=_inputs_fn,
        model_fn=_model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.0),
        output_fn=windows.append,
        output_every_n_steps=3,
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=5,
        log_dir=tmp_path,
        checkpoint_path=trained[0],
        max_number_of_steps=7,
    )
    assert [len(window) for window in windows] == [3, 2]  # the global step goes on at 2
    assert result.steps == 5


def test_an_output_fn_that_would_get_nothing_is_told(trained, said):
    def model_fn(inputs, mode):
        return mox.ModelSpec(log_info=_model_fn(inputs, mode).log_info)

    options = {"output_fn": lambda _: None, "output_every_n_steps": 1, "batch_size": 5, "log_dir": trained[0]}
    _run(mox.ModeKeys.EVAL, max_number_of_steps=1, **options)
    assert not [line for line in said.lines if "output_fn" in line]
    _run(mox.ModeKeys.EVAL, max_number_of_steps=1, **options | {"model_fn": model_fn})
    assert [line for line in said.lines if "output_fn" in line] == [
        "WARNING:tensorflow:output_fn gets empty dicts in mode EVAL: model_fn returned a ModelSpec without output_info."
    ]


@pytest.mark.parametrize("run_mode", [mox.ModeKeys.EVAL, mox.ModeKeys.PREDICT])
def test_without_a_checkpoint_both_refuse_and_name_the_places(run_mode, trained, tmp_path):
    empty, elsewhere = tmp_path / "empty", tmp_path / "elsewhere"
    empty.mkdir()
    options = {"batch_size": 5, "output_fn": print, "output_every_n_steps": 1}

    def refusal(**places):
        with pytest.raises(mox.CheckpointError) as error:
            _run(run_mode, **options, **places)
        return str(error.value)

    advice = "Train first, or pass log_dir or checkpoint_path."
    assert refusal() == f"{run_mode} needs a checkpoint, and log_dir and checkpoint_path are not given. {advice}"
    assert refusal(log_dir=empty) == (
        f"{run_mode} needs a checkpoint and found none: looked in log_dir '{empty}', "
        f"and checkpoint_path is not given. {advice}"
    )
    assert refusal(log_dir=elsewhere).startswith(
        f"{run_mode} needs a checkpoint and found none: looked in log_dir '{elsewhere}'"
    )
    assert f"'{empty}'" in refusal(checkpoint_path=empty)
    assert f"'{elsewhere}'" in refusal(checkpoint_path=elsewhere)
    both = refusal(log_dir=elsewhere, checkpoint_path=empty)
    assert f"'{empty}'" in both
    assert f"'{elsewhere}'" in both
    assert not elsewhere.exists()
    assert trained[0].exists()


def test_a_checkpoint_in_log_dir_comes_before_checkpoint_path(trained, said, tmp_path):
    log_dir, weight = trained
    other = shutil.copytree(log_dir, tmp_path / "other", ignore=shutil.ignore_patterns("*ckpt-2*"))
    metrics = _run(mox.ModeKeys.EVAL, batch_size=5, log_dir=log_dir, checkpoint_path=other).metrics
    assert metrics["loss"] == pytest.approx(((weight * VALUES - 1) ** 2).mean(), rel=1e-5)
    assert said.starting("Ignoring --checkpoint_path because a checkpoint already exists in") == [
        f"INFO:tensorflow:Ignoring --checkpoint_path because a checkpoint already exists in {log_dir}"
    ]
    metrics = _run(mox.ModeKeys.EVAL, batch_size=5, checkpoint_path=other).metrics
    assert metrics["loss"] == pytest.approx(((VALUES - 1) ** 2).mean(), rel=1e-5)  # of step 0


def test_an_evaluation_of_nothing_is_refused_and_a_prediction_of_nothing_warns(regression, said, tmp_path):
    job = {"model_fn": regression.model_fn, "batch_size": 8, "log_dir": tmp_path}
    train = {"optimizer_fn": regression.sgd, "run_mode": mox.ModeKeys.TRAIN, "max_number_of_steps": 1}
    mox.run(input_fn=regression.input_fn, **job, **train)

    def nothing(mode):
        data = regression.input_fn(mode)
        return data if mode == mox.ModeKeys.TRAIN else data.take(0)

    with pytest.raises(mox.DataError, match="EVAL found 0 samples: input_fn gives nothing in this mode"):
        mox.run(input_fn=nothing, run_mode=mox.ModeKeys.EVAL, **job)
    predict = {"run_mode": mox.ModeKeys.PREDICT, "output_fn": print, "output_every_n_steps": 1}
    assert mox.run(input_fn=nothing, **predict, **job).samples == 0
    assert "WARNING:tensorflow:PREDICT found no samples: input_fn gives nothing in this mode." in said.lines


def test_means_are_the_same_to_the_last_bit_however_many_steps_a_call_has(trained, every_step):
    values = (10 ** np.random.default_rng(5).uniform(-9, 9, 100)).astype(np.float32)  # sums depend on their order
    total = 0.0
    for value in values:
        total += float(value)

    def model_fn(inputs, mode, hooks=()):
        spec = _model_fn([tf.zeros([1], tf.int64), inputs[0]], mode)
        return mox.ModelSpec(loss=spec.loss, log_info={"value": tf.reduce_mean(inputs[0])}, hooks=list(hooks))

    def mean(model_fn, every):
        return mox.run(
            input_fn=lambda mode: tf.data.Dataset.from_tensor_slices(values),  # noqa: ARG005
            model_fn=model_fn,
            run_mode=mox.ModeKeys.EVAL,
            batch_size=1,
            log_dir=trained[0],
            log_every_n_steps=every,
        ).metrics["value"]

    assert [mean(model_fn, every) for every in (1, 3, 1000)] == [total / 100] * 3
    assert mean(lambda inputs, mode: model_fn(inputs, mode, [every_step()]), 1000) == total / 100
