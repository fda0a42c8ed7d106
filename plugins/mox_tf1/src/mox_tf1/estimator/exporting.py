"""Exported models of an estimator, and what they are fed."""

from __future__ import annotations

import contextlib
import functools
import logging
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import field, frozen

import mox_core as mox
from mox_core.errors import UsageError
from mox_tf1.estimator.log import say
from mox_tf1.estimator.specs import ClassificationOutput, PredictOutput, RegressionOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mox_core.sdk import ExportedModel
    from mox_tf1.estimator.model import Model

_DEFAULT: Final = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"input": value}


@frozen(eq=False)
class ServingInputReceiver:
    """What an exported model is fed, and the features that it makes of it.

    Attributes:
        features: a tensor, or a dict of tensors.
        receiver_tensors: placeholders: a dict, or one, which is called 'input'.
        receiver_tensors_alternatives: refused.
    """

    features: Any
    receiver_tensors: Mapping[str, Any] = field(converter=_as_dict)
    receiver_tensors_alternatives: None = None

    def __attrs_post_init__(self) -> None:
        """Refuse other ways to feed the model."""
        if self.receiver_tensors_alternatives is not None:
            raise UsageError("receiver_tensors_alternatives: an exported model is fed in one way here. Leave it out.")


def build_parsing_serving_input_receiver_fn(
    feature_spec: Mapping[str, Any], default_batch_size: int | None = None
) -> Callable[[], ServingInputReceiver]:
    """Return a function for a model that is fed serialized `tf.train.Example`s, under the name 'examples'.

    Args:
        feature_spec: the features by name, as `tf.io.parse_example` takes them.
        default_batch_size: how many they are; None for any number.
    """

    def serving_input_receiver_fn() -> ServingInputReceiver:
        shape = [default_batch_size]
        serialized = tf.compat.v1.placeholder(tf.string, shape, name="input_example_tensor")
        return ServingInputReceiver(tf.io.parse_example(serialized, feature_spec), {"examples": serialized})

    return serving_input_receiver_fn


def build_raw_serving_input_receiver_fn(
    features: Mapping[str, Any], default_batch_size: int | None = None
) -> Callable[[], ServingInputReceiver]:
    """Return a function for a model that is fed its features themselves.

    Args:
        features: tensors by name, of which dtype and shape are taken.
        default_batch_size: how many samples a batch holds; None for any number.
    """
    specs = {
        name: (tensor.dtype, [default_batch_size, *tensor.shape.as_list()[1:]]) for name, tensor in features.items()
    }

    def serving_input_receiver_fn() -> ServingInputReceiver:
        fed = {name: tf.compat.v1.placeholder(dtype, shape, name=name) for name, (dtype, shape) in specs.items()}
        return ServingInputReceiver(dict(fed), fed)

    return serving_input_receiver_fn


def export(run: Callable[..., Any], model: Model, receiver_fn: Callable[[], Any], base: str, checkpoint: str) -> bytes:
    """Export a model with the values of a checkpoint, and return its folder: a new one in `base`, named by the time."""
    signatures: dict[str, dict[str, str]] = {}
    tables: list[Any] = []

    def model_fn(inputs: list[Any], mode: str) -> Any:
        if mode != mox.ModeKeys.EXPORT:
            return mox.ModelSpec(log_info={"nothing": tf.reduce_sum(inputs[0])})
        with _noting(tables):
            receiver = receiver_fn()
            spec = model.exported(_checked(receiver).features)
        outputs, names = _outputs_of(spec)
        signatures.update(names)
        return mox.ModelSpec(export_spec=mox.ExportSpec(dict(receiver.receiver_tensors), outputs, version="model"))

    def write(exported: ExportedModel, directory: str) -> None:
        _write(exported, signatures, tables, directory)

    Path(base).mkdir(parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(prefix=".export-", dir=base)
    try:
        result = run(
            input_fn=lambda _: tf.data.Dataset.from_tensors(tf.zeros([1])),
            model_fn=model_fn,
            run_mode=mox.ModeKeys.EVAL,  # the one that wants the least; what is exported is of mode EXPORT
            auto_batch=False,
            max_number_of_steps=1,
            checkpoint_path=checkpoint,
            log_dir=folder,
            export_model=write,
        )
        path = _new_folder(Path(base))
        Path(result.export_path).rename(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    say("SavedModel written to: %s", path)
    return str(path).encode()


def _checked(receiver: Any) -> ServingInputReceiver:
    if not isinstance(receiver, ServingInputReceiver):
        raise UsageError(
            f"serving_input_receiver_fn returned {receiver!r}; it returns a tf.estimator.export.ServingInputReceiver."
        )
    return receiver


@contextlib.contextmanager
def _noting(tables: list[Any]) -> Iterator[None]:
    """Note the tables that are made in the block, as those of columns with a vocabulary: TensorFlow asks for them."""
    kind = tf.saved_model.experimental.TrackableResource
    original = kind.__init__

    @functools.wraps(original)
    def init(resource: Any, *arguments: Any, **options: Any) -> None:
        original(resource, *arguments, **options)
        tables.append(resource)

    kind.__init__ = init
    try:
        yield
    finally:
        kind.__init__ = original


def _new_folder(base: Path) -> Path:
    stamp = int(time.time())
    while (base / str(stamp)).exists():
        stamp += 1
    return base / str(stamp)


def _outputs_of(spec: Any) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """Return all outputs, each under a name of its own, and for each signature these names by its own."""
    given = dict(spec.export_outputs or {_DEFAULT: PredictOutput(_named(spec.predictions))})
    for name, each in given.items():
        if not isinstance(each, (ClassificationOutput, PredictOutput, RegressionOutput)):
            raise UsageError(
                f"export_outputs[{name!r}] is {each!r}; it is a tf.estimator.export.PredictOutput, "
                "ClassificationOutput or RegressionOutput."
            )
    if len(given) == 1:
        given.setdefault(_DEFAULT, next(iter(given.values())))
    elif _DEFAULT not in given:
        raise UsageError(f"export_outputs has several signatures, {', '.join(given)}: one of them is {_DEFAULT!r}.")
    if not all(isinstance(each, PredictOutput) for each in given.values()):
        say("All signatures of the exported model are of TensorFlow Serving's Predict API.")
    outputs: dict[str, Any] = {}
    names: dict[str, dict[str, str]] = {}
    for signature, each in given.items():
        names[signature] = {}
        for name, tensor in each.outputs_dict().items():
            unique = f"{signature}/{name}"
            outputs[unique] = tf.identity(tensor)
            names[signature][name] = unique
    return outputs, names


def _named(predictions: Any) -> dict[str, Any]:
    return predictions if isinstance(predictions, dict) else {"output": predictions}


def _write(model: ExportedModel, signatures: dict[str, dict[str, str]], tables: list[Any], directory: str) -> None:
    holder = tf.Module()
    setattr(holder, "kept", [*model.variables, *tables])  # noqa: B010  (TensorFlow saves what it finds in an object)

    def of(names: dict[str, str]) -> Any:
        def function(**tensors: Any) -> dict[str, Any]:
            results = model.function(**tensors)
            return {name: results[unique] for name, unique in names.items()}

        return tf.function(function, autograph=False).get_concrete_function(**model.inputs)

    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # TensorFlow logs the folder, which is not the final one
    try:
        tf.saved_model.save(holder, directory, signatures={name: of(names) for name, names in signatures.items()})
    finally:
        logger.setLevel(level)
