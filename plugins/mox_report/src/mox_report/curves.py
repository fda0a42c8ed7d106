"""The sections of curves: what was logged, over the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mox_core.run_history import VALIDATION
from mox_report.figures import Curve, draw_curves, is_logarithmic
from mox_report.markup import NOTHING, Markup, element, joined, section, text
from mox_report.reading import LEARNING_RATE, RATE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mox_report.reading import Training

_COLOURS = 6


def names_of_values(trainings: Sequence[Training]) -> list[str]:
    """Return the names of all that was logged, each once."""
    return list(dict.fromkeys(name for training in trainings for name in training.value_names()))


def curves_section(trainings: Sequence[Training]) -> Markup:
    """Return a figure for each value, with training and validation, for the learning rate and for the speed."""
    figures = []
    for number, name in enumerate(names_of_values(trainings)):
        curves = _curves_of(trainings, name)
        if curves:
            figures.append(_figure(f"value{number}", name, curves, several=len(trainings) > 1))
    rates = _one_each(trainings, LEARNING_RATE)
    if rates:
        figures.append(_figure("rate", "learning rate", rates, several=len(trainings) > 1))
    if speeds := _one_each(trainings, RATE):
        figures.append(_figure("speed", "samples a second", speeds, several=len(trainings) > 1, from_zero=True))
    if not figures:
        return NOTHING
    said = (
        ""
        if any(each.history.of(VALIDATION) for each in trainings)
        else (
            "There was no validation while training: it takes inter_mode=mox.ModeKeys.EVAL and a hook such as "
            "mox.LogEvaluationMetricHook."
        )
    )
    note = element("p", text(said), class_="note") if said else NOTHING
    return section("Curves", note, element("div", *figures, class_="figures"))


def _curves_of(trainings: Sequence[Training], name: str) -> list[Curve]:
    """Return training and validation of a value; the colours tell trainings apart, or these two for a single one."""
    several, curves = len(trainings) > 1, []
    for number, training in enumerate(trainings):
        for validates, mode, words in ((False, "TRAIN", "training"), (True, VALIDATION, "validation")):
            steps, values = training.curve(mode, name)
            if steps:
                said = f"{training.name}, {words}" if several else words
                colour = number if several else int(validates)
                curves.append(Curve(said, steps, values, colour, marked=validates, faint=several and not validates))
    return curves


def _one_each(trainings: Sequence[Training], name: str) -> list[Curve]:
    points = [(training.name, *training.curve("TRAIN", name)) for training in trainings]
    return [Curve(each, steps, values, number) for number, (each, steps, values) in enumerate(points) if steps]


def _figure(name: str, title: str, curves: Sequence[Curve], *, several: bool, from_zero: bool = False) -> Markup:
    drawn = Markup(draw_curves(name, title, curves, from_zero=from_zero))
    scale = element("small", text(" logarithmic")) if is_logarithmic(curves) else NOTHING
    key = [_key(curve) for curve in curves] if several or len(curves) > 1 else []
    legend = element("span", *key, class_="key") if key else NOTHING
    return element("figure", element("figcaption", element("strong", text(title)), scale, legend), drawn)


def _key(curve: Curve) -> Markup:
    colour = f"var(--series-{curve.number % _COLOURS + 1})"
    dashes = ("", "5 3", "1.5 3")[curve.number // _COLOURS % 3]
    line = (
        f'<svg viewBox="0 0 24 10" aria-hidden="true"><path d="M1 5H23" fill="none" stroke="{colour}" stroke-width="2"'
        f' stroke-dasharray="{dashes}" opacity="{0.45 if curve.faint else 1}"/>'
    )
    dot = f'<circle cx="12" cy="5" r="3.2" fill="{colour}"/>' if curve.marked else ""
    return element("span", joined([Markup(f"{line}{dot}</svg>"), text(curve.name)]))
