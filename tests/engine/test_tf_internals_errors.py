"""What mox relies on inside TensorFlow of errors, warnings, log lines and servers: see test_tf_internals.py."""

import importlib
import json
import logging
import socket
import sys

import pytest
import tensorflow as tf

from private_names import relying_on, wrap


@pytest.mark.parametrize("options", [{}, {"num_parallel_calls": 2}])
def test_the_error_for_samples_of_different_shapes_is_recognized(options):
    dataset = tf.data.Dataset.range(1, 3).map(lambda n: tf.zeros([n])).batch(2, **options)
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        list(dataset)
    with relying_on("the error of Dataset.batch for different shapes", "error_messages") as errors:
        assert errors.has_different_shapes(caught.value), caught.value.message


def test_an_error_of_an_iterator_is_recognized_and_its_cause_is_found():
    def fail(number):
        raise ValueError(f"row {int(number)} is broken")

    @tf.function
    def read(iterator):
        return next(iterator)

    texts = {
        "ValueError: row 3 is broken": lambda n: tf.numpy_function(fail, [n], tf.int64),
        "Unknown image file format": lambda n: tf.io.decode_png(tf.strings.as_string(n)),
    }
    with relying_on("the errors of iterators", "error_messages") as errors:
        for text, failing in texts.items():
            for options in ({}, {"num_parallel_calls": 2}):
                iterator = iter(tf.data.Dataset.range(3, 4).map(failing, **options))
                with pytest.raises(tf.errors.InvalidArgumentError) as caught:
                    read(iterator)
                assert errors.is_of_iterator(caught.value), caught.value.message
                assert errors.cause_of(caught.value).startswith(text), caught.value.message
                assert bool(errors.python_line_of(caught.value)) is text.startswith("ValueError"), caught.value.message
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            tf.function(lambda: tf.io.decode_png("no image"))()
        assert not errors.is_of_iterator(caught.value), caught.value.message


def test_the_error_for_connecting_too_late_is_recognized():
    tf.constant(1.0)
    hosts = tf.train.ClusterSpec({"worker": ["localhost:1", "localhost:2"]})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        hosts, task_type="worker", task_id=0, rpc_layer="grpc"
    )
    with pytest.raises(RuntimeError) as caught:
        tf.distribute.MultiWorkerMirroredStrategy(resolver)
    with relying_on("the error for collectives after the first operation", "error_messages") as errors:
        assert errors.connects_too_late(caught.value), caught.value


LOST = """
import json, os, signal, socket, sys, time
os.environ["GRPC_FAIL_FAST"] = "use_caller"
import tensorflow as tf
from mox_core.engine.tf_internals.error_messages import lost_worker

def address():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return f"localhost:{listener.getsockname()[1]}"

def serve(job):
    pid = os.fork()
    if pid == 0:
        server = tf.distribute.Server(spec, job_name=job, task_index=0)
        time.sleep(100)
        os._exit(0)
    return pid

def device(job):
    return tf.device(f"/job:{job}/replica:0/task:0/device:CPU:0")

def read_from_afar():
    with device(reader):
        return read().numpy()

lost, reader = sys.argv[1:]
spec = tf.train.ClusterSpec({job: [address()] for job in ("chief", "worker", "ps")})
pids = {job: serve(job) for job in (lost, reader)}
try:
    tf.config.experimental_connect_to_cluster(spec, job_name="chief", task_index=0, protocol="grpc")
    with device(lost):
        variable = tf.Variable(1.0)
    read = tf.function(lambda: variable.read_value() + 1)
    assert read_from_afar() == 2.0
    os.kill(pids[lost], signal.SIGKILL)
    os.waitpid(pids.pop(lost), 0)
    try:
        read_from_afar()
    except tf.errors.OpError as error:
        print(json.dumps([lost_worker(error), str(error)]), flush=True)
finally:
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    os._exit(0)
"""
"""Ends a process whose variable another one reads; prints what TensorFlow raises at the chief."""


@pytest.mark.slow
@pytest.mark.parametrize(("lost", "reader"), [("worker", "ps"), ("ps", "worker")])
def test_the_error_for_a_lost_worker_is_told_from_that_for_a_lost_parameter_server(lost, reader, run_python):
    recognized, text = json.loads(run_python(LOST, lost, reader).stdout.splitlines()[-1])
    with relying_on("the errors for lost processes", "error_messages"):
        assert recognized == (lost == "worker"), text


EXPECTED_WARNINGS = {
    "ignore_seed_of_graph": (UserWarning, "Dataset.map with a random operation in a graph with a seed"),
    "ignore_missing_summary_writer": (UserWarning, "tf.compat.v1.summary without a writer"),
    "ignore_advice_on_tf1_layers": (UserWarning, "tf.layers.dense of tf_keras"),
}


def _warn(about):
    if about == "ignore_seed_of_graph":
        tf.compat.v1.set_random_seed(3)
        tf.data.Dataset.range(3).map(lambda n: tf.random.uniform([]) + tf.cast(n, tf.float32))
    elif about == "ignore_missing_summary_writer":
        tf.compat.v1.summary.scalar("x", 1.0)
    else:
        layers = importlib.import_module("tf_keras.api._v1.keras.__internal__.legacy.layers")
        layers.dense(tf.zeros([1, 1]), 1)
    return tf.constant(0.0)


@pytest.mark.parametrize("name", EXPECTED_WARNINGS)
def test_an_expected_warning_is_known_by_its_text(name):
    kind, about = EXPECTED_WARNINGS[name]
    with pytest.warns(kind):  # else nothing is left to be ignored
        wrap(lambda: _warn(name))
    with relying_on(f"the warning about {about}", "expected_warnings") as module, getattr(module, name)():
        wrap(lambda: _warn(name))  # warnings are errors in these tests


def test_a_line_of_a_strategy_is_known_by_the_file_that_it_comes_from():
    logger, records, handler = tf.get_logger(), [], logging.Handler()
    handler.emit = records.append
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        tf.distribute.MirroredStrategy(["CPU:0"])
        logger.info("of somebody else")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    with relying_on("where the lines of tf.distribute come from", "log_records") as module:
        told = [(module.comes_from_strategy(record), record.getMessage()[:22]) for record in records]
        assert told == [(True, "Using MirroredStrategy"), (False, "of somebody else")]
    records[0].levelno = logging.WARNING
    assert not module.comes_from_strategy(records[0])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it listens on all addresses, and a warning says so")
def test_a_server_of_tensorflow_listens_on_one_address_and_the_next_one_on_all():
    def answers(server, ip):
        port = int(server.target.rpartition(":")[2])
        with socket.socket() as caller:
            return caller.connect_ex((ip, port)) == 0

    with relying_on("the function `bind` in the table of libtensorflow_cc", "server_address") as server_address:
        with server_address.server_address("127.0.0.1") as one_address:
            inside = tf.distribute.Server.create_local_server()
        with server_address.server_address(None):
            outside = tf.distribute.Server.create_local_server()
    assert one_address
    assert [answers(inside, ip) for ip in ("127.0.0.1", "127.0.0.2")] == [True, False]
    assert [answers(outside, ip) for ip in ("127.0.0.1", "127.0.0.2")] == [True, True]
