"""Variables that get the values which a checkpoint has under their names."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final, NoReturn

import tensorflow as tf
from attrs import frozen

from mox_core.engine.variables.names import (
    CLASSES,
    GLOBAL_STEP,
    INPUT_BLOCKS,
    INPUT_SIZES,
    LABELS,
    NUM_CLASSES,
    POSITIONS,
    SEED,
    TRAINED,
    TRAINING_STATE,
    WORKER_POSITIONS,
)
from mox_core.engine.weights.matching import is_next_to_nothing
from mox_core.errors import CheckpointError, UsageError
from mox_core.name_lists import counted, number_of
from mox_core.name_patterns import check_matches
from mox_core.quoting import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from mox_core.engine.checkpoint.origins import Checkpoint, FittedModel
    from mox_core.name_filter import NameFilter

_COUNTER: Final = re.compile(r"_\d+(?=/|$)")
"""What Keras adds to the name of the second layer of a kind, and to those behind it."""
_OF_INPUT: Final = (POSITIONS, WORKER_POSITIONS, INPUT_BLOCKS, INPUT_SIZES)
_NO_VARIABLES: Final = (*_OF_INPUT, SEED, CLASSES, NUM_CLASSES, LABELS, "save_counter")
"""What a checkpoint holds beside variables; `tf.train.Checkpoint` counts its saves."""
_KERAS_SEED: Final = "seed_generator_state"
"""The variable of a layer of Keras that draws random numbers, such as Dropout."""


@frozen
class Chosen:
    """What is restored of a checkpoint_path.

    Attributes:
        names: which names the flags choose.
        model: the model.
    """

    names: NameFilter
    model: FittedModel


def restore_variables(
    checkpoint: Checkpoint,
    variables: dict[str, tf.Variable],
    *,
    partial: bool,
    chosen: Chosen | None = None,
    of_optimizers: AbstractSet[str] = frozenset(),
) -> None:
    """Assign the values of a checkpoint to the variables of the same names.

    Args:
        checkpoint: where the values come from.
        variables: the variables by name.
        partial: whether variables that it lacks keep their initial values (fine-tuning), instead of being an error.
        chosen: what is restored of a checkpoint_path; None for all of a checkpoint of the run itself.
        of_optimizers: the names of the variables of optimizers, which with `partial` come along where the global step
            does, and only there.

    Raises:
        CheckpointError: with the names that are missing or of another shape.
        UsageError: if a pattern of the flags matches nothing, or they leave nothing to restore.
    """
    if chosen is not None:
        _check_patterns(chosen.names, {GLOBAL_STEP, *variables, *checkpoint.values})
    variables = _drop_new_training_state(checkpoint, variables, partial=partial)
    goes_on = GLOBAL_STEP in checkpoint.values and (chosen is None or chosen.names(GLOBAL_STEP))
    if partial and not goes_on:
        variables = {name: variable for name, variable in variables.items() if name not in of_optimizers}
    wanted = {name: variable for name, variable in variables.items() if chosen is None or chosen.names(name)}
    _check_shapes(checkpoint, wanted, leave_out=chosen is not None)
    missing = [name for name in wanted if name not in checkpoint.values and not _may_be_missing(name, chosen)]
    left_out = [name for name in variables if name not in wanted]
    if chosen is not None:
        _check_any_left(checkpoint, wanted, left_out, chosen.names)
        if not partial and missing:
            _refuse_missing(checkpoint, wanted, missing, chosen.model)
        _check_enough(checkpoint, wanted, chosen)
    elif missing:
        _refuse_missing(checkpoint, wanted, missing, None)
    tf.get_logger().info("Restoring parameters from %s", shown(checkpoint.prefix))
    unused = [name for name in checkpoint.values if name not in variables and not _is_of_run(name)]
    _report(missing, left_out, unused, partial=partial)
    if partial:
        _report_optimizer(checkpoint, wanted, of_optimizers, goes_on=goes_on)
    for name, variable in wanted.items():
        if name in checkpoint.values:
            variable.assign(tf.cast(checkpoint.values[name], variable.dtype))


def _check_patterns(chosen: NameFilter, names: Iterable[str]) -> None:
    """Refuse a pattern of the flags for checkpoint_path that matches none of some names.

    Raises:
        UsageError: with names that are near.
    """
    names = list(names)
    for flag, patterns in (("include", chosen.include), ("exclude", chosen.exclude)):
        for pattern in patterns:
            check_matches(pattern, names, f"--checkpoint_{flag}_patterns")


def _check_any_left(
    checkpoint: Checkpoint, wanted: Mapping[str, tf.Variable], left_out: Sequence[str], chosen: NameFilter
) -> None:
    there = [name for name in left_out if name in checkpoint.values]
    if there not in ([], [GLOBAL_STEP]) and not wanted.keys() & checkpoint.values.keys():
        raise UsageError(
            f"--checkpoint_include_patterns={','.join(chosen.include)} and "
            f"--checkpoint_exclude_patterns={','.join(chosen.exclude)} leave nothing of {checkpoint.prefix!r} to "
            f"restore, which has {counted(there)}. To begin with none of its values, leave "
            "checkpoint_path out."
        )


def _drop_new_training_state(
    checkpoint: Checkpoint, variables: dict[str, tf.Variable], *, partial: bool
) -> dict[str, tf.Variable]:
    """Leave out the state of hooks and flags if another training begins, or the checkpoint lacks it."""
    new = [name for name in variables if name.startswith(TRAINING_STATE) and (partial or name not in checkpoint.values)]
    if new:
        tf.get_logger().info(
            "%d variables of hooks and flags begin with their initial values: %s", len(new), counted(new)
        )
    return {name: variable for name, variable in variables.items() if name not in new}


def _check_shapes(checkpoint: Checkpoint, wanted: Mapping[str, tf.Variable], *, leave_out: bool) -> None:
    other_shape = [
        f"{name} (model {tuple(variable.shape)}, checkpoint {checkpoint.values[name].shape})"
        for name, variable in wanted.items()
        if name in checkpoint.values and not variable.shape.is_compatible_with(checkpoint.values[name].shape)
    ]
    if not other_shape:
        return
    way_out = (
        "Leave them out with --checkpoint_exclude_patterns=<name>,... , or build the model that wrote it."
        if leave_out
        else "To train a changed model, use a new log_dir, and pass the old one as checkpoint_path."
    )
    raise CheckpointError(
        f"{len(other_shape)} variables have another shape in checkpoint {checkpoint.prefix!r}: "
        f"{counted(other_shape)}. {way_out}"
    )


def _refuse_missing(
    checkpoint: Checkpoint, wanted: Mapping[str, tf.Variable], missing: list[str], model: FittedModel | None
) -> NoReturn:
    """Refuse a checkpoint that lacks variables; `model` is that of a checkpoint_path, None in a log_dir."""
    if other := _named_by_counters(checkpoint, wanted, missing):
        raise CheckpointError(
            f"{len(missing)} variables of the model are in checkpoint {checkpoint.prefix!r} under names with other "
            f"numbers: {missing[0]} as {other}. Keras counts the layers of a process: a model that is made anew, by a "
            "notebook cell that is run again, gets further numbers. Make it inside of model_fn, where each run counts "
            "from the beginning; or name it and its layers: Sequential([...], name='net'), Dense(10, name='x'); or "
            "start Python anew."
        )
    way_out = (
        "To train on from its values with a changed model, use a new log_dir and pass the old one as checkpoint_path."
        if model is None
        else "It is of another model, or of a part of this one: TRAIN begins with a part, EVAL and PREDICT need all of "
        f"it. {model.said_of_others()}"
    )
    raise CheckpointError(
        f"{len(missing)} variables of the model are not in checkpoint {checkpoint.prefix!r}: {counted(missing)}. "
        f"{way_out.rstrip()}"
    )


def _check_enough(checkpoint: Checkpoint, wanted: Mapping[str, tf.Variable], chosen: Chosen) -> None:
    """Refuse what nothing of the model is in, or next to nothing: the head of a network of another kind, say.

    It is so if less than a tenth of the model has values, by less than a tenth of what the checkpoint has, or if the
    logits alone have, by one that has more. Patterns that name what is to be restored ask for that.
    """
    model = chosen.model
    known = {name for name in checkpoint.values if name != GLOBAL_STEP and not _is_of_run(name)}
    if not known & wanted.keys() and any(name != GLOBAL_STEP for name in wanted):
        raise CheckpointError(
            f"checkpoint {checkpoint.prefix!r} has none of the model's variables. It has: {counted(checkpoint.values)}."
            f" {model.said_of_others()}".rstrip()
        )
    fitting = [name for name in model.weights if name in known]
    few = is_next_to_nothing(len(fitting), len(model.weights), len(known))
    logits_alone = len(fitting) < min(len(model.weights), len(known)) and all(map(model.is_logits, fitting))
    if (few or logits_alone) and fitting and not chosen.names.include:
        said = (
            f"checkpoint {checkpoint.prefix!r} has next to nothing of the model: {len(fitting)} of its "
            f"{len(model.weights)} variables, {counted(fitting)}. It is of another model, and has "
            f"{counted(sorted(known - set(fitting)))}."
        )
        way_out = f"If that is meant, say so: --checkpoint_include_patterns={fitting[0]},..."
        raise CheckpointError(" ".join(filter(None, [said, model.said_of_others(), way_out])))


def _named_by_counters(checkpoint: Checkpoint, wanted: Mapping[str, tf.Variable], missing: Sequence[str]) -> str:
    """Return the name of the first missing variable in a checkpoint that differs by the counters in its names alone."""
    unused = [name for name in checkpoint.values if name not in wanted]
    by_plain_name: dict[str, list[str]] = {}
    for name in unused:
        by_plain_name.setdefault(_COUNTER.sub("", name), []).append(name)
    for name in missing:
        candidates = by_plain_name.get(_COUNTER.sub("", name), [])
        if not any(wanted[name].shape.is_compatible_with(checkpoint.values[each].shape) for each in candidates):
            return ""
    same = [each for each in unused if _COUNTER.sub("", each) == _COUNTER.sub("", missing[0])]
    return same[0]


def _report(missing: list[str], left_out: list[str], unused: list[str], *, partial: bool) -> None:
    logger = tf.get_logger()
    if missing:
        logger.warning("%s", _kept(missing, "not in the checkpoint"))
    if left_out:
        # In TRAIN that is what the flags are for; elsewhere it is more likely a flag too many.
        logger.log(logging.INFO if partial else logging.WARNING, "%s", _kept(left_out, "left out by the flags"))
    if unused and partial:
        logger.info("%d values of the checkpoint are not used: %s", len(unused), counted(unused))


def _kept(names: list[str], why: str) -> str:
    is_one = len(names) == 1
    keep = "keeps its initial value" if is_one else "keep their initial values"
    return f"{number_of(len(names), 'variable')} {'is' if is_one else 'are'} {why} and {keep}: {counted(names)}"


def _report_optimizer(
    checkpoint: Checkpoint, wanted: Mapping[str, tf.Variable], of_optimizers: AbstractSet[str], *, goes_on: bool
) -> None:
    """Log what of the optimizers goes on where another training left off, and what begins anew."""
    along = sorted(of_optimizers & wanted.keys() & checkpoint.values.keys())
    anew = sorted(of_optimizers - set(along))
    said = (
        f"The global step goes on at {checkpoint.step}, and so do learning rates that follow it"
        if goes_on
        else "The global step begins at 0, and so do learning rates that follow it"
    )
    said += f". What optimizers keep goes on: {counted(along)}" if along else ""
    said += f". What optimizers keep begins anew: {counted(anew)}" if anew else ""
    said += f". To begin with the weights alone: --checkpoint_exclude_patterns={GLOBAL_STEP}" if goes_on else ""
    tf.get_logger().info("%s.", said)


def _may_be_missing(name: str, chosen: Chosen | None) -> bool:
    """Whether a checkpoint needs no such variable: checkpoints of others need no global step, and no seeds of Keras."""
    return name == GLOBAL_STEP or (chosen is not None and name.rpartition("/")[2] == _KERAS_SEED)


def _is_of_run(name: str) -> bool:
    """Whether a checkpoint holds it beside variables."""
    return name in _NO_VARIABLES or name.startswith(TRAINED)
