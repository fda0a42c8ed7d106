"""Checkpoints found and read: TensorFlow's own format, keyed by variable name.

A damaged one is found by the checksums that TensorFlow keeps for each tensor.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf

from mox_core.did_you_mean import did_you_mean, nearest
from mox_core.engine.checkpoint.files import (
    STATE_FILE,
    checkpoint_exists,
    is_newer,
    own_prefixes,
    prefixes_without_index,
)
from mox_core.engine.checkpoint.origins import Checkpoint, OtherWeights, PublishedWeights, ScopedOrigins
from mox_core.engine.tf_internals import object_graphs
from mox_core.engine.weights.formats import KERAS_SUFFIXES, KNOWN, read_weights
from mox_core.engine.weights.published import IMAGENET
from mox_core.engine.weights.tensorflow_files import of_objects, read_values
from mox_core.errors import CheckpointError
from mox_core.log_dir import NOTHING_REMOTE

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from mox_core.engine.checkpoint.origins import Origin
    from mox_core.log_dir import Remote


def load_latest(log_dir: str | os.PathLike[str], remote: Remote = NOTHING_REMOTE) -> Checkpoint | None:
    """Return the newest whole checkpoint of a folder, None where there was never one.

    A damaged one is named in a warning, and the one before it is used.

    Args:
        log_dir: the folder.
        remote: where the data of its checkpoints may be instead.

    Raises:
        CheckpointError: if there are checkpoints, and all are damaged, or there were some, and all have gone.
    """
    folder = Path(log_dir)
    own = own_prefixes(folder)
    try:
        named = _named_in_state_file(folder)
    except CheckpointError:
        if not own:
            raise
        named = []  # the names of files tell as much
    prefixes = own or [each for each in named if checkpoint_exists(each)]
    if not prefixes:
        _refuse_gone(folder, named)
        return None
    _report_missing(folder, named, own)
    _report_elsewhere(folder, prefixes[-1])
    for prefix in reversed(prefixes):
        try:
            return _fetch_and_read(prefix, remote)
        except CheckpointError as error:
            tf.get_logger().warning("%s Trying the one before it.", error)
    raise CheckpointError(
        f"every checkpoint in {str(log_dir)!r} is damaged: {_listed(prefixes)}. Use another log_dir to start anew."
    )


def check_not_gone(folder: Path) -> None:
    """Refuse a folder whose checkpoints have gone, without reading those of another one.

    Raises:
        CheckpointError: with the names of the checkpoints.
    """
    if not own_prefixes(folder):
        named = _named_in_state_file(folder)
        if not any(map(checkpoint_exists, named)):
            _refuse_gone(folder, named)


def _refuse_gone(folder: Path, named: Sequence[str]) -> None:
    """Refuse a folder without a checkpoint in which traces of some are: to begin anew there would overwrite them."""
    state_file, data = str(folder / STATE_FILE), prefixes_without_index(folder)
    if named:
        said = f"{state_file!r} names {_listed(named)}, and there is no index of {'them' if len(named) > 1 else 'it'}"
    elif data:
        said = f"{str(folder)!r} holds data of {_listed(data)}, and no index of {'them' if len(data) > 1 else 'it'}"
    else:
        return
    here = [str(folder / Path(each).name) for each in named]
    if moved := [each for each in here if checkpoint_exists(each)]:
        way_out = f"Checkpoints of these names are here: pass {moved[-1]!r} as checkpoint_path, or correct the file."
    else:
        way_out = "Put the files back whose names end in '.index', or use another log_dir to start anew."
    raise CheckpointError(f"{said}: without it a checkpoint cannot be read. {way_out}")


def _report_missing(folder: Path, named: Sequence[str], own: Sequence[str]) -> None:
    """Warn where the newest checkpoint that the file `checkpoint` names has gone."""
    if not named or checkpoint_exists(named[-1]):
        return
    name = Path(named[-1]).name
    if checkpoint_exists(str(folder / name)) or (own and not is_newer(name, own[-1])):
        return  # the folder was moved, or a run beside this one saves
    tf.get_logger().warning(
        "checkpoint %r, which %r names as the newest, has no index any more. Trying the one before it.",
        named[-1],
        str(folder / STATE_FILE),
    )


def _report_elsewhere(folder: Path, newest: str) -> None:
    if Path(newest).absolute().parent != folder.absolute():
        tf.get_logger().warning(
            "%r names a checkpoint of another folder, and the run goes on from that: %r.",
            str(folder / STATE_FILE),
            newest,
        )


def load(
    path: str | os.PathLike[str] | Mapping[str, Path],
    remote: Remote = NOTHING_REMOTE,
    *,
    called: str = "checkpoint_path",
) -> Origin:
    """Return what is at a path: a folder, a prefix such as `resnet_v1_50.ckpt`, or a file that another program wrote.

    Args:
        path: the path, or paths by the scopes of variables.
        remote: where its data may be instead.
        called: what the user calls the path, for errors.

    Raises:
        CheckpointError: if there is none.
    """
    if isinstance(path, Mapping):
        parts = {scope: load(each, remote, called=f"{called}[{scope!r}]") for scope, each in path.items()}
        return ScopedOrigins(parts)
    path = Path(path)
    if str(path) == IMAGENET and not path.exists() and not checkpoint_exists(str(path)):
        return PublishedWeights()
    weights = read_weights(path)
    if weights is not None:
        return OtherWeights(weights)
    found = load_latest(path, remote) if path.is_dir() else _load_prefix(path, remote, called)
    if found is None:
        raise CheckpointError(f"{called} {str(path)!r} is a folder without a checkpoint.")
    return OtherWeights(of_objects(found.prefix, found.values)) if object_graphs.has_one(found.values) else found


def _load_prefix(path: Path, remote: Remote, called: str) -> Checkpoint:
    prefix = re.sub(r"\.(index|data-\d+-of-\d+|meta)$", "", str(path))
    if not checkpoint_exists(prefix):
        raise CheckpointError(_nothing_there(path, prefix, called))
    try:
        return _fetch_and_read(prefix, remote)
    except CheckpointError as error:
        if Path(prefix + ".index").is_file():
            raise
        raise CheckpointError(
            f"{called} {prefix!r} is a file of no format that mox knows, or damaged. Known are {KNOWN}."
        ) from error


def _nothing_there(path: Path, prefix: str, called: str) -> str:
    """Return what to say of a path at which nothing is, with the names beside it that are near."""
    beside: list[str] = []
    with contextlib.suppress(OSError):
        beside = sorted(each.name for each in path.parent.iterdir())
    files = [name for name in beside if name.endswith(KERAS_SUFFIXES)]
    longer = [name for name in files if name.startswith(f"{path.name}.")]
    by_stem = {_stem(name): name for name in beside if name.endswith((".index", *KERAS_SUFFIXES))}
    near = longer or [by_stem[each].removesuffix(".index") for each in nearest(_stem(path.name), by_stem)]
    question = did_you_mean([str(path.with_name(name)) for name in near])
    said = (
        f"{called}: there is no file {str(path)!r}."
        if path.name.endswith(KERAS_SUFFIXES)
        else f"{called} {str(path)!r} is neither a folder nor the prefix of a checkpoint: "
        f"there is no {prefix + '.index'!r}."
    )
    return " ".join(filter(None, [said, question]))


def _stem(name: str) -> str:
    """Return the name of a file of weights without what all such names end in."""
    return re.sub(r"(\.weights)?(\.(h5|keras|hdf5)|\.index)?$", "", name)


def _fetch_and_read(prefix: str, remote: Remote) -> Checkpoint:
    try:
        remote.fetch(prefix)
    except FileNotFoundError as error:
        raise CheckpointError(f"the data of checkpoint {prefix!r} have gone meanwhile ({error}).") from error
    return read(prefix)


def read(prefix: str) -> Checkpoint:
    """Read all of a checkpoint, which also checks it.

    Raises:
        CheckpointError: if it is damaged.
    """
    return Checkpoint(prefix, read_values(prefix))


def _named_in_state_file(folder: Path) -> list[str]:
    """Return the checkpoints that the file `checkpoint` of a folder names, oldest first, whether they exist or not."""
    try:
        state = tf.train.get_checkpoint_state(str(folder))
    except ValueError:
        state = None
    if state is None:
        if not (folder / STATE_FILE).exists():
            return []
        raise CheckpointError(
            f"{str(folder / STATE_FILE)!r} names no checkpoint. Remove it; to use one beside it, pass its prefix as "
            "checkpoint_path."
        )
    listed = [path for path in state.all_model_checkpoint_paths if path != state.model_checkpoint_path]
    return [*listed, state.model_checkpoint_path]


def _listed(prefixes: Sequence[str]) -> str:
    return ", ".join(map(repr, prefixes))
