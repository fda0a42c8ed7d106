"""The small model with which optimizers and hooks are checked: linear regression, whose loss is quadratic.

It is trained by `mox.run`, on one device in this process and on two in another one: TensorFlow's devices are fixed once
they are used.
"""

from __future__ import annotations

import functools
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from attrs import frozen

import mox_core as mox
from mox_core.testing.helpers import attempt, seed, variables_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Variables = dict[str, np.ndarray[Any, Any]]

_SAMPLES = 40
_BATCH = 8
_FEATURES = np.random.default_rng(7).normal(size=(_SAMPLES, 3)).astype(np.float32)
_TARGETS = (_FEATURES @ [[1.0, 0.5], [-2.0, 1.0], [0.5, -1.5]] + [0.25, -0.5]).astype(np.float32)
_FIRST_KERNEL = np.array([[0.5, -0.5], [0.25, 0.5], [-0.5, 0.25]], np.float32)
"""Not zero, because layer-wise learning rates are proportional to the norm of the weights."""

STEPS_ON_TWO = 10


@frozen
class OptimizerSpec:
    """The names and options of an optimizer or a wrapper, which another process can make, too.

    Attributes:
        optimizer: the name of an optimizer; None for a wrapper around a plain one.
        options: arguments of `mox.get_optimizer_fn`, or of `mox.get_optimizer_wrapper_fn`.
        wrapper: the name of the wrapper, or None.
        inside: 'tf1' or 'keras': the kind of the plain optimizer in the wrapper.
    """

    optimizer: str | None
    options: Mapping[str, Any]
    wrapper: str | None = None
    inside: str = "tf1"

    def make(self) -> Any:
        """Make the optimizer: the `optimizer_fn` of `mox.run`."""
        if self.optimizer is not None:
            return mox.get_optimizer_fn(self.optimizer, **self.options)()
        plain = (
            keras.optimizers.SGD(0.05, momentum=0.9)
            if self.inside == "keras"
            else tf.compat.v1.train.MomentumOptimizer(0.05, 0.9)
        )
        return mox.get_optimizer_wrapper_fn(self.wrapper or "", plain, **self.options)()


def loss_of(variables: Variables | None = None) -> float:
    """Return the loss of some weights on all samples, by NumPy; of the initial weights if none are given."""
    kernel, bias = (variables["kernel"], variables["bias"]) if variables else (_FIRST_KERNEL, np.zeros(2))
    return float(np.mean((_FEATURES @ kernel + bias - _TARGETS) ** 2))


def train(
    optimizer_fn: Callable[[], Any],
    steps: int,
    log_dir: Path | None,
    *,
    make_hooks: Callable[[str], list[Any]] = lambda _: [],
    on_eval: Callable[[], None] = lambda: None,
    batch_size: int = _BATCH,
    **options: Any,
) -> mox.RunResult:
    """Train until a global step.

    Args:
        optimizer_fn: makes the optimizer.
        steps: the global step.
        log_dir: the folder of checkpoints; a training there is resumed.
        make_hooks: makes the hooks of a mode, inside `model_fn`.
        on_eval: called whenever the samples of EVAL are read.
        batch_size: samples in a batch of each replica.
        options: more arguments of `mox.run`.
    """
    arguments: dict[str, Any] = {
        "input_fn": functools.partial(_input_fn, on_eval),
        "model_fn": functools.partial(_model_fn, make_hooks),
        "optimizer_fn": optimizer_fn,
        "run_mode": mox.ModeKeys.TRAIN,
        "batch_size": batch_size,
        "max_number_of_steps": steps,
        "log_dir": log_dir,
        "log_every_n_steps": 1000,
    }
    with seed(1):
        return mox.run(**arguments | options)


def _input_fn(on_eval: Callable[[], None], mode: str) -> Any:
    if mode == mox.ModeKeys.TRAIN:
        return tf.data.Dataset.from_tensor_slices((_FEATURES, _TARGETS)).repeat()

    def samples() -> Any:
        on_eval()
        return zip(_FEATURES, _TARGETS, strict=True)

    specs = tuple(tf.TensorSpec(array.shape[1:], tf.float32) for array in (_FEATURES, _TARGETS))
    return tf.data.Dataset.from_generator(samples, output_signature=specs)


def _model_fn(make_hooks: Callable[[str], list[Any]], inputs: list[Any], mode: str) -> mox.ModelSpec:
    features, targets = inputs
    kernel = tf.compat.v1.get_variable("kernel", initializer=tf.constant(_FIRST_KERNEL))
    bias = tf.compat.v1.get_variable("bias", initializer=tf.zeros([2]))
    loss = tf.reduce_mean((features @ kernel + bias - targets) ** 2)
    return mox.ModelSpec(loss=loss, log_info={"loss": loss}, hooks=make_hooks(mode))


def train_on_two_devices(spec: OptimizerSpec, folder: Path) -> Variables:
    """Train two replicas on logical CPU devices, with batches half as large, in another process.

    Returns:
        The variables of its checkpoint by name.

    Raises:
        AssertionError: if the process fails, with the end of its output.
    """
    with attempt("handing the options to another process, in which there are two devices,"):
        (folder / "optimizer.pickle").write_bytes(pickle.dumps(spec))
    child = subprocess.run(  # noqa: S603  (our own program)
        [sys.executable, "-c", f"from {__name__} import main; main()", str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, f"a training on two devices fails:\n{child.stderr[-3000:]}"
    return dict(np.load(folder / "two.npz"))


def main() -> None:
    """Run the other process: train two replicas with the optimizer in the folder that its argument names."""
    folder = Path(sys.argv[1])
    mox.set_flag("num_gpus", 2)
    mox.set_flag("clone_on_cpu", True)
    spec: OptimizerSpec = pickle.loads((folder / "optimizer.pickle").read_bytes())  # noqa: S301  (a file of this program)
    result = train(spec.make, STEPS_ON_TWO, folder / "two", batch_size=_BATCH // 2)
    np.savez(folder / "two.npz", **variables_of(result.checkpoint))  # type: ignore[arg-type]  # the stubs want allow_pickle
