"""Weights fitted to a network of a plugin, which is built by TensorFlow as in a run, and written as a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np  # noqa: TID253  (imported only where weights are read)
import tensorflow as tf  # noqa: TID253
from attrs import evolve, frozen

from mox_core.catalog import get_model_meta, networks_of_same_name
from mox_core.commands.network_size import traced
from mox_core.engine.checkpoint.origins import Checkpoint, OtherWeights, PublishedWeights, wanted_of
from mox_core.engine.checkpoint.reader import load
from mox_core.engine.variables.names import GLOBAL_STEP, LABELS, NUM_CLASSES, TRAINING_STATE
from mox_core.engine.weights.matching import fit, is_next_to_nothing
from mox_core.engine.weights.published import IMAGENET, read_published
from mox_core.engine.weights.tensorflow_files import of_names
from mox_core.errors import CheckpointError, UsageError
from mox_core.modes import ModeKeys
from mox_core.name_lists import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from mox_core.engine.weights.matching import Fit
    from mox_core.engine.weights.stored import StoredWeights

_DEFAULT_CLASSES = 1000


@frozen
class Sizes:
    """What shapes of a network depend on.

    Attributes:
        num_classes: the number of classes.
        channels: those of the images.
    """

    num_classes: int
    channels: int = 3


@frozen
class Imported:
    """What has become of a file of weights.

    Attributes:
        prefix: the checkpoint that was written.
        source: the file.
        kind: what wrote it, in words.
        network: the name of the network.
        wanted: how many variables the network has.
        written: how many of them have values.
        num_classes: the number of classes; None where the file has no logits.
        labels: the names of the classes, as far as the file has them.
        without_logits: the variables of the logits, where the file has none.
        missing: other variables that it does not have.
        unused: what it has besides.
        renumbered: whether names fit only by the order of the numbers at their ends.
    """

    prefix: str
    source: str
    kind: str
    network: str
    wanted: int
    written: int
    num_classes: int | None
    labels: Sequence[str]
    without_logits: Sequence[str]
    missing: Sequence[str]
    unused: Sequence[str]
    renumbered: bool


def read(source: Path, network: str | None = None) -> StoredWeights:
    """Return the weights at a path, without what belongs to a training.

    Args:
        source: the path, or the word 'imagenet'.
        network: the name of the network, by which 'imagenet' goes.

    Raises:
        CheckpointError: if there are none.
    """
    origin = load(source, called="FILE")
    if isinstance(origin, PublishedWeights):
        if network is None:
            raise UsageError(
                f"{IMAGENET!r} names the weights of a network: mox weights import {IMAGENET} --network NAME."
            )
        return read_published(network, lambda: wanted_of(build(network, Sizes(_DEFAULT_CLASSES))))
    if isinstance(origin, OtherWeights):
        return origin.weights
    if not isinstance(origin, Checkpoint):
        raise TypeError(origin)
    weights = {
        name: value
        for name, value in origin.values.items()
        if name not in (GLOBAL_STEP, "save_counter") and not name.startswith(TRAINING_STATE)
    }
    labels = tuple(each.decode() for each in np.ravel(origin.values.get(LABELS, ())))
    return evolve(of_names(origin.prefix, weights), labels=labels)


def import_weights(source: Path, network: str, prefix: Path, *, num_classes: int | None = None) -> Imported:
    """Write a checkpoint of a network with the values that a file has of its variables.

    Args:
        source: the file.
        network: the name of the network in `mox.get_model_fn`.
        prefix: the checkpoint.
        num_classes: the number of classes; that of the file, if not given.

    Raises:
        CheckpointError: if nothing fits, or next to nothing, or values have other shapes.
    """
    weights = read(source, network)
    sizes = Sizes(num_classes or _DEFAULT_CLASSES)
    variables = build(network, sizes)
    found = fit(weights, wanted_of(variables))
    others = _other_shapes(variables, found.values)
    of_file = _sizes_of(others, sizes) if others else None
    if of_file is not None and num_classes in (None, of_file.num_classes):
        sizes = of_file
        variables = build(network, sizes)
        others = _other_shapes(variables, found.values)
    _check(weights, network, found.values, variables, others, sizes)
    missing = [name for name in variables if name not in found.values]
    heads = _depending_on_classes(network, variables, sizes) if missing else set()
    _check_enough(weights, network, found, variables.keys() - heads, len(variables))
    without_logits = [name for name in missing if name in heads]
    known_classes = None if without_logits else sizes.num_classes
    labels = weights.labels if len(weights.labels) == known_classes else ()
    _write(prefix, variables, found.values, known_classes, labels)
    return Imported(
        prefix=str(prefix),
        source=weights.path,
        kind=weights.kind,
        network=network,
        wanted=len(variables),
        written=len(found.values),
        num_classes=known_classes,
        labels=labels,
        without_logits=without_logits,
        missing=[name for name in missing if name not in heads],
        unused=sorted(found.unused),
        renumbered=found.renumbered,
    )


def build(network: str, sizes: Sizes) -> dict[str, tf.Variable]:
    """Build a network and return its variables by name."""
    size = get_model_meta(network).default_image_size
    classes, channels = sizes.num_classes, sizes.channels
    _, state = traced(network, ModeKeys.PREDICT, num_classes=classes, channels=channels, image_size=size)
    return state.weights()


def _other_shapes(
    variables: Mapping[str, tf.Variable], values: Mapping[str, np.ndarray[Any, Any]]
) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return the shapes, of variables and of values, that differ."""
    shapes = {name: (tuple(each or 0 for each in variables[name].shape), value.shape) for name, value in values.items()}
    return {name: (ours, theirs) for name, (ours, theirs) in shapes.items() if ours != theirs}


