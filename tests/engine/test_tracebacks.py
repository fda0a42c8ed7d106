"""What a user sees of an error: lines of their own, and one message."""

import traceback
from pathlib import Path

import pytest
import tensorflow as tf

import mox_core as mox

TRAIN = mox.ModeKeys.TRAIN


def run(**functions):
    def model_fn(inputs, mode):
        del mode
        weight = tf.compat.v1.get_variable("weight", initializer=1.0)
        return mox.ModelSpec(loss=tf.reduce_mean(weight * tf.cast(inputs[0], tf.float32)))

    functions = {"input_fn": lambda _mode: tf.constant(1.0), "model_fn": model_fn, **functions}
    mox.run(
        **functions,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1),
        run_mode=TRAIN,
        batch_size=2,
        max_number_of_steps=3,
    )


def lines_of(caught):
    """The functions of the lines that are shown, of this file, and the files of the others."""
    shown = []
    for each in (caught.value, caught.value.__cause__):
        if each is not None:
            frames = traceback.extract_tb(each.__traceback__)
            shown += [each.name if each.filename == __file__ else Path(each.filename).name for each in frames]
    return [name for name in shown if name not in {"lines_of", "run"} and not name.startswith("test_")]


def test_an_error_in_model_fn_shows_the_lines_of_the_user():
    def layer(inputs):
        return inputs[0] + missing  # noqa: F821

    def model_fn(inputs, mode):
        del mode
        return mox.ModelSpec(loss=layer(inputs))

    with pytest.raises(NameError, match="missing") as caught:
        run(model_fn=model_fn)
    assert lines_of(caught) == ["runner.py", "model_fn", "layer"]


def test_an_error_in_a_function_of_a_dataset_shows_no_file_that_tensorflow_has_made_of_it():
    def parse(number):
        return number * missing  # noqa: F821

    with pytest.raises(NameError, match="in parse  \\*\n        return number \\* missing") as caught:
        run(input_fn=lambda _mode: tf.data.Dataset.range(3).map(parse))
    assert lines_of(caught) == ["runner.py", "<lambda>"]


def test_an_error_in_words_shows_no_lines_of_those_that_found_it():
    def input_fn(mode):
        del mode
        return tf.data.Dataset.from_tensor_slices(["1", "x"]).map(tf.strings.to_number)

    with pytest.raises(mox.DataError, match="could not correctly convert string: x") as caught:
        run(input_fn=input_fn)
    assert lines_of(caught) == ["runner.py"]


def test_an_error_in_python_code_of_the_input_names_its_line():
    def fail(number):
        raise ValueError(f"{int(number)} is a bad number")

    def input_fn(mode):
        del mode
        return tf.data.Dataset.range(3).map(lambda n: tf.ensure_shape(tf.numpy_function(fail, [n], tf.int64), []))

    line = fail.__code__.co_firstlineno + 1
    with pytest.raises(mox.DataError, match=rf"ValueError: 0 is a bad number \({Path(__file__).name}:{line}\)"):
        run(input_fn=input_fn)


def test_an_error_of_the_user_stays_beside_the_one_in_words():
    def model_fn(inputs, mode):
        del inputs, mode
        try:
            {}["of the user"]
        except KeyError as error:
            raise mox.UsageError("what it means") from error

    with pytest.raises(mox.UsageError) as caught:
        run(model_fn=model_fn)
    assert isinstance(caught.value.__cause__, KeyError)
    assert lines_of(caught) == ["runner.py", "model_fn", "model_fn"]


def test_an_operation_that_fails_names_the_line_that_made_it():
    def model_fn(inputs, mode):
        del mode
        weight = tf.compat.v1.get_variable("weight", initializer=1.0)
        place = tf.cast(tf.reduce_sum(inputs[0]), tf.int32) + 7
        return mox.ModelSpec(loss=weight * tf.gather([1.0, 2.0], place))

    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        run(model_fn=model_fn)
    assert lines_of(caught) == ["runner.py"]
    files = [line.split('"')[1] for line in str(caught.value).splitlines() if line.startswith('  File "')]
    assert __file__ in files
    assert not [file for file in files if "tensorflow" in file or "mox_core" in file]
    assert "indices = 9 is not in [0, 2)" in str(caught.value)


def test_who_asks_for_it_sees_all_lines(monkeypatch):
    monkeypatch.setenv("MOX_FULL_TRACEBACK", "1")
    with pytest.raises(NameError) as caught:
        run(model_fn=lambda inputs, mode: missing)  # noqa: ARG005, F821
    assert "tracing.py" in lines_of(caught)


def test_a_defect_of_mox_shows_all_lines(monkeypatch):
    from mox_core.engine.model import step_runner

    def defect(*_arguments, **_options):
        return {}["missing"]

    defect.__code__ = defect.__code__.replace(co_filename=step_runner.__file__)
    monkeypatch.setattr(step_runner.StepRunner, "run_loop", defect)
    exec_globals = {"__name__": "mox_core.engine.model.step_runner"}
    monkeypatch.setattr(step_runner.StepRunner, "run_loop", type(defect)(defect.__code__, exec_globals))
    with pytest.raises(KeyError) as caught:
        run()
    assert "loop.py" in lines_of(caught)
