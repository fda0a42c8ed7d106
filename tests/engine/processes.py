"""Training jobs in processes of their own, for tests that end them.

`processes.py DIR` sends the signals that a run answers. Each job is forked when TensorFlow has been imported and not
yet used: it starts in a second. What happened is printed as JSON in the last line.
"""

import contextlib
import functools
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import keras
import tensorflow as tf

import mox_core as mox
import mox_core.engine.run  # with all that a run needs, once for all processes
import mox_core.engine.tf_patches.run_scope
from mox_core.engine.loop import signals
from mox_core.engine.loop.signals import catch_signals

PATIENCE = 200
"""Seconds after which a job hangs."""


def fork(job, log):
    """Runs `job` in a new process that writes to the file `log`, and returns its number."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        job()
        sys.stdout.flush()
        code = 0
    except BaseException:  # noqa: BLE001 (the process ends here)
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def alive(pid):
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def until(condition, pid, log):
    """Looks at a condition again and again as long as the process lives; returns whether it came true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if not alive(pid):
            return False
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            raise TimeoutError(Path(log).read_text(encoding="utf-8"))
        signal.sigtimedwait({signal.SIGCHLD}, 0.0005)  # the shortest of waits, or the end of a process
    return True


def wait(pid, log):
    """Returns the exit code of a process, negative where a signal ended it."""
    until(lambda: not alive(pid), pid, log)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# ---- SIGTERM and SIGINT


class Blocking:
    """An op in a training step that tells that it runs, and waits to be let go."""

    def __init__(self, folder, *, at):
        self.reached, self.gate, self.at = folder / "reached", folder / "gate", at
        os.mkfifo(self.gate)

    def __call__(self, step):
        def wait_there(step):
            if step == self.at:
                self.reached.touch()
                self.gate.read_bytes()
            return step

        return tf.py_function(wait_there, [step], tf.int64)


def train_without_end(log_dir, block=None):
    def blocking_model_fn(inputs, mode):
        x = tf.reshape(inputs[0], [-1, 4])
        y = keras.layers.Dense(1)(x)
        loss = tf.reduce_mean(y**2)
        if block is not None and mode == mox.ModeKeys.TRAIN:
            with tf.control_dependencies([block(tf.compat.v1.train.get_global_step())]):
                loss = tf.identity(loss)
        return mox.ModelSpec(loss=loss, log_info={"loss": loss}, export_spec=mox.ExportSpec({"x": inputs[0]}, {"y": y}))

    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    result = mox.run(
        input_fn=lambda mode: tf.random.normal([4]),  # noqa: ARG005
        model_fn=blocking_model_fn,
        optimizer_fn=lambda: keras.optimizers.SGD(0.01),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=2,
        log_dir=log_dir,
        max_number_of_steps=10**9,
        log_every_n_steps=1 if block else 10,  # with 1, each call of the loop is one step
        export_model=lambda model, directory: Path(directory, "exported").touch(),  # noqa: ARG005
    )
    after = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    told = {
        "stopped_by": result.stopped_by,
        "global_step": result.global_step,
        "checkpoint": Path(result.checkpoint).name,
        "export_path": result.export_path,
        "handlers_are_back": before == after and signal.set_wakeup_fd(-1) == -1,
        "threads": [thread.name for thread in threading.enumerate() if thread.name == "mox-signals"],
    }
    (log_dir / "told.json").write_text(json.dumps(told), encoding="utf-8")


def _outcome(log_dir, pid, log):
    code = wait(pid, log)
    told = log_dir / "told.json"
    return {
        "code": code,
        "told": json.loads(told.read_text(encoding="utf-8")) if told.exists() else None,
        "files": sorted(path.name for path in log_dir.iterdir() if not path.name.startswith("events.")),
        "log": log.read_text(encoding="utf-8"),
    }


def end_while_training(folder, number):
    """A signal when some hundred steps are done."""
    log = folder / "log.txt"
    pid = fork(lambda: train_without_end(folder), log)
    assert until(lambda: log.exists() and "step: 100(" in log.read_text(encoding="utf-8"), pid, log), log.read_text()
    os.kill(pid, number)
    return _outcome(folder, pid, log)


def end_in_a_long_step(folder, number, *, second=None):
    """A signal in the middle of a step that does not end, then a second one or the end of the step."""
    log = folder / "log.txt"
    block = Blocking(folder, at=7)
    pid = fork(lambda: train_without_end(folder / "logs", block), log)
    assert until(block.reached.exists, pid, log), log.read_text(encoding="utf-8")
    os.kill(pid, number)
    assert until(lambda: "A second one ends it at once" in log.read_text(encoding="utf-8"), pid, log)
    if second:
        os.kill(pid, second)
    else:
        block.gate.write_bytes(b"go on")
    return _outcome(folder / "logs", pid, log)


# ---- in the middle of something that does not end


class Evaluating(mox.AggregativeSessionRunHook):
    """Evaluates after the third step, or has a run of its own evaluate; `end` tells whether the run is over."""

    def __init__(self, metric, run):
        super().__init__()
        self.monitor_info, self.run = {"loss": metric}, run
        self.seen = []

    def next_step(self, step):
        return 2 if step <= 2 else None

    def after_run(self, run_context, run_values):
        del run_values
        self.seen.append(self.run() if self.run else run_context.run_inter_mode(10**9))

    def end(self, session):
        print("complete", session.complete, "seen", self.seen, flush=True)

    def support_aggregation(self):
        return True

    support_sync_workers = support_aggregation

    def run_inter_mode(self):
        return self.run is None


