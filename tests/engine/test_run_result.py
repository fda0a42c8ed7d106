"""Functions and numbers that `mox.run` takes in any form, and what it returns."""

from functools import partial

import attrs
import pytest

import mox_core as mox


class _Model:
    """Functions for `mox.run` in a form that they may have; they tell in which mode they were called."""

    def __init__(self):
        self.modes = []

    def input_fn(self, mode, extra=None):  # noqa: ARG002
        import tensorflow as tf

        self.modes.append(mode)
        return tf.data.Dataset.range(6).map(lambda number: tf.cast(number, tf.float32))

    def model_fn(self, inputs, mode, extra=None):  # noqa: ARG002
        import tensorflow as tf

        self.modes.append(mode)
        weight = tf.compat.v1.get_variable("weight", initializer=2.0)
        output = weight * inputs[0]
        loss = tf.reduce_mean(output)
        return mox.ModelSpec(
            loss=loss,
            log_info={"loss": loss},
            output_info={"output": output},
            export_spec=mox.ExportSpec({"x": inputs[0]}, {"y": output}),
        )


def _optimizer():
    import tensorflow as tf

    return tf.compat.v1.train.GradientDescentOptimizer(0.5)


def _with_mode(model):
    def input_fn(mode):
        return model.input_fn(mode)

    def model_fn(inputs, mode):
        return model.model_fn(inputs, mode)

    return input_fn, model_fn


def _with_run_mode(model):
    def input_fn(run_mode, **kwargs):
        assert not kwargs
        return model.input_fn(run_mode)

    def model_fn(inputs, run_mode, **kwargs):
        assert not kwargs
        return model.model_fn(inputs, run_mode)

    return input_fn, model_fn


def _partial(model):
    return partial(model.input_fn, extra=1), partial(model.model_fn, extra=1)


def _methods(model):
    return model.input_fn, model.model_fn


@pytest.mark.parametrize("form", [_with_mode, _with_run_mode, _partial, _methods])
def test_functions_take_the_mode_by_any_name_with_and_without_kwargs(form):
    model = _Model()
    input_fn, model_fn = form(model)
    mox.run(
        input_fn=input_fn,
        model_fn=model_fn,
        optimizer_fn=_optimizer,
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=2,
    )
    assert set(model.modes) == {"TRAIN"}


def test_numpy_integers_are_numbers(tmp_path):
    import numpy as np

    windows = []
    model = _Model()
    result = mox.run(
        input_fn=model.input_fn,
        model_fn=model.model_fn,
        optimizer_fn=_optimizer,
        output_fn=windows.append,
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=np.int64(2),
        log_dir=tmp_path,
        max_number_of_steps=np.int32(3),
        log_every_n_steps=np.uint8(2),
        output_every_n_steps=np.int64(2),
        save_summary_steps=np.int64(1),
        save_model_secs=np.int64(600),
        save_model_steps=np.int64(1),
    )
    assert (result.steps, result.samples) == (3, 6)
    assert [len(window) for window in windows] == [2, 1]


def test_a_run_tells_how_it_ended(tmp_path):
    """By hand: batches (0 1), (2 3), (4 5) of y = w x, w = 2, rate 0.5: w falls by half of each mean of x."""
    model, windows = _Model(), []
    run = partial(mox.run, input_fn=model.input_fn, model_fn=model.model_fn, batch_size=2)
    trained = run(
        optimizer_fn=_optimizer,
        run_mode="TRAIN",
        log_dir=tmp_path / "log",
        max_number_of_steps=2,
        export_model=lambda model, directory: None,  # noqa: ARG005
    )
    assert [record["loss"] for record in trained.history] == [
        pytest.approx(2 * 0.5)
    ]  # of the first step, which is logged
    assert attrs.asdict(trained, filter=attrs.filters.exclude("history", "export_paths")) == {
        "global_step": 2,
        "steps": 2,
        "samples": 4,
        "stopped_by": "max_number_of_steps",
        "metrics": {"loss": pytest.approx((2 - 0.25) * 2.5)},  # of the last step
        "checkpoint": str(tmp_path / "log" / "model.ckpt-2"),
        "export_path": str(tmp_path / "log" / "1"),
        "skipped_steps": 0,
        "validation": {},
        "best": None,
    }
    weight = 2 - 0.25 - 1.25
    evaluated = run(run_mode="EVAL", checkpoint_path=tmp_path / "log")
    assert attrs.asdict(evaluated, filter=attrs.filters.exclude("history", "export_paths")) == {
        "global_step": 2,
        "steps": 3,
        "samples": 6,
        "stopped_by": "end of input",
        "metrics": {"loss": pytest.approx(weight * 2.5)},  # the mean of x in 0..5
        "checkpoint": str(tmp_path / "log" / "model.ckpt-2"),
        "export_path": None,
        "skipped_steps": 0,
        "validation": {},
        "best": None,
    }
    predicted = run(
        run_mode="PREDICT",
        log_dir=tmp_path / "log",
        max_number_of_steps=2,
        output_fn=windows.append,
        output_every_n_steps=5,
    )
    assert (predicted.steps, predicted.samples, predicted.stopped_by) == (2, 4, "max_number_of_steps")
    assert [step["output"].tolist() for step in windows[0]] == [[0, weight], [2 * weight, 3 * weight]]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        predicted.steps = 3


def test_a_run_without_log_dir_has_no_checkpoint_and_no_export(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = _Model()
    result = mox.run(
        input_fn=model.input_fn,
        model_fn=model.model_fn,
        optimizer_fn=_optimizer,
        run_mode="TRAIN",
        batch_size=2,
        log_dir="",
    )
    assert (result.steps, result.checkpoint, result.export_path) == (3, None, None)
    assert list(tmp_path.iterdir()) == []
