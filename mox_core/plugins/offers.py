"""The offers of plugins: values that can be listed and checked without importing what they name.

The rule to keep: an offer contains names, never code. Its target is imported when the name is first used.
"""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import Attribute, field, frozen

from mox_core.errors import PluginError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping


def import_target(offer: Offer) -> Any:
    """Import and return the target of an offer.

    Raises:
        PluginError: if the target's module cannot be imported or lacks the object.
    """
    module, _, attribute = offer.target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise PluginError(
            f"{offer.kind} {offer.name!r} cannot be imported from {offer.target!r}: {type(error).__name__}: {error}"
        ) from error


def _check_name(offer: Offer, _: Attribute[str], name: object) -> None:
    if isinstance(name, str) and offer.allows_name(name):
        return
    raise UsageError(f"the name of {type(offer).__name__} is {name!r}; it must be {offer.name_rule}.")


def _check_target(offer: Offer, _: Attribute[str], target: object) -> None:
    module, colon, attribute = target.partition(":") if isinstance(target, str) else ("", "", "")
    if not colon or not attribute.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise UsageError(
            f"the target of {offer.kind} {offer.name!r} is {target!r}; "
            "it must be a string like 'package.module:object'."
        )


def _check_summary(offer: Offer, _: Attribute[str], summary: object) -> None:
    if not isinstance(summary, str) or not summary.strip() or "\n" in summary:
        raise UsageError(
            f"the summary of {offer.kind} {offer.name!r} is {summary!r}; it must be one line that says what it is."
        )


def _check_yields(offer: Offer, _: Attribute[bool], yields: object) -> None:
    if not isinstance(yields, bool):
        raise UsageError(f"yields of {offer.kind} {offer.name!r} is {yields!r}; it must be True or False.")


def _check_meta(offer: Offer, attribute: Attribute[Any], meta: object) -> None:
    wanted = attribute.metadata["type"]
    if not isinstance(meta, wanted):
        raise UsageError(f"the meta of {offer.kind} {offer.name!r} is {meta!r}; it must be a {wanted.__name__}.")


def _check_count(meta: object, attribute: Attribute[int], value: object) -> None:
    least: int = attribute.metadata["least"]
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UsageError(
            f"{attribute.name} of {type(meta).__name__} is {value!r}; it must be a whole number of at least {least}."
        )


def _check_known_count(meta: object, attribute: Attribute[int | None], value: object) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise UsageError(
            f"{attribute.name} of {type(meta).__name__} is {value!r}; it must be a whole number of at least 1, or None."
        )


def _as_dict(sizes: Mapping[str, int]) -> dict[str, int]:  # type checkers do not understand `dict` as a converter
    return dict(sizes)


def _check_sizes(_meta: object, attribute: Attribute[Any], sizes: Mapping[object, object]) -> None:
    for split, size in sizes.items():
        if not isinstance(split, str) or not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise UsageError(
                f"{attribute.name} of DatasetMeta holds {split!r}: {size!r}; "
                "it must map names of splits to numbers of samples."
            )


@frozen
class NetworkMeta:
    """The metadata of a network, which `mox.get_model_meta` returns.

    Attributes:
        default_image_size: height and width in pixels of the images that the network was made for, 1 or more.
        default_labels_offset: number of labels before the first class in its published checkpoints; 1: a background
            class.
        default_logits_pattern: part of the names of the variables that depend on the number of classes, which are left
            out when a checkpoint with another number of classes is restored.
        parameters: number of parameters with 1000 classes and images of the default size, for lists of networks: moving
            averages are among them, auxiliary logits are not. None where it is not known without building one.
    """

    default_image_size: int = field(validator=_check_count, metadata={"least": 1})
    default_labels_offset: int = field(validator=_check_count, metadata={"least": 0})
    default_logits_pattern: str = "logits"
    parameters: int | None = field(default=None, validator=_check_known_count)


@frozen
class DatasetMeta:
    """The metadata of a data set, which `mox.get_dataset_meta` returns.

    Attributes:
        num_classes: number of classes, 0 or more.
        splits_to_sizes: number of samples of each split by its name, in the order of use: the training split first.
    """

    num_classes: int = field(validator=_check_count, metadata={"least": 0})
    splits_to_sizes: Mapping[str, int] = field(converter=_as_dict, validator=_check_sizes)


@frozen
class Offer:
    """The base class of offers: a name, and where to import the object that it stands for.

    Attributes:
        name: the name that users write.
        target: the object to import, as `"package.module:object"`.
        summary: one line for listings.
        yields: whether the name goes to another plugin that offers it too; this offer is then asked for as
            `plugin/name`.
    """

    kind: ClassVar[str] = "offer"
    name_rule: ClassVar[str] = "a string that is not empty, without spaces and without '/'"

    name: str = field(validator=_check_name)
    target: str = field(validator=_check_target)
    summary: str = field(validator=_check_summary, kw_only=True)
    yields: bool = field(default=False, validator=_check_yields, kw_only=True)

    @classmethod
    def allows_name(cls, name: str) -> bool:
        """Return whether a name follows `name_rule`."""
        return bool(name) and not any(character == "/" or character.isspace() for character in name)


