"""The arrays of a file fitted to the variables of a model, by the names of layers.

The variable `a/b/kernel` is the array `kernel` of a layer `b` inside of an `a`. A file may have another name for it:
which layers around it stand in the name depends on how the model is made, Keras numbers layers without names by a
counter of the process, and of an array it may keep only the number.
"""

from __future__ import annotations

import functools
import re
import sys
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from mox_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np

    from mox_core.engine.weights.stored import StoredArray, StoredLayer, StoredWeights

_COUNTER: Final = re.compile(r"_(\d+)$")
_FEW: Final = 10
_UNKNOWN: Final = "?"
"""Stands for names that cannot be told apart: as many as the model has, and no others, can be paired in their order."""


@frozen
class Wanted:
    """A variable of the model.

    Attributes:
        name: its name.
        place: its place among the variables of its layer, lowest first, in the order in which Keras keeps them.
    """

    name: str
    place: tuple[Any, ...]


@frozen
class Fit:
    """What of a file fits a model.

    Attributes:
        values: the arrays by the names of variables; their shapes may be others.
        unused: those that are left, by their labels.
        scope: what the names of the model have in front of those of the file, '' or 'teacher/'.
        renumbered: whether names fit only by the order of the numbers at their ends.
    """

    values: dict[str, np.ndarray[Any, Any]] = field(repr=False)
    unused: dict[str, np.ndarray[Any, Any]] = field(repr=False)
    scope: str
    renumbered: bool


def is_next_to_nothing(fitting: int, *of: int) -> bool:
    """Whether what fits is less than a tenth of each of some numbers, of variables of the model and of the file."""
    return all(_FEW * fitting < number for number in of)


def fit(weights: StoredWeights, wanted: Iterable[Wanted]) -> Fit:
    """Fit the arrays of a file to variables.

    Raises:
        CheckpointError: if two parts of the model fit alike.
    """
    groups: dict[tuple[str, ...], list[Wanted]] = defaultdict(list)
    for each in wanted:
        groups[tuple(each.name.split("/")[:-1])].append(each)
    scope = _scope_of(weights, groups)
    inside = {path[len(scope) :]: each for path, each in groups.items() if path[: len(scope)] == scope}
    new_names = _new_names(weights.layers, inside) if weights.counted else {}
    pairs = {(*scope, *path): layer for path, layer in _pairs(weights.layers, inside, new_names).items()}
    pairs |= _alone_of_their_names(weights.layers, groups, new_names, pairs)
    values: dict[str, np.ndarray[Any, Any]] = {}
    used: set[int] = set()
    for path, layer in pairs.items():
        for variable, array in _in_layer(groups[path], layer, in_order=weights.ordered):
            values[variable.name] = array.value
            used.add(id(array))
    renumbered = any(part in new_names for layer in pairs.values() for part in layer.chain)
    unused = {each.label: each.value for each in weights.arrays() if id(each) not in used}
    return Fit(values, unused, "".join(f"{part}/" for part in scope), renumbered)


def _scope_of(weights: StoredWeights, groups: Mapping[tuple[str, ...], Any]) -> tuple[str, ...]:
    """Return the scope of the model under which the most layers of a file are, the shortest of several."""
    candidates = {path[:length] for path in groups for length in range(len(path))} | {()}
    counts: dict[tuple[str, ...], int] = {}
    for scope in sorted(candidates, key=lambda each: (len(each), each)):
        inside = {path[len(scope) :]: () for path in groups if path[: len(scope)] == scope}
        names = _new_names(weights.layers, inside) if weights.counted else {}
        pairs = _pairs(weights.layers, inside, names)
        counts[scope] = len(pairs) + len(_alone_of_their_names(weights.layers, inside, names, pairs))
    best = max(counts.values(), default=0)
    first, *others = [scope for scope, count in counts.items() if count == best] or [()]
    rivals = [each for each in others if each[: len(first)] != first]
    if best and rivals:
        first_scope, other = ("/".join(each) + "/" for each in (first, rivals[0]))
        raise CheckpointError(
            f"{weights.path!r} fits what the model has under {first_scope!r} and under {other!r} alike. Say which: "
            f"checkpoint_path={{{first_scope!r}: {weights.path!r}}}, with a file for each scope that is to have one."
        )
    return first


