"""`mox show`: print one offer of a plugin, with the signature and the docstring of its target.

The target is imported, and a network is built once, to count its parameters.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import os
from typing import TYPE_CHECKING, Any, Final

import attrs

from mox_core.did_you_mean import listed
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

_NUM_CLASSES: Final = 1000


def main(arguments: list[str]) -> int:
    """Print an offer, its plugin, and the signature and the docstring of its target.

    Raises:
        UnknownNameError: if no plugin offers the name, or more than one does.
        PluginError: if the target cannot be imported.
    """
    parser = argparse.ArgumentParser(
        prog="mox show", description="Show one thing that a plugin offers, under the name that scripts give."
    )
    parser.add_argument("kind", choices=_KINDS, help=f"one of {', '.join(_KINDS)}", metavar="kind")
    offered = parser.add_argument("name", help="the name that is offered, or plugin/name")
    offered.completer = _names  # type: ignore[attr-defined]  # argcomplete reads it
    options = parser.parse_args(arguments)
    kind, name = _KINDS[options.kind], options.name
    plugins = loader.installed_plugins()
    owner, offer = plugins.find_with_owner(kind, name)
    others = [plugins.qualified(*each) for each in plugins.owners(kind, offer.name) if each[0] is not owner]
    printing.write(_describe(owner, offer, plugins.qualified(owner, offer), others))
    return 0


def _names(parsed_args: argparse.Namespace, **_: object) -> dict[str, str]:
    """Return the names of the kind that stands on the line, with what they are, for TAB."""
    plugins, kind = loader.installed_plugins(), _KINDS[parsed_args.kind]
    return {name: offer.summary for name in plugins.names(kind) for _, offer in plugins.claimants(kind, name)}


def _describe(owner: Plugin, offer: Offer, qualified: str, others: list[str]) -> Iterator[Block]:
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # TensorFlow would take the memory of a GPU in use
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # it would log that there is no GPU
    target = import_target(offer)
    facts = {
        "offered by": f"{owner}; of this name is also {listed(others, 'and')}" if others else str(owner),
        "target": offer.target,
        **(attrs.asdict(offer.meta) if isinstance(offer, (NetworkOffer, DatasetOffer)) else {}),
        "signature": _signature(target, offer),
    }
    if isinstance(offer, NetworkOffer):
        facts["parameters"] = _parameters(offer, qualified)
    yield line(offer.kind, " ", Styled(offer.name, "bold cyan"), f": {offer.summary}")
    yield Table([(name, str(value)) for name, value in facts.items()], ("dim",), plain=_facts)
    yield line()
    documented = target.func if isinstance(target, functools.partial) else target
    for each in (inspect.getdoc(documented) or "(it has no docstring)").splitlines():
        text = each.lstrip()
        yield line(text, indent=len(each) - len(text) + 2) if text else line()


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


def _parameters(offer: NetworkOffer, qualified: str) -> str:
    """Return the numbers of parameters in words, or the error if the network cannot be built."""
    from mox_core.commands.parameters import count  # noqa: PLC0415  (it needs TensorFlow)

    size = offer.meta.default_image_size
    images = f"{_NUM_CLASSES} classes and images of {size} x {size}"
    try:
        trainable, others = count(qualified, num_classes=_NUM_CLASSES, image_size=size)
    except Exception as error:  # noqa: BLE001  (a network may raise anything, and may need options)
        return f"cannot be counted for {images}: {type(error).__name__}: {error}"
    return f"{trainable:,} trainable, {others:,} others, with {images}"


class _Bare(str):
    """A string whose repr has no quotes."""

    __slots__ = ()
    __repr__ = str.__str__
