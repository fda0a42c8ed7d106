"""`mox doctor`: a report on this machine and its known problems, as Markdown for an issue."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from mox_core.commands.findings import problems, settings
from mox_core.commands.machine import look
from mox_core.plugins.hookspecs import OFFERS
from mox_core.terminal import printing
from mox_core.terminal.pages import Styled, Table, line, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mox_core.commands.machine import Machine
    from mox_core.terminal.pages import Block

_DISTRIBUTIONS: Final = ("mox-core", "tensorflow", "keras", "numpy", "tensorboard", "tf-keras", "tf-slim", "protobuf")


def main(arguments: list[str]) -> int:
    """Print the report and return the exit status: 1 if there is a problem, else 0."""
    parser = argparse.ArgumentParser(
        prog="mox doctor",
        description=(
            "Describe this machine as Markdown, to be pasted into an issue: versions, devices, plugins, and what is "
            "known to go wrong. TensorFlow is imported, which takes some seconds. The exit status is 1 if there is a "
            "problem."
        ),
    )
    parser.parse_args(arguments)
    machine = look()
    found = problems(machine)
    printing.write(_report(machine, found))
    return 1 if found else 0


def _report(machine: Machine, found: Sequence[str]) -> Iterator[Block]:
    yield line(Styled("### mox doctor", "bold"))
    yield from _table(("what", "version"), _rows(machine))
    yield from _table(("plugin", "distribution", "state", "offers", "seconds to load"), _plugin_rows(machine))
    yield from _list("Problems", found or ["none that is known"], style="yellow" if found else "green")
    yield from _list("Settings in the environment", settings(machine) or ["none that reaches a run"])


def _rows(machine: Machine) -> Iterator[tuple[str, str]]:
    yield "Python", machine.python
    for name in _DISTRIBUTIONS:
        yield name, machine.versions.get(name, "not installed")
    tensorflow = machine.tensorflow
    yield "Keras computes on", tensorflow.backend if not tensorflow.failure else "unknown"
    yield "TensorFlow is built for CUDA", tensorflow.cuda or ("unknown" if tensorflow.failure else "no")
    yield "CPUs", str(machine.num_cpus)
    counted = Counter(_device(each) for each in tensorflow.devices if each["type"] != "CPU")
    yield "other devices", ", ".join(f"{number} x {name}" for name, number in counted.items()) or "none"


def _device(details: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (details["type"], details.get("device_name"))))


def _plugin_rows(machine: Machine) -> Iterator[tuple[str, ...]]:
    for plugin in machine.plugins.plugins:
        offers = Counter(map(type, plugin.offers))
        counted = ", ".join(f"{kind.kind}: {offers[kind]}" for kind in OFFERS.values() if offers[kind])
        distribution = f"{plugin.distribution} {plugin.version}"
        yield plugin.name, distribution, plugin.state, counted or "-", f"{plugin.seconds:.3f}"


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[Block]:
    yield line()
    cells = [[cell.replace("|", "/") for cell in row] for row in rows]
    yield Table(cells, ("cyan",), heading, indent=0, plain=_markdown, markdown=True)


def _markdown(table: Table) -> Iterator[str]:
    for cells in (table.heading, ["---"] * len(table.heading), *table.rows):
        yield f"| {' | '.join(map(text_of, cells))} |"


def _list(heading: str, items: Iterable[str], *, style: str = "") -> Iterator[Block]:
    yield from (line(), line(Styled(f"{heading}:", "bold")), line())
    yield Table([("-", Styled(item, style)) for item in items], indent=0, gap=1)
