"""Two workers that step together, each a process with a core of its own."""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from work import Work

import mox_core as mox
from works import models, timing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STEPS = 50
BATCH = 128  # of each worker
FEATURES, HIDDEN = 256, (1024, 1024, 1024)


def _model() -> models.keras.Model:
    return models.mlp(FEATURES, *HIDDEN)


def _batches(_mode=None) -> tf.data.Dataset:
    """The same batch again and again: what is measured is not the input."""
    random = np.random.default_rng(0)
    samples = random.normal(size=(BATCH, FEATURES)).astype(np.float32)
    return tf.data.Dataset.from_tensors((samples, random.integers(0, 10, BATCH))).repeat()


def _in_two_processes(measure: Callable[[int, list[str]], float]) -> Callable[[Path], float]:
    """Return a contender: this process is the first worker, a child of it the second one."""

    def measure_both(_folder: Path) -> float:
        with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
            hosts = [f"127.0.0.1:{each.getsockname()[1]}" for each in (first, second)]
        ended, end = os.pipe()
        child = os.fork()  # TensorFlow has been imported, and not yet used
        index = int(child == 0)
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[index % len(cores)]})
        if child:
            seconds = measure(0, hosts)
            os.close(end)
            os.waitpid(child, 0)
            return seconds
        os.close(end)
        try:
            measure(1, hosts)
            os.read(ended, 1)  # who ends first takes the messages with him that the other waits for
        except BaseException:  # noqa: BLE001  (the process ends here, and the other hears of it)
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(0)

    return measure_both


def _by_mox(index: int, hosts: list[str]) -> float:
    for flag, value in {"job_name": "worker", "task_index": index, "worker_hosts": ",".join(hosts)}.items():
        mox.set_flag(flag, value)
    sys.argv[1:] = []
    return timing.train(_batches, models.model_fn_of(_model), steps=STEPS, auto_batch=False)


def _by_hand(index: int, hosts: list[str]) -> float:
    """TensorFlow's own strategy."""
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}})
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        model, optimizer = _model(), models.momentum()
        optimizer.build(model.trainable_variables)
    iterator = iter(strategy.distribute_datasets_from_function(lambda _context: _batches()))

    def replica_step(images, labels):
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = models.LOSS(labels, logits) / len(hosts)  # the gradients are added up
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss, models.accuracy_of(logits, labels) / len(hosts)

    @tf.function
    def some_steps(iterator):
        loss = accuracy = tf.constant(0.0)
        for _ in tf.range(STEPS):
            loss, accuracy = strategy.run(replica_step, args=next(iterator))
        return strategy.reduce("SUM", loss, axis=None), strategy.reduce("SUM", accuracy, axis=None)

    return models.seconds_a_step(lambda: float(some_steps(iterator)[0]), STEPS)


WORKS = [
    Work(
        name="workers",
        title=f"MLP {'-'.join(map(str, (FEATURES, *HIDDEN, 10)))}, batches of {BATCH}, two workers with a core each",
        unit="step",
        contenders={
            "mox": _in_two_processes(_by_mox),
            "MultiWorkerMirroredStrategy by hand": _in_two_processes(_by_hand),
        },
    ),
]
