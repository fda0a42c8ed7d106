"""What is around `mox.run` where it is called: where no run can work it is refused, elsewhere it changes nothing."""

import contextlib
import sys

import keras
import pytest
import tensorflow as tf

import forked
import mox_core as mox


def _train(model_fn, **options):
    return mox.run(
        input_fn=lambda mode: tf.constant(1.0),  # noqa: ARG005
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.0),
        run_mode=mox.ModeKeys.TRAIN,
        max_number_of_steps=1,
        **options,
    )


def test_a_script_that_switches_tf2_off_is_told_to_leave_that_out():
    script = """
import tensorflow.compat.v1 as tf
import mox_core as mox
tf.disable_v2_behavior()
mox.run(input_fn=lambda mode: 0.0, model_fn=lambda inputs, mode: None, optimizer_fn=lambda: None,
        run_mode="TRAIN", max_number_of_steps=1)
"""
    result = forked.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.stderr.rstrip().endswith(
        "mox_core.errors.UsageError: TensorFlow does not execute eagerly, and mox runs on TF2: remove "
        "tf.compat.v1.disable_v2_behavior() and disable_eager_execution(), and call mox.run outside of graphs and of "
        "tf.function. TF1-style code in model_fn needs neither."
    )


def _weight(inputs, mode):  # noqa: ARG001
    return mox.ModelSpec(loss=tf.compat.v1.get_variable("w", []))


def _never(inputs, mode):  # noqa: ARG001
    raise AssertionError("the run has begun")


def _in_a_function():
    tf.function(lambda: _train(_never), autograph=False)()


def _in_a_run():
    _train(lambda inputs, mode: _train(_never))  # noqa: ARG005


def _under(scope):
    def call():
        with scope():
            _train(_never)

    return call


@contextlib.contextmanager
def _dimensions_of_tf1():
    tf.compat.v1.disable_v2_tensorshape()
    try:
        yield
    finally:
        tf.compat.v1.enable_v2_tensorshape()


REFUSED = {
    "strategy": (
        _under(lambda: tf.distribute.MirroredStrategy(["CPU:0"]).scope()),
        r"^mox\.run is called under a MirroredStrategy, and has replicas of its own: call it outside of ",
    ),
    "replica": (
        lambda: tf.distribute.OneDeviceStrategy("/CPU:0").run(lambda: _train(_never)),
        r"^mox\.run is called under a OneDeviceStrategy, .* Several GPUs are used by --num_gpus=2",
    ),
    "dimensions": (_under(_dimensions_of_tf1), r"remove tf\.compat\.v1\.disable_v2_tensorshape\(\)"),
    "graph": (_under(lambda: tf.Graph().as_default()), r"call mox\.run outside of graphs and of tf\.function"),
    "stateless": (
        _under(keras.StatelessScope),
        r"^mox\.run is called inside of a keras\.StatelessScope, in which Keras makes no variables: call it outside\. ",
    ),
    "function": (_in_a_function, r"call mox\.run outside of graphs and of tf\.function"),
    "run": (_in_a_run, r"^mox\.run is called in input_fn or model_fn of another run, .* in a hook or output_fn\.$"),
}


@pytest.mark.parametrize("where", REFUSED)
def test_where_no_run_can_work_it_is_refused_in_a_sentence_before_it_begins(where):
    call, words = REFUSED[where]
    with pytest.raises(mox.UsageError, match=words):
        call()


def test_a_run_is_refused_where_keras_runs_on_another_backend(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")  # what Keras says where KERAS_BACKEND is set to it
    with pytest.raises(mox.UsageError, match=r"^Keras runs on 'jax', and mox on TensorFlow: set KERAS_BACKEND=tensor"):
        _train(_never)


@contextlib.contextmanager
def _functions_run_eagerly():
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


SURROUNDINGS = {
    "device": lambda: tf.device("/CPU:0"),
    "tape": tf.GradientTape,
    "init_scope": tf.init_scope,
    "names": lambda: tf.compat.v1.variable_scope("outer"),
    "eager functions": _functions_run_eagerly,
}


@pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run_functions_eagerly`")  # of tf.data
@pytest.mark.parametrize("around", SURROUNDINGS)
def test_what_else_is_around_a_run_changes_nothing(around, tmp_path):
    with SURROUNDINGS[around]():
        result = _train(_weight, log_dir=tmp_path)
    assert "w" in dict(tf.train.list_variables(result.checkpoint))
