"""What every optimizer wrapper must keep to."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from mox_core.testing import updates
from mox_core.testing.quadratic import Asked

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_INSIDE = {
    "tf1": "tf.compat.v1.train.MomentumOptimizer(0.05, 0.9)",
    "keras": "keras.optimizers.SGD(0.05, momentum=0.9)",
}


class OptimizerWrapperContract:
    """Tests for what a plugin offers to `mox.get_optimizer_wrapper_fn`.

    They are those of `OptimizerContract`, with a plain optimizer inside: one of `tf.compat.v1.train` and one of Keras,
    since a wrapper is put around either.

    Example:
        class TestLookahead(OptimizerWrapperContract):
            wrapper = "lookahead"
            options = {"slow_steps": 3}
            bad_options = {"slow_steps": 0}

    Attributes:
        wrapper: the name.
        options: what `mox.get_optimizer_wrapper_fn` gets beside name and optimizer.
        bad_options: for each name of an option a value that must be refused with that name.
        steps: how many steps are trained to see the loss fall, and to compare with a training that is interrupted after
            half of them. Choose more than a wrapper takes that acts only every so many steps.
    """

    wrapper: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    bad_options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    steps: ClassVar[int] = 20

    @pytest.mark.parametrize("inside", _INSIDE)
    def test_it_goes_downhill(self, inside: str, tmp_path: Path) -> None:
        """The loss of a quadratic is lower after `steps` steps, whatever the kind of the optimizer inside."""
        updates.check_downhill(self._asked(inside), self._who(inside), self.steps, tmp_path)

    @pytest.mark.parametrize("inside", _INSIDE)
    def test_its_state_survives_save_and_restore(self, inside: str, tmp_path: Path) -> None:
        """`steps` steps are half of them, a checkpoint and the other half, bit for bit."""
        updates.check_resume(self._asked(inside), self._who(inside), self.steps, tmp_path)

    @pytest.mark.slow
    def test_two_replicas_train_as_one(self, tmp_path: Path) -> None:
        """Two devices with half of a batch each end where one does; in a process of its own."""
        updates.check_two_replicas(self._asked("tf1"), self._who("tf1"), tmp_path)

    def test_it_refuses_unknown_options_by_name(self) -> None:
        """A misspelt option is an error with its name, not passed over."""
        updates.check_unknown_option(self._asked("tf1"), self._who("tf1"))

    def test_it_refuses_bad_options_by_name(self) -> None:
        """Each value of `bad_options` is an error with the name of its option."""
        if not self.bad_options:
            pytest.skip("no `bad_options` are given")
        for name, value in self.bad_options.items():
            updates.check_refused(updates.with_options(self._asked("tf1"), {name: value}), self._who("tf1"), name)

    def _asked(self, inside: str) -> Asked:
        return Asked(None, dict(self.options), self.wrapper, inside)

    def _who(self, inside: str) -> str:
        return f"optimizer wrapper {self.wrapper!r} around {_INSIDE[inside]}"
