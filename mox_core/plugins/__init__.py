"""The plugin system: plugins offer names, the core looks them up, and neither imports the other to do so.

For plugin authors: `hookimpl`, the offers and their meta, all importable from here; `hookspecs` documents every hook.

    from mox_core.plugins import OptimizerOffer, hookimpl

    @hookimpl
    def mox_optimizers():
        yield OptimizerOffer(name="lion", target="mox_lion.lion:Lion", summary="Lion (arXiv 2302.06675)")

For the core: `loader` finds and checks what is installed, `registry` looks names up in it, `known_names` says which
distribution of ours to install for a name.
"""

from __future__ import annotations

from mox_core.plugins.hookspecs import hookimpl
from mox_core.plugins.offers import (
    ApiOffer,
    AugmentationOffer,
    CommandOffer,
    DatasetMeta,
    DatasetOffer,
    ExporterOffer,
    NetworkMeta,
    NetworkOffer,
    OptimizerOffer,
    OptimizerWrapperOffer,
)

__all__ = [
    "ApiOffer",
    "AugmentationOffer",
    "CommandOffer",
    "DatasetMeta",
    "DatasetOffer",
    "ExporterOffer",
    "NetworkMeta",
    "NetworkOffer",
    "OptimizerOffer",
    "OptimizerWrapperOffer",
    "hookimpl",
]
