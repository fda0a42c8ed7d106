"""What mox-tf1 offers: names only, so that listing them imports no TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mox_core.plugins import CommandOffer, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator


@hookimpl
def mox_commands() -> Iterator[CommandOffer]:
    """Offer the command that runs a script of TensorFlow 1."""
    yield CommandOffer("tf1", "mox_tf1.commands:main", summary="run a script of TensorFlow 1 and MoXing as it is")
