"""Workers that do not step together, with parameter servers: real processes on this machine, on real digits."""

import contextlib
import json
import os
import re
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import forked
import mox_core as mox
from mox_core.cluster.cluster import Cluster
from mox_core.engine.input.batching import Batching
from mox_core.engine.input.order import Order
from mox_core.engine.input.pipeline import build_pipeline
from mox_core.engine.loop.signals import ReceivedSignal
from mox_core.engine.model.tracing import trace_model
from mox_core.engine.parameter_server import server_process
from mox_core.engine.parameter_server.remote_input import check_remote_input
from mox_core.engine.variables.run_state import RunState
from mox_core.sdk import SampleSource

JOBS = Path(__file__).with_name("server_jobs.py")
CHIEF = "worker 0"


@pytest.fixture
def scenario(tmp_path):
    def play(name):
        environ = {each: value for each, value in os.environ.items() if each != "TF_CONFIG"}
        done = forked.run(
            [sys.executable, JOBS, name, tmp_path],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
            env=environ,
        )
        assert done.returncode == 0, done.stderr[-5000:]
        return json.loads(done.stdout.splitlines()[-1])

    return play


@pytest.mark.slow
def test_workers_learn_digits_and_count_every_step(scenario):
    outcome = scenario("learn")
    assert set(outcome["codes"].values()) == {0}, outcome["logs"][CHIEF]
    served, keras_ = outcome["values"]["tf1"], outcome["values"]["keras"]
    assert outcome["results"] == [[300, 9600, "max_number_of_steps"], [200, 6400, "max_number_of_steps"]]
    assert served["global_step"] == served["model/count"] == 300
    assert keras_["global_step"] == keras_["model/count"] == keras_["adam/iteration"] == 200
    assert outcome["metrics"]["right"] > 0.8  # of ten digits; evaluated by the chief alone
    assert outcome["seen"] == [99, 199, 299]  # a hook for every hundredth step
    log = outcome["logs"][CHIEF]
    losses = [float(each) for each in re.findall(r"step: \d+\(global step: \d+\).*loss: ([\d.]+)", log)]
    steps = [int(each) for each in re.findall(r"global step: (\d+)\)", log)]
    assert losses[0] > 2
    assert losses[5] < 1
    assert set(steps[:6]) <= {0, 50, 100, 150, 200, 250}
    # Each worker reads samples of its own, 32 of every 96 in a step.
    assert sum(np.array(served["mox/worker_positions"])[:, 0] // 96) == 300
    for name in ("ps 1", "worker 2"):
        assert f"{name} at" in outcome["logs"][name]
        assert "the chief has gone, this process leaves too" in outcome["logs"][name]
        assert "Saving" not in outcome["logs"][name]
    # In one process it goes on from there, and one process's checkpoints have the same names.
    alone = outcome["alone"]
    assert alone["keras"]["global_step"] == alone["keras"]["model/count"] == alone["keras"]["adam/iteration"] == 220
    assert keras_.keys() - alone["never served"].keys() == {"mox/worker_positions"}
    assert alone["never served"].keys() <= keras_.keys()


@pytest.mark.slow
def test_a_killed_worker_is_missed_by_nobody_and_joins_in_when_it_is_started_again(scenario):
    outcome = scenario("killed_worker")
    assert set(outcome["codes"].values()) == {0}, outcome["logs"][CHIEF]
    values = outcome["values"]
    assert outcome["told"]["stopped_by"] == "SIGTERM"  # which worker 1 was sent when it was back
    assert outcome["told"]["steps"] == values["global_step"] > 100
    # A worker that dies in a step may have done half of it.
    assert abs(values["model/count"] - values["global_step"]) <= 1
    log = outcome["logs"][CHIEF]
    gone, back = (
        re.search(r"WARNING:tensorflow:worker 1 at \S+ has gone: training goes on", log),
        "is back, and takes part again",
    )
    assert log[gone.end() : log.index(back)].count("INFO:tensorflow:step: ") >= 3
    assert outcome["logs"]["worker 1"].count("serves the chief") == 2


@pytest.mark.slow
def test_the_chief_does_what_killed_workers_have_left_undone(scenario):
    outcome = scenario("lonely_chief")
    assert outcome["codes"] == {"worker 0": 0, "worker 1": "killed", "ps 0": 0}
    assert outcome["told"]["steps"] == outcome["values"]["global_step"] == 1000
    assert abs(outcome["values"]["model/count"] - 1000) <= 1


@pytest.mark.slow
def test_a_killed_server_is_named_and_the_job_goes_on_from_its_checkpoint(scenario):
    outcome = scenario("killed_server")
    assert outcome["codes"] == {"worker 0": 1, "worker 1": 0, "ps 0": 0, "ps 1": "killed"}
    *_, last = outcome["log"].splitlines()
    assert last == (
        f"mox_core.errors.ClusterError: ps 1 at {outcome['address']} has gone, and the variables there are lost: this "
        "run cannot go on. Start all processes of the job again: it goes on from its last checkpoint."
    )
    saved, again = outcome["saved"], outcome["again"]
    assert set(again["codes"].values()) == {0}, again["logs"][CHIEF]
    assert "Restoring parameters from" in again["logs"][CHIEF]
    assert again["told"]["steps"] == 30
    assert again["values"]["global_step"] == saved["global_step"] + 30
    # Nothing is skipped: each worker goes on where it was when the checkpoint was written, or a little before.
    before, after = np.array(saved["mox/worker_positions"]), np.array(again["values"]["mox/worker_positions"])
    assert sum((after - before)[:, 0] // 64) == 30
    assert sum(before[:, 0] // 64) <= saved["global_step"]


@pytest.mark.slow
def test_sigterm_to_any_process_ends_the_job_with_a_checkpoint(scenario):
    for name, outcome in scenario("asked_to_end").items():
        assert set(outcome["codes"].values()) == {0}, (name, outcome["logs"][CHIEF])
        assert outcome["told"]["stopped_by"] == "SIGTERM"
        assert not [each for each, log in outcome["logs"].items() if "UserWarning" in log]
        assert outcome["values"]["global_step"] == outcome["values"]["model/count"] == outcome["told"]["steps"] >= 50


@pytest.mark.slow
def test_workers_read_each_sample_once_and_bad_ones_are_named(scenario):
    outcome = scenario("shares")
    log = outcome["logs"][CHIEF]
    assert set(outcome["codes"].values()) == {0}, log
    assert outcome["told"] == {"steps": 44, "samples": 44, "stopped_by": "end of input"}
    bad = [3, 11, 19, 27, 35, 43]
    assert outcome["values"]["seen"] == [int(index not in bad) for index in range(50)]
    named = re.findall(r"'number (\d+)' cannot be read \(damaged, empty, or of no known format\): it is left out", log)
    assert sorted(map(int, named)) == bad
    assert set(outcome["raise"]["codes"].values()) == {0}, outcome["raise"]["log"]
    assert re.search(r"DataError: 'number (3|11)' cannot be read: it is", outcome["raise"]["log"])
    assert "Training stops at global step 5: max_number_of_steps" in outcome["raise"]["log"]  # in the run after it
    assert outcome["generator"]["codes"] == {"worker 0": 1, "worker 1": 0, "ps 0": 0}
    assert "UsageError: input_fn reads a Python generator or calls a Python function" in outcome["generator"]["log"]
    assert not outcome["wrote"]
    words = r"DataError: the input of input_fn cannot be read in mode TRAIN: .*It fails for 'number 2\d'\."
    assert re.search(words, outcome["input_fn"]["log"]), outcome["input_fn"]["log"]
    assert outcome["input_fn"]["codes"]["worker 0"] == 1


# ---- what other workers cannot run


def _sum(inputs, mode):
    del mode
    return mox.ModelSpec(log_info={"x": tf.reduce_sum(inputs[0])})


def _check(input_fn, model_fn=_sum):
    order = Order(seed=1)
    pipeline = build_pipeline(input_fn, mox.ModeKeys.EVAL, Batching(batch_size=2, auto=True), order=order)
    graph = trace_model(model_fn, mox.ModeKeys.EVAL, RunState(1, pipeline.num_positions), pipeline.fed)
    check_remote_input(pipeline, graph)


def _ten(_mode):
    return tf.data.Dataset.range(10)


GENERATED = tf.data.Dataset.from_generator(lambda: iter(range(5)), output_signature=tf.TensorSpec([], tf.int64))


def _python(value):
    return tf.numpy_function(lambda x: x, [value], tf.int64)


@pytest.mark.parametrize(
    "input_fn",
    [
        lambda _mode: GENERATED,
        lambda _mode: mox.get_next(GENERATED),
        lambda _mode: _ten(_mode).map(_python),
        lambda _mode: _python(mox.get_next(tf.data.Dataset.range(10))),
    ],
    ids=["generator", "generator outside", "function in a dataset", "function"],
)
def test_python_in_input_fn_is_refused(input_fn):
    with pytest.raises(mox.UsageError, match=r"have no Python of their own\. Read files by a data set of mox"):
        _check(input_fn)


@pytest.mark.parametrize(
    "make",
    [
        lambda: tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([1, 2], [3, 4]), 0),
        lambda: tf.lookup.experimental.MutableHashTable(tf.int32, tf.int32, 0),
    ],
    ids=["static", "mutable"],
)
def test_a_table_in_input_fn_is_refused(make):
    def input_fn(_mode):
        table = make()
        return table.lookup(tf.cast(mox.get_next(tf.data.Dataset.range(10)), tf.int32))

    with pytest.raises(mox.UsageError, match=r"a lookup table or a variable.*Use a constant: tf\.gather"):
        _check(input_fn)


def test_python_in_model_fn_is_refused():
    def model_fn(inputs, mode):
        del mode
        return mox.ModelSpec(log_info={"x": tf.reduce_sum(_python(inputs[0]))})

    with pytest.raises(mox.UsageError, match=r"model_fn calls a Python function.*or a hook, which runs on the chief"):
        _check(_ten, model_fn)


def test_what_python_fetches_ahead_is_refused():
    source = SampleSource(num_samples=10, fetch=lambda index: {"x": index}, describe=str, read_ahead=lambda _: None)
    with pytest.raises(mox.UsageError, match=r"files from a store .* have no Python of their own\. Copy the files"):
        _check(lambda _mode: source.read()["x"])


def test_a_dataset_from_outside_of_input_fn_is_refused():
    outside = tf.data.Dataset.range(10)
    for input_fn in (lambda _mode: outside, lambda _mode: mox.get_next(outside)):
        with pytest.raises(mox.UsageError, match=r"made outside of it.*Make the dataset inside input_fn"):
            _check(input_fn)


def test_variables_and_tensors_from_outside_are_refused():
    weight, two = tf.Variable(1.0, name="weight"), tf.constant(2, tf.int64)

    def with_variable(inputs, mode):
        del mode
        return mox.ModelSpec(log_info={"x": tf.cast(inputs[0][0], tf.float32) * weight})

    with pytest.raises(mox.UsageError, match=r"model_fn uses 'weight:0', which was made outside of it"):
        _check(_ten, with_variable)
    with pytest.raises(mox.UsageError, match=r"input_fn uses a tensor that was made before mox\.run had connected"):
        _check(lambda _mode: mox.get_next(tf.data.Dataset.range(10)) + two)


def test_a_plain_input_can_be_sent():
    _check(_ten)


def test_a_chief_that_dies_before_the_run_begins_is_waited_for_aloud_and_not_for_ever(said, monkeypatch):
    monkeypatch.setattr(server_process, "_FIRST_REPORT_SECONDS", 0)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        *workers, ps = (f"127.0.0.1:{each.getsockname()[1]}" for each in sockets)
    cluster = Cluster(workers=tuple(workers), ps=(ps,), job="ps", index=0, synchronous=False)
    chief = f"worker 0 at {workers[0]}"
    with pytest.raises(mox.ClusterError) as refusal:
        server_process._wait_for_chief(cluster, 2, ReceivedSignal("the wait ends"))
    assert str(refusal.value) == (
        f"ps 0 at {ps} has waited 2 s in vain for {chief}: it was found, and has not begun the run. See what it has "
        "said, and start all processes of the job again."
    )
    assert re.sub(r"has waited \d+ s", "has waited", said.lines[0]) == (
        f"WARNING:tensorflow:ps 0 at {ps} has waited for {chief}: it was found, and has not begun the run yet. If it "
        "has ended, start it again. This process gives up after 2 s (--session_timeout)."
    )
    ended = ReceivedSignal("the wait ends", name="SIGTERM")
    server_process._wait_for_chief(cluster, 0, ended)  # however long it may wait


def test_a_chief_is_there_when_tensorflows_server_answers_and_not_while_its_rendezvous_does():
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        workers = (f"127.0.0.1:{server.getsockname()[1]}", "127.0.0.1:1")
        cluster = Cluster(workers=workers, ps=("127.0.0.1:2",), job="ps", index=0, synchronous=False)
        waits = pool.submit(server_process._wait_for_chief, cluster, 0, ReceivedSignal("the wait ends"))
        for _ in range(2):
            server.accept()[0].close()
        assert not waits.done()
        connection, _ = server.accept()
        with connection:
            connection.sendall(bytes.fromhex("000006 04 00 00000000 000400400000"))  # SETTINGS, RFC 9113 (6.5)
            waits.result(60)
