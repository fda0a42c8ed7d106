"""The hooks of mox, by which plugins offer something.

A plugin is a module with functions of these names, marked with `hookimpl`. It is found by an entry point of the group
`mox`, whose name is the plugin's name:

    [project.entry-points.mox]
    shake-shake = "mox_shake_shake.plugin"

Each hook is called once and yields offers. The rules to keep:

- The entry module contains names only. It imports nothing heavy: `mox plugins` and `import mox_core` must stay fast.
- Installing a plugin makes names available. It does not change a run that uses none of them.
- A name that two plugins offer is an error only when it is looked up; `plugin/name` then chooses one.

No hook takes an argument today. If one gains an argument, plugins that do not take it still work: pluggy passes an
implementation the arguments that it names. A deprecated hook is marked
`hookspec(warn_on_impl=DeprecationWarning(...))`, with its replacement; its offers still count, and the plugin's author
is warned: see `loader`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import pluggy

from mox_core.plugins.offers import (
    ApiOffer,
    AugmentationOffer,
    CommandOffer,
    DatasetOffer,
    ExporterOffer,
    NetworkOffer,
    Offer,
    OptimizerOffer,
    OptimizerWrapperOffer,
    StoreOffer,
    TrackerOffer,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PROJECT: Final = "mox"
"""The project name of the hooks, and the group of the entry points."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""The decorator of a function of a plugin that implements the hook of the same name."""


@hookspec
def mox_networks() -> Iterable[NetworkOffer]:  # type: ignore[empty-body]
    """Networks that `mox.get_model_fn` builds by name, with the metadata that `mox.get_model_meta` returns.

    Example:
        @hookimpl
        def mox_networks():
            yield NetworkOffer(
                name="shake_shake_26",
                target="mox_shake_shake.networks:shake_shake_26",
                summary="Shake-Shake 26 2x32d (arXiv 1705.07485)",
                meta=NetworkMeta(default_image_size=32, default_labels_offset=0),
            )
    """


@hookspec
def mox_augmentations() -> Iterable[AugmentationOffer]:  # type: ignore[empty-body]
    """Data augmentations that `mox.get_data_augmentation_fn` makes by name, often that of a network.

    Example:
        @hookimpl
        def mox_augmentations():
            yield AugmentationOffer(
                name="shake_shake_26",
                target="mox_shake_shake.augmentation:cifar",
                summary="pad by 4, random crop, flip",
            )
    """


@hookspec
def mox_optimizers() -> Iterable[OptimizerOffer]:  # type: ignore[empty-body]
    """Optimizers that `mox.get_optimizer_fn` makes by name.

    Example:
        @hookimpl
        def mox_optimizers():
            yield OptimizerOffer(name="lion", target="mox_lion.lion:Lion", summary="Lion (arXiv 2302.06675)")
    """


@hookspec
def mox_optimizer_wrappers() -> Iterable[OptimizerWrapperOffer]:  # type: ignore[empty-body]
    """Optimizer wrappers that `mox.get_optimizer_wrapper_fn` puts around an optimizer by name.

    Example:
        @hookimpl
        def mox_optimizer_wrappers():
            yield OptimizerWrapperOffer(
                name="lookahead",
                target="mox_lookahead.wrapper:lookahead",
                summary="slow weights follow fast ones (arXiv 1907.08610)",
            )
    """


@hookspec
def mox_datasets() -> Iterable[DatasetOffer]:  # type: ignore[empty-body]
    """Data sets that `mox.get_dataset` opens by name, with the metadata that `mox.get_dataset_meta` returns.

    Example:
        @hookimpl
        def mox_datasets():
            yield DatasetOffer(
                name="mnist",
                target="mox_mnist.dataset:Mnist",
                summary="handwritten digits, 28x28 grey",
                meta=DatasetMeta(num_classes=10, splits_to_sizes={"train": 60_000, "test": 10_000}),
            )
    """


@hookspec
def mox_exporters() -> Iterable[ExporterOffer]:  # type: ignore[empty-body]
    """Formats of exported models, for `export_model` of `mox.run`: each name becomes `mox.ExportKeys.<NAME>`.

    Example:
        @hookimpl
        def mox_exporters():
            yield ExporterOffer(name="TFLITE", target="mox_tflite.exporter:export", summary="a .tflite file")
    """


@hookspec
def mox_stores() -> Iterable[StoreOffer]:  # type: ignore[empty-body]
    """Remote stores, for paths such as `s3://bucket/folder` of data sets, log_dir and checkpoint_path.

    Example:
        @hookimpl
        def mox_stores():
            yield StoreOffer(name="webdav", target="mox_webdav.store:Folder", summary="folders on a WebDAV server")
    """


@hookspec
def mox_trackers() -> Iterable[TrackerOffer]:  # type: ignore[empty-body]
    """Trackers, which keep runs elsewhere: what they log, with what they were started, what they leave.

    Example:
        @hookimpl
        def mox_trackers():
            yield TrackerOffer(name="aim", target="mox_aim.tracker:AimTracker", summary="runs in Aim")
    """


@hookspec
def mox_api() -> Iterable[ApiOffer]:  # type: ignore[empty-body]
    """Public objects that become attributes of `mox`: classes of data sets, session hooks, helper functions.

    Example:
        @hookimpl
        def mox_api():
            yield ApiOffer(
                name="ProfilerHook",
                target="mox_profiler.hooks:ProfilerHook",
                summary="writes a trace of some steps",
            )
    """


@hookspec
def mox_commands() -> Iterable[CommandOffer]:  # type: ignore[empty-body]
    """Commands of the program `mox`, each called as `mox <name> ...`.

    Example:
        @hookimpl
        def mox_commands():
            yield CommandOffer(name="zoo", target="mox_zoo.commands:main", summary="lists and fetches trained networks")
    """


ARGUMENTS: Final[Mapping[str, object]] = MappingProxyType({})
"""The arguments of hooks by name."""

OFFERS: Final[Mapping[str, type[Offer]]] = MappingProxyType(
    {
        "mox_networks": NetworkOffer,
        "mox_augmentations": AugmentationOffer,
        "mox_optimizers": OptimizerOffer,
        "mox_optimizer_wrappers": OptimizerWrapperOffer,
        "mox_datasets": DatasetOffer,
        "mox_exporters": ExporterOffer,
        "mox_stores": StoreOffer,
        "mox_trackers": TrackerOffer,
        "mox_api": ApiOffer,
        "mox_commands": CommandOffer,
    }
)
"""The type of the offers that each hook yields."""
