"""The plugin system: plugins offer names, and the core looks them up without importing what they stand for.

For plugin authors: `hookimpl`, the offers and their metadata, all importable from here; `hookspecs` documents every
hook.

    from mox_core.plugins import OptimizerOffer, hookimpl

    @hookimpl
    def mox_optimizers():
        yield OptimizerOffer(name="lion", target="mox_lion.lion:Lion", summary="Lion (arXiv 2302.06675)")

For the core: `loader` finds and checks the installed plugins, `registry` looks names up in them, `known_names` tells
which first-party distribution offers a name that is not installed.
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
    StoreOffer,
    TrackerOffer,
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
    "StoreOffer",
    "TrackerOffer",
    "hookimpl",
]
