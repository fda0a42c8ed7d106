"""log_dir and checkpoint_path on a store: a real server that speaks S3, and processes that are killed."""

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import tensorflow as tf

import forked
import mox_core as mox
from checkpoints import values_of
from mox_core.stores import transfers, uploads
from store_proxy import Proxy

TRAIN, EVAL = mox.ModeKeys.TRAIN, mox.ModeKeys.EVAL

SCRIPT = """
    import sys
    import tensorflow as tf
    import mox_core as mox

    def input_fn(mode):
        return tf.data.Dataset.range(1000).shuffle(1000).map(lambda n: tf.cast(n, tf.float32) / 1000.0).repeat()

    def model_fn(inputs, mode):
        x = tf.reshape(inputs[0], [-1, 1]) + tf.random.normal([4, 1])
        y = tf.compat.v1.get_variable("w", initializer=[[0.5]])
        moments = tf.compat.v1.get_variable("big", initializer=tf.zeros([200_000]), trainable=False)
        loss = tf.reduce_mean((x @ y - 3.0 * x) ** 2)
        return mox.ModelSpec(loss=loss, log_info={"loss": loss})

    tf.random.set_seed(5)
    result = mox.run(
        input_fn=input_fn, model_fn=model_fn, optimizer_fn=lambda: tf.compat.v1.train.AdamOptimizer(0.01),
        run_mode="TRAIN", batch_size=4, log_dir=sys.argv[1], max_number_of_steps=int(sys.argv[2]), save_model_steps=5,
        log_every_n_steps=1000,
    )
    print("checkpoint", result.checkpoint)
"""


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch):
    monkeypatch.setattr(uploads, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(transfers, "_FIRST_PAUSE", 0.01)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # botocore's own


@pytest.fixture
def url(s3):
    return f"s3://{s3}/logs/run"


@pytest.fixture
def proxy(s3_endpoint, s3, monkeypatch):  # noqa: ARG001  (s3: the environment is its)
    """What stands between mox and the server."""
    proxy = Proxy(urlsplit(s3_endpoint).hostname, urlsplit(s3_endpoint).port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    yield proxy
    proxy.close()


@pytest.fixture
def script(tmp_path):
    """Starts a training in a process of its own."""
    path = tmp_path / "train.py"
    path.write_text(textwrap.dedent(SCRIPT))

    processes = []

    def start(log_dir, steps):
        command = [sys.executable, str(path), str(log_dir), str(steps)]
        processes.append(forked.Popen(command, stdout=forked.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def fetched(s3_client, s3, tmp_path):
    """Copies what is on the server to a folder, by the client of the tests."""

    def fetch(name="fetched"):
        for each in s3_client.list_objects_v2(Bucket=s3, Prefix="logs/run/").get("Contents", []):
            path = tmp_path / name / each["Key"].removeprefix("logs/run/")
            path.parent.mkdir(parents=True, exist_ok=True)
            s3_client.download_file(s3, each["Key"], str(path))
        return tmp_path / name

    return fetch


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def train(log_dir, steps, *, then=lambda: None, **options):
    class Hook(mox.AggregativeSessionRunHook):
        support_aggregation = support_sync_workers = run_inter_mode = lambda _self: False

        def after_run(self, run_context, run_values):
            del run_context, run_values
            then()

    def model_fn(inputs, mode):
        del mode
        x = inputs[0]
        w = tf.compat.v1.get_variable("w", initializer=[[0.5]])
        loss = tf.reduce_mean((x @ w - 3.0) ** 2)
        export_spec = mox.ExportSpec({"x": x}, {"y": x @ w})
        return mox.ModelSpec(loss=loss, log_info={"loss": loss}, export_spec=export_spec, hooks=[Hook()])

    options = {"run_mode": TRAIN, "save_model_steps": 2, **options}
    return mox.run(
        input_fn=lambda _mode: tf.ones([1]),
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1),
        batch_size=4,
        log_dir=log_dir,
        max_number_of_steps=steps,
        **options,
    )


def w_after(steps, w=0.5):
    """The weight of `train`, by hand: the gradient is 2 (w - 3)."""
    for _ in range(steps):
        w -= 0.1 * 2 * (w - 3)
    return pytest.approx(w, rel=1e-6)


def test_a_run_on_a_store_is_one_on_a_disk(url, fetched, log):
    for steps, resumed in ((3, 0), (7, 3)):
        result = train(url, steps, export_model=mox.ExportKeys.TF_SERVING)
        assert (result.steps, result.global_step) == (steps - resumed, steps)
        assert result.checkpoint == f"{url}/model.ckpt-{steps}"
    assert result.export_path == f"{url}/2"
    here = fetched()
    assert tf.train.latest_checkpoint(str(here)) == str(here / "model.ckpt-7")
    assert values_of(here / "model.ckpt-7")["w"].item() == w_after(7)
    assert sorted(path.name for path in here.glob("*.index")) == [f"model.ckpt-{n}.index" for n in (2, 3, 4, 6, 7)]
    assert not (here / ".mox.lock").exists()
    served = tf.saved_model.load(str(here / "2")).signatures["serving_default"](x=tf.ones([1, 1]))
    assert served["y"].numpy().item() == w_after(7)
    losses = [
        value.tensor.float_val[0] if value.tensor.float_val else tf.make_ndarray(value.tensor).item()
        for path in sorted(here.glob("events.*"))
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.tag == "loss"
    ]
    assert losses[0] == pytest.approx(6.25)
    assert f"Saving checkpoints for 4 into {url}/model.ckpt." in log()
    assert f"Restoring parameters from {url}/model.ckpt-3" in log()
    assert not [line for line in log() if "/mox-" in line]  # nobody has to know where it was staged


def test_an_evaluation_reads_the_newest_checkpoint_and_writes_beside_it(url, fetched):
    train(url, 3)
    result = train(url, 1, run_mode=EVAL)
    assert result.metrics["loss"] == pytest.approx((w_after(3).expected - 3) ** 2)
    assert result.checkpoint == f"{url}/model.ckpt-3"
    assert len(list(fetched().glob("eval/events.*"))) == 1
    other = train(None, 1, run_mode=EVAL, checkpoint_path=f"{url}/model.ckpt-2")
    assert other.metrics["loss"] == pytest.approx((w_after(2).expected - 3) ** 2)
    assert other.checkpoint == f"{url}/model.ckpt-2"


@pytest.mark.parametrize("path", ["", "/", "/model.ckpt-2", "/model.ckpt-2.index"])
def test_a_training_begins_with_a_checkpoint_on_a_store(url, tmp_path, path):
    train(url, 2)
    train(tmp_path / "log", 3, checkpoint_path=f"{url}{path}")
    assert values_of(tmp_path / "log/model.ckpt-3")["w"].item() == w_after(3)


def test_checkpoints_of_scopes_and_files_of_weights_may_be_on_a_store(url, tmp_path):
    """From a dict come weights alone: the step is the first one, and the weight goes on."""
    train(url, 2)
    train(tmp_path / "log", 1, checkpoint_path={"": f"{url}/model.ckpt-2"})
    assert values_of(tmp_path / "log/model.ckpt-1")["w"].item() == w_after(3)

    import keras

    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", name="line")
    keras.Sequential([keras.Input([1]), layer]).save_weights(tmp_path / "net.weights.h5")
    mox.file.copy(str(tmp_path / "net.weights.h5"), f"{url}/net.weights.h5")

    def model_fn(inputs, mode):
        del mode
        total = tf.reduce_sum(keras.layers.Dense(1, use_bias=False, name="line")(inputs[0]))
        return mox.ModelSpec(loss=total, log_info={"total": total})

    for path in (f"{url}/net.weights.h5", {"": f"{url}/net.weights.h5"}):
        found = mox.run(
            input_fn=lambda mode: tf.data.Dataset.from_tensors(tf.constant([7.0])),  # noqa: ARG005
            model_fn=model_fn,
            run_mode=EVAL,
            batch_size=1,
            checkpoint_path=path,
        )
        assert found.metrics["total"] == 7.0


def test_a_checkpoint_that_is_not_there_is_named_by_its_url(url):
    with pytest.raises(mox.CheckpointError, match=rf"checkpoint_path '{url}/no.ckpt' is neither a folder nor"):
        train(None, 1, run_mode=EVAL, checkpoint_path=f"{url}/no.ckpt")
    with pytest.raises(mox.CheckpointError, match=rf"looked in log_dir '{url}'"):
        train(url, 1, run_mode=EVAL)


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_is_not_there_is_told():
    with pytest.raises(mox.LogDirError, match=r"'s3://no-such-bucket/log' cannot be written: its bucket is not"):
        train("s3://no-such-bucket/log", 1)
    with pytest.raises(mox.CheckpointError, match=r"checkpoint_path 's3://no-such-bucket/a/b.ckpt' is neither"):
        train(None, 1, run_mode=EVAL, checkpoint_path="s3://no-such-bucket/a/b.ckpt")


def test_a_damaged_checkpoint_is_passed_over(url, s3, s3_client, log):
    train(url, 4)
    s3_client.put_object(Bucket=s3, Key="logs/run/model.ckpt-4.data-00000-of-00001", Body=b"no weights")
    result = train(url, 5)
    assert result.steps == 3
    assert [line for line in log() if line.startswith(f"checkpoint '{url}/model.ckpt-4' is damaged")]


def test_of_two_runs_in_one_folder_the_last_one_goes_on(url, s3, s3_client, fetched):
    def somebody_else():
        s3_client.put_object(Bucket=s3, Key="logs/run/.mox.lock", Body=json.dumps({"id": "another"}).encode())

    with pytest.raises(mox.LogDirError, match=f"{url}"):
        train(url, 50, then=somebody_else)
    assert not (fetched() / "model.ckpt-50.index").exists()


def test_two_runs_of_one_machine_are_refused_at_once(url):
    def second():
        with pytest.raises(mox.LogDirError, match=rf"log_dir '{url}' is in use .*: process {os.getpid()} on"):
            train(url, 9)

    train(url, 1, then=second)


@pytest.fixture
def _repaired_when_behind(proxy):
    """Lets everything through the proxy again as soon as a line of the log says that the store is behind."""

    class Repair(logging.Handler):
        def emit(self, record):
            if "is behind" in record.getMessage():
                proxy.cut = False

    handler = Repair()
    tf.get_logger().addHandler(handler)
    yield
    tf.get_logger().removeHandler(handler)


@pytest.mark.usefixtures("_repaired_when_behind")
def test_a_store_that_is_gone_for_a_while_gets_all_in_the_end(url, proxy, fetched, log):
    def is_behind():
        return any("is behind" in line for line in log())

    def cut_until_then():
        if not is_behind():
            proxy.cut = True
            proxy.drop_all()

    train(url, 8, then=cut_until_then, save_model_steps=1)
    assert is_behind()
    assert values_of(fetched() / "model.ckpt-8")["w"].item() == w_after(8)


def test_an_address_without_a_server_is_told_at_once(url, proxy):
    proxy.close()
    with pytest.raises(mox.LogDirError, match=rf"'{url}' cannot be read: .*{proxy.url}"):
        train(url, 2)


class KillAt:
    """Kills a process before one of its uploads reaches the server."""

    def __init__(self, number):
        self.left, self.process, self.started = number, None, threading.Event()

    def __call__(self, path):
        self.started.wait()
        self.left -= "/logs/run/" in path
        if self.left == 0:
            self.process.kill()


def test_kill_9_at_any_upload_loses_nothing_that_was_there(url, proxy, script, fetched, tmp_path):
    unbroken = script(tmp_path / "unbroken", 400)
    assert unbroken.wait() == 0, unbroken.stdout.read()
    newest = -1
    for puts in (3, 6, 9, 14):
        proxy.on_put = kill = KillAt(puts)
        kill.process = process = script(url, 400)
        kill.started.set()
        assert process.wait() == -signal.SIGKILL, process.stdout.read()
        here = fetched(f"after {puts}")
        steps = sorted(int(path.stem.rpartition("-")[2]) for path in here.glob("model.ckpt-*.index"))
        for step in steps:
            values_of(here / f"model.ckpt-{step}")  # whole
        assert (steps or [-1])[-1] >= newest
        newest = (steps or [-1])[-1]
    assert newest > 0
    proxy.on_put = lambda _path: None
    process = script(url, 400)
    assert process.wait() == 0, process.stdout.read()
    assert_same(values_of(fetched("end") / "model.ckpt-400"), values_of(tmp_path / "unbroken/model.ckpt-400"))


def test_sigterm_waits_for_the_upload(url, proxy, script, fetched):
    put, begun = threading.Event(), threading.Event()

    def slow(path):
        if "model.ckpt-" in path:
            begun.set()
            put.wait()

    proxy.on_put = slow
    process = script(url, 1_000_000)
    begun.wait()  # the first checkpoint is on its way, and stays there
    process.send_signal(signal.SIGTERM)
    for line in process.stdout:
        if "Uploading to" in line:
            break
    put.set()
    out = process.stdout.read()
    assert process.wait() == 0, out
    prefix = out.rpartition("checkpoint ")[2].strip()
    assert prefix.startswith(f"{url}/model.ckpt-")
    values_of(fetched() / Path(prefix).name)
