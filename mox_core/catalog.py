"""Lookup of networks, augmentations, optimizers and data sets by name: `mox.get_model_fn("resnet_v1_50", ...)` etc.

Every argument `name` also takes a function of the user's own, which is called as the target of an offer would be.
"""

from __future__ import annotations

import inspect
import logging
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

from mox_core.did_you_mean import did_you_mean, nearest
from mox_core.errors import UnknownAttributeError, UsageError
from mox_core.modes import RUN_MODES, ModeKeys
from mox_core.name_lists import listed
from mox_core.network_building import build_network, check_name_scope, with_known_size
from mox_core.plugins import loader
from mox_core.plugins.offers import (
    ApiOffer,
    AugmentationOffer,
    DatasetOffer,
    ExporterOffer,
    NetworkOffer,
    OptimizerOffer,
    OptimizerWrapperOffer,
    import_target,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mox_core.plugins.offers import DatasetMeta, NetworkMeta, Offer
    from mox_core.plugins.registry import AnyOffer

    Name = str | Callable[..., Any]
    """A name that a plugin offers, or a function in its place."""


def default_preprocess_fn(images: Any, run_mode: str, *args: Any) -> Any:
    """Placeholder for the network's own preprocessing, the default of `get_model_fn(preprocess_fn=...)`; not called."""
    raise NotImplementedError


def get_model_fn(  # noqa: PLR0913, PLR0917  (the arguments of the manual's API)
    name: Name,
    run_mode: str,
    num_classes: int,
    weight_decay: float = 0.0,
    data_format: str = "NHWC",
    batch_norm_fused: bool = False,  # noqa: FBT001, FBT002
    batch_renorm: bool = False,  # noqa: FBT001, FBT002
    image_height: int | None = None,
    image_width: int | None = None,
    preprocess_fn: Callable[..., Any] | None = default_preprocess_fn,
    name_scope: str | None = None,
    **model_kwargs: Any,
) -> Callable[[Any], tuple[Any, dict[str, Any]]]:
    """Return a function that builds a network on a batch of images.

    Args:
        name: a network (`mox.NetworkKeys` lists them), or a function
            `(*, run_mode, num_classes, **options) -> images -> (logits, end_points)`; one that gives logits alone has
            no end points.
        run_mode: the mode that `model_fn` was called with.
        num_classes: number of classes, the last dimension of the logits.
        weight_decay: factor of the regularization losses; 0: none.
        data_format: 'NHWC' or 'NCHW', in which the network computes; images are NHWC in either case.
        batch_norm_fused: use the fused kernel of batch normalization.
        batch_renorm: use batch renormalization.
        image_height: height of the images in pixels, if their static shape lacks it. In EXPORT the default is then the
            network's `default_image_size`.
        image_width: like image_height.
        preprocess_fn: `preprocess_fn(images, run_mode, *args)` in place of the network's own; None: no preprocessing.
        name_scope: what the names of the network's variables begin with, 'teacher' for 'teacher/conv1/kernel': two
            networks of one family in a model each need one.
        **model_kwargs: options of this network.

    Returns:
        A function from images, a tensor of shape [batch, height, width, channels], to `(logits, end_points)`: a tensor
        of shape [batch, num_classes], and a dict from names to tensors.

    Raises:
        UnknownNameError: if no plugin offers the network, or more than one does.
        UsageError: if run_mode or data_format has another value than those, or name_scope is no scope.
    """
    _check_run_mode(run_mode)
    check_name_scope(name_scope)
    if data_format not in ("NHWC", "NCHW"):
        raise UsageError(f"data_format is {data_format!r}; it must be 'NHWC' or 'NCHW'.")
    if preprocess_fn is not default_preprocess_fn:
        model_kwargs["preprocess_fn"] = preprocess_fn
    network = partial(
        find_target(NetworkOffer, name),
        run_mode=run_mode,
        num_classes=num_classes,
        weight_decay=weight_decay,
        data_format=data_format,
        batch_norm_fused=batch_norm_fused,
        batch_renorm=batch_renorm,
        **model_kwargs,
    )
    if run_mode == ModeKeys.EXPORT and image_height is None and image_width is None and isinstance(name, str):
        size = get_model_meta(name).default_image_size
        return partial(build_network, name, name_scope, lambda images: with_known_size(network, images, size)(images))
    build = network(image_height=image_height, image_width=image_width)
    if not callable(build):
        return build  # type: ignore[no-any-return]
    return partial(build_network, name, name_scope, build)


def get_model_meta(name: str) -> NetworkMeta:
    """Return the metadata of a network: default_image_size, default_labels_offset, default_logits_pattern.

    Raises:
        UnknownNameError: if no plugin offers the network, or more than one does.
    """
    return _find(NetworkOffer, name).meta


def networks_of_same_name(name: str) -> list[str]:
    """Return the names, `plugin/name`, of what other plugins offer under the name of a network.

    Raises:
        UnknownNameError: if no plugin offers the network, or more than one does.
    """
    plugins = loader.installed_plugins()
    owner, offer = plugins.find_with_owner(NetworkOffer, name)
    return [plugins.qualified(*each) for each in plugins.owners(NetworkOffer, offer.name) if each[0] is not owner]


def get_data_augmentation_fn(
    name: Name, run_mode: str, output_height: int | None = None, output_width: int | None = None, **kwargs: Any
) -> Callable[[Any], Any]:
    """Return a function that augments one image.

    Args:
        name: an augmentation, often named like its network (`mox.PreprocessingKeys` lists them), or a function
            `(*, run_mode, output_height, output_width, **options) -> image -> image`.
        run_mode: the mode that `input_fn` was called with; images are distorted in TRAIN only.
        output_height: height of the augmented image in pixels; the augmentation's own default if not given.
        output_width: like output_height.
        **kwargs: options of this augmentation.

    Returns:
        A function from an image of shape [height, width, channels] to one of shape
        [output_height, output_width, channels]; the dtypes are the augmentation's.

    Raises:
        UnknownNameError: if no plugin offers the augmentation, or more than one does.
        UsageError: if run_mode is not a mode of `mox.ModeKeys`.
    """
    _check_run_mode(run_mode)
    make = find_target(AugmentationOffer, name)
    return make(  # type: ignore[no-any-return]
        run_mode=run_mode, output_height=output_height, output_width=output_width, **kwargs
    )


def get_optimizer_fn(
    name: Name, learning_rate: Any = None, scope: str | None = None, *args: Any, **kwargs: Any
) -> Callable[[], Any]:
    """Return a function without arguments that makes an optimizer, for `mox.run(optimizer_fn=...)`.

    The name is looked up at once; the optimizer's module is imported when the function is called.

    Args:
        name: an optimizer (`mox.OptimizerKeys` lists them), or a function `(learning_rate, **options) -> optimizer`.
        learning_rate: a number, a Keras schedule, a callable of the step, or a tensor computed from the global step.
        scope: TensorFlow name scope in which the optimizer is made. MoXing's manual has the argument and does not
            explain it.
        *args: passed to the optimizer after the learning rate.
        **kwargs: options of this optimizer.

    Raises:
        UnknownNameError: if no plugin offers the optimizer, or more than one does.
        UsageError: if learning_rate is missing.
    """
    make = _lazy_target(OptimizerOffer, name)
    if learning_rate is None:
        raise UsageError(
            f"get_optimizer_fn({name!r}) lacks learning_rate; it must be a number, a Keras schedule, "
            "a callable of the step, or a tensor."
        )

    def optimizer_fn() -> Any:
        if scope is None:
            return make()(learning_rate, *args, **kwargs)
        import tensorflow as tf

        with tf.name_scope(scope):
            return make()(learning_rate, *args, **kwargs)

    return optimizer_fn


def get_optimizer_wrapper_fn(name: Name, opt: Any, **kwargs: Any) -> Callable[[], Any]:
    """Return a function without arguments that wraps an optimizer, for `mox.run(optimizer_fn=...)`.

    Args:
        name: an optimizer wrapper, or a function `(optimizer, **options) -> optimizer`.
        opt: the optimizer, or a wrapper around one: wrappers nest.
        **kwargs: options of this wrapper.

    Raises:
        UnknownNameError: if no plugin offers the wrapper, or more than one does.
        UsageError: from the returned function, if the wrapper has no such option.
    """
    make = _lazy_target(OptimizerWrapperOffer, name)

    def wrapper_fn() -> Any:
        wrapper = make()
        _check_options(f"optimizer wrapper {name!r}", wrapper, opt, **kwargs)
        return wrapper(opt, **kwargs)

    return wrapper_fn


def _check_options(what: str, target: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Raise a UsageError that names the options which a target does not have."""
    signature = inspect.signature(target)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        options = [each.name for each in signature.parameters.values() if each.kind is each.KEYWORD_ONLY]
        unknown = next((name for name in kwargs if name not in signature.parameters), "")
        lines = [f"{what}: {error}.", did_you_mean(nearest(unknown, options)), f"Options: {', '.join(options)}."]
        raise UsageError("\n".join(filter(None, lines))) from error


def get_dataset(name: Name, split_name: str, dataset_dir: str, **kwargs: Any) -> Any:
    """Return one split of a data set, to be read inside `input_fn`.

    Args:
        name: a data set, or a function `(*, split_name, dataset_dir, **options) -> data set`.
        split_name: one of `mox.get_dataset_meta(name).splits_to_sizes`.
        dataset_dir: the folder of its files.
        **kwargs: options of this data set.

    Returns:
        An object with a method `get(keys)`, which returns a list of tensors, the features of one sample.

    Raises:
        UnknownNameError: if no plugin offers the data set, or more than one does.
        UsageError: if it has no such option.
    """
    make = find_target(DatasetOffer, name)
    options = {"split_name": split_name, "dataset_dir": dataset_dir, **kwargs}
    _check_options(f"data set {name!r}", make, **options)
    return make(**options)


def get_dataset_meta(name: str) -> DatasetMeta:
    """Return the metadata of a data set: num_classes and splits_to_sizes.

    Raises:
        UnknownNameError: if no plugin offers the data set, or more than one does.
    """
    return _find(DatasetOffer, name).meta


def offered_name(kind: type[Offer], name: str) -> str:
    """Return the name under which one plugin offers what a name stands for, which may be `plugin/name`.

    Raises:
        UnknownNameError: if no plugin offers the name, or more than one does.
    """
    return _find(kind, name).name


def find_target(kind: type[Offer], name: Name) -> Callable[..., Any]:
    """Import and return the target of a name; return a function as it is.

    Raises:
        UnknownNameError: if no plugin offers the name, or more than one does.
        PluginError: if the target cannot be imported.
    """
    return _lazy_target(kind, name)()


def get_public_object(name: str, *, core_names: Iterable[str]) -> Any:
    """Import and return the object that a plugin offers as `mox.<name>`.

    Args:
        name: the attribute of `mox`.
        core_names: the names of the core, for suggestions.

    Raises:
        UnknownAttributeError: if no plugin offers the name, or more than one does.
        PluginError: if the target cannot be imported.
    """
    plugins = loader.installed_plugins()
    owners = plugins.claimants(ApiOffer, name)
    if len(owners) == 1:
        return import_target(owners[0][1])
    if not owners:
        heading = f"module 'mox_core' has no attribute {name!r}."
        raise UnknownAttributeError(plugins.help(ApiOffer, name, heading=heading, more_names=core_names))
    targets = (offer.target.partition(":") for _, offer in owners)
    imports = "".join(f"\nfrom {module} import {attribute}" for module, _, attribute in targets)
    raise UnknownAttributeError(
        f"mox.{name} is offered by {len(owners)} plugins: {' and '.join(str(plugin) for plugin, _ in owners)}.\n"
        f"Import the one that is meant:{imports}"
    )


def public_names() -> list[str]:
    """Return the names that plugins offer on `mox`, sorted."""
    return loader.installed_plugins().names(ApiOffer)


class Keys:
    """The installed names of one kind as attributes: `NetworkKeys.RESNET_V1_50` is `'resnet_v1_50'`.

    Iterating yields the names. The error for a name that is not installed names the distribution to install.
    """

    def __init__(self, label: str, kind: type[Offer]) -> None:
        self._label = label
        self._kind = kind

    def __getattr__(self, attribute: str) -> str:
        if attribute.startswith("_"):  # Python itself asks for these
            raise AttributeError(f"{self._label!r} has no attribute {attribute!r}")
        names = self._attributes().get(attribute, [])
        if len(names) == 1:
            return names[0]
        if names:
            raise UnknownAttributeError(
                f"{self._label}.{attribute} may be {listed(names, 'or')}; write the name itself."
            )
        heading = f"{self._label} has no {attribute!r}."
        plugins = loader.installed_plugins()
        raise UnknownAttributeError(plugins.help(self._kind, attribute, heading=heading, written=_as_attribute))

    def __iter__(self) -> Iterator[str]:
        return iter(loader.installed_plugins().names(self._kind))

    def __dir__(self) -> list[str]:
        return sorted(self._attributes())

    def __repr__(self) -> str:
        return f"{self._label}({', '.join(self)})"

    def _attributes(self) -> dict[str, list[str]]:
        attributes: dict[str, list[str]] = {}
        for name in self:
            attributes.setdefault(_as_attribute(name), []).append(name)
        return attributes


def _as_attribute(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name).upper()


NetworkKeys: Final = Keys("NetworkKeys", NetworkOffer)
PreprocessingKeys: Final = Keys("PreprocessingKeys", AugmentationOffer)
OptimizerKeys: Final = Keys("OptimizerKeys", OptimizerOffer)
ExportKeys: Final = Keys("ExportKeys", ExporterOffer)


def _find(kind: type[AnyOffer], name: object) -> AnyOffer:
    if not isinstance(name, str):
        raise UsageError(f"{kind.kind} {name!r} is no name; it must be a string.")
    plugins = loader.installed_plugins()
    owner, offer = plugins.find_with_owner(kind, name)
    others = [plugins.qualified(*each) for each in plugins.owners(kind, name) if each[0] is not owner]
    if others:
        _log_choice(kind.kind, name, plugins.qualified(owner, offer), listed(others, "and"))
    return offer


@cache
def _log_choice(kind: str, name: str, chosen: str, others: str) -> None:
    """Say once in a process which of several plugins a name is of, as another one may be installed later."""
    logging.getLogger("tensorflow").info("%s %r is %r; there is %s, too.", kind, name, chosen, others)


def _lazy_target(kind: type[Offer], name: Name) -> Callable[[], Callable[..., Any]]:
    """Look the name up now; return a function that imports its target."""
    if callable(name):
        return lambda: name
    offer = _find(kind, name)
    return lambda: import_target(offer)


def _check_run_mode(run_mode: str) -> None:
    modes = (*RUN_MODES, ModeKeys.EXPORT)
    if run_mode not in modes:
        raise UsageError(
            f"run_mode is {run_mode!r}; it must be one of {', '.join('mox.ModeKeys.' + m for m in modes)}."
        )
