"""The families of networks as data: their names, metadata and augmentation. A new family is one more entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from mox_core.plugins import NetworkMeta

if TYPE_CHECKING:
    from collections.abc import Mapping


@frozen
class Augmentation:
    """A scheme of data augmentation.

    Attributes:
        target: where to import it, as `"package.module:object"`.
        summary: one line for listings.
    """

    target: str
    summary: str


@frozen(kw_only=True)
class Family:
    """Networks that lie in one module, and share metadata and augmentation.

    Attributes:
        names: the names of the networks, each with one line for listings.
        module: where the networks lie, each under its name.
        meta: what `mox.get_model_meta` returns.
        augmentation: the augmentation, which is offered under the name of each network.
    """

    names: Mapping[str, str]
    module: str
    meta: NetworkMeta
    augmentation: Augmentation


FAMILIES: tuple[Family, ...] = ()
