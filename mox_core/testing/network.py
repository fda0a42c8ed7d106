"""What every network must keep to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
import tensorflow as tf
from attrs import define, field

import mox_core as mox
from mox_core.engine.optimizer.wrappers import OptimizerWrapper
from mox_core.testing.once import once, seed, variables_of, working

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    Variables = dict[str, np.ndarray[Any, Any]]

_AVERAGE = re.compile(r"moving_|running_|average", re.IGNORECASE)
"""What the names of averages over batches have in common, in Keras, slim and PyTorch."""

_LEARNING_RATE = 1e-4
"""Small: the first gradients of a deep network with few images in a batch are large."""


class NetworkContract:
    """Tests for a network that a plugin offers to `mox.get_model_fn`.

    One step of `mox.run` is trained on a few random images, exported for TensorFlow Serving where mox-export is
    installed, and predicted. Checked are the logits, `(batch, num_classes)`, and the dict of end points; the number of
    trainable parameters; that every trainable variable has a gradient, and the step moves weights and averages; that
    the same seed gives the same numbers; and that EVAL, PREDICT and the exported model give an image the same logits,
    whatever the seed and whatever else is in its batch.

    Example:
        class TestResnet50(NetworkContract):
            network = "resnet_v1_50"
            num_classes = 1000
            parameters = 25_557_032
            image_size = 64

    Attributes:
        network: the name.
        parameters: the published number of trainable parameters, with `num_classes` classes.
        num_classes: the number of classes.
        image_size: height and width of the images; the default_image_size of the network if not given. The checks are
            quick with images that are small, where the network takes them.
        channels: of the images.
        batch_size: images in a batch, 2 or more.
    """

    network: ClassVar[str]
    parameters: ClassVar[int | None] = None
    num_classes: ClassVar[int] = 10
    image_size: ClassVar[int | None] = None
    channels: ClassVar[int] = 3
    batch_size: ClassVar[int] = 4

    def test_it_gives_logits_and_end_points(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        """The logits are `(batch, num_classes)`, the end points a dict of tensors by name."""
        for mode, end_points in self._trained(tmp_path_factory).end_points.items():
            assert isinstance(end_points, dict), (
                f"{self._who} returns {end_points!r} as end points in {mode}; return a dict from names to tensors "
                "(an empty one will do)."
            )
            for name, value in end_points.items():
                assert isinstance(name, str) and tf.is_tensor(value), (  # noqa: PT018  (one rule)
                    f"end point {name!r} of {self._who} is {value!r} in {mode}; end points are tensors by name."
                )

    def test_it_has_the_published_number_of_parameters(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        """The elements of all trainable variables are `parameters`."""
        shapes = self._trained(tmp_path_factory).trainable
        count = sum(int(np.prod(shape)) for shape in shapes.values())
        if self.parameters is None:
            pytest.skip(f"{self._who} has {count} trainable parameters: give the published number as `parameters`")
        assert count == self.parameters, (
            f"{self._who} has {count:,} trainable parameters with {self.num_classes} classes, and {self.parameters:,} "
            f"are published: compare the layers, and num_classes. It has {_largest(shapes)}."
        )

    def test_every_trainable_variable_has_a_gradient(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        """No variable is trainable that the loss does not depend on."""
        trained = self._trained(tmp_path_factory)
        without = sorted(trained.trainable.keys() - trained.with_gradient)
        assert not without, (
            f"the loss of {self._who} does not depend on the trainable {_listed(without)}: use them for the logits, "
            "make them with trainable=False, or leave them out."
        )

    def test_one_step_moves_the_weights(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        """One step of TRAIN changes weights."""
        trained = self._trained(tmp_path_factory)
        assert trained.changed(trained.trainable), (
            f"a step of TRAIN leaves all weights of {self._who} as they are: their gradients are zero. Look for what "
            "is constant between images and logits (rounding, arg max, an activation that is saturated)."
        )

    def test_train_moves_the_averages_of_batches(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        """Averages over batches are updated in TRAIN: batch normalization is told the mode."""
        trained = self._trained(tmp_path_factory)
        averages = [name for name in trained.after if name not in trained.trainable and _AVERAGE.search(name)]
        still = sorted(set(averages) - set(trained.changed(averages)))
        assert not still, (
            f"a step of TRAIN leaves {_listed(still)} of {self._who} as they are, and EVAL would use them: build "
            "normalization with training=(run_mode == mox.ModeKeys.TRAIN)."
        )

    def test_the_same_seed_gives_the_same_numbers(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        """A second training with the seed of the first begins with the same loss."""
        first = self._trained(tmp_path_factory).loss
        second = self._train(None, _Seen()).metrics["loss"]
        assert np.isclose(first, second, rtol=1e-4), (
            f"the first loss of {self._who} is {first} and then {second}, with one seed: draw initial values and "
            "noise by tf.random or Keras, which mox seeds, not by NumPy or Python."
        )

    def test_eval_and_predict_see_each_image_alone(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        """Outside of TRAIN the logits of an image depend on nothing but the image."""
        trained = self._trained(tmp_path_factory)
        logits, again = np.split(self._predicted(trained, mox.ModeKeys.PREDICT, times=2), 2)
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
        """What TF_SERVING writes gives the logits of PREDICT when it is loaded back."""
        if "TF_SERVING" not in mox.ExportKeys:
            pytest.skip("no plugin offers TF_SERVING: pip install mox-export")
        trained = self._trained(tmp_path_factory)
        assert trained.export_path is not None
        with working(f"loading {self._who} back from TF_SERVING"):
            served = tf.saved_model.load(trained.export_path).signatures["serving_default"]
            logits = served(images=tf.constant(self._images()))["logits"].numpy()
        expected = self._predicted(trained, mox.ModeKeys.PREDICT)
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
        """One step, trained once for all checks."""

        def make() -> _Trained:
            seen = _Seen()
            result = self._train(folders.mktemp("network"), seen)
            prefix = str(result.checkpoint)
            return _Trained(
                checkpoint=prefix,
                export_path=result.export_path,
                loss=result.metrics["loss"],
                end_points=seen.end_points,
                trainable=seen.trainable,
                with_gradient=seen.with_gradient,
                before=variables_of(f"{prefix.rpartition('-')[0]}-0"),
                after=variables_of(prefix),
            )

        return once(type(self), "trained", make)

    def _train(self, log_dir: Path | None, seen: _Seen) -> mox.RunResult:
        export = "TF_SERVING" in mox.ExportKeys and log_dir is not None
        return self._run(
            seen,
            run_mode=mox.ModeKeys.TRAIN,
            optimizer_fn=lambda: _Watched(tf.compat.v1.train.GradientDescentOptimizer(_LEARNING_RATE), seen),
            max_number_of_steps=1,
            log_dir=log_dir,
            export_model="TF_SERVING" if export else False,
        )

    def _predicted(
        self, trained: _Trained, mode: str, *, times: int = 1, run_seed: int = 1, batch_size: int | None = None
    ) -> np.ndarray[Any, Any]:
        """Returns the logits of the images, which are gone through so many times."""
        windows: list[dict[str, Any]] = []
        self._run(
            _Seen(),
            times=times,
            run_seed=run_seed,
            run_mode=mode,
            batch_size=batch_size or self.batch_size,
            checkpoint_path=trained.checkpoint,
            output_fn=windows.extend,
            output_every_n_steps=1,
        )
        return np.concatenate([step["logits"] for step in windows])

    def _run(self, seen: _Seen, *, times: int = 1, run_seed: int = 1, **options: Any) -> mox.RunResult:
        images = self._images()
        labels = np.arange(len(images), dtype=np.int64) % self.num_classes

        def input_fn(mode: str) -> Any:
            dataset = tf.data.Dataset.from_tensor_slices((images, labels))
            return dataset.repeat(None if mode == mox.ModeKeys.TRAIN else times)

        def model_fn(inputs: list[Any], mode: str) -> mox.ModelSpec:
            network = mox.get_model_fn(self.network, run_mode=mode, num_classes=self.num_classes)
            logits, end_points = self._checked(network(inputs[0]), mode)
            seen.see(mode, end_points)
            wide = tf.cast(logits, tf.float32)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=inputs[1], logits=wide))
            return mox.ModelSpec(
                loss=loss,
                log_info={"loss": loss},
                output_info={"logits": wide},
                export_spec=mox.ExportSpec({"images": inputs[0]}, {"logits": wide}),
            )

        with working(f"a run of {self._who} in {options['run_mode']}"), seed(run_seed):
            return mox.run(input_fn=input_fn, model_fn=model_fn, **{"batch_size": self.batch_size, **options})

    def _checked(self, result: Any, mode: str) -> tuple[Any, Any]:
        """Refuses what a loss cannot be made of."""
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
class _Seen:
    """What is noted while a model is traced."""

    end_points: dict[str, Any] = field(factory=dict)
    trainable: dict[str, tuple[int, ...]] = field(factory=dict)
    with_gradient: set[str] = field(factory=set)

    def see(self, mode: str, end_points: Any) -> None:
        """Notes what a network has made in a mode."""
        self.end_points[mode] = end_points
        if mode == mox.ModeKeys.TRAIN:
            variables = tf.compat.v1.trainable_variables()
            self.trainable = {_name(variable): tuple(variable.shape) for variable in variables}


@define
class _Trained:
    """A network after one step.

    Attributes:
        checkpoint: holds it.
        export_path: where it was exported.
        loss: that of the step, so of the first weights.
        end_points: by mode, what the network returned.
        trainable: shapes by the names of the trainable variables.
        with_gradient: names of those that the optimizer got.
        before: all variables before the step.
        after: all variables after the step.
    """

    checkpoint: str
    export_path: str | None
    loss: float
    end_points: dict[str, Any]
    trainable: dict[str, tuple[int, ...]]
    with_gradient: set[str]
    before: Variables
    after: Variables

    def changed(self, names: Iterable[str]) -> list[str]:
        """Which of some variables the step has changed."""
        return [name for name in names if not np.array_equal(self.before[name], self.after[name])]


class _Watched(OptimizerWrapper):
    """Notes which variables have a gradient."""

    def __init__(self, optimizer: Any, seen: _Seen) -> None:
        super().__init__(optimizer)
        self._seen = seen

    def apply_gradients(self, grads_and_vars: Any) -> None:
        pairs = list(grads_and_vars)
        self._seen.with_gradient |= {_name(variable) for _, variable in pairs}
        super().apply_gradients(pairs)


def _name(variable: tf.Variable) -> str:
    return variable.name.partition(":")[0]


def _close(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> bool:
    """Whether logits are the same but for rounding, which grows with the size of the largest."""
    scale = max(1.0, float(np.max(np.abs(left))))
    return left.shape == right.shape and np.allclose(left, right, atol=1e-3 * scale, rtol=0)


def _listed(names: list[str]) -> str:
    shown = 5
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def _largest(shapes: dict[str, tuple[int, ...]]) -> str:
    ordered = sorted(shapes.items(), key=lambda item: -np.prod(item[1]))
    return _listed([f"{name} {shape}" for name, shape in ordered])
