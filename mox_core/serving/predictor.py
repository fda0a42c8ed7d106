"""A SavedModel that is asked about images: how they become its input, and its output scores of classes."""

from __future__ import annotations

import contextlib
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tensorflow as tf
from attrs import field, frozen

from mox_core.datasets.image_bytes import FORMATS, JPEG_OPTIONS, format_of, has_end, pixels_by_pillow
from mox_core.errors import UsageError
from mox_core.serving.description import (
    AS_THEY_ARE,
    FILE,
    PREPROCESS,
    PROBABILITIES,
    SIGMOID,
    SOFTMAX,
    Classes,
    Description,
    ImageInput,
    read_description,
)
from mox_core.serving.image_files import ImageFile, find_images
from mox_core.serving.model_folder import check_folder
from mox_core.stores.folder import is_remote, local_path, open_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

BATCH_SIZE: Final = 32
_READERS: Final = 8
_SIGNATURE: Final = "serving_default"
_CHANNELS: Final = (1, 3)
_RANK: Final = 4


@frozen
class Score:
    """How a class has scored.

    Attributes:
        label: its number.
        name: its name; its number where the model knows no names.
        score: a probability, or what `Predictor.scores` says.
    """

    label: int
    name: str
    score: float


@frozen
class Prediction:
    """What a model says of an image.

    Attributes:
        image: the name of the file; `images[2]` for an array.
        top: the classes that have scored best, the best first; none if the image cannot be read.
        error: why it cannot be read; '' if it can.
    """

    image: str
    top: tuple[Score, ...] = ()
    error: str = ""


@frozen(kw_only=True, eq=False)
class Predictor:
    """A model that is called with images, and says which classes they are of.

    Attributes:
        path: the folder of the model.
        classes: what is known of its classes; None for nothing but their numbers.
        image: what is known of its image input.
        spec: the shape and type of that input.
    """

    path: str
    classes: Classes | None
    image: ImageInput
    spec: tf.TensorSpec = field(repr=False)
    _output: str = field(repr=False)
    _model: Any = field(repr=False)  # as long as it is there, its variables are
    _preprocess: Any = field(repr=False)

    def __call__(self, images: Any, *, top: int = 5) -> list[Prediction]:
        """Return a prediction for each image, also for those that cannot be read.

        Args:
            images: paths and URLs of files, folders and patterns, or arrays of pixels (uint8, [height, width, 3], RGB);
                a list of them, or one.
            top: how many classes are told of each.

        Raises:
            UsageError: if something else is given.
        """
        return list(self.each(_to_files(images), top=top))

    def each(self, files: Iterable[ImageFile], *, top: int = 5, batch_size: int = BATCH_SIZE) -> Iterator[Prediction]:
        """Give the prediction for each file, batch by batch."""
        batch: list[tuple[str, Any]] = []
        with ThreadPoolExecutor(_READERS) as pool:
            for several in _in_groups(files, batch_size):
                batch = list(zip([each.name for each in several], pool.map(_pixels, several), strict=True))
                yield from self._predict(batch, top)

    @property
    def says(self) -> str:
        """How images become the input of the model, in words."""
        if self.image.mode is not None:
            return f"images as input_fn makes them in {self.image.mode}"
        size = "of their own size" if self.image.size is None else f"resized to {_size_text(self.image.size)}"
        return f"images {size}, values 0 to 255: what input_fn makes of them is not known to the model"

    @property
    def scores(self) -> str:
        """What the scores are."""
        kind = AS_THEY_ARE if self.classes is None else self.classes.scores
        return {
            PROBABILITIES: f"{self._output}, a probability for each class",
            SOFTMAX: f"probabilities, the softmax of {self._output}",
            SIGMOID: f"a probability for each class alone, the sigmoid of {self._output}",
            AS_THEY_ARE: f"{self._output} of the model",
        }[kind]

    @property
    def are_probabilities(self) -> bool:
        """Whether scores are between 0 and 1."""
        return self.classes is not None and self.classes.scores != AS_THEY_ARE

    def _predict(self, batch: Sequence[tuple[str, Any]], top: int) -> Iterator[Prediction]:
        """Give the predictions for images or the errors of their files, in the order in which they come.

        Where there is a text in the place of an array, it is the error.
        """
        inputs = [pixels if isinstance(pixels, str) else _attempt(self._input, pixels) for _, pixels in batch]
        outputs = iter(self._run([each for each in inputs if not isinstance(each, str)]))
        for (name, _), given in zip(batch, inputs, strict=True):
            found = given if isinstance(given, str) else next(outputs)
            yield Prediction(name, error=found) if isinstance(found, str) else Prediction(name, self._top(found, top))

    def _input(self, pixels: Any) -> Any:
        if self._preprocess is not None:
            return self._preprocess(tf.constant(pixels)).numpy()
        image = tf.cast(pixels, tf.float32)
        if self.spec.shape[-1] == 1:
            image = tf.image.rgb_to_grayscale(image)
        if self.image.size is not None:
            image = tf.image.resize(image, self.image.size)
        image = tf.round(image) if self.spec.dtype.is_integer else image
        return tf.saturate_cast(image, self.spec.dtype).numpy()

    def _run(self, inputs: list[Any]) -> list[Any]:
        """Return the values of the classes for each input, or why there are none."""
        results: list[Any] = []
        for group in _of_one_shape(inputs, self.spec.shape[0]):
            found = _attempt(self._values, group)
            if isinstance(found, str):  # of one of them; the others have values
                alone = [_attempt(self._values, [each]) for each in group]
                found = [each if isinstance(each, str) else each[0] for each in alone]
            results += found
        return results

    def _values(self, group: list[Any]) -> list[Any]:
        """Return the values of the classes for inputs of one shape, at most as many as the model takes."""
        missing = (self.spec.shape[0] or len(group)) - len(group)
        batch = np.stack([*group, *[group[-1]] * missing])
        outputs = self._model.signatures[_SIGNATURE](**{self.image.name: tf.constant(batch)})
        return list(outputs[self._output].numpy()[: len(group)])

    def _top(self, values: Any, top: int) -> tuple[Score, ...]:
        scores = _scores(values.astype(np.float64), AS_THEY_ARE if self.classes is None else self.classes.scores)
        best = np.argsort(-scores, kind="stable")[:top]
        return tuple(Score(int(each), self._name(int(each)), float(scores[each])) for each in best)

    def _name(self, label: int) -> str:
        return str(label) if self.classes is None else self.classes.names[label]


