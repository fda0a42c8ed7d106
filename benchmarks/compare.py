"""Compare mox with its peers: each contender alone in its process, in turn.

    python benchmarks/compare.py [WORK ...] [--rounds 3] [--out build/bench]

A process measures one contender of one work, and ends. The contenders of a work take turns, round by round, so that a
busy machine slows all alike; what is printed is the median of the rounds, and how many times mox's time it is. The
figures go to OUT/results.json, the chart to OUT/chart.png and OUT/chart.svg. The exit status is 1 if a ratio is below
its bound in bounds.json.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import pkgutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import works
from attrs import define, field
from work import MOX, Work, shown

HERE = Path(__file__).parent


@define
class Measured:
    """What the rounds of a contender have given: seconds a unit, and the largest resident set in bytes."""

    seconds: list[float] = field(factory=list)
    peak_bytes: list[int] = field(factory=list)

    @property
    def time(self) -> float:
        return statistics.median(self.seconds)

    @property
    def memory(self) -> float:
        return statistics.median(self.peak_bytes)


def find_works() -> dict[str, Work]:
    """Return all works by name; their modules import TensorFlow."""
    modules = [importlib.import_module(f"works.{each.name}") for each in pkgutil.iter_modules(works.__path__)]
    return {work.name: work for module in modules for work in getattr(module, "WORKS", [])}


def measure_here(name: str, contender: str, folder: Path) -> None:
    """Measure in this process, and print the seconds as the last line."""
    print(find_works()[name].contenders[contender](folder))


def measure(work: Work, contender: str, folder: Path) -> tuple[float, int]:
    """Return the seconds a unit and the peak of memory of a process of its own.

    Raises:
        SystemExit: if it fails.
    """
    command = [sys.executable, __file__, "--measure", work.name, contender, "--folder", str(folder)]
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr, cwd=folder)
        _, status, usage = os.wait4(process.pid, 0)
        took = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        stdout.seek(0)
        stderr.seek(0)
        if process.returncode:
            sys.exit(f"{contender} fails at {work.name}:\n{stderr.read()}")
        seconds = took if work.whole_process else float(stdout.read().split()[-1])
    return seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def compare(work: Work, rounds: int) -> dict[str, Measured]:
    """Return what each contender that can run here has taken."""
    contenders = [
        name for name in work.contenders if importlib.util.find_spec(work.needs.get(name, "sys").partition(".")[0])
    ]
    measured = {name: Measured() for name in contenders}
    with tempfile.TemporaryDirectory(prefix="mox-bench-") as folder:
        work.prepare(Path(folder))
        for number in range(rounds):
            for name in contenders:
                print(
                    f"\r\033[K{work.name}, round {number + 1} of {rounds}: {name}", end="", file=sys.stderr, flush=True
                )
                seconds, peak = measure(work, name, Path(folder))
                measured[name].seconds.append(seconds)
                measured[name].peak_bytes.append(peak)
    say_for_now("")
    return measured


def say_for_now(text: str) -> None:
    """Write a line to a terminal that the next one takes the place of."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def print_table(work: Work, measured: dict[str, Measured]) -> None:
    """Print a table in Markdown."""
    ours = measured[MOX]
    print(f"\n{work.title}\n\n| | time | times mox's | memory | times mox's |\n| --- | --- | --- | --- | --- |")
    for name, each in measured.items():
        ratios = ["", ""] if name == MOX else [f"{each.time / ours.time:.2f}", f"{each.memory / ours.memory:.2f}"]
        print(f"| {name} | {shown(each.time, work.unit)} | {ratios[0]} | {each.memory / 1e6:,.0f} MB | {ratios[1]} |")
    sys.stdout.flush()


def broken_bounds(results: dict[str, dict[str, Measured]]) -> list[str]:
    """Return a line for each ratio that is below its bound."""
    bounds = json.loads((HERE / "bounds.json").read_text(encoding="utf-8"))
    lines = []
    for work, measured in results.items():
        for name, bound in bounds.get(work, {}).items():
            if name in measured and (ratio := measured[name].time / measured[MOX].time) < bound:
                lines.append(f"{work}: {name} takes {ratio:.2f} times mox's time; bounds.json wants {bound}")
    return lines


def as_json(results: dict[str, dict[str, Measured]], known: dict[str, Work]) -> str:
    """Return all figures as JSON."""
    figures = {
        work: {
            "title": known[work].title,
            "unit": known[work].unit,
            "contenders": {
                name: {"seconds": each.seconds, "peak_bytes": each.peak_bytes} for name, each in measured.items()
            },
        }
        for work, measured in results.items()
    }
    return json.dumps({"cores": os.cpu_count(), "works": figures}, indent=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="*", metavar="WORK", help="all if none is given")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each contender (3)")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="folder for figures and chart")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if options.measure:
        measure_here(*options.measure, options.folder)
        return
    known = find_works()
    if unknown := [name for name in options.works if name not in known]:
        parser.error(f"no work is named {unknown[0]!r}; there are: {', '.join(known)}")
    results = {}
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.works or known:
        results[name] = compare(known[name], options.rounds)
        print_table(known[name], results[name])
        # After each work: a run that is stopped keeps what it has.
        (options.out / "results.json").write_text(as_json(results, known), encoding="utf-8")
    from chart import draw

    draw(results, known, options.out)
    print(f"\nFigures: {options.out / 'results.json'}; chart: {options.out / 'chart.png'}, .svg")
    sys.exit("\n".join(broken_bounds(results)) or 0)


if __name__ == "__main__":
    main()
