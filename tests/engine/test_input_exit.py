"""That a process ends whose `input_fn` runs Python: nothing reads ahead behind a run."""

import subprocess
import sys

import pytest

PYTHON_IN_THE_INPUT = """
import sys
import tensorflow as tf
import mox_core as mox
from mox_core.sdk import SampleSource

failing = None

def fail(where):
    if failing == where:
        raise ZeroDivisionError(where)

def read(number):
    if failing in ("input", "source") and number > 20:
        raise ValueError("cannot be read")
    return number

def input_fn(mode):
    if failing == "source":
        source = SampleSource(num_samples=1000, describe=str, on_bad_sample="raise", shuffle=True,
                              fetch=lambda index: {"number": tf.py_function(read, [index], tf.int64)})
        return tf.ensure_shape(source.read()["number"], [])
    numbers = tf.data.Dataset.range(1 << 40).map(lambda n: tf.py_function(read, [n], tf.int64), num_parallel_calls=2)
    return numbers.map(lambda n: tf.ensure_shape(n, []))

class Hook(mox.AggregativeSessionRunHook):
    def after_run(self, run_context, run_values):
        if run_context.step == 5:
            fail("hook")
    support_aggregation = support_sync_workers = run_inter_mode = lambda self: False

def model_fn(inputs, mode):
    fail("model_fn")
    loss = tf.compat.v1.get_variable("w", []) * tf.cast(inputs[0][0], tf.float32)
    hooks = [Hook()] if failing == "hook" else []
    return mox.ModelSpec(loss=loss, output_info={"loss": loss}, hooks=hooks)

def output_fn(outputs):
    fail("output_fn")

def run(where):
    global failing
    failing = where
    mox.run(input_fn=input_fn, model_fn=model_fn, output_fn=output_fn, output_every_n_steps=3, batch_size=2,
            optimizer_fn=mox.get_optimizer_fn("sgd", 0.0), run_mode="TRAIN", max_number_of_steps=50)

kept = []
for where in sys.argv[1].split():
    try:
        run(where)
    except Exception as error:
        kept.append(error)
        print(where, type(error).__name__)
run(sys.argv[2])
"""


@pytest.mark.parametrize("last", ["nothing", "source"])
def test_a_process_with_python_in_its_input_exits_however_its_runs_ended(last):
    # A run that ends leaves nothing that reads ahead: the process would wait for it for ever. Errors that are kept, as
    # an uncaught one is, hold the frames that they went through.
    endings = ["model_fn", "hook", "output_fn", "input", "source"] if last == "nothing" else []
    done = subprocess.run(
        [sys.executable, "-c", PYTHON_IN_THE_INPUT, " ".join(endings), last],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == (0 if last == "nothing" else 1), done.stderr[-3000:]
    expected = ["ZeroDivisionError"] * 3 + ["DataError"] * 2
    assert done.stdout.splitlines() == [f"{where} {kind}" for where, kind in zip(endings, expected, strict=False)]
    assert {"nothing": "Training stops", "source": "DataError: '"}[last] in done.stderr
