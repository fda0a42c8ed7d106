"""Which classes labels stand for: those of a run against what its checkpoint has learned, those of EVAL against TRAIN.

A label is a number. Where two inputs count other classes, what is computed of them together is wrong and looks right.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import evolve

from mox_core.engine.input.image_cut import ClassList, ToldClasses
from mox_core.errors import CheckpointError, DataError
from mox_core.name_lists import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mox_core.engine.distribute.collectives import Collective
    from mox_core.engine.input.pipeline import InputPipeline

_LISTED: Final = 3
_BY: Final = "by their folders or by labels.txt (of records: label_map_file)"


def to_text(lists: Sequence[ClassList]) -> str:
    """Return what a checkpoint remembers of the classes; '' for nothing."""
    return json.dumps([{"names": each.names, "exclusive": each.exclusive} for each in lists]) if lists else ""


def from_text(text: str) -> tuple[ClassList, ...]:
    """Return the classes that a checkpoint remembers."""
    found: list[dict[str, Any]] = json.loads(text) if text else []
    return tuple(ClassList(tuple(each["names"]), exclusive=each["exclusive"]) for each in found)


def going_on(learned: Sequence[ClassList], pipeline: InputPipeline, prefix: str) -> tuple[ClassList, ...]:
    """Return the classes of a run that goes on with the weights of a checkpoint.

    Args:
        learned: what the checkpoint remembers.
        pipeline: the input of the run.
        prefix: the checkpoint.

    Raises:
        CheckpointError: if labels stand for other classes now.
    """
    for known, given in _others(learned, pipeline.class_lists):
        raise CheckpointError(
            f"checkpoint {prefix!r} was trained with labels that stand for other classes in the data set of "
            f"{pipeline.mode}: {_differences(known, given, 'was {}', 'is {}', 'The data set')} To go on with its "
            f"weights, give the data set the classes of then in the order of then, {_BY}; to train them for other "
            f"classes, use a new log_dir and pass the old one as checkpoint_path.{_by_hand(known, given)}"
        )
    _warn_of_unknown(learned, pipeline, "the checkpoint")
    return _longest(learned, pipeline.class_lists)


def check_evaluated(trained: InputPipeline, evaluated: InputPipeline) -> None:
    """Refuse an evaluation whose labels stand for other classes than those of the training beside it.

    Raises:
        DataError: with the labels and their classes.
    """
    for known, given in _others(trained.class_lists, evaluated.class_lists):
        raise DataError(
            f"labels of {evaluated.mode} stand for other classes than those of {trained.mode}: "
            f"{_differences(known, given, f'is {{}} in {trained.mode}', f'{{}} in {evaluated.mode}', evaluated.mode)} "
            f"Its results would be wrong. Give both data sets the same classes in the same order, {_BY}; the parts "
            f"that mox.split_image_classification_dataset makes have them.{_by_hand(known, given)}"
        )
    _warn_of_unknown(trained.class_lists, evaluated, trained.mode)


def check_workers(pipeline: InputPipeline, collective: Collective) -> None:
    """Refuse a worker whose labels stand for other classes than those of the chief.

    Raises:
        DataError: with the labels and their classes.
    """
    chiefs = from_text(collective.broadcast_object(to_text(pipeline.class_lists)))
    for known, given in _others(chiefs, pipeline.class_lists):
        here = f"worker {collective.rank}"
        raise DataError(
            f"labels of {pipeline.mode} stand for other classes on {here} than on worker 0: "
            f"{_differences(known, given, 'is {} on worker 0', f'{{}} on {here}', here)} "
            f"Give all workers the same classes in the same order, {_BY}."
        )


def exported(pipeline: InputPipeline, lists: Sequence[ClassList], *, training: bool) -> ToldClasses:
    """Return the classes that an exported model knows: those of what it was trained with.

    Args:
        pipeline: the input of the run.
        lists: the classes of the run.
        training: whether the run trains.
    """
    told = pipeline.classes
    if not training and len(lists) == 1:
        return ToldClasses(lists[0].names, lists[0].exclusive)
    known = [each.names for each in lists if each.agrees_with(ClassList(told.names))] if told.names else []
    return evolve(told, names=max([told.names, *known], key=len))


def _others(known: Sequence[ClassList], given: Sequence[ClassList]) -> Iterator[tuple[ClassList, ClassList]]:
    """Yield what was known and what is given of data sets whose labels stand for other classes.

    Of several data sets each is compared with that in its place. It may also be another one of those known; and where
    their number is another one, nobody knows which to compare.
    """
    for place, each in enumerate(given):
        if any(each.agrees_with(one) for one in known):
            continue
        if len(known) == len(given):
            yield known[place], each
        elif len({one.names for one in known}) == 1:
            yield known[0], each


def _longest(known: Sequence[ClassList], given: Sequence[ClassList]) -> tuple[ClassList, ...]:
    """Return the classes given, with those behind them that were known; of an input that tells none, those known."""
    if not given:
        return tuple(known)
    return tuple(
        max([each, *(one for one in known if one.agrees_with(each))], key=lambda one: len(one.names)) for each in given
    )


def _warn_of_unknown(known: Sequence[ClassList], pipeline: InputPipeline, whose: str) -> None:
    """Warn of labels that are behind all those that a model was trained with."""
    for each in pipeline.class_lists if pipeline.mode != "TRAIN" else ():
        widths = [len(one.names) for one in known if one.agrees_with(each)]
        if widths and max(widths) < len(each.names):
            tf.get_logger().warning(
                "The data set of %s has classes that %s does not know: %s. Their samples count as wrong answers.",
                pipeline.mode,
                whose,
                counted([f"{label}: {name!r}" for label, name in enumerate(each.names)][max(widths) :], _LISTED),
            )


def _differences(known: ClassList, given: ClassList, first: str, second: str, whose: str) -> str:
    """Return which label is which class where, in whole sentences, and what one lacks.

    Args:
        known: the classes known.
        given: those given.
        first: what is said of a class known, with a place for it.
        second: what is said of a class given.
        whose: who gives them.
    """
    labels = range(max(len(known.names), len(given.names)))
    others = [label for label in labels if _class(known, label) != _class(given, label)]
    parts = [
        f"label {label} {first.format(_class(known, label))} and {second.format(_class(given, label))}"
        for label in others[:_LISTED]
    ]
    parts += [f"and {len(others) - _LISTED} more"] if len(others) > _LISTED else []
    lost = [repr(name) for name in known.names if name not in given.names]
    new = [repr(name) for name in given.names if name not in known.names]
    changes = [f"lacks {counted(lost, _LISTED)}"] if lost else []
    changes += [f"has {counted(new, _LISTED)} besides"] if new else []
    return f"{'; '.join(parts)}." + (f" {whose} {' and '.join(changes)}." if changes else "")


def _class(of: ClassList, label: int) -> str:
    return repr(of.names[label]) if label < len(of.names) else "no class"


def _by_hand(known: ClassList, given: ClassList) -> str:
    """Return how `input_fn` makes the labels known of those given, where each of these classes has one."""
    if not given.numbers or not set(given.names) <= set(known.names) or len(given.names) > 2 * _LISTED:
        return ""
    labels = [known.names.index(name) for name in given.names]
    return f" Or number them anew in input_fn: label = tf.gather({labels}, label)."
