"""Steps of small models: what a trainer adds to the model's own work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from work import Work

import mox_core as mox
from works import models, timing

if TYPE_CHECKING:
    from pathlib import Path

STEPS = 2000
SAMPLES = 4096
FLOOR = "floor: no input, no Python"


def _samples(features: int, dtype: str = "float32"):
    random = np.random.default_rng(0)
    return random.normal(size=(SAMPLES, features)).astype(dtype), random.integers(0, 10, SAMPLES)


def _batches(_mode=None) -> tf.data.Dataset:
    """Batches as they lie in memory: the input costs as little as it can."""
    samples, labels = _samples(784)
    batches = samples.reshape(-1, models.BATCH, 784), labels.reshape(-1, models.BATCH)
    return tf.data.Dataset.from_tensor_slices(batches).repeat().prefetch(tf.data.AUTOTUNE)


def _slices(_mode=None) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(_samples(32)).shuffle(SAMPLES).repeat().batch(models.BATCH)


def _wide(_mode=None) -> tf.data.Dataset:
    samples = tf.data.Dataset.from_tensor_slices(_samples(256)).shuffle(SAMPLES).repeat()
    return samples.batch(models.BATCH, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def _large() -> models.keras.Model:
    return models.mlp(784, 32)


def _small() -> models.keras.Model:
    return models.mlp(32, 64)


def _arrays(_folder: Path) -> float:
    samples, labels = _samples(32)

    def input_fn(_mode):
        return mox.ArrayDataset(samples, labels).get()

    return timing.train(input_fn, models.model_fn_of(_small), steps=STEPS, batch_size=models.BATCH)


def _keras_arrays(execution: int) -> float:
    samples, labels = _samples(32)
    repeats = STEPS * models.BATCH // SAMPLES
    samples, labels = np.tile(samples, (repeats + 1, 1)), np.tile(labels, repeats + 1)
    size = STEPS * models.BATCH
    model = _small()
    model.compile(models.momentum(), models.LOSS, metrics=["accuracy"], steps_per_execution=execution)
    return models.seconds_a_step(
        lambda: model.fit(samples[:size], labels[:size], batch_size=models.BATCH, verbose=0), STEPS, windows=3
    )


def _grain_batches():
    import grain

    samples, labels = _samples(32)
    source = [(sample, label) for sample, label in zip(samples, labels, strict=True)]
    return grain.MapDataset.source(source).shuffle(seed=0).repeat().batch(models.BATCH).to_iter_dataset()


def _grain(_folder: Path) -> float:
    features = (tf.TensorSpec([None, 32], tf.float32), tf.TensorSpec([None], tf.int64))
    data = tf.data.Dataset.from_generator(lambda: iter(_grain_batches()), output_signature=features)
    return models.keras_fit(_small(), data, STEPS, execution=models.STEPS_A_CALL, steps_per_epoch=STEPS)


def _torch(_folder: Path) -> float:
    import torch

    samples, labels = _samples(32)
    data = torch.utils.data.TensorDataset(torch.from_numpy(samples), torch.from_numpy(labels))
    loader = torch.utils.data.DataLoader(data, models.BATCH, shuffle=True)
    net = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)

    def epoch() -> None:
        for images, wanted in loader:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(net(images), wanted)
            loss.backward()
            optimizer.step()

    return models.seconds_a_step(epoch, len(loader))


def _lightning(_folder: Path) -> float:
    import logging

    import lightning
    import torch

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    samples, labels = _samples(32)
    data = torch.utils.data.TensorDataset(torch.from_numpy(samples), torch.from_numpy(labels))
    loader = torch.utils.data.DataLoader(data, models.BATCH, shuffle=True)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))

        def training_step(self, batch, _index):
            return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.01, momentum=0.9)

    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}

    def epoch() -> None:
        trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **quiet)
        trainer.fit(Module(), loader)

    return models.seconds_a_step(epoch, len(loader), windows=3)


def _fits(make, data) -> dict:
    """Keras fit with one step an execution and with many, the loop by hand, and the least that a step can take."""
    return {
        "keras fit": lambda _: models.keras_fit(make(), data(), STEPS, execution=1, steps_per_epoch=STEPS),
        "keras fit, 50 steps an execution": lambda _: models.keras_fit(
            make(), data(), STEPS, execution=models.STEPS_A_CALL, steps_per_epoch=STEPS
        ),
        "loop by hand, 50 steps a call": lambda _: models.loop(make(), data(), STEPS),
        FLOOR: lambda _: models.floor(make(), data(), STEPS),
    }


def _trained(make, data):
    return lambda _: timing.train(data, models.model_fn_of(make), steps=STEPS, auto_batch=False)


def _mirrored(_folder: Path) -> float:
    """Two replicas on one machine, by TensorFlow's own strategy."""
    _two_devices()
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    data = strategy.experimental_distribute_dataset(_wide().unbatch().batch(2 * models.BATCH, drop_remainder=True))
    with strategy.scope():
        model, optimizer = models.mlp(256, 512, 512), models.momentum()
        optimizer.build(model.trainable_variables)

    def replica_step(images, labels):
        with tf.GradientTape() as tape:
            loss = models.LOSS(labels, model(images, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    iterator, steps = iter(data), 200

    @tf.function
    def some_steps(iterator):
        loss = tf.constant(0.0)
        for _ in tf.range(20):
            loss = strategy.reduce("MEAN", strategy.run(replica_step, args=next(iterator)), axis=None)
        return loss

    return models.seconds_a_step(lambda: [float(some_steps(iterator)) for _ in range(steps // 20)], steps)


def _two_devices() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def _replicas(_folder: Path) -> float:
    mox.set_flag("num_gpus", 2)
    mox.set_flag("clone_on_cpu", True)
    make = models.model_fn_of(lambda: models.mlp(256, 512, 512))
    return timing.train(_wide, make, steps=200, auto_batch=False)


WORKS = [
    Work(
        name="mlp_batches",
        title="MLP 784-32-10, batches in memory",
        unit="step",
        contenders={"mox": _trained(_large, _batches), **_fits(_large, _batches)},
    ),
    Work(
        name="mlp_slices",
        title="MLP 32-64-10, from_tensor_slices().shuffle().repeat().batch(32)",
        unit="step",
        contenders={"mox": _trained(_small, _slices), **_fits(_small, _slices), "grain and keras fit": _grain},
        needs={"grain and keras fit": "grain"},
    ),
    Work(
        name="mlp_arrays",
        title="MLP 32-64-10, arrays in memory",
        unit="step",
        contenders={
            "mox": _arrays,
            "keras fit on arrays": lambda _: _keras_arrays(1),
            "keras fit on arrays, 50 steps an execution": lambda _: _keras_arrays(models.STEPS_A_CALL),
            "loop by hand, 50 steps a call": lambda _: models.loop(_small(), _slices(), STEPS),
            FLOOR: lambda _: models.floor(_small(), _slices(), STEPS),
            "torch and its DataLoader": _torch,
            "lightning": _lightning,
        },
        needs={"torch and its DataLoader": "torch", "lightning": "lightning"},
    ),
    Work(
        name="replicas",
        title="MLP 256-512-512-10 on two replicas of one machine",
        unit="step",
        contenders={"mox": _replicas, "MirroredStrategy by hand": _mirrored},
    ),
]
