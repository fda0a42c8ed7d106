"""What every optimizer must keep to."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from mox_core.testing import updates
from mox_core.testing.quadratic import Asked

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LEARNING_RATE = 0.1
_STEPS = 20
_STEPS_OF_STATE = 10


class OptimizerContract:
    """Tests for an optimizer that a plugin offers to `mox.get_optimizer_fn`.

    It trains a small quadratic by `mox.run` and checks that the loss falls; that ten steps are the same numbers, bit
    for bit, as five steps, a checkpoint and five more; that two replicas end where one does whose batches are twice as
    large; and that options which it does not know, or cannot use, are refused by name.

    Example:
        class TestLion(OptimizerContract):
            optimizer = "lion"
            options = {"learning_rate": 0.01, "beta_1": 0.9}
            bad_options = {"beta_1": 1.5}

    Attributes:
        optimizer: the name.
        options: what `mox.get_optimizer_fn` gets beside the name, chosen so that 20 steps go downhill; the
            learning_rate is 0.1 where it is not among them.
        bad_options: for each name of an option a value that must be refused with that name.
    """

    optimizer: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    bad_options: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    def test_it_goes_downhill(self, tmp_path: Path) -> None:
        """The loss of a quadratic is lower after 20 steps."""
        updates.check_downhill(self._asked, self._who, _STEPS, tmp_path)

    def test_its_state_survives_save_and_restore(self, tmp_path: Path) -> None:
        """Ten steps are five steps, a checkpoint and five steps, bit for bit."""
        updates.check_resume(self._asked, self._who, _STEPS_OF_STATE, tmp_path)

    @pytest.mark.slow
    def test_two_replicas_train_as_one(self, tmp_path: Path) -> None:
        """Two devices with half of a batch each end where one does; in a process of its own."""
        updates.check_two_replicas(self._asked, self._who, tmp_path)

    def test_it_refuses_unknown_options_by_name(self) -> None:
        """A misspelt option is an error with its name, not passed over."""
        updates.check_unknown_option(self._asked, self._who)

    def test_it_refuses_bad_options_by_name(self) -> None:
        """Each value of `bad_options` is an error with the name of its option."""
        if not self.bad_options:
            pytest.skip("no `bad_options` are given")
        for name, value in self.bad_options.items():
            updates.check_refused(updates.with_options(self._asked, {name: value}), self._who, name)

    @property
    def _asked(self) -> Asked:
        return Asked(self.optimizer, {"learning_rate": _LEARNING_RATE, **self.options})

    @property
    def _who(self) -> str:
        return f"optimizer {self.optimizer!r}"