def load_predictor(path: str | os.PathLike[str]) -> Predictor:
    """Load an exported model, see `mox_core.serving.load`."""
    told = os.fspath(path)
    with _on_this_machine(told) as folder:
        check_folder(folder, told)
        try:
            described = read_description(folder)
        except ValueError as error:
            raise UsageError(
                f"{str(folder / FILE)!r}, which mox wrote beside the model, is damaged: {error}."
            ) from error
        model = tf.saved_model.load(str(folder))
    if _SIGNATURE not in model.signatures:
        raise UsageError(f"{told!r} has no signature {_SIGNATURE!r}; it has {', '.join(model.signatures) or 'none'}.")
    signature = model.signatures[_SIGNATURE]
    name, spec = _image_input(signature.structured_input_signature[1], told)
    image = _image(described, name, spec)
    return Predictor(
        path=told,
        classes=described.classes,
        image=image,
        spec=spec,
        output=_output_of(described, signature.structured_outputs, told),
        model=model,
        preprocess=getattr(model, PREPROCESS) if image.mode is not None else None,
    )


@contextlib.contextmanager
def _on_this_machine(path: str) -> Iterator[Path]:
    """Give the folder of a model, copied to this machine for the block if it is on a store."""
    if not is_remote(path):
        yield Path(local_path(path)).expanduser()
        return
    remote = open_folder(path)
    with tempfile.TemporaryDirectory(prefix="mox-model-", ignore_cleanup_errors=True) as folder:
        try:
            for name in remote.files(deep=True):
                target = Path(folder, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                remote.download(name, str(target))
        except OSError as error:
            raise UsageError(f"{path!r} cannot be read: {error}") from error
        yield Path(folder)


def _image_input(inputs: dict[str, tf.TensorSpec], told: str) -> tuple[str, tf.TensorSpec]:
    """Return the input of a signature that takes images alone."""
    text = ", ".join(f"{name} ({spec.dtype.name}, {spec.shape})" for name, spec in sorted(inputs.items()))
    if len(inputs) != 1:
        raise UsageError(
            f"{told!r} takes {len(inputs)} inputs, {text}, and an image is one: ask it by tf.saved_model.load(...)."
            f"signatures[{_SIGNATURE!r}]."
        )
    ((name, spec),) = inputs.items()
    numbers = spec.dtype.is_floating or spec.dtype in (tf.uint8, tf.int32)
    if spec.shape.rank != _RANK or spec.shape[-1] not in _CHANNELS or not numbers:
        raise UsageError(
            f"{told!r} takes {text}, which is no batch of images: those are numbers of shape [batch, height, width, 3]."
        )
    return name, spec


def _image(described: Description, name: str, spec: tf.TensorSpec) -> ImageInput:
    if described.image is not None and described.image.name == name:
        return described.image
    height, width = spec.shape[1:3]
    size = None if height is None or width is None else (height, width)
    return ImageInput(name=name, size=size, mode=None)


def _output_of(described: Description, outputs: dict[str, tf.TensorSpec], told: str) -> str:
    if described.classes is not None:
        return described.classes.output
    rows = [name for name, spec in outputs.items() if spec.shape.rank == 2 and spec.dtype.is_floating]  # noqa: PLR2004
    if len(rows) == 1:
        return rows[0]
    text = ", ".join(f"{name} ({spec.dtype.name}, {spec.shape})" for name, spec in sorted(outputs.items()))
    raise UsageError(
        f"{told!r} gives {text}: it is not known which of them has a value for each class. Export the model with "
        "mox.ExportSpec(..., class_names=[...])."
    )


def _to_files(images: Any) -> list[Any]:
    several = images if isinstance(images, (list, tuple)) else [images]
    files: list[Any] = []
    for number, each in enumerate(several):
        if isinstance(each, (str, os.PathLike)):
            files += find_images([os.fspath(each)]).files
            continue
        pixels = np.asarray(each)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3:  # noqa: PLR2004
            raise UsageError(
                f"images[{number}] has dtype {pixels.dtype} and shape {pixels.shape}; an image is a path, or an array "
                "of uint8 of shape [height, width, 3]."
            )
        files.append(_Pixels(f"images[{number}]", pixels))
    return files


@frozen
class _Pixels:
    """An image that is no file."""

    name: str
    pixels: Any


def _pixels(file: ImageFile | _Pixels) -> Any:
    """Return the pixels of a file, or a text that says why it has none."""
    if isinstance(file, _Pixels):
        return file.pixels
    try:
        content = file.read()
    except OSError as error:
        return f"{error.strerror or error}"
    if why := _why_unreadable(content):
        return why
    try:
        return _decode(content)
    except ImportError:
        return "no JPEG or PNG, and other formats need Pillow: pip install pillow"
    except Exception:  # noqa: BLE001  (decoders raise what they like)
        return "damaged, or of a format that is not read"


def _why_unreadable(content: bytes) -> str:
    """Return why an image cannot be decoded, as far as its bytes tell; '' if they do not.

    The decoders of C write to stderr on their own when they fail, so that they are not given what is known to be bad.
    """
    if not content:
        return "empty"
    found = format_of(content)
    if found in {"JPEG", "PNG"}:
        return "" if has_end(content) else f"a {found} that is cut off"
    return "" if not found or found in FORMATS else f"{found}, which is not read; formats are {', '.join(FORMATS)}"


def _decode(content: bytes) -> Any:
    """Return the pixels of an image, as the data sets of mox decode them."""
    found = format_of(content)
    if found == "JPEG":
        return tf.io.decode_jpeg(content, **JPEG_OPTIONS).numpy()
    if found == "PNG":
        return tf.io.decode_png(content, channels=3).numpy()
    return pixels_by_pillow(content)


def _in_groups(files: Iterable[Any], size: int) -> Iterator[list[Any]]:
    group: list[Any] = []
    for each in files:
        group.append(each)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _attempt(function: Callable[[Any], Any], given: Any) -> Any:
    """Return what a function gives, or a text that says why TensorFlow cannot compute it."""
    try:
        return function(given)
    except tf.errors.OpError as error:
        return f"the model cannot take it: {error.message.splitlines()[0]}"


def _of_one_shape(inputs: list[Any], at_most: int | None) -> Iterator[list[Any]]:
    """Give runs of inputs that have one shape."""
    group: list[Any] = []
    for each in inputs:
        if group and (group[0].shape != each.shape or len(group) == at_most):
            yield group
            group = []
        group.append(each)
    if group:
        yield group


def _scores(values: Any, kind: str) -> Any:
    if kind == SOFTMAX:
        powers = np.exp(values - values.max())
        return powers / powers.sum()
    if kind == SIGMOID:
        return 1 / (1 + np.exp(-values))
    return values


def _size_text(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
