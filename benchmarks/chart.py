"""The chart of the benchmark: for each work, how many times mox's time its peers take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from work import MOX

if TYPE_CHECKING:
    from pathlib import Path

    from compare import Measured
    from work import Work

OURS, AHEAD, BEHIND = "#4c566a", "#2a7f9e", "#b3563b"


def draw(results: dict[str, dict[str, Measured]], known: dict[str, Work], out: Path) -> None:
    """Write chart.png and chart.svg into a folder."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.use("agg")

    bars = [
        (work, name, each.time / measured[MOX].time)
        for work, measured in results.items()
        for name, each in measured.items()
        if name != MOX
    ]
    rows = len(bars) + 1.2 * len(results)
    figure, axes = plt.subplots(figsize=(9, 0.8 + 0.27 * rows), layout="constrained")
    place, places, names = 0.0, [], []
    for work in results:
        axes.text(
            0.012, place, known[work].title, transform=axes.get_yaxis_transform(), weight="bold", size=9, va="center"
        )
        place += 1
        for name, ratio in ((name, ratio) for of, name, ratio in bars if of == work):
            axes.barh(place, ratio - 1, left=1, height=0.7, color=AHEAD if ratio >= 1 else BEHIND)
            axes.text(max(ratio, 1) * 1.03, place, f"{ratio:.2f}", size=8, va="center")
            places.append(place)
            names.append(name)
            place += 1
        place += 0.2
    axes.axvline(1, color=OURS, linewidth=1, zorder=0)
    axes.margins(y=0.01)
    axes.set_xscale("log")
    largest = max(ratio for *_, ratio in bars)
    axes.set_xlim(min(0.5, *(0.8 * ratio for *_, ratio in bars)), max(2, 1.6 * largest))
    ticks = [
        tick for tick in (0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20, 50) if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]
    ]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(places, names, size=8)
    axes.invert_yaxis()
    axes.set_xlabel("times mox's time: to the right of 1, mox is faster")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    for suffix in ("png", "svg"):
        figure.savefig(out / f"chart.{suffix}", dpi=150)
