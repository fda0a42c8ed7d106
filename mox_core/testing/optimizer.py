"""The contract of optimizers."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from mox_core.testing import optimizer_checks
from mox_core.testing.quadratic import OptimizerSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LEARNING_RATE = 0.1
_STEPS = 20
_STEPS_OF_STATE = 10


class OptimizerContract:
    """Tests for an optimizer that a plugin offers to `mox.get_optimizer_fn`.

    A linear regression is trained with it by `mox.run`. The tests check that the loss decreases; that ten steps have
    the same result, bit for bit, as five steps, a checkpoint and five more; that two replicas have the result of one
    with batches twice as large; and that unknown options and bad values are errors that name the option.

    Example:
        class TestLion(OptimizerContract):
            optimizer = "lion"
            options = {"learning_rate": 0.01, "beta_1": 0.9}
            bad_options = {"beta_1": 1.5}

    Attributes:
        optimizer: the name of the optimizer.
        options: arguments of `mox.get_optimizer_fn` besides the name, with which the loss decreases in 20 steps. The
            default of learning_rate is 0.1.
        bad_options: for each option a value that must raise an error with the name of the option.
    """

    optimizer: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    bad_options: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    def test_it_goes_downhill(self, tmp_path: Path) -> None:
        """The loss is lower after 20 steps."""
        optimizer_checks.check_downhill(self._spec, self._who, _STEPS, tmp_path)

    def test_its_state_survives_save_and_restore(self, tmp_path: Path) -> None:
        """Ten steps have the result of five steps, a checkpoint and five more, bit for bit."""
        optimizer_checks.check_resume(self._spec, self._who, _STEPS_OF_STATE, tmp_path)

    @pytest.mark.slow
    def test_two_replicas_train_as_one(self, tmp_path: Path) -> None:
        """Two replicas with half of a batch each have the result of one; they run in another process."""
        optimizer_checks.check_two_replicas(self._spec, self._who, tmp_path)

    def test_it_refuses_unknown_options_by_name(self) -> None:
        """An unknown option raises an error with its name."""
        optimizer_checks.check_unknown_option(self._spec, self._who)

    def test_it_refuses_bad_options_by_name(self) -> None:
        """Each value of `bad_options` raises an error with the name of its option."""
        if not self.bad_options:
            pytest.skip("no `bad_options` are given")
        for name, value in self.bad_options.items():
            optimizer_checks.check_refused(optimizer_checks.with_options(self._spec, {name: value}), self._who, name)

    @property
    def _spec(self) -> OptimizerSpec:
        return OptimizerSpec(self.optimizer, {"learning_rate": _LEARNING_RATE, **self.options})

    @property
    def _who(self) -> str:
        return f"optimizer {self.optimizer!r}"
