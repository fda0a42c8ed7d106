"""The figures of a page."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator, NullFormatter

from mox_core.metric_text import metric_text
from mox_report.reading import printable
from mox_report.svg import ACCENT, GRID, INK, SERIES, SURFACE, drawing, new_figure, svg_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from mox_report.reading import Confusion

_WIDTH, _HEIGHT = 4.3, 2.5
"""Inches of a figure that is about as wide as a telephone: letters of 9 points are 9 points there."""
_MOST_POINTS: Final = 1000
_FAR_APART: Final = 50.0
"""How many times a value is another one, where a linear axis would show nothing of the smaller ones."""
_MOST_CLASSES: Final = 24
_MOST_WITH_NUMBERS: Final = 16
_LONGEST_NAME: Final = 14
_LETTER: Final = 0.085
"""Inches."""
_DASHES: Final = ("-", "--", ":")


@frozen
class Curve:
    """A curve.

    Attributes:
        name: what it is, in words.
        steps: where its points are.
        values: their heights.
        number: which of the colours it has, from 0 on.
        marked: whether its points are marked, as those of validations are.
        faint: whether others are to stand out.
    """

    name: str
    steps: Sequence[int] = field(repr=False)
    values: Sequence[float] = field(repr=False)
    number: int
    marked: bool = False
    faint: bool = False


def colour_of(number: int) -> str:
    """Return one of the colours of curves."""
    return SERIES[number % len(SERIES)]


def draw_curves(name: str, what: str, curves: Sequence[Curve], *, from_zero: bool = False) -> str:
    """Return a figure with curves over the global step.

    Args:
        name: begins the ids in it.
        what: what they show.
        curves: the curves.
        from_zero: whether the axis begins at 0.
    """
    with drawing():
        figure, axes = new_figure(_WIDTH, _HEIGHT)
        for curve in curves:
            _draw(axes, curve)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        if is_logarithmic(curves):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        elif from_zero:
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        return svg_of(figure, name, _described(what, curves))


def _draw(axes: Axes, curve: Curve) -> None:
    steps, values = thinned(curve)
    axes.plot(
        steps,
        values,
        color=colour_of(curve.number),
        linestyle=_DASHES[curve.number // len(SERIES) % len(_DASHES)],
        linewidth=1.8 if curve.marked else 1.3,
        alpha=0.45 if curve.faint else None,
        marker="o" if curve.marked or len(steps) == 1 else None,
        markersize=4.5,
        markeredgecolor=SURFACE,
        markeredgewidth=0.8,
        zorder=3 if curve.marked else 2,
        gid=f"curve-{curve.number}-{'validation' if curve.marked else 'training'}",
        solid_joinstyle="round",
    )


def thinned(curve: Curve) -> tuple[Sequence[int], Sequence[float]]:
    """Return the points of a curve that are drawn: of very many, some at equal distances, and the last."""
    every = -(-len(curve.steps) // _MOST_POINTS) or 1
    places = list(range(0, len(curve.steps), every))
    if places and places[-1] != len(curve.steps) - 1:
        places.append(len(curve.steps) - 1)
    return [curve.steps[each] for each in places], [curve.values[each] for each in places]


def is_logarithmic(curves: Sequence[Curve]) -> bool:
    """Whether the axis of some curves is logarithmic: where most values would lie on the ground of a linear one."""
    values = [value for curve in curves for value in curve.values]
    return bool(values) and min(values) > 0 and max(values) > _FAR_APART * statistics.median(values)


def _described(what: str, curves: Sequence[Curve]) -> str:
    parts = [
        f"{curve.name} from {metric_text(curve.values[0])} at step {curve.steps[0]} to "
        f"{metric_text(curve.values[-1])} at step {curve.steps[-1]}"
        for curve in curves
        if curve.values
    ]
    return f"{what} by step: {'; '.join(parts)}"


def draw_times(names: Sequence[str], parts: Sequence[tuple[int, Sequence[float]]], description: str) -> str:
    """Return bars that show on what the time of trainings went.

    Args:
        names: the trainings.
        parts: for each thing that it went on, the number of a colour, and its share in the time of each training.
        description: the same in words.
    """
    with drawing():
        figure, axes = new_figure(_WIDTH, 0.35 + 0.3 * len(names))
        left = [0.0] * len(names)
        places = range(len(names))
        for number, shares in parts:
            axes.barh(places, shares, left=left, color=colour_of(number), height=0.6, edgecolor=SURFACE, linewidth=1)
            left = [before + share for before, share in zip(left, shares, strict=True)]
        axes.set_xlim(0, 1)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_yticks(places, [_short(name) for name in names] if len(names) > 1 else [""])
        axes.xaxis.set_major_formatter(lambda share, _place: f"{share:.0%}")
        axes.spines["left"].set_visible(False)
        axes.spines["bottom"].set_visible(False)
        return svg_of(figure, "times", description)


def classes_to_draw(confusion: Confusion) -> list[int]:
    """Return the classes of a matrix that are drawn: of very many, those with the most mistakes."""
    counts = confusion.counts
    every = range(len(counts))
    if len(counts) <= _MOST_CLASSES:
        return list(every)
    mistakes = [sum(counts[each]) + sum(row[each] for row in counts) - 2 * counts[each][each] for each in every]
    return sorted(sorted(every, key=lambda each: -mistakes[each])[:_MOST_CLASSES])


def draw_confusion(name: str, confusion: Confusion, description: str) -> str:
    """Return a confusion matrix: a row for each label, a column for each prediction."""
    classes = classes_to_draw(confusion)
    size = len(classes)
    with drawing():
        side = max(3.2, 0.3 * size + 1)
        figure, axes = new_figure(side + 0.3, side)
        for row, label in enumerate(classes):
            total = sum(confusion.counts[label])
            for column, prediction in enumerate(classes):
                _draw_cell(
                    axes, row, column, confusion.counts[label][prediction], total, numbers=size <= _MOST_WITH_NUMBERS
                )
        names = [_short(confusion.classes[each]) for each in classes]
        upright = max(map(len, names)) * _LETTER <= (side - 1) / size
        axes.set_xticks(range(size), names, rotation=0 if upright else 90)
        axes.set_yticks(range(size), names)
        axes.tick_params(length=0)
        axes.set_xlim(-0.5, size - 0.5)
        axes.set_ylim(size - 0.5, -0.5)
        axes.set_aspect("equal")
        axes.set_xlabel("taken for")
        axes.set_ylabel("label")
        for spine in axes.spines.values():
            spine.set_visible(False)
        return svg_of(figure, name, description)


def _draw_cell(axes: Axes, row: int, column: int, count: float, total: float, *, numbers: bool) -> None:
    share = count / total if total else 0.0
    # A mistake of one in a hundred is to be seen, and one of three in a hundred is to look worse.
    strength = 0.15 + 0.85 * share**0.5 if count else 0.0
    axes.add_patch(_square(row, column, ACCENT if row == column else SERIES[1], strength))
    if numbers and count:
        text: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8}
        axes.text(column, row, f"{count:.10g}", color=SURFACE if strength > 0.6 else INK, **text)  # noqa: PLR2004


def _square(row: int, column: int, colour: str, strength: float) -> Rectangle:
    empty = strength == 0
    return Rectangle(
        (column - 0.46, row - 0.46),
        0.92,
        0.92,
        facecolor=GRID if empty else colour,
        alpha=0.35 if empty else strength,
        linewidth=0,
    )


def _short(name: str) -> str:
    name = printable(name).replace("\n", " ")
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
