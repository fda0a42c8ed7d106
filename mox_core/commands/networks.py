"""What `mox show` says of the sizes of networks: of one by `mox show network NAME`, of many by `mox show networks`."""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any, Final

import attrs
from attrs import field, frozen

from mox_core.did_you_mean import did_you_mean, nearest
from mox_core.errors import UnknownNameError
from mox_core.plugins import loader
from mox_core.plugins.offers import NetworkOffer
from mox_core.terminal import printing
from mox_core.terminal.pages import Table, line, with_heading
from mox_core.terminal.parts import Progress
from mox_core.terminal.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mox_core.commands.network_size import Memory, NetworkSize
    from mox_core.plugins.registry import Plugin
    from mox_core.terminal.pages import Block

NETWORKS: Final = "networks"
"""What stands in the place of a kind for the list of networks."""

_NUM_CLASSES: Final = 1000
_BATCH: Final = 32
_UNITS: Final = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def without_gpu() -> None:
    """Let TensorFlow compute on the CPU, and say nothing of it."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # it would take the memory of a GPU in use
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # it would log that there is no GPU


def sizes_of(offer: NetworkOffer, qualified: str, options: argparse.Namespace) -> Sizes:
    """Build a network and return its sizes, or the error where it cannot be built."""
    from mox_core.commands import network_size  # noqa: PLC0415  (it needs TensorFlow)

    built = {
        "num_classes": options.num_classes or _NUM_CLASSES,
        "image_size": options.image_size or offer.meta.default_image_size,
    }
    batch, size, memory = options.batch_size or _BATCH, None, None
    try:
        size = network_size.measure(qualified, **built)
        memory = network_size.memory(qualified, **built, batch_size=batch)
        error = ""
    except Exception as raised:  # noqa: BLE001  (a network may raise anything, and may need options)
        error = f"{type(raised).__name__}: {raised}"
    return Sizes(name=offer.name, **built, batch_size=batch, size=size, memory=memory, error=error)


@frozen(kw_only=True)
class Sizes:
    """The sizes of a network.

    Attributes:
        name: its name.
        num_classes: for so many classes.
        image_size: for images of this height and width.
        batch_size: its memory in training, for a batch of so many.
        size: parameters and multiply-adds; None where it cannot be built.
        memory: its memory in training; None where it cannot be trained.
        error: why it cannot be built or trained.
    """

    name: str
    num_classes: int
    image_size: int
    batch_size: int
    size: NetworkSize | None
    memory: Memory | None
    error: str = field(default="")

    @property
    def _images(self) -> str:
        return f"{self.num_classes} classes and images of {self.image_size} x {self.image_size}"

    def facts(self) -> dict[str, str]:
        """Return the sizes of the whole in words."""
        if self.size is None:
            return {"parameters": f"cannot be counted for {self._images}: {self.error}"}
        size = self.size
        facts = {
            "parameters": f"{size.trainable:,} trainable, {size.others:,} others, with {self._images}",
            "multiply-adds": f"{size.multiply_adds:,} an image, in convolutions and products of matrices",
        }
        if size.not_counted:
            facts["multiply-adds"] += f"; those in {', '.join(size.not_counted)} are not counted"
        if self.memory is None:
            return facts | {"memory": f"cannot be told for training: {self.error}"}
        memory = self.memory
        facts["memory"] = (
            f"{_megabytes(memory.weights)} of weights; in training {_megabytes(memory.gradients)} of gradients, "
            f"{_megabytes(memory.slot)} for each slot of the optimizer (momentum has one, Adam two), and with batches "
            f"of {self.batch_size} about {_megabytes(memory.activations)} of results that the gradients need"
        )
        return facts

    def table(self) -> Iterator[Block]:
        """Yield the table of blocks."""
        if self.size is None or not self.size.blocks:
            return
        rows = [
            (each.name, _shape(each.output_shape), f"{each.parameters:,}", f"{each.multiply_adds:,}")
            for each in self.size.blocks
        ]
        yield line()
        heading = ("block", "output", "parameters", "multiply-adds")
        yield Table(rows, ("bold",), heading, plain=with_heading)

    def as_json(self) -> dict[str, Any]:
        """Return all of it, for programs."""
        return attrs.asdict(self)


def list_networks(arguments: Sequence[str]) -> int:
    """Print the networks that match a pattern, by size.

    Raises:
        UnknownNameError: if none does.
    """
    parser = argparse.ArgumentParser(
        prog="mox show networks", description="List the networks, those of a family together, by their parameters."
    )
    parser.add_argument(
        "pattern", nargs="?", default="*", help="of names, as 'resnet_v?_50*', or a part of them (default: all)"
    )
    parser.add_argument("--max_params", type=_number, metavar="N", help="leave out those with more parameters, as 10M")
    parser.add_argument("--count", action="store_true", help="build those whose size is not known, seconds for each")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    plugins = loader.installed_plugins()
    every = plugins.names(NetworkOffer)
    names = _matching(every, options.pattern.lower())
    if not names:
        near = did_you_mean(nearest(options.pattern.replace("*", ""), every))
        known = f"Known: {', '.join(every) or 'none'}."
        raise UnknownNameError(f"no network matches {options.pattern!r}. {near or known}")
    offered = [each for name in names for each in plugins.owners(NetworkOffer, name)]
    rows: list[_Row] = []
    with _counting(offered, options) as counting:
        for done, (owner, offer) in enumerate(offered):
            name, qualified = offer.name, plugins.qualified(owner, offer)
            counting.show(done, qualified)
            shown = name if len(plugins.owners(NetworkOffer, name)) == 1 else qualified
            rows.append(_Row(shown, _family(name), _parameters(offer, qualified, options), offer))
    rows.sort(key=lambda row: (row.family, row.parameters is None, row.parameters or 0, row.name))
    if options.max_params is not None:
        rows = [row for row in rows if row.parameters is not None and row.parameters <= options.max_params]
    if options.json:
        sys.stdout.write(json.dumps([row.as_json() for row in rows], indent=2) + "\n")
    else:
        printing.write(_list(rows))
    return 0


def _matching(names: Sequence[str], pattern: str) -> list[str]:
    """Return the names that match a pattern; of one without wildcards, those of which a part begins so, or has it."""
    if set(pattern) & set("*?["):
        return [name for name in names if fnmatch.fnmatchcase(name.lower(), pattern)]
    beginning = [name for name in names if f"_{pattern}" in f"_{name.lower()}"]
    return beginning or [name for name in names if pattern in name.lower()]


@frozen
class _Row:
    """A network in the list; of which parameters are None where nobody knows them."""

    name: str
    family: str
    parameters: int | None
    offer: NetworkOffer

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "family": self.family,
            "parameters": self.parameters,
            "image_size": self.offer.meta.default_image_size,
            "summary": self.offer.summary,
        }


def _list(rows: Sequence[_Row]) -> Iterator[Block]:
    if not rows:
        yield line("none is that small")
        return
    cells = [
        (row.name, row.family, _millions(row.parameters), str(row.offer.meta.default_image_size), row.offer.summary)
        for row in rows
    ]
    heading = ("network", "family", "parameters", "images", "what it is")
    yield Table(cells, ("bold cyan", "dim"), heading, indent=0, plain=with_heading)
    if any(row.parameters is None for row in rows):
        yield line("?: not known without building it; --count does, in some seconds for each.")


def _counting(
    offered: Sequence[tuple[Plugin, NetworkOffer]], options: argparse.Namespace
) -> contextlib.AbstractContextManager[Progress]:
    """Show how far the counting is, which may take minutes; nothing where no network is built."""
    if not any(_is_built(offer, options) for _, offer in offered):
        return contextlib.nullcontext(Progress())
    return progress("Counting parameters", total=len(offered), unit="networks")


def _is_built(offer: NetworkOffer, options: argparse.Namespace) -> bool:
    """Return whether a network is built, to count its parameters: only where that is asked for."""
    return offer.meta.parameters is None and (options.count or options.max_params is not None)


def _parameters(offer: NetworkOffer, qualified: str, options: argparse.Namespace) -> int | None:
    """Return the number of parameters; None where nobody knows it."""
    if not _is_built(offer, options):
        return offer.meta.parameters
    without_gpu()
    from mox_core.commands import network_size  # noqa: PLC0415  (it needs TensorFlow)

    try:
        return sum(network_size.count(qualified, num_classes=_NUM_CLASSES, image_size=offer.meta.default_image_size))
    except Exception as error:  # noqa: BLE001  (a network may raise anything, and may need options)
        sys.stderr.write(f"{qualified} cannot be built: {type(error).__name__}: {error}\n")
        return None


def _family(name: str) -> str:
    """Return what the names of a family begin with: the letters, with the number of a version."""
    found = re.match(r"[a-z]+(_v\d+)?", name.lower())
    return found[0] if found else name


def _number(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)", text.upper())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of parameters, as 10M or 500K")
    return int(float(found[1]) * _UNITS[found[2]])


def _millions(number: int | None) -> str:
    return "?" if number is None else f"{number / 1e6:.1f} M"


def _megabytes(number: int) -> str:
    return f"{number / 2**20:,.1f} MiB"


def _shape(shape: Sequence[int | None] | None) -> str:
    return "?" if shape is None else " x ".join("?" if size is None else str(size) for size in shape[1:])