@frozen
class NetworkOffer(Offer):
    """A network for `mox.get_model_fn`.

    The target is called as `target(*, run_mode, num_classes, **options)` and returns a function
    `images -> (logits, end_points)`: from a tensor of shape [batch, height, width, channels] to a tensor of shape
    [batch, num_classes] and a dict from names to tensors. The options are those of `mox.get_model_fn`; `preprocess_fn`
    is passed only if the user gives it (`None`: no preprocessing), so its default is the network's own preprocessing.

    Attributes:
        meta: what `mox.get_model_meta` returns.
    """

    kind: ClassVar[str] = "network"

    meta: NetworkMeta = field(validator=_check_meta, metadata={"type": NetworkMeta}, kw_only=True)


@frozen
class AugmentationOffer(Offer):
    """A data augmentation for `mox.get_data_augmentation_fn`, often named like the network that it belongs to.

    The target is called as `target(*, run_mode, output_height, output_width, **options)` and returns a function from an
    image of shape [height, width, channels] to one of shape [output_height, output_width, channels].
    """

    kind: ClassVar[str] = "augmentation"


@frozen
class OptimizerOffer(Offer):
    """An optimizer for `mox.get_optimizer_fn`.

    The target is called as `target(learning_rate, **options)` and returns a Keras or a `tf.compat.v1.train` optimizer.
    """

    kind: ClassVar[str] = "optimizer"


@frozen
class OptimizerWrapperOffer(Offer):
    """An optimizer wrapper for `mox.get_optimizer_wrapper_fn`.

    The target is called as `target(optimizer, **options)` and returns an optimizer.
    """

    kind: ClassVar[str] = "optimizer wrapper"


@frozen
class DatasetOffer(Offer):
    """A data set for `mox.get_dataset`.

    The target is called as `target(*, split_name, dataset_dir, **options)` and returns an object with a method
    `get(keys)`, which returns a list of tensors, the features of one sample.

    Attributes:
        meta: what `mox.get_dataset_meta` returns.
    """

    kind: ClassVar[str] = "data set"

    meta: DatasetMeta = field(validator=_check_meta, metadata={"type": DatasetMeta}, kw_only=True)


@frozen
class ExporterOffer(Offer):
    """A format of exported models, for `mox.run(..., export_model=mox.ExportKeys.X)`.

    The target is called as `target(model, directory)` with a `mox_core.sdk.ExportedModel` and the path of an empty
    folder, into which it writes the model. The core chooses the version and renames the folder when it is complete, to
    `log_dir/<name in lower case>/<version>` (TF_SERVING: `log_dir/<version>`). If the target has a method
    `check(model)`, it is called before training; it raises if the format cannot represent the model.
    """

    kind: ClassVar[str] = "exporter"
    name_rule: ClassVar[str] = (
        "the name of a folder of log_dir: letters, digits, '_', '.' and '-', with a letter first, and neither 'best' "
        "nor 'eval'"
    )

    @classmethod
    def allows_name(cls, name: str) -> bool:
        """Return whether a name, in lower case, can be the folder of the format's versions."""
        return re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", name) is not None and name.lower() not in ("best", "eval")


@frozen
class StoreOffer(Offer):
    """A remote store, by the scheme of its URLs: `s3` for `s3://bucket/folder`.

    The target is called as `target(url)` with the URL of a folder, whether it exists or not, and returns a
    `mox_core.stores.folder.RemoteFolder`: what mox asks of it to read data and to keep a log_dir there.
    """

    kind: ClassVar[str] = "store"
    name_rule: ClassVar[str] = "the scheme of a URL in lower case, such as 's3'"

    @classmethod
    def allows_name(cls, name: str) -> bool:
        """Return whether a name can be the scheme of a URL."""
        return re.fullmatch(r"[a-z][a-z0-9+.-]*", name) is not None


@frozen
class TrackerOffer(Offer):
    """A tracker of runs, for `mox.run(..., trackers=["name"])` and `--trackers=name`.

    The target is called as `target()` and returns a `mox_core.trackers.Tracker`, which is told of a run when it starts,
    what it logs, what it leaves and how it ends.
    """

    kind: ClassVar[str] = "tracker"
    name_rule: ClassVar[str] = "a string that is not empty, without spaces, '/' and ','"

    @classmethod
    def allows_name(cls, name: str) -> bool:
        """Return whether a name follows `name_rule`, so that the flag can hold several."""
        return super().allows_name(name) and "," not in name


@frozen
class CommandOffer(Offer):
    """A command of the program `mox`, called as `mox <name> ...`.

    The target is called as `target(arguments)` with the list of strings after the name, prints its own `--help`, and
    returns the exit status. A `MoxError` that it raises is printed as a message without a traceback.
    """

    kind: ClassVar[str] = "command"
    name_rule: ClassVar[str] = "a string that is not empty, without spaces and '/', and does not begin with '-'"

    @classmethod
    def allows_name(cls, name: str) -> bool:
        """Return whether a name follows `name_rule`, so that it cannot be mistaken for an option."""
        return super().allows_name(name) and not name.startswith("-")


@frozen
class ApiOffer(Offer):
    """A public attribute of `mox`, such as `mox.FeedSessionRunHook`. The target is the object itself."""

    kind: ClassVar[str] = "public name"
    name_rule: ClassVar[str] = "an identifier without a leading underscore"

    @classmethod
    def allows_name(cls, name: str) -> bool:
        """Return whether a name can be a public attribute of `mox`."""
        return name.isidentifier() and not name.startswith("_")
