"""The page: one file without scripts, pictures or fonts from elsewhere."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any

from mox_core.run_history import VALIDATION
from mox_report.curves import curves_section, names_of_values
from mox_report.markup import (
    NOTHING,
    UNKNOWN,
    Markup,
    date_text,
    element,
    joined,
    seconds_text,
    section,
    table,
    text,
    value_text,
)
from mox_report.mistakes import confusion_section, worst_section
from mox_report.reading import Training, is_number, seconds_of, time_of
from mox_report.times import median_rate, times_section

if TYPE_CHECKING:
    from collections.abc import Sequence

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a browser may load for the page: nothing."""
_MOST_IN_TITLE = 3
_SETTINGS = {"arguments": "Arguments", "flags": "Flags", "versions": "Versions", "machine": "Machine"}


def page_of(trainings: Sequence[Training]) -> str:
    """Return the page about some trainings."""
    style = resources.files("mox_report").joinpath("page.css").read_text(encoding="utf-8")
    title = _title([each.name for each in trainings])
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        element("title", text(f"{title} · mox report")),
        element("style", Markup(style)),
    )
    parts = [section("In the end", _final_numbers(trainings)), curves_section(trainings)]
    main = element(
        "main",
        element("header", element("h1", text(title)), *(_introduction(each, trainings) for each in trainings)),
        _cards(trainings),
        *(parts if len(trainings) > 1 else reversed(parts)),  # a single one has its numbers on the cards
        times_section(trainings),
        confusion_section(trainings),
        worst_section(trainings),
        section("Settings", _settings(trainings), *map(_runs, trainings)),
    )
    return f"<!DOCTYPE html>\n{element('html', head, element('body', main), lang='en')}\n"


def _title(names: list[str]) -> str:
    if len(names) > _MOST_IN_TITLE:
        return f"{len(names)} trainings"
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _introduction(training: Training, trainings: Sequence[Training]) -> Markup:
    """Say in a sentence how a training went."""
    steps = _steps(training)
    said = f"{steps:,} steps" if steps else "No step yet"
    seconds = training.seconds()
    said += f" in {seconds_text(seconds)}" if seconds is not None else ""
    if training.runs:
        begun = time_of(training.runs[0].get("begun"))
        said += f", begun on {date_text(begun)}" if begun else ""
        said += f", in {len(training.runs)} runs" if len(training.runs) > 1 else ""
    name = [element("strong", text(training.name)), Markup(": ")] if len(trainings) > 1 else []
    return element("p", *name, text(f"{said}. {_ending(training)}".rstrip()))


def _steps(training: Training) -> int:
    known = [run["last_step"] for run in training.runs if isinstance(run.get("last_step"), int)]
    logged = [record["step"] + 1 for record in training.history if record["mode"] != "EVAL"]
    return max([*known[-1:], *([] if known else logged[-1:])], default=0)


def _ending(training: Training) -> str:
    """Say how the last run ended."""
    if not training.runs:
        return ""
    last = training.runs[-1]
    if "ended" not in last:
        return "Its last run has not noted an end: it goes on, or was killed."
    why = str(last.get("stopped_by"))
    if why == "max_number_of_steps":
        return "It came to its max_number_of_steps."
    return f"{why} ended it." if why != "end of input" else "It came to the end of its input."


def _cards(trainings: Sequence[Training]) -> Markup:
    """Show the last validation of a single training in large figures, with its speed and time."""
    if len(trainings) != 1:
        return NOTHING
    (training,) = trainings
    mode = VALIDATION if training.history.of(VALIDATION) else "TRAIN"
    what = "last validation" if mode == VALIDATION else "last line of the log"
    values = {name: training.last(mode, name) for name in training.value_names()}
    shown = [(name, value_text(value), what) for name, value in values.items() if is_number(value)][:3]
    if rate := median_rate(training):
        shown.append(("samples a second", f"{rate:,.4g}", "median of the log's lines"))
    if (seconds := training.seconds()) is not None:
        shown.append(("time", seconds_text(seconds), "with validations and saves"))
    cards = [
        element("div", element("dt", text(name)), element("dd", element("span", text(value), class_="large"), small))
        for name, value, words in shown
        if (small := element("small", text(words)))
    ]
    return element("dl", *cards, class_="cards") if cards else NOTHING


def _final_numbers(trainings: Sequence[Training]) -> Markup:
    """Return the table of what was logged last, and of the best validation where a hook judged one."""
    rows: list[list[Any]] = [["steps", *(f"{_steps(each):,}" for each in trainings)]]
    seconds = [each.seconds() for each in trainings]
    rows.append(["time", *(UNKNOWN if each is None else seconds_text(each) for each in seconds)])
    for name in names_of_values(trainings):
        for words, mode in (("training", "TRAIN"), ("validation", VALIDATION)):
            values = [each.last(mode, name) for each in trainings]
            if any(value is not None for value in values):
                rows.append([f"{name}, {words}", *map(value_text, values)])
        best = [each.best.metrics.get(name) if each.best else None for each in trainings]
        if any(value is not None for value in best):
            rows.append([f"{name}, best validation", *map(value_text, best)])
    if any(each.best for each in trainings):
        rows.append(
            ["step of the best validation", *(value_text(each.best.step if each.best else None) for each in trainings)]
        )
    head = [NOTHING, *(text(each.name) for each in trainings)]
    return table(head, [list(map(text, row)) for row in rows], "What was logged last")


def _settings(trainings: Sequence[Training]) -> Markup:
    """Return the settings of the last runs, those that differ first."""
    last = [training.runs[-1] if training.runs else {} for training in trainings]
    if not any(last):
        return element("p", text("The folder has no notes on its runs: an earlier version of mox has written it."))
    parts = []
    for key, title in _SETTINGS.items():
        given = [_dict(each.get(key)) for each in last]
        names = list(dict.fromkeys(name for each in given for name in each))
        rows = [(name, [each.get(name) for each in given]) for name in names]
        rows.sort(key=lambda row: all(value == row[1][0] for value in row[1]))
        if rows:
            cells = [
                [_setting_name(name, values), *(text(UNKNOWN if each is None else each) for each in values)]
                for name, values in rows
            ]
            head = [text(title), *(text(each.name) for each in trainings)]
            parts.append(table(head, cells, title, numbers=False))
    return element("div", *parts, class_="settings")


def _setting_name(name: str, values: Sequence[Any]) -> Markup:
    if all(value == values[0] for value in values):
        return text(name)
    return joined([element("strong", text(name)), element("small", text(" differs"))])


def _runs(training: Training) -> Markup:
    """Return the runs of a training that had more than one."""
    if len(training.runs) < 2:  # noqa: PLR2004
        return NOTHING
    rows = []
    for number, run in enumerate(training.runs, 1):
        begun, seconds = time_of(run.get("begun")), seconds_of(run)
        rows.append(
            [
                f"run {number}",
                date_text(begun) if begun else UNKNOWN,
                _count(run.get("first_step")),
                _count(run.get("last_step")),
                UNKNOWN if seconds is None else seconds_text(seconds),
                str(run.get("stopped_by", "it has not noted an end")),
            ]
        )
    head = [text(f"Runs of {training.name}"), *map(text, ("begun", "from step", "to step", "time", "ended by"))]
    return table(head, [list(map(text, row)) for row in rows], f"Runs of {training.name}", numbers=False)


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else UNKNOWN


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