def _sizes_of(others: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]], built: Sizes) -> Sizes | None:
    """Return the sizes of a file whose shapes differ in them alone; None where they differ otherwise."""
    classes: set[int] = set()
    channels: set[int] = set()
    for ours, theirs in others.values():
        if len(ours) != len(theirs):
            return None
        differing = [place for place in range(-len(ours), 0) if ours[place] != theirs[place]]
        if differing == [-1] and ours[-1] == built.num_classes:
            classes.add(theirs[-1])
        elif differing == [-2] and ours[-2] == built.channels:
            channels.add(theirs[-2])
        else:
            return None
    if len(classes) > 1 or len(channels) > 1:
        return None
    return Sizes(classes.pop() if classes else built.num_classes, channels.pop() if channels else built.channels)


def _check(
    weights: StoredWeights,
    network: str,
    values: Mapping[str, Any],
    variables: Mapping[str, tf.Variable],
    others: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]],
    sizes: Sizes,
) -> None:
    if not values:
        raise CheckpointError(
            f"{weights.path!r} ({weights.kind}) has none of the variables of network {network!r}. It has: "
            f"{counted([each.label for each in weights.arrays()])}; the network has: {counted(list(variables))}."
            f"{_said_of_others(weights, network)}"
        )
    if others:
        listed = [f"{name} (network {ours}, file {theirs})" for name, (ours, theirs) in others.items()]
        raise CheckpointError(
            f"{len(others)} values of {weights.path!r} have another shape than the variables of network {network!r} "
            f"with {sizes.num_classes} classes: {counted(listed)}. {_way_out(len(others), len(values))}"
        )


def _way_out(differing: int, number: int) -> str:
    if 2 * differing > number:
        return (
            "Most differ: it is of another network, or of this one with other options of mox.get_model_fn. A run that "
            "gets the network with these options takes the file as it is: mox.run(checkpoint_path=...)."
        )
    return (
        "It is of another network, or of another number of classes. A training takes what fits of it: "
        "mox.run(checkpoint_path=...), with --checkpoint_exclude_patterns for the others."
    )


def _check_enough(weights: StoredWeights, network: str, found: Fit, body: AbstractSet[str], number: int) -> None:
    """Refuse a file of which next to nothing fits: the logits alone, say, and less than a tenth of what is below.

    Args:
        weights: the file.
        network: the name of the network.
        found: what fits.
        body: the variables of the network without its logits.
        number: the number of all of them.
    """
    fitting = len(body & found.values.keys())
    if is_next_to_nothing(fitting, len(body), len(found.unused) + fitting):
        raise CheckpointError(
            f"{weights.path!r} ({weights.kind}) has next to nothing of network {network!r}: {len(found.values)} of its "
            f"{number} variables, {counted(list(found.values))}. It is of another network, and has "
            f"{counted(sorted(found.unused))}.{_said_of_others(weights, network)}"
        )


def _said_of_others(weights: StoredWeights, network: str) -> str:
    """Return the sentence that names the network of the same name, of another plugin, that the weights fit; or ''."""
    for other in networks_of_same_name(network):
        variables = build(other, Sizes(_DEFAULT_CLASSES))
        if 2 * len(fit(weights, wanted_of(variables)).values) > len(variables):
            return f" It fits {other!r}: --network {other}, and mox.get_model_fn({other!r}, ...) in a run."
    return ""


def _depending_on_classes(network: str, variables: Mapping[str, tf.Variable], sizes: Sizes) -> set[str]:
    """Return the names of the variables that have another shape where there is one class more."""
    more = build(network, evolve(sizes, num_classes=sizes.num_classes + 1))
    return {name for name, each in variables.items() if name in more and more[name].shape != each.shape}


def _write(
    prefix: Path,
    variables: Mapping[str, tf.Variable],
    values: Mapping[str, np.ndarray[Any, Any]],
    num_classes: int | None,
    labels: Sequence[str],
) -> None:
    tensors = {name: tf.cast(value, variables[name].dtype) for name, value in values.items()}
    if num_classes is not None:
        tensors[NUM_CLASSES] = tf.constant(num_classes, tf.int64)
    if labels:
        tensors[LABELS] = tf.constant(list(labels))
    names = sorted(tensors)
    try:
        prefix.parent.mkdir(parents=True, exist_ok=True)
        tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[tensors[name] for name in names],
        )
    except (OSError, tf.errors.OpError) as error:
        raise UsageError(f"--to {str(prefix)!r} cannot be written: {str(error).splitlines()[0]}.") from error
