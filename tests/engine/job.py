"""A job of several processes on this machine: `job.py FOLDER WORKERS PS REPLICAS PROGRAM [FLAG=VALUE ...]`.

Each process is forked when TensorFlow has been imported and not yet used, so that it starts in a second, and runs the
program, which finds here what it needs for a small training. What the processes told, said and ended with is printed as
JSON in the last line.
"""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

import mox_core as mox
import mox_core.engine.distribute.connection  # with all that a run needs, once for all processes
import mox_core.engine.run
import mox_core.engine.tf_patches.run_scope

PATIENCE = 240
"""Seconds after which a job hangs."""

FEATURES = np.random.default_rng(7).normal(size=(40, 3)).astype(np.float32)
TARGETS = (FEATURES @ np.array([1.0, -2.0, 0.5]) + 0.25 + 0.1 * np.sin(np.arange(40))).astype(np.float32)

folder, workers, ps, replicas = Path(sys.argv[1]), *map(int, sys.argv[2:5])
job, index = "", 0  # of each process


def input_fn(mode):
    data = tf.data.Dataset.from_tensor_slices((FEATURES, TARGETS))
    return data.repeat() if mode == mox.ModeKeys.TRAIN else data


def line(inputs):
    features, targets = inputs
    weights = tf.compat.v1.get_variable("weights", initializer=tf.zeros([3]))
    bias = tf.compat.v1.get_variable("bias", shape=[], initializer=tf.compat.v1.zeros_initializer())
    predictions = tf.linalg.matvec(features, weights) + bias
    return predictions, tf.reduce_mean((predictions - targets) ** 2)


def model_fn(inputs, mode):
    del mode
    predictions, loss = line(inputs)
    return mox.ModelSpec(
        loss=loss,
        log_info={"loss": loss},
        output_info={"predictions": predictions, "targets": inputs[1]},
        export_spec=mox.ExportSpec({"features": inputs[0]}, {"predictions": predictions}),
    )


def momentum():
    return tf.compat.v1.train.MomentumOptimizer(0.1, 0.9)


def adam():
    return keras.optimizers.Adam(0.05)


def log_dir(name):
    """A folder of this worker's own: as on machines that share no disk."""
    return folder / str(index) / name


def train(name, optimizer_fn=momentum, steps=20, **options):
    arguments = {"input_fn": input_fn, "model_fn": model_fn, "batch_size": 8 // (workers * replicas)}
    arguments |= {"log_dir": log_dir(name), "max_number_of_steps": steps, **options}
    return mox.run(optimizer_fn=optimizer_fn, run_mode=mox.ModeKeys.TRAIN, **arguments)


def evaluate(name, batch_size=7, **options):
    arguments = {"input_fn": input_fn, "model_fn": model_fn, "log_dir": log_dir(name), **options}
    return mox.run(run_mode=mox.ModeKeys.EVAL, batch_size=batch_size, **arguments)


def variables(name):
    reader = tf.train.load_checkpoint(str(log_dir(name)))
    return {key: reader.get_tensor(key).tolist() for key in reader.get_variable_to_shape_map()}


def at_step(step, action):
    """A hook that does something when a step has been done."""

    class AtStep(mox.AggregativeSessionRunHook):
        support_aggregation = support_sync_workers = run_inter_mode = lambda self: False  # noqa: ARG005

        def next_step(self, present):
            return step if present <= step else None

        def after_run(self, run_context, run_values):
            del run_values
            action(run_context)

    return AtStep()


def with_hooks(*hooks):
    def hooked(inputs, mode):
        spec = model_fn(inputs, mode)
        return mox.ModelSpec(loss=spec.loss, log_info=spec.log_info, hooks=list(hooks))

    return hooked


def kill(number):
    os.kill(os.getpid(), number)


def tell(**values):
    (folder / f"{job}-{index}.json").write_text(json.dumps(values))


def _addresses(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return addresses


def _use_tf_config(flags):
    """Puts the hosts into TF_CONFIG, as schedulers do, in the place of flags."""
    cluster = {"worker": flags.pop("worker_hosts").split(","), "ps": flags.pop("ps_hosts").split(",")}
    task = {"type": flags.pop("job_name"), "index": flags.pop("task_index")}
    os.environ["TF_CONFIG"] = json.dumps(
        {"cluster": {key: each for key, each in cluster.items() if each[0]}, "task": task}
    )


def _fork(name, number, flags):
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        out = os.open(folder / f"{name}-{number}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        if by_tf_config:
            _use_tf_config(flags)
        for flag, value in flags.items():
            mox.set_flag(flag, value)
        sys.argv[1:] = []
        globals().update(job=name, index=number)
        exec(compile(program, "program", "exec"), globals())  # noqa: S102  (the test's own)
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:  # noqa: BLE001  (the process ends here)
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _ended(processes):
    """Waits for all, and returns their exit codes: those of a shell."""
    codes, end = {}, time.monotonic() + PATIENCE
    while len(codes) < len(processes):
        for key, pid in processes.items():
            if key not in codes:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    code = os.waitstatus_to_exitcode(status)
                    codes[key] = code if code >= 0 else 128 - code
        if time.monotonic() > end:
            for key in processes.keys() - codes.keys():
                os.kill(processes[key], signal.SIGKILL)
                os.waitpid(processes[key], 0)
                codes[key] = "hangs"
        time.sleep(0.02)
    return codes


program = sys.argv[5]
given = dict(each.split("=", 1) for each in sys.argv[6:])
by_tf_config = given.pop("tf_config", "") == "1"
hosts = _addresses(workers + ps)
common = {"worker_hosts": ",".join(hosts[:workers]), "ps_hosts": ",".join(hosts[workers:])} if workers > 1 or ps else {}
common |= {"num_gpus": replicas, "clone_on_cpu": replicas > 1, "sync_replicas": given.pop("sync", "1") == "1"}
common |= {name: type(mox.get_flag(name))(value) for name, value in given.items()}
missing = os.environ.get("MISSING", "").split(",")
processes = {}
for name, count in (("worker", workers), ("ps", ps)):
    for number in range(count):
        if f"{name}-{number}" not in missing:
            own = {"job_name": name, "task_index": number} if len(hosts) > 1 else {}
            processes[f"{name}-{number}"] = _fork(name, number, common | own)
codes = _ended(processes)
logs = {key: (folder / f"{key}.log").read_text() for key in processes}
told = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
print(json.dumps({"codes": codes, "logs": logs, "told": told}))
