"""The checkpoint that a hook keeps as the best of a training."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from attrs import define, field

from mox_core.engine.checkpoint.files import own_prefixes, remove_checkpoint
from mox_core.engine.checkpoint.reader import check_not_gone, load_latest
from mox_core.engine.checkpoint.restore import restore_variables
from mox_core.engine.checkpoint.saver import Saver
from mox_core.engine.distribute.collectives import together
from mox_core.engine.variables.names import TRAINING_STATE
from mox_core.errors import CheckpointError, UsageError
from mox_core.log_dir import Held

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mox_core.arguments import RunConfig
    from mox_core.engine.checkpoint.saver import NoSaver
    from mox_core.engine.variables.run_state import RunState


@contextlib.contextmanager
def keep_best(
    config: RunConfig, log_dir: Path | None, saver: Saver | NoSaver, state: RunState, held: Held
) -> Iterator[BestWeights | NoBestWeights]:
    """Give what keeps the best weights of a training in log_dir, or in a temporary folder for the block.

    Raises:
        CheckpointError: if there were some, and all have gone.
    """
    if not config.training:
        yield NoBestWeights()
    elif log_dir is not None:
        check_not_gone(log_dir / "best")  # before training, not when they are restored at its end
        yield BestWeights(log_dir / "best", saver, state, held)
    else:
        with tempfile.TemporaryDirectory(prefix="mox-best-", ignore_cleanup_errors=True) as folder:
            yield BestWeights(Path(folder), saver, state, Held())


class NoBestWeights:
    """The best weights of a run that does not train: there are none."""

    def save(self) -> NoReturn:
        """Refuse to save.

        Raises:
            UsageError: always.
        """
        raise UsageError("the best weights are kept and restored while training, in the hooks of TRAIN only.")

    restore = save


@define
class BestWeights:
    """One checkpoint, which the next one replaces.

    Attributes:
        folder: where it is kept.
        saver: the saver of the run.
        state: what is saved.
        held: what keeps other runs from the folder, and what of it is on a store.
    """

    folder: Path
    saver: Saver | NoSaver
    state: RunState
    held: Held
    _own: Saver | None = field(default=None, init=False)

    def save(self) -> str:
        """Write the present weights, remove those kept before, and return the prefix.

        Raises:
            NanLossError: if a weight is not finite.
        """
        collective = self.state.replicator.collective
        prefix = together(collective, lambda: self._save() if collective.rank == 0 else None)
        return str(collective.broadcast_object(prefix))

    def restore(self) -> str:
        """Assign the values kept to the model and its optimizers, and return the prefix.

        Raises:
            CheckpointError: if there are none.
        """
        collective = self.state.replicator.collective
        prefix = collective.broadcast_object(self._restore() if collective.rank == 0 else None)
        self.state.broadcast_from_chief()
        return str(prefix)

    def _save(self) -> str:
        saver = self._own_saver()
        prefix = saver.save()
        for old in own_prefixes(saver.log_dir):
            if old != prefix:  # also one of a later step, left by a run that was killed and went on from an earlier one
                remove_checkpoint(old)
        return prefix

    def _restore(self) -> str:
        folder = self._own_saver().log_dir
        found = load_latest(folder, self.held.remote)
        if found is None:
            raise CheckpointError(
                f"there are no best weights in {str(folder)!r}: a hook has to save them before it restores them."
            )
        by_name = self.state.store.by_name
        weights = {name: each for name, each in by_name.items() if not name.startswith(TRAINING_STATE)}
        restore_variables(found.for_training(), weights, partial=False)
        self.saver.forget_last_step()  # its checkpoint holds other weights
        return found.prefix

    def _own_saver(self) -> Saver:
        if self._own is None:
            recorder = self.saver.recorder if isinstance(self.saver, Saver) else None
            self._own = Saver(self.folder, self.state, 1, Held(self.held.lock), recorder)  # it makes the folder
        return self._own
