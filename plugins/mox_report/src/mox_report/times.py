"""The section of times: on what the time of a training went."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

from mox_report.figures import draw_times
from mox_report.markup import NOTHING, UNKNOWN, Markup, element, joined, seconds_text, section, table, text
from mox_report.reading import RATE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mox_report.reading import Training

_PARTS: Final = ("training, with its start and export", "validations", "saves")
_COLOURS: Final = (2, 4, 3)
"""Of the colours of curves, those that tell two trainings apart least."""


def times_section(trainings: Sequence[Training]) -> Markup:
    """Return on what the time went, as bars and as numbers."""
    return section("Time", element("div", _bars(trainings), _table(trainings), class_="figures"))


def _shares(training: Training) -> list[float] | None:
    """Return the shares of the parts in the time of a training, None where its time is not known."""
    total = training.seconds()
    if not total:
        return None
    besides = [training.spent_on("validation")[1] / total, training.spent_on("save")[1] / total]
    return [max(0.0, 1 - sum(besides)), *besides]


def _bars(trainings: Sequence[Training]) -> Markup:
    known = [(training.name, shares) for training in trainings if (shares := _shares(training)) is not None]
    if not known:
        return NOTHING
    parts = [(colour, [shares[number] for _, shares in known]) for number, colour in enumerate(_COLOURS)]
    said = "; ".join(
        f"{name}: " + ", ".join(f"{share:.0%} {part}" for part, share in zip(_PARTS, shares, strict=True))
        for name, shares in known
    )
    key = [
        element("span", joined([element("i", style=f"background: var(--series-{colour + 1})"), text(part)]))
        for colour, part in zip(_COLOURS, _PARTS, strict=True)
    ]
    caption = element("figcaption", element("strong", text("where the time went")), element("span", *key, class_="key"))
    return element("figure", caption, Markup(draw_times([name for name, _ in known], parts, said)))


def _table(trainings: Sequence[Training]) -> Markup:
    rates = [median_rate(training) for training in trainings]
    rows = [["samples a second, median", *(UNKNOWN if each is None else f"{each:,.4g}" for each in rates)]]
    for what, words in (("validation", "validations"), ("save", "saves")):
        spent = [training.spent_on(what) for training in trainings]
        rows.append([words, *(_spent_text(number, seconds) for number, seconds in spent)])
    seconds = [training.seconds() for training in trainings]
    rows.append(["in all", *("not known" if each is None else seconds_text(each) for each in seconds)])
    head = [NOTHING, *(text(each.name) for each in trainings)]
    return table(head, [list(map(text, row)) for row in rows], "Times")


def median_rate(training: Training) -> float | None:
    """Return the median of the throughput: neither the start nor a validation moves it."""
    _, rates = training.curve("TRAIN", RATE)
    return statistics.median(rates) if rates else None


def _spent_text(number: int, seconds: float) -> str:
    return f"{number:,} in {seconds_text(seconds)}" if number else "none"