class Endless:
    """Jobs of which a part never ends: that part tells that it goes on, and is left by nothing but a signal."""

    def __init__(self, folder):
        self.folder, self.reached = folder, folder / "reached"
        folder.mkdir()

    def pause(self, *_):
        self.reached.touch()
        while True:
            signal.pause()

    def wait_for_tensorflow(self):
        with tf.init_scope():
            empty = tf.queue.FIFOQueue(1, tf.int64)

            @tf.function
            def wait():  # the first operation runs when Python has handed over to TensorFlow
                with tf.control_dependencies([tf.py_function(self.reached.touch, [], [])]):
                    return empty.dequeue()

            wait()

    def tell_at(self, count):
        def tell(count):
            if count == 20:
                self.reached.touch()
            return count

        return tf.py_function(tell, [count], tf.int64)

    def run(self, run_mode, *, start=None, evaluate=None, **options):
        def model_fn(inputs, mode):
            if start:
                start()
            loss = tf.reduce_mean(keras.layers.Dense(1)(inputs[0]) ** 2)
            if mode == mox.ModeKeys.EVAL:
                with tf.control_dependencies([self.tell_at(inputs[1][0])]):
                    loss = tf.identity(loss)
            hooks = [Evaluating(loss, evaluate if callable(evaluate) else None)] if evaluate else []
            spec = mox.ExportSpec({"x": inputs[0]}, {"y": inputs[0]})
            return mox.ModelSpec(loss=loss, log_info={"loss": loss}, hooks=hooks, export_spec=spec)

        result = mox.run(
            input_fn=lambda mode: tf.data.Dataset.range(2**40).map(lambda i: (tf.ones([4]), i)),  # noqa: ARG005
            model_fn=model_fn,
            optimizer_fn=lambda: keras.optimizers.SGD(0.01),
            run_mode=run_mode,
            batch_size=1,
            log_dir=self.folder / "logs",
            **options,
        )
        told = {key: getattr(result, key) for key in ("stopped_by", "global_step", "steps", "export_path", "metrics")}
        told["checkpoint"] = result.checkpoint and Path(result.checkpoint).name
        return told

    def tell(self, *args, **options):
        told = self.run(*args, **options)
        (self.folder / "logs" / "told.json").write_text(json.dumps(told), encoding="utf-8")


def end_in_the_middle(folder):
    """SIGTERM in parts of a run that never end."""
    train, evaluate = mox.ModeKeys.TRAIN, mox.ModeKeys.EVAL
    short = {"max_number_of_steps": 5}

    def validation(job):
        job.tell(train, evaluate=True, inter_mode=evaluate, **short)

    def run_in_a_hook(job):
        job.tell(train, evaluate=lambda: job.run(evaluate)["stopped_by"], **short)

    def export(job):
        # The first format is complete when the signal comes.
        formats = ["FROZEN_PB", lambda model, directory: job.pause()]  # noqa: ARG005
        job.tell(train, export_model=formats, **short)

    def evaluation(job):
        job.run(train, **short)
        job.tell(evaluate)

    def start(job):
        job.run(train, **short)
        job.tell(train, start=job.pause, max_number_of_steps=9)

    def start_in_tensorflow(job):
        signals._SECONDS_TO_ABANDON = 0.2
        job.tell(train, start=job.wait_for_tensorflow, **short)

    outcomes = {}
    for work in (validation, run_in_a_hook, export, evaluation, start, start_in_tensorflow):
        job = Endless(folder / work.__name__)
        log = job.folder / "log.txt"
        pid = fork(functools.partial(work, job), log)
        assert until(job.reached.exists, pid, log), log.read_text(encoding="utf-8")
        os.kill(pid, signal.SIGTERM)
        outcomes[work.__name__] = _outcome(job.folder / "logs", pid, log)
    return outcomes


def end_a_child(folder):
    """A signal to a process that user code forks from a run, at any moment: what becomes of it, and of the run."""
    with catch_signals() as watch:
        log = folder / "log.txt"
        codes = set()
        for _ in range(50):
            pid = fork(signal.pause, log)
            os.kill(pid, signal.SIGTERM)
            codes.add(wait(pid, log))
        return {"codes": list(codes), "received": watch.name}


def send_signals(folder):
    def fresh(name):
        (folder / name).mkdir()
        return folder / name

    return {
        "SIGTERM": end_while_training(fresh("term"), signal.SIGTERM),
        "SIGINT": end_in_a_long_step(fresh("int"), signal.SIGINT),
        "SIGTERM, SIGTERM": end_in_a_long_step(fresh("term2"), signal.SIGTERM, second=signal.SIGTERM),
        "SIGINT, SIGTERM": end_in_a_long_step(fresh("int2"), signal.SIGINT, second=signal.SIGTERM),
        "child": end_a_child(fresh("child")),
        "in the middle": end_in_the_middle(fresh("middle")),
    }


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    with contextlib.redirect_stdout(sys.stderr):
        outcome = send_signals(Path(sys.argv[1]))
    print(json.dumps(outcome))
