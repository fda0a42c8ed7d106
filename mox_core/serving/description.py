"""What an exported model says of itself, in a file beside a SavedModel: classes, and what its image input takes.

The file is in `assets.extra`, which TensorFlow Serving leaves to whoever wrote the model.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import attrs
from attrs import frozen

FILE: Final = Path("assets.extra", "mox.json")
PREPROCESS: Final = "preprocess"
"""The attribute of the SavedModel that is the function from a decoded image to the model's input, where it is known."""

IMAGE_SIZE: Final = "mox_image_size"
"""The collection of a graph in which a network for images of any size leaves the size that it is built for."""

PROBABILITIES, SOFTMAX, SIGMOID, AS_THEY_ARE = "probabilities", "softmax", "sigmoid", "as they are"
"""What makes a score of an output of the model."""


@frozen(kw_only=True)
class Classes:
    """The classes of a model.

    Attributes:
        output: the name of the output with a value for each class.
        names: the names of the classes, by label.
        scores: what makes scores of the values: PROBABILITIES they are already, SOFTMAX or SIGMOID of them; AS_THEY_ARE
            where it is not known whether a sample has one class or several.
    """

    output: str
    names: tuple[str, ...]
    scores: str


@frozen(kw_only=True)
class ImageInput:
    """The input of a model that takes images.

    Attributes:
        name: its name.
        size: height and width in pixels; None for any.
        mode: the mode whose `input_fn` the function `PREPROCESS` repeats; None where that is not known.
    """

    name: str
    size: tuple[int, int] | None
    mode: str | None


@frozen(kw_only=True)
class Description:
    """What an exported model says of itself.

    Attributes:
        image: its image input; None if it takes something else, or more.
        classes: its classes; None where they are not known.
    """

    image: ImageInput | None = None
    classes: Classes | None = None

    def write(self, directory: str) -> None:
        """Write the file into the folder of a SavedModel, if there is something to say."""
        if self.image is None and self.classes is None:
            return
        path = Path(directory, FILE)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(attrs.asdict(self), indent=1, ensure_ascii=False) + "\n", "utf-8", "surrogateescape")


def read_description(directory: Path) -> Description:
    """Return what the file in the folder of a SavedModel says; nothing of a model that mox has not written.

    Raises:
        ValueError: if the file is damaged.
    """
    try:
        said = json.loads((directory / FILE).read_text("utf-8", "surrogateescape"))
    except FileNotFoundError:
        return Description()
    try:
        return Description(image=_image(said["image"]), classes=_classes(said["classes"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{error!r}") from error


def _image(said: dict[str, Any] | None) -> ImageInput | None:
    if said is None:
        return None
    size = None if said["size"] is None else (said["size"][0], said["size"][1])
    return ImageInput(name=said["name"], size=size, mode=said["mode"])


def _classes(said: dict[str, Any] | None) -> Classes | None:
    return None if said is None else Classes(output=said["output"], names=tuple(said["names"]), scores=said["scores"])
