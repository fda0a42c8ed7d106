"""The checkpoint that a run starts from: the manual's chapter 6.

Only the chief reads it: other workers need not see its disk.
"""

from __future__ import annotations

import contextlib
import contextvars
from typing import TYPE_CHECKING, Final

import numpy as np
import tensorflow as tf
from attrs import frozen

from mox_core.checkpoint_paths import no_checkpoint
from mox_core.engine import randomness
from mox_core.engine.checkpoint.origins import Checkpoint, FittedModel
from mox_core.engine.checkpoint.reader import load, load_latest
from mox_core.engine.checkpoint.restore import Chosen, restore_variables
from mox_core.engine.variables.names import INPUT_BLOCKS, INPUT_SIZES, POSITIONS, WORKER_POSITIONS
from mox_core.errors import CheckpointError
from mox_core.quoting import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mox_core.arguments import RunConfig
    from mox_core.engine.checkpoint.origins import Origin
    from mox_core.engine.distribute.collectives import Collective
    from mox_core.engine.variables.run_state import RunState
    from mox_core.log_dir import Remote


_SEEDS: Final = (1 << 31) - 1
"""A mask: seeds are numbers of 31 bits, as `tf.random.set_seed` takes them."""
_new_input: contextvars.ContextVar[bool] = contextvars.ContextVar("mox_new_input", default=False)


@contextlib.contextmanager
def input_from_the_start() -> Iterator[None]:
    """Make trainings of the block that go on from a checkpoint of their log_dir read their input from its beginning.

    Without it, a resumed training reads on where it was. The seed of such a training is a new one, a function of the
    checkpoint's seed and step: its samples come in another order, and random operations draw other numbers.
    """
    token = _new_input.set(True)
    try:
        yield
    finally:
        _new_input.reset(token)


@frozen(kw_only=True)
class Start:
    """Where a run starts.

    Attributes:
        prefix: the checkpoint whose values it begins with, None for initial values.
        resumed: whether the run goes on with one that has written it, rather than beginning another training.
        seed: the seed of the run, the same on all workers; a resumed run keeps that of its beginning, and so its order
            of samples.
        reads_on: whether its input begins where that of the checkpoint was.
        input_blocks: the sizes of blocks in the order of its input, as the run that it goes on with had them; none
            where every epoch was one permutation. None where it does not read on.
        classes: what the checkpoint remembers of the classes that labels stand for, see `class_lists`.
    """

    prefix: str | None
    resumed: bool
    seed: int
    reads_on: bool
    input_blocks: list[int] | None
    classes: str
    _origin: Origin | None  # on the chief

    def restore(self, config: RunConfig, state: RunState, networks: Sequence[tuple[str, str]]) -> None:
        """Restore the variables of the run, and in a resumed training the positions of its input, on all workers.

        Args:
            config: the configuration of the run.
            state: its variables.
            networks: the networks of its model by name, each with the scope of its variables.
        """
        model = FittedModel(state.weights(), networks)
        found = None if self._origin is None else self._origin.fitted(model)
        if found is not None:
            partial = config.training and not self.resumed
            restore_variables(
                found.for_training() if config.training and self.resumed else found,
                state.model_variables(),
                partial=partial,
                chosen=None if self.resumed else Chosen(config.restored, model),
                of_optimizers=state.store.of_optimizers,
            )
            if config.training and self.reads_on:
                _restore_positions(found, state)
        state.broadcast_from_chief()
        replicator = state.replicator
        if (config.training and replicator.num_readers > 1) or config.has_parameter_servers:
            saved = found.values.get(WORKER_POSITIONS) if found and self.reads_on else None
            rows = replicator.collective.broadcast_object(None if saved is None else saved.tolist())
            state.track_workers(replicator.num_readers, None if rows is None else np.array(rows, np.int64))


def find_start(config: RunConfig, collective: Collective, remote: Remote) -> Start:
    """Return where a run starts: at the newest checkpoint of log_dir, else at checkpoint_path.

    Raises:
        CheckpointError: if a checkpoint is needed, or named, and there is none.
    """
    found, resumed = _find(config, remote) if collective.rank == 0 else (None, False)
    written = found if isinstance(found, Checkpoint) and resumed else None
    seed = written.seed if written and written.seed is not None else randomness.run_seed()
    reads_on = resumed and not _new_input.get()
    if written and not reads_on:
        seed = randomness.fold(seed, "new input", written.step) & _SEEDS
    blocks = written.values.get(INPUT_BLOCKS, np.zeros(0)).tolist() if written and reads_on else None
    classes = found.classes if isinstance(found, Checkpoint) else ""
    begin = [found and found.prefix, resumed, seed, reads_on, blocks, classes]
    prefix, resumed, seed, reads_on, blocks, classes = collective.broadcast_object(begin)
    return Start(
        prefix=prefix,
        resumed=resumed,
        seed=int(seed),
        reads_on=reads_on,
        input_blocks=blocks,
        classes=classes,
        origin=found,
    )


def _find(config: RunConfig, remote: Remote) -> tuple[Origin | None, bool]:
    found = load_latest(config.log_dir, remote) if config.log_dir else None
    if found is not None:
        if config.checkpoint_path:
            tf.get_logger().info(
                "Ignoring --checkpoint_path because a checkpoint already exists in %s", shown(config.log_dir)
            )
        return found, True
    if config.checkpoint_path:
        try:
            return load(config.checkpoint_path, remote), False
        except CheckpointError as error:
            if not config.log_dir:
                raise
            raise CheckpointError(f"{error} There is none in log_dir {str(config.log_dir)!r} either.") from error
    if not config.training:
        raise no_checkpoint(config.run_mode, config.log_dir)
    return None, False


def _restore_positions(checkpoint: Checkpoint, state: RunState) -> None:
    """Restore the positions of the input."""
    positions = checkpoint.values.get(POSITIONS)
    if positions is not None and positions.shape == tuple(state.positions.shape):
        state.positions.assign(positions)
        _warn_of_other_sizes(checkpoint, state.input_sizes)
    else:
        tf.get_logger().warning(
            "the input of this run has other sources than that of %s: it starts from its beginning.", checkpoint.prefix
        )


def _warn_of_other_sizes(checkpoint: Checkpoint, sizes: Sequence[int]) -> None:
    """Say that samples have come or gone: the position that is gone on from is then in the middle of another order."""
    before = checkpoint.values.get(INPUT_SIZES, np.array(sizes)).tolist()
    for number, (had, has) in enumerate(zip(before, sizes, strict=False), 1):
        if had and has and had != has:
            source = "the data set" if len(sizes) == 1 else f"data set {number}"
            tf.get_logger().warning(
                "%s that input_fn reads had %d samples when %s was written, and has %d now: the training goes on, and "
                "in the epoch that it is in, samples may come twice or not at all.",
                source,
                had,
                checkpoint.prefix,
                has,
            )
