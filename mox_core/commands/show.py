"""`mox show`: print one offer of a plugin, with the signature and the docstring of its target; or the list of networks.

The target is imported, and a network is built, to count its parameters and multiply-adds.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import json
import sys
from typing import TYPE_CHECKING, Any, Final

import attrs

from mox_core.commands.networks import NETWORKS, Sizes, list_networks, sizes_of, without_gpu
from mox_core.name_lists import listed
from mox_core.plugins import loader
from mox_core.plugins.offers import (
    ApiOffer,
    AugmentationOffer,
    CommandOffer,
    DatasetOffer,
    ExporterOffer,
    NetworkOffer,
    OptimizerOffer,
    OptimizerWrapperOffer,
    StoreOffer,
    TrackerOffer,
    import_target,
)
from mox_core.terminal import pages, printing
from mox_core.terminal.pages import Styled, Table, line, text_of
from mox_core.whole_numbers import at_least_one

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mox_core.plugins.offers import Offer
    from mox_core.plugins.registry import Plugin
    from mox_core.terminal.pages import Block

_KINDS: Final[Mapping[str, type[Offer]]] = {
    "network": NetworkOffer,
    "augmentation": AugmentationOffer,
    "optimizer": OptimizerOffer,
    "wrapper": OptimizerWrapperOffer,
    "dataset": DatasetOffer,
    "exporter": ExporterOffer,
    "store": StoreOffer,
    "tracker": TrackerOffer,
    "hook": ApiOffer,
    "api": ApiOffer,
    "command": CommandOffer,
}


def main(arguments: list[str]) -> int:
    """Print an offer, its plugin, and the signature and the docstring of its target; or, of `networks`, a list.

    Raises:
        UnknownNameError: if no plugin offers the name, or more than one does.
        PluginError: if the target cannot be imported.
    """
    if arguments[:1] == [NETWORKS]:
        return list_networks(arguments[1:])
    parser = argparse.ArgumentParser(
        prog="mox show",
        description="Show one thing that a plugin offers, under the name that scripts give; or list the networks.",
        epilog="mox show networks --help: what the list of networks takes.",
    )
    parser.add_argument("kind", choices=_KINDS, help=f"one of {', '.join(_KINDS)}", metavar="kind")
    offered = parser.add_argument("name", help="the name that is offered, or plugin/name")
    offered.completer = _names  # type: ignore[attr-defined]  # argcomplete reads it
    network = parser.add_argument_group("of a network")
    network.add_argument("--num_classes", type=at_least_one, metavar="N", help="number of classes (default: 1000)")
    network.add_argument("--image_size", type=at_least_one, metavar="N", help="height and width (default: its own)")
    network.add_argument("--batch_size", type=at_least_one, metavar="N", help="images in a batch (default: 32)")
    network.add_argument("--json", action="store_true", help="print the sizes as JSON")
    options = parser.parse_args(arguments)
    kind, name = _KINDS[options.kind], options.name
    if kind is not NetworkOffer:
        given = [each for each in ("num_classes", "image_size", "batch_size", "json") if getattr(options, each)]
        if given:
            parser.error(f"--{given[0]} is of networks, and {options.kind} {name!r} is none")
    plugins = loader.installed_plugins()
    owner, offer = plugins.find_with_owner(kind, name)
    others = [plugins.qualified(*each) for each in plugins.owners(kind, offer.name) if each[0] is not owner]
    without_gpu()
    sizes = sizes_of(offer, plugins.qualified(owner, offer), options) if isinstance(offer, NetworkOffer) else None
    if sizes is not None and options.json:
        sys.stdout.write(json.dumps(sizes.as_json(), indent=2) + "\n")
    else:
        printing.write(_describe(owner, offer, sizes, others))
    return 0


def _names(parsed_args: argparse.Namespace, **_: object) -> dict[str, str]:
    """Return the names of the kind that stands on the line, with what they are, for TAB."""
    plugins, kind = loader.installed_plugins(), _KINDS[parsed_args.kind]
    return {name: offer.summary for name in plugins.names(kind) for _, offer in plugins.claimants(kind, name)}


def _describe(owner: Plugin, offer: Offer, sizes: Sizes | None, others: list[str]) -> Iterator[Block]:
    target = import_target(offer)
    facts = {
        "offered by": f"{owner}; of this name is also {listed(others, 'and')}" if others else str(owner),
        "target": offer.target,
        **_meta(offer),
        "signature": _signature(target, offer),
        **(_own_options(target) if isinstance(offer, NetworkOffer) else {}),
    }
    if sizes is not None:
        facts |= sizes.facts()
    yield line(offer.kind, " ", Styled(offer.name, "bold cyan"), f": {offer.summary}")
    yield Table([(name, str(value)) for name, value in facts.items()], ("dim",), plain=_facts)
    if sizes is not None:
        yield from sizes.table()
    yield line()
    for each in (inspect.getdoc(_documented(target, offer)) or "(it has no docstring)").splitlines():
        text = each.lstrip()
        yield line(text, indent=len(each) - len(text) + 2) if text else line()


def _documented(target: Any, offer: Offer) -> Any:
    """Return that of a target which has the docstring for those who call it."""
    if isinstance(target, functools.partial):
        return target.func
    if isinstance(offer, NetworkOffer) and not inspect.isroutine(target) and inspect.getdoc(target.__call__):
        return target.__call__  # the docstring of its class is for those who make networks
    return target


def _own_options(target: Any) -> dict[str, str]:
    """Return the options of a network alone, which its signature calls `**options`."""
    from mox_core.networks.image_network import ImageNetwork  # noqa: PLC0415  (it needs TensorFlow)

    if not isinstance(target, ImageNetwork):
        return {}
    options = [f"{name}={_bare_function(value)!r}" for name, value in target.options.items()]
    return {"its options": ", ".join(["preprocess_fn", *options])}


def _meta(offer: Offer) -> dict[str, Any]:
    """Return the metadata of an offer; the parameters of a network are counted instead."""
    meta = attrs.asdict(offer.meta) if isinstance(offer, (NetworkOffer, DatasetOffer)) else {}
    return {name: value for name, value in meta.items() if name != "parameters"}


def _facts(table: Table) -> Iterator[str]:
    width = max(len(text_of(name)) for name, _ in table.rows)
    yield from pages.filled(pages.aligned(table), width=110, hanging=width + 6)


def _signature(target: Any, offer: Offer) -> str:
    """Return the signature of the target, with types and defaults as in its source."""
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):  # it is not callable, or is written in C
        return "none"
    parameters = [
        each.replace(annotation=_bare_type(each.annotation), default=_bare_function(each.default))
        for each in signature.parameters.values()
    ]
    returned = _bare_type(signature.return_annotation)
    return offer.target.rpartition(":")[2] + str(signature.replace(parameters=parameters, return_annotation=returned))


def _bare_type(annotation: Any) -> Any:
    return _Bare(annotation) if isinstance(annotation, str) else annotation


def _bare_function(default: Any) -> Any:
    return _Bare(default.__name__) if inspect.isfunction(default) else default


class _Bare(str):
    """A string whose repr has no quotes."""

    __slots__ = ()
    __repr__ = str.__str__
