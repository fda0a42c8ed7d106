"""What the tests of the engine share: a small problem whose training is worked out in NumPy, and what a run says."""

import json
import logging
import shutil
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import forked
import mox_core as mox
from checkpoints import values_of

FEATURES = np.random.default_rng(7).normal(size=(40, 3)).astype(np.float32)
TARGETS = (FEATURES @ np.array([1.0, -2.0, 0.5]) + 0.25 + 0.1 * np.sin(np.arange(40))).astype(np.float32)


@pytest.fixture(autouse=True)
def _leave_names_and_seed_as_they_were():
    tf.random.set_seed(1)
    yield
    tf.compat.v1.random.set_random_seed(None)


@pytest.fixture
def said():
    """The lines that TensorFlow's logger hands out, in the form in which the manual prints them."""

    class Lines(logging.Handler):
        def __init__(self):
            super().__init__()
            self.lines = []

        def emit(self, record):
            self.lines.append(f"{record.levelname}:{record.name}:{record.getMessage()}")

        def starting(self, text):
            return [line for line in self.lines if line.startswith(f"INFO:tensorflow:{text}")]

        def clear(self):
            self.lines.clear()

    handler = Lines()
    tf.get_logger().addHandler(handler)
    yield handler
    tf.get_logger().removeHandler(handler)


def _input_fn(mode):
    dataset = tf.data.Dataset.from_tensor_slices((FEATURES, TARGETS))
    return dataset.repeat() if mode == mox.ModeKeys.TRAIN else dataset


def _model_fn(inputs, mode):
    """Linear regression from zero, by mean squared error."""
    del mode
    features, targets = inputs
    weights = tf.compat.v1.get_variable("weights", initializer=tf.zeros([3]))
    bias = tf.compat.v1.get_variable("bias", shape=[], initializer=tf.compat.v1.zeros_initializer())
    predictions = tf.linalg.matvec(features, weights) + bias
    loss = tf.reduce_mean((predictions - targets) ** 2)
    return mox.ModelSpec(
        loss=loss,
        log_info={"loss": loss, "highest": tf.reduce_max(targets)},
        output_info={"predictions": predictions},
        export_spec=mox.ExportSpec({"features": features}, {"predictions": predictions}),
    )


def _batches(steps, batch_size):
    """The batches of `_input_fn` in TRAIN: the 40 samples in order, round and round."""
    for step in range(steps):
        indices = np.arange(step * batch_size, (step + 1) * batch_size) % len(TARGETS)
        yield FEATURES[indices].astype(np.float64), TARGETS[indices].astype(np.float64)


def _train(steps, *, batch_size, rate, momentum=0.0, sign_in_velocity=False):
    """Gradient descent with momentum, in NumPy: what is known after `steps` steps.

    With momentum the step is v = momentum * v + g, w -= rate * v, as TF1 has it; Keras 3 keeps -rate * v instead.
    """
    weights, velocity = np.zeros(4), np.zeros(4)
    losses = []
    for step, (features, targets) in enumerate(_batches(steps, batch_size)):
        rows = np.column_stack([features, np.ones(len(targets))])
        errors = rows @ weights - targets
        losses.append(np.mean(errors**2))
        velocity = momentum * velocity + 2 * rows.T @ errors / len(targets)
        weights = weights - (rate(step) if callable(rate) else rate) * velocity
    slot = -rate * velocity if sign_in_velocity else velocity
    return SimpleNamespace(weights=weights[:3], bias=weights[3], losses=losses, slots=slot)


@pytest.fixture
def regression():
    """Linear regression on 40 samples, as functions for `mox.run` and in NumPy."""
    return SimpleNamespace(
        features=FEATURES,
        targets=TARGETS,
        input_fn=_input_fn,
        model_fn=_model_fn,
        batches=_batches,
        train=_train,
        sgd=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1),
    )


@pytest.fixture
def run_regression(regression):
    """Runs linear regression on 4 samples a batch."""

    def call(run_mode, **options):
        if run_mode == mox.ModeKeys.TRAIN:
            options.setdefault("optimizer_fn", lambda: tf.compat.v1.train.MomentumOptimizer(0.02, 0.8))
        options = {"input_fn": regression.input_fn, "model_fn": regression.model_fn, "batch_size": 4, **options}
        return mox.run(run_mode=run_mode, **options)

    return call


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A log_dir with checkpoints of the steps 0 to 3, to be copied."""
    folder = tmp_path_factory.mktemp("trained")

    def model_fn(inputs, mode):  # noqa: ARG001
        weight = tf.compat.v1.get_variable("weight", [3], initializer=tf.compat.v1.ones_initializer())
        loss = tf.reduce_mean(inputs[0] * weight)
        return mox.ModelSpec(loss=loss, log_info={"loss": loss})

    def train(log_dir, steps):
        return mox.run(
            input_fn=lambda mode: tf.ones([3]),  # noqa: ARG005
            model_fn=model_fn,
            optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1),
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=2,
            log_dir=log_dir,
            max_number_of_steps=steps,
            save_model_steps=1,
        )

    train(folder, 3)

    def copy(to):
        shutil.copytree(folder, to, dirs_exist_ok=True)
        return to

    copy.train = train
    return copy


@pytest.fixture
def run_python():
    """Runs a program in a process of its own, which has imported TensorFlow or nothing; returns what it printed."""

    def run(program, *arguments, timeout=200, start=forked.run, **options):
        done = start(
            [sys.executable, "-c", program, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            **options,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done

    return run


@pytest.fixture
def run_job(tmp_path):
    """Runs a program in each process of a job, and returns what they told, said and ended with."""

    def run(program, *, workers=2, ps=0, replicas=1, folder=None, environ=None, **flags):
        folder = folder or tmp_path / f"{workers}-{ps}-{replicas}"
        folder.mkdir(exist_ok=True)
        command = [
            sys.executable,
            Path(__file__).with_name("job.py"),
            folder,
            workers,
            ps,
            replicas,
            textwrap.dedent(program),
        ]
        command += [f"{name}={value}" for name, value in flags.items()]
        done = forked.run(
            list(map(str, command)), capture_output=True, text=True, timeout=400, check=False, env=environ
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture
def told(run_job):
    """Runs a job that must end well, and returns what its processes told."""

    def run(program, **options):
        result = run_job(program, **options)
        assert set(result["codes"].values()) == {0}, "\n".join(log[-3000:] for log in result["logs"].values())
        return result["told"]

    return run


@pytest.fixture
def variables():
    """Reads what a checkpoint holds, as any other program would."""
    return values_of


class EveryStep(mox.AggregativeSessionRunHook):
    """Wants every step, so that none runs in a compiled chunk; calls a function with the global step after it."""

    def __init__(self, then=lambda step, results, context: None, fetches=None):  # noqa: ARG005
        super().__init__()
        self.then, self.fetches = then, fetches

    def before_run(self, run_context):
        del run_context
        return tf.compat.v1.train.SessionRunArgs(self.fetches) if self.fetches is not None else None

    def after_run(self, run_context, run_values):
        self.then(run_context.global_step, run_values.results, run_context)

    def support_aggregation(self):
        return False

    def support_sync_workers(self):
        return False

    def run_inter_mode(self):
        return False


@pytest.fixture
def every_step():
    return EveryStep
