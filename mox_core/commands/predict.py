"""`mox predict`: ask an exported model which classes images are of."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from mox_core import serving
from mox_core.errors import UsageError
from mox_core.quoting import shown
from mox_core.serving.image_files import find_images
from mox_core.terminal.pages import Table, aligned
from mox_core.terminal.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mox_core.serving.image_files import FoundImages
    from mox_core.serving.predictor import Prediction, Predictor


def main(arguments: list[str]) -> int:
    """Print what a model says of images, and return the exit status: 1 if one cannot be read, else 0.

    Raises:
        UsageError: if the model cannot be asked about images, or there are none.
    """
    options = _parser().parse_args(arguments)
    for name in ("top", "batch_size"):
        if getattr(options, name) < 1:
            raise UsageError(f"--{name} is {getattr(options, name)}; it must be a whole number, 1 or more.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its C++ has words of its own for a file that is no image
    found = find_images(options.images)
    if not found.files:
        raise UsageError(f"there are no images in {', '.join(map(repr, options.images))}.{_left_out(found)}")
    model = serving.load(options.model)
    with progress("Predicting", total=len(found.files), unit="images") as line:
        predictions = []
        for each in model.each(found.files, top=options.top, batch_size=options.batch_size):
            predictions.append(each)
            line.advance(1)
    sys.stdout.write(_json(model, predictions) if options.json else _table(model, predictions))
    _tell_what_is_missing(predictions, found)
    return int(any(each.error for each in predictions))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mox predict",
        description=(
            "Ask an exported model (mox.ExportKeys.TF_SERVING) which classes images are of. The exit status is 1 if "
            "an image cannot be read; the others are predicted."
        ),
        allow_abbrev=False,
    )
    parser.add_argument("model", help="the folder of the export, as log_dir/1, or its URL")
    parser.add_argument("images", nargs="+", metavar="image", help="files, folders, patterns ('*.jpg') and URLs")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="classes for each image (default: 5)")
    parser.add_argument("--batch_size", type=int, default=32, metavar="N", help="images at a time (default: 32)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _table(model: Predictor, predictions: Iterable[Prediction]) -> str:
    rows = [
        [shown(each.image), *(f"{shown(score.name)} {_number(score.score, model)}" for score in each.top)]
        for each in predictions
        if not each.error
    ]
    if not rows:
        return ""
    columns = max(map(len, rows))
    table = Table(
        [["image", *map(str, range(1, columns))], *(row + [""] * (columns - len(row)) for row in rows)], indent=0
    )
    lines = [f"{shown(model.path)}: {model.scores}; {model.says}", *(line.rstrip() for line in aligned(table))]
    return "\n".join(lines) + "\n"


def _number(score: float, model: Predictor) -> str:
    return f"{score:.1%}" if model.are_probabilities else f"{score:.4g}"


def _json(model: Predictor, predictions: Iterable[Prediction]) -> str:
    told = {
        "model": model.path,
        "scores": model.scores,
        "input": model.says,
        "images": [_as_dict(each) for each in predictions],
    }
    return json.dumps(told, indent=1) + "\n"


def _as_dict(prediction: Prediction) -> dict[str, Any]:
    if prediction.error:
        return {"image": prediction.image, "error": prediction.error}
    top = [{"label": each.label, "class": each.name, "score": each.score} for each in prediction.top]
    return {"image": prediction.image, "top": top}


def _tell_what_is_missing(predictions: Iterable[Prediction], found: FoundImages) -> None:
    for each in predictions:
        if each.error:
            sys.stderr.write(f"mox predict: {shown(each.image)}: {each.error}\n")
    if found.left_out:
        sys.stderr.write(f"mox predict:{_left_out(found)}\n")


def _left_out(found: FoundImages) -> str:
    if not found.left_out:
        return ""
    text = ", ".join(f"{shown(suffix)} {count}" for suffix, count in sorted(found.left_out.items()))
    return f" Files that are left out, as they are not called like images: {text}."
