"""The contract of networks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
import tensorflow as tf
from attrs import define, field

import mox_core as mox
from mox_core.engine.optimizer.wrappers import OptimizerWrapper
from mox_core.name_lists import counted
from mox_core.testing.helpers import attempt, once, seed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_AVERAGE = re.compile(r"moving_|running_|average", re.IGNORECASE)
"""Matches the names of moving averages of batch statistics in Keras, slim and PyTorch."""

_LEARNING_RATE = 1e-4
"""It is small because the first gradients of a deep network are large in small batches."""

_AUXILIARY = 0.4
"""The weight of the loss of auxiliary logits, as slim's own script of training has it."""


class NetworkContract:
    """Tests for a network that a plugin offers to `mox.get_model_fn`.

    The network is trained for one step of `mox.run` on a few random images and, if mox-export is installed, exported
    for TensorFlow Serving. The tests check the logits, of shape [batch, num_classes], and the dict of end points; the
    number of trainable parameters; that every trainable variable has a gradient, and the step changes weights and
    moving averages; that the same seed gives the same loss; and that EVAL, PREDICT and the exported model compute the
    same logits of an image, whatever the seed and the other images of its batch. An end point `AuxLogits`, the
    auxiliary logits of Inception and its like, has its part in the loss.

    Example:
        class TestResnet50(NetworkContract):
            network = "resnet_v1_50"
            num_classes = 1000
            parameters = 25_557_032
            image_size = 64

    Attributes:
        network: the name of the network.
        parameters: the published number of trainable parameters with `num_classes` classes; None: not checked.
        num_classes: number of classes.
        image_size: height and width of the images in pixels; None: the network's default_image_size. Smaller images
            make the checks faster, if the network accepts them.
        channels: number of channels of the images.
        batch_size: images in a batch, 2 or more.
    """

    network: ClassVar[str]
    parameters: ClassVar[int | None] = None
    num_classes: ClassVar[int] = 10
    image_size: ClassVar[int | None] = None
    channels: ClassVar[int] = 3
    batch_size: ClassVar[int] = 4

    def test_it_gives_logits_and_end_points(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        """The logits have the shape [batch, num_classes]; the end points are a dict from names to tensors."""
        faults = self._trained(tmp_path_factory).end_point_faults
        assert not faults, f"{self._who} {faults[0]}"

    def test_it_has_the_published_number_of_parameters(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        """The trainable variables have `parameters` elements in all."""
        shapes = self._trained(tmp_path_factory).trainable
        count = sum(int(np.prod(shape)) for shape in shapes.values())
        if self.parameters is None:
            pytest.skip(f"{self._who} has {count} trainable parameters: give the published number as `parameters`")
        assert count == self.parameters, (
            f"{self._who} has {count:,} trainable parameters with {self.num_classes} classes, and {self.parameters:,} "
            f"are published: compare the layers, and num_classes. It has {_largest(shapes)}."
        )

    def test_every_trainable_variable_has_a_gradient(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        """The loss depends on every trainable variable."""
        trained = self._trained(tmp_path_factory)
        without = sorted(trained.trainable.keys() - trained.with_gradient)
        assert not without, (
            f"the loss of {self._who} does not depend on the trainable {counted(without, 5)}: use them for the logits, "
            "make them with trainable=False, or leave them out."
        )

    def test_one_step_moves_the_weights(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        """One step of TRAIN changes at least one weight."""
        trained = self._trained(tmp_path_factory)
        assert trained.changed(trained.trainable), (
            f"a step of TRAIN leaves all weights of {self._who} as they are: their gradients are zero. Look for what "
            "is constant between images and logits (rounding, arg max, an activation that is saturated)."
        )

    def test_train_moves_the_averages_of_batches(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        """A step of TRAIN updates the moving averages of batch normalization."""
        trained = self._trained(tmp_path_factory)
        averages = [name for name in trained.moved if name not in trained.trainable and _AVERAGE.search(name)]
        still = sorted(set(averages) - set(trained.changed(averages)))
        assert not still, (
            f"a step of TRAIN leaves {counted(still, 5)} of {self._who} as they are, and EVAL would use them: build "
            "normalization with training=(run_mode == mox.ModeKeys.TRAIN)."
        )

    def test_the_same_seed_gives_the_same_numbers(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        """Two trainings with the same seed have the same first loss."""
        first = self._trained(tmp_path_factory).loss
        second = self._train(None, _Trace()).metrics["loss"]
        assert np.isclose(first, second, rtol=1e-4), (
            f"the first loss of {self._who} is {first} and then {second}, with one seed: draw initial values and "
            "noise by tf.random or Keras, which mox seeds, not by NumPy or Python."
        )

    def test_eval_and_predict_see_each_image_alone(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        """In EVAL and PREDICT the logits of an image depend on the image only."""
        trained = self._trained(tmp_path_factory)
        logits, again = self._predicted_twice(trained)
        other = self._predicted(trained, mox.ModeKeys.EVAL, run_seed=2)
        assert _close(logits, again) and _close(logits, other), (  # noqa: PT018  (one rule)
            f"{self._who} gives other logits when it sees a batch again, with another seed, or in EVAL and PREDICT: "
            "build dropout and noise with training=(run_mode == mox.ModeKeys.TRAIN)."
        )
        assert _close(logits, self._predicted(trained, mox.ModeKeys.PREDICT, batch_size=1)), (
            f"{self._who} gives an image other logits when it is alone in its batch: in EVAL and PREDICT, normalize by "
            "the averages, not by the batch."
        )

    def test_the_exported_model_gives_the_same_numbers(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        """A model exported as TF_SERVING and loaded computes the logits of PREDICT."""
        if "TF_SERVING" not in mox.ExportKeys:
            pytest.skip("no plugin offers TF_SERVING: pip install mox-export")
        trained = self._trained(tmp_path_factory)
        assert trained.export_path is not None
        with attempt(f"loading {self._who} back from TF_SERVING"):
            served = tf.saved_model.load(trained.export_path).signatures["serving_default"]
            logits = served(images=tf.constant(self._images()))["logits"].numpy()
        expected, _ = self._predicted_twice(trained)
        assert _close(logits, expected), (
            f"{self._who} gives other logits when it is exported and loaded back: treat EXPORT as PREDICT."
        )

    @property
    def _who(self) -> str:
        return f"network {self.network!r}"

    def _images(self) -> np.ndarray[Any, Any]:
        size = self.image_size or mox.get_model_meta(self.network).default_image_size
        shape = (self.batch_size, size, size, self.channels)
        return np.random.default_rng(3).integers(0, 256, shape).astype(np.float32)

    def _trained(self, folders: pytest.TempPathFactory) -> _Trained:
        """Return the network after one step, which is trained once for all checks."""

        def make() -> _Trained:
            trace = _Trace()
            result = self._train(folders.mktemp("network"), trace)
            prefix = str(result.checkpoint)
            return _Trained(
                checkpoint=prefix,
                export_path=result.export_path,
                loss=result.metrics["loss"],
                end_point_faults=trace.end_point_faults,
                trainable=trace.trainable,
                with_gradient=trace.with_gradient,
                moved=_moved(f"{prefix.rpartition('-')[0]}-0", prefix),
            )

        return once(type(self), "trained", make)

    def _train(self, log_dir: Path | None, trace: _Trace) -> mox.RunResult:
        export = "TF_SERVING" in mox.ExportKeys and log_dir is not None
        return self._run(
            trace,
            run_mode=mox.ModeKeys.TRAIN,
            optimizer_fn=lambda: _GradientRecorder(tf.compat.v1.train.GradientDescentOptimizer(_LEARNING_RATE), trace),
            max_number_of_steps=1,
            log_dir=log_dir,
            export_model="TF_SERVING" if export else False,
        )

    def _predicted_twice(self, trained: _Trained) -> list[np.ndarray[Any, Any]]:
        """Return the logits of PREDICT for the images, which are read twice; computed once for all checks."""

        def make() -> list[np.ndarray[Any, Any]]:
            return np.split(self._predicted(trained, mox.ModeKeys.PREDICT, times=2), 2)

        return once(type(self), "predicted", make)

    def _predicted(
        self, trained: _Trained, mode: str, *, times: int = 1, run_seed: int = 1, batch_size: int | None = None
    ) -> np.ndarray[Any, Any]:
        """Return the logits of the images, which are read `times` times."""
        windows: list[dict[str, Any]] = []
        self._run(
            _Trace(),
            times=times,
            run_seed=run_seed,
            run_mode=mode,
            batch_size=batch_size or self.batch_size,
            checkpoint_path=trained.checkpoint,
            output_fn=windows.extend,
            output_every_n_steps=1,
        )
        return np.concatenate([step["logits"] for step in windows])

    def _run(self, trace: _Trace, *, times: int = 1, run_seed: int = 1, **options: Any) -> mox.RunResult:
        images = self._images()
        labels = np.arange(len(images), dtype=np.int64) % self.num_classes

        def input_fn(mode: str) -> Any:
            dataset = tf.data.Dataset.from_tensor_slices((images, labels))
            return dataset.repeat(None if mode == mox.ModeKeys.TRAIN else times)

        def model_fn(inputs: list[Any], mode: str) -> mox.ModelSpec:
            network = mox.get_model_fn(self.network, run_mode=mode, num_classes=self.num_classes)
            logits, end_points = self._checked(network(inputs[0]), mode)
            trace.record(mode, end_points)
            wide = tf.cast(logits, tf.float32)
            loss = _entropy(wide, inputs[1])
            if isinstance(end_points, dict) and "AuxLogits" in end_points:
                loss += _AUXILIARY * _entropy(tf.cast(end_points["AuxLogits"], tf.float32), inputs[1])
            return mox.ModelSpec(
                loss=loss,
                log_info={"loss": loss},
                output_info={"logits": wide},
                export_spec=mox.ExportSpec({"images": inputs[0]}, {"logits": wide}),
            )

        with attempt(f"a run of {self._who} in {options['run_mode']}"), seed(run_seed):
            return mox.run(input_fn=input_fn, model_fn=model_fn, **{"batch_size": self.batch_size, **options})

    def _checked(self, result: Any, mode: str) -> tuple[Any, Any]:
        """Return the result of a network; fail if it is not (logits, end_points) with logits of the right shape."""
        assert isinstance(result, tuple) and len(result) == 2, (  # noqa: PLR2004, PT018  (one rule)
            f"{self._who} returns {result!r} in {mode}; return (logits, end_points)."
        )
        logits = result[0]
        shape = logits.shape if tf.is_tensor(logits) else None
        assert shape is not None and shape.rank == 2 and shape[1] == self.num_classes, (  # noqa: PLR2004, PT018
            f"{self._who} returns logits of shape {shape} in {mode}; they must be (batch, num_classes), here "
            f"(..., {self.num_classes}): flatten what is left of height and width, and keep num_classes."
        )
        return result


@define
class _Trace:
    """The record of a traced model: faults of its end points, trainable variables, and those with a gradient.

    It holds no tensors: each would keep the whole graph in memory.
    """

    end_point_faults: list[str] = field(factory=list)
    trainable: dict[str, tuple[int, ...]] = field(factory=dict)
    with_gradient: set[str] = field(factory=set)

    def record(self, mode: str, end_points: Any) -> None:
        """Record what is wrong with the end points of a mode and, in TRAIN, the shapes of the trainable variables."""
        self.end_point_faults += _end_point_faults(end_points, mode)
        if mode == mox.ModeKeys.TRAIN:
            variables = tf.compat.v1.trainable_variables()
            self.trainable = {_name(variable): tuple(variable.shape) for variable in variables}


@define
class _Trained:
    """A network after one step.

    Attributes:
        checkpoint: prefix of its checkpoint.
        export_path: folder of the exported model, or None.
        loss: the loss of the step, computed with the initial weights.
        end_point_faults: what is wrong with the end points, in words.
        trainable: the shapes of the trainable variables by name.
        with_gradient: the names of the variables with a gradient.
        moved: for each variable, whether the step has changed it. The values would stay in memory as long as the class.
    """

    checkpoint: str
    export_path: str | None
    loss: float
    end_point_faults: list[str]
    trainable: dict[str, tuple[int, ...]]
    with_gradient: set[str]
    moved: dict[str, bool]

    def changed(self, names: Iterable[str]) -> list[str]:
        """Return those of some names whose variables the step has changed."""
        return [name for name in names if self.moved[name]]


class _GradientRecorder(OptimizerWrapper):
    """An optimizer wrapper that records which variables have a gradient."""

    def __init__(self, optimizer: Any, trace: _Trace) -> None:
        super().__init__(optimizer)
        self._trace = trace

    def apply_gradients(self, grads_and_vars: Any) -> None:
        pairs = list(grads_and_vars)
        self._trace.with_gradient |= {_name(variable) for _, variable in pairs}
        super().apply_gradients(pairs)


def _end_point_faults(end_points: Any, mode: str) -> list[str]:
    """Return what is wrong with the end points of a mode."""
    if not isinstance(end_points, dict):
        return [f"returns {end_points!r} as end points in {mode}; return a dict from names to tensors ({{}} will do)."]
    return [
        f"returns {value!r} as the end point {name!r} in {mode}; end points are tensors by name."
        for name, value in end_points.items()
        if not (isinstance(name, str) and tf.is_tensor(value))
    ]


def _moved(before: str, after: str) -> dict[str, bool]:
    """Return which variables differ in two checkpoints, by name."""
    first, second = (tf.train.load_checkpoint(each) for each in (before, after))
    names = sorted(second.get_variable_to_shape_map())
    return {name: not np.array_equal(first.get_tensor(name), second.get_tensor(name)) for name in names}


def _entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    entropy: tf.Tensor = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    return entropy


def _name(variable: tf.Variable) -> str:
    return variable.name.partition(":")[0]


def _close(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> bool:
    """Return whether logits are equal up to rounding errors, which grow with the largest one."""
    scale = max(1.0, float(np.max(np.abs(left))))
    return left.shape == right.shape and np.allclose(left, right, atol=1e-3 * scale, rtol=0)


def _largest(shapes: dict[str, tuple[int, ...]]) -> str:
    ordered = sorted(shapes.items(), key=lambda item: -np.prod(item[1]))
    return counted([f"{name} {shape}" for name, shape in ordered], 5)
