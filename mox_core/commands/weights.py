"""`mox weights`: what a file of weights holds, and a checkpoint made of it for a network.

The reading is in `network_weights.py`, which needs TensorFlow.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mox_core.checkpoint_paths import checked_path
from mox_core.commands.networks import without_gpu
from mox_core.errors import UsageError
from mox_core.name_lists import counted
from mox_core.plugins import loader
from mox_core.plugins.offers import NetworkOffer
from mox_core.quoting import shown
from mox_core.stores.folder import is_remote
from mox_core.terminal import printing
from mox_core.terminal.pages import Styled, Table, line, with_heading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mox_core.commands.network_weights import Imported
    from mox_core.engine.weights.stored import StoredWeights
    from mox_core.terminal.pages import Block

_SOURCE: Final = (
    "a file or folder: .weights.h5, .keras or .h5 of Keras, a preset of keras_hub, a SavedModel, or the prefix of a "
    "checkpoint"
)


def main(arguments: list[str]) -> int:
    """Run `mox weights import` or `mox weights show`, and return the exit status.

    It is 1 if the network has variables, beside its logits, that the file has no values of; else 0.

    Raises:
        CheckpointError: if there are no weights, or they are not those of the network.
        UsageError: if an argument is wrong.
    """
    options = _parser().parse_args(arguments)
    without_gpu()
    from mox_core.commands import network_weights  # noqa: PLC0415  (it needs TensorFlow)

    source = _local(options.source, "FILE")
    if options.action == "show":
        printing.write(_contents(network_weights.read(source)))
        return 0
    classes: int | None = options.num_classes
    if classes is not None and classes < 1:
        raise UsageError(f"--num_classes is {classes}; it must be a whole number, 1 or more.")
    prefix = _new_prefix(options.to)
    loader.installed_plugins().find(NetworkOffer, options.network)
    imported = network_weights.import_weights(source, options.network, prefix, num_classes=classes)
    printing.write(_report(imported))
    return int(bool(imported.missing))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mox weights", description="Weights to begin from, which another program has written.", allow_abbrev=False
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="import|show")
    make = actions.add_parser("import", help="make a checkpoint of them for a network", allow_abbrev=False)
    make.add_argument("source", metavar="FILE", help=f"{_SOURCE}; or 'imagenet', for those of keras.applications")
    network = make.add_argument("--network", required=True, metavar="NAME", help="the network, as for mox.get_model_fn")
    network.completer = _networks  # type: ignore[attr-defined]  # argcomplete reads it
    make.add_argument("--to", required=True, metavar="PREFIX", help="the checkpoint, for checkpoint_path")
    make.add_argument("--num_classes", type=int, metavar="N", help="classes of the network (default: those of FILE)")
    show = actions.add_parser("show", help="list names, shapes and types", allow_abbrev=False)
    show.add_argument("source", metavar="FILE|PREFIX|LOG_DIR", help=f"{_SOURCE}, or the log_dir of a run")
    return parser


def _networks(**_: object) -> dict[str, str]:
    """Return the names of networks, with what they are, for TAB."""
    plugins = loader.installed_plugins()
    names = plugins.names(NetworkOffer)
    return {name: offer.summary for name in names for _, offer in plugins.claimants(NetworkOffer, name)}


def _local(given: str, name: str) -> Path:
    path = checked_path(given, name)
    if path is None or is_remote(given):
        raise UsageError(f"{name} is {given!r}; it must be a path of this machine.")
    return path


def _new_prefix(given: str) -> Path:
    prefix = _local(given, "--to")
    if prefix.is_dir() or given.endswith("/"):
        raise UsageError(
            f"--to is {given!r}, a folder; it must be the prefix of a checkpoint: {str(prefix / 'net.ckpt')!r}."
        )
    if prefix.exists():
        raise UsageError(f"--to is {given!r}, a file; it must be the prefix of a checkpoint, which no file has.")
    if Path(f"{prefix}.index").exists():
        raise UsageError(f"--to is {given!r}, and there is such a checkpoint. Take another name, or remove its files.")
    return prefix


def _contents(weights: StoredWeights) -> Iterator[Block]:
    arrays = sorted(weights.arrays(), key=lambda each: each.label)
    yield line(
        Styled(shown(weights.path), "bold cyan"),
        f": {weights.kind}, {len(arrays)} arrays, {sum(each.value.size for each in arrays):,} parameters",
    )
    rows = [(shown(each.label), str(each.value.shape), _dtype(each.value), f"{each.value.size:,}") for each in arrays]
    heading = ("name", "shape", "type", "parameters")
    yield Table(rows, heading=heading, plain=with_heading)
    if weights.labels:
        yield line(f"{len(weights.labels)} classes: {counted([shown(each) for each in weights.labels])}")


def _dtype(value: Any) -> str:
    return "string" if value.dtype.kind in "OSU" else str(value.dtype)


def _report(imported: Imported) -> Iterator[Block]:
    yield line(
        Styled(shown(imported.prefix), "bold cyan"),
        f": {imported.written} of the {imported.wanted} variables of {imported.network}, from {shown(imported.source)} "
        f"({imported.kind})",
    )
    rows: list[tuple[str, str]] = []
    if imported.num_classes is not None:
        labels = f": {counted([shown(each) for each in imported.labels])}" if imported.labels else ""
        rows.append(("classes", f"{imported.num_classes}{labels}"))
    if imported.without_logits:
        rows.append(("logits", f"the file has none: {counted(imported.without_logits)}"))
    if imported.missing:
        rows.append(("missing", f"{len(imported.missing)}, which the file does not have: {counted(imported.missing)}"))
    if imported.unused:
        rows.append(("unused", f"{len(imported.unused)} of the file: {counted(imported.unused)}"))
    if imported.renumbered:
        rows.append(("numbers", "the numbers at the ends of names are others, and paired in their order"))
    if rows:
        yield Table(rows, ("dim",))
