"""The contract of exporters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import tensorflow as tf
from attrs import evolve, frozen

import mox_core as mox
from mox_core.catalog import find_target
from mox_core.plugins.offers import ExporterOffer
from mox_core.testing.helpers import attempt, once, seed

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from mox_core.engine.export import ExportedModel

    Arrays = dict[str, np.ndarray[Any, Any]]

_SAMPLES = 6
_BATCH = 4
_STEPS = 5
_TOLERANCE = 1e-4


class ExporterContract:
    """Tests for a format that a plugin offers as `mox.ExportKeys.<NAME>`.

    A small model with two inputs and two outputs is trained and exported by `mox.run`. The tests check that the loaded
    model has the names of the outputs and the values of PREDICT, for several batch sizes; and that an error during an
    export, of the model or of the disk, ends the run and leaves no incomplete folder.

    Example:
        class TestMyFormat(ExporterContract):
            exporter = "MY_FORMAT"

            def predict(self, folder, inputs):
                return my_format.load(folder / "model.my").run(inputs)

    Attributes:
        exporter: the name of the exporter.
    """

    exporter: ClassVar[str]

    def predict(self, folder: Path, inputs: Arrays) -> Arrays:
        """Load an exported model, as its users do, and compute its outputs.

        Args:
            folder: the folder that the exporter has written.
            inputs: the values of the model's inputs `left` and `right`: float32 arrays of shape [batch, 3].

        Returns:
            An array for each output of the model, by its name.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks the method `predict`")

    def test_what_is_loaded_back_predicts_what_the_model_predicted(
        self, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """The loaded model has the output names and, up to rounding, the values of PREDICT."""
        trained = self._trained(tmp_path_factory)
        outputs = self._loaded(tmp_path, trained, _SAMPLES)
        assert outputs.keys() == trained.outputs.keys(), (
            f"what {self._who} writes has the outputs {sorted(outputs)}, and the model has {sorted(trained.outputs)}: "
            "keep the names of model.outputs."
        )
        for name, expected in trained.outputs.items():
            _check_close(outputs[name], expected, f"output {name!r} of what {self._who} writes")

    def test_what_is_loaded_back_takes_batches_of_any_size(
        self, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """A batch of one sample has the values of the same sample in a larger batch."""
        trained = self._trained(tmp_path_factory)
        outputs = self._loaded(tmp_path, trained, 1)
        for name, expected in trained.outputs.items():
            what = f"for a batch of one sample, output {name!r} of what {self._who} writes"
            _check_close(outputs[name], expected[:1], what)

    def test_an_error_of_the_model_leaves_nothing(
        self, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """An exception of the model's function during the export ends the run, and leaves no version folder."""

        def export(model: ExportedModel, directory: str) -> None:
            def fail(**_tensors: Any) -> dict[str, tf.Tensor]:
                raise _InterruptedExportError("the export is interrupted")

            self._target(evolve(model, function=fail), directory)

        self._check_interrupted(tmp_path, self._trained(tmp_path_factory), export, "an error of the model's function")

    def test_an_error_of_the_disk_leaves_nothing(
        self, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """An error of writing files ends the run, and leaves no version folder."""

        def export(model: ExportedModel, directory: str) -> None:
            place = Path(directory)
            place.rmdir()
            place.write_text("no folder", encoding="utf-8")  # nothing can be written below a file
            try:
                self._target(model, directory)
            finally:
                place.unlink()
                place.mkdir()  # as mox made it

        self._check_interrupted(tmp_path, self._trained(tmp_path_factory), export, "an error of the disk")

    @property
    def _who(self) -> str:
        return f"exporter {self.exporter!r}"

    @property
    def _target(self) -> Callable[[ExportedModel, str], None]:
        return find_target(ExporterOffer, self.exporter)

    def _trained(self, folders: pytest.TempPathFactory) -> _Trained:
        """Return the model, which is trained once for all checks."""

        def make() -> _Trained:
            folder = folders.mktemp("exporter")
            _run(mox.ModeKeys.TRAIN, log_dir=folder, max_number_of_steps=_STEPS, optimizer_fn=_sgd)
            windows: list[Arrays] = []
            _run(mox.ModeKeys.PREDICT, checkpoint_path=folder, output_fn=windows.extend, output_every_n_steps=1)
            outputs = {name: np.concatenate([step[name] for step in windows]) for name in windows[0]}
            return _Trained(folder, outputs)

        return once(type(self), "trained", make)

    def _loaded(self, folder: Path, trained: _Trained, count: int) -> Arrays:
        with attempt(f"exporting by {self._who}"):
            path = _run(
                mox.ModeKeys.EVAL, checkpoint_path=trained.log_dir, log_dir=folder, export_model=self.exporter
            ).export_path
        given = {name: values[:count] for name, values in _INPUTS.items()}
        with attempt(f"predict() of what {self._who} writes, with {count} samples"):
            return {name: np.asarray(value) for name, value in self.predict(Path(str(path)), given).items()}

    def _check_interrupted(
        self, folder: Path, trained: _Trained, export: Callable[[ExportedModel, str], None], what: str
    ) -> None:
        def run_it(exporter: Any) -> mox.RunResult:
            return _run(mox.ModeKeys.EVAL, checkpoint_path=trained.log_dir, log_dir=folder, export_model=exporter)

        self._target  # noqa: B018  (an error of its import is to be raised here)
        run_it(None)  # writes the summaries of EVAL
        before = set(folder.iterdir())
        try:
            run_it(export)
        except Exception:  # noqa: BLE001, S110  (the exporter may raise anything)
            pass
        else:
            raise AssertionError(
                f"{self._who} passes over {what}, and a half model is exported: let what is raised go through."
            )
        left = sorted(path.name for path in set(folder.iterdir()) - before)
        assert not left, (
            f"{self._who} leaves {', '.join(left)} in log_dir after {what}: write into the folder that you are given, "
            "and nowhere else."
        )
        with attempt(f"exporting by {self._who} after {what}"):
            path = run_it(self.exporter).export_path
        assert any(Path(str(path)).iterdir()), f"{self._who} writes nothing into the folder that it is given."


@frozen
class _Trained:
    """A trained model.

    Attributes:
        log_dir: the folder of its checkpoint.
        outputs: the values of PREDICT.
    """

    log_dir: Path
    outputs: Arrays


class _InterruptedExportError(Exception):
    """The exception of the model's function."""


def _run(mode: str, **options: Any) -> mox.RunResult:
    """Run the model of this contract."""
    with seed(1):
        return mox.run(input_fn=_input_fn, model_fn=_model_fn, run_mode=mode, batch_size=_BATCH, **options)


_INPUTS: Arrays = {
    name: np.random.default_rng(number).normal(size=(_SAMPLES, 3)).astype(np.float32)
    for number, name in enumerate(("left", "right"))
}


def _input_fn(mode: str) -> Any:
    dataset = tf.data.Dataset.from_tensor_slices(tuple(_INPUTS.values()))
    return dataset.repeat() if mode == mox.ModeKeys.TRAIN else dataset


def _model_fn(inputs: list[Any], mode: str) -> mox.ModelSpec:
    """Return a model with two outputs of different shapes, neither of which is symmetric in the inputs."""
    del mode
    left, right = inputs
    first = tf.compat.v1.get_variable("first", [3, 4], initializer=tf.compat.v1.glorot_uniform_initializer())
    second = tf.compat.v1.get_variable("second", [3, 4], initializer=tf.compat.v1.glorot_uniform_initializer())
    logits = tf.nn.relu(left @ first) - 2.0 * tf.tanh(right @ second)
    outputs = {"logits": logits, "score": tf.reduce_sum(logits, 1)}
    loss = tf.reduce_mean((outputs["score"] - 1.0) ** 2)
    export_spec = mox.ExportSpec({"left": left, "right": right}, outputs)
    return mox.ModelSpec(loss=loss, log_info={"loss": loss}, output_info=outputs, export_spec=export_spec)


def _sgd() -> Any:
    return tf.compat.v1.train.GradientDescentOptimizer(0.05)


def _check_close(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], what: str) -> None:
    assert found.shape == expected.shape, f"{what} has the shape {found.shape}; expected is {expected.shape}."
    furthest = float(np.max(np.abs(found - expected)))
    assert furthest < _TOLERANCE, (
        f"{what} is up to {furthest:.3g} off what PREDICT gave: write the function of the model as it is, with the "
        "present values of model.variables."
    )