def _pairs(
    layers: Sequence[StoredLayer], groups: Mapping[tuple[str, ...], Any], new_names: Mapping[str, str]
) -> dict[tuple[str, ...], StoredLayer]:
    """Return the layer of the file for each layer of the model that has one: the one with the fewest names left out."""
    by_last: dict[str, list[tuple[tuple[str, ...], StoredLayer]]] = defaultdict(list)
    for layer in layers:
        chain = tuple(new_names.get(part, part) for part in layer.chain)
        by_last[chain[-1] if chain else ""].append((chain, layer))
    offers: dict[tuple[str, ...], list[tuple[int, StoredLayer]]] = {}
    for path in groups:
        near = by_last.get(path[-1] if path else "", ())
        fitting = [(len(chain) - len(path), each) for chain, each in near if _is_subsequence(path[:-1], chain[:-1])]
        offers[path] = sorted(fitting, key=lambda offer: offer[0])
    found: dict[tuple[str, ...], StoredLayer] = {}
    taken: set[int] = set()
    for left_out in sorted({count for each in offers.values() for count, _ in each}):
        for path, each in offers.items():
            free = [layer for count, layer in each if count == left_out and id(layer) not in taken]
            if path not in found and len(free) == 1:  # of two that fit alike, neither is taken
                found[path] = free[0]
                taken.add(id(free[0]))
    return found


def _alone_of_their_names(
    layers: Sequence[StoredLayer],
    groups: Iterable[tuple[str, ...]],
    new_names: Mapping[str, str],
    pairs: Mapping[tuple[str, ...], StoredLayer],
) -> dict[tuple[str, ...], StoredLayer]:
    """Return the layers that are left on both sides, where one of each has a name: other layers are around it."""
    taken = {id(layer) for layer in pairs.values()}
    in_model, in_file = defaultdict(list), defaultdict(list)
    for path in groups:
        if path and path not in pairs:
            in_model[path[-1]].append(path)
    for layer in layers:
        if layer.chain and id(layer) not in taken:
            in_file[new_names.get(layer.chain[-1], layer.chain[-1])].append(layer)
    both = {name: (paths, in_file[name]) for name, paths in in_model.items() if name in in_file}
    return {paths[0]: found[0] for paths, found in both.values() if len(paths) == len(found) == 1}


def _is_subsequence(names: Sequence[str], of: Sequence[str]) -> bool:
    left = iter(of)
    return all(name in left for name in names)


def _new_names(layers: Sequence[StoredLayer], groups: Iterable[tuple[str, ...]]) -> dict[str, str]:
    """Return other names for the parts of a file's names that differ from the model's by a counter alone.

    Those of one kind are then paired in the order of their numbers: `dense_4`, `dense_5` with `dense`, `dense_1`.
    """
    in_file = _by_plain_name(part for layer in layers for part in layer.chain)
    in_model = _by_plain_name(part for path in groups for part in path)
    classes = _names_of_classes(sys.modules.get("keras"))
    new: dict[str, str] = {}
    for plain, names in in_file.items():
        others = in_model.get(plain)
        if not others or names == others or (plain not in {names[0], others[0]} and plain not in classes):
            continue  # as they are, or no counters: layers that somebody has numbered
        if len(names) == len(others):
            new |= {name: other for name, other in zip(names, others, strict=True) if name != other}
        elif names[0] != others[0]:
            new |= dict.fromkeys(names, _UNKNOWN)
    return new


@functools.cache
def _names_of_classes(keras: Any) -> frozenset[str]:
    """Return what Keras, if it is imported, calls layers that are given no name: 'multi_head_attention' for one."""
    names = dir(keras.layers) if keras is not None else []
    apart = [re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)) for name in names]
    return frozenset(each.lower() for each in apart)


def _by_plain_name(names: Iterable[str]) -> dict[str, list[str]]:
    """Return distinct names by what they are without their counters, in the order of these."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for name in set(names):
        kinds[_COUNTER.sub("", name)].append(name)
    return {plain: sorted(each, key=_number) for plain, each in kinds.items()}


def _number(name: str) -> int:
    match = _COUNTER.search(name)
    return int(match[1]) if match else 0


def _in_layer(wanted: Sequence[Wanted], layer: StoredLayer, *, in_order: bool) -> list[tuple[Wanted, StoredArray]]:
    """Return the variables of a layer with their arrays: by name, or in order where the names are others, or none."""
    by_name = {each.name: each for each in layer.arrays if each.name}
    own = {each.name.rpartition("/")[2]: each for each in wanted}
    if in_order and len(wanted) == len(layer.arrays) and own.keys() != by_name.keys():
        return list(zip(sorted(wanted, key=lambda each: each.place), layer.arrays, strict=True))
    return [(each, by_name[name]) for name, each in own.items() if name in by_name]
