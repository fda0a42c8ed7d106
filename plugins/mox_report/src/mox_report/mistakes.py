"""The sections on a validation of a classifier: what it takes for what, and its worst samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mox_core.metric_text import metric_text
from mox_report.figures import classes_to_draw, draw_confusion
from mox_report.markup import NOTHING, Markup, element, joined, section, table, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mox_report.reading import Confusion, Sample, Training

_COMMONEST = 8
_SQUARE, _NAMES = 22, 60
"""Pixels of a square of the matrix, and of the names beside it."""


def confusion_section(trainings: Sequence[Training]) -> Markup:
    """Return the confusion matrices, with the commonest mistakes in words."""
    known = [(number, each) for number, each in enumerate(trainings) if each.confusion]
    parts = [_confusion(f"confusion{number}", each, several=len(trainings) > 1) for number, each in known]
    return section("What was taken for what", *(element("div", part, class_="figures") for part in parts))


def _confusion(name: str, training: Training, *, several: bool) -> Markup:
    confusion = training.confusion
    if confusion is None:
        return NOTHING
    counts = confusion.counts
    total, right = sum(map(sum, counts)), sum(row[number] for number, row in enumerate(counts))
    said = f"{right:,.10g} of {total:,.10g} samples right ({right / total if total else 0:.1%}) in {confusion.where}"
    if training.share > 1:
        said += f"; they are the share of one of {training.share} devices"
    drawn = len(classes_to_draw(confusion))
    left_out = f" Drawn are the {drawn} classes of {len(counts)} with the most mistakes." if drawn < len(counts) else ""
    title = [element("strong", text(training.name)), text(": ")] if several else []
    caption = element("figcaption", *title, text(f"{said}.{left_out}"))
    # Narrower than this its letters could not be read: it is moved then.
    matrix = element(
        "div",
        Markup(draw_confusion(name, confusion, f"Confusion matrix: {said}")),
        class_="scroll",
        style=f"--least: {_SQUARE * drawn + _NAMES}px",
        tabindex="0",
        role="region",
        aria_label="Confusion matrix",
    )
    return joined([element("figure", caption, matrix, class_="matrix"), _commonest(confusion)])


def _commonest(confusion: Confusion) -> Markup:
    """Return a table of the commonest mistakes."""
    mistakes = [
        (count, label, prediction, sum(row))
        for label, row in enumerate(confusion.counts)
        for prediction, count in enumerate(row)
        if count and label != prediction
    ]
    mistakes.sort(key=lambda each: (-each[0], each[1:]))
    rows = [
        [
            text(f"{confusion.classes[label]} → {confusion.classes[prediction]}"),
            text(f"{count:,.10g}"),
            text(f"{count / total:.1%}"),
        ]
        for count, label, prediction, total in mistakes[:_COMMONEST]
    ]
    head = [text("commonest mistakes"), text("samples"), text("of the label")]
    return table(head, rows, "Commonest mistakes") if rows else NOTHING


def worst_section(trainings: Sequence[Training]) -> Markup:
    """Return the worst samples as pictures."""
    parts = []
    for training in trainings:
        if training.worst:
            title = [element("h3", text(training.name))] if len(trainings) > 1 else []
            parts.append(element("div", *title, element("ul", *map(_sample, training.worst), class_="samples")))
    said = "Label → prediction, with its probability; the highest cross-entropy comes first."
    return section("The worst samples", *([element("p", text(said), class_="note"), *parts] if parts else []))


def _sample(sample: Sample) -> Markup:
    right = sample.label == sample.prediction
    said = f"labelled {sample.label}, taken for {sample.prediction}"
    picture = element("img", src=f"data:image/png;base64,{sample.image}", alt=f"{sample.name} {said}".strip())
    certain = f" {sample.probability:.0%}" if sample.probability is not None else ""
    loss = "not finite" if sample.loss is None else metric_text(sample.loss)
    return element(
        "li",
        picture,
        element(
            "span",
            text(f"{'✓' if right else '✗'} {sample.label} → {sample.prediction}{certain}"),
            class_="right" if right else "wrong",
        ),
        element("small", text(f"loss {loss}")),
        element("small", text(sample.name), class_="name", title=sample.name) if sample.name else NOTHING,
    )
