"""The contract of optimizer wrappers."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from mox_core.testing import optimizer_checks
from mox_core.testing.quadratic import OptimizerSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_INSIDE = {
    "tf1": "tf.compat.v1.train.MomentumOptimizer(0.05, 0.9)",
    "keras": "keras.optimizers.SGD(0.05, momentum=0.9)",
}


class OptimizerWrapperContract:
    """Tests for an optimizer wrapper that a plugin offers to `mox.get_optimizer_wrapper_fn`.

    They are those of `OptimizerContract`, with the wrapper around an optimizer of `tf.compat.v1.train` and around one
    of Keras.

    Example:
        class TestLookahead(OptimizerWrapperContract):
            wrapper = "lookahead"
            options = {"slow_steps": 3}
            bad_options = {"slow_steps": 0}

    Attributes:
        wrapper: the name of the wrapper.
        options: arguments of `mox.get_optimizer_wrapper_fn` besides name and optimizer.
        bad_options: for each option a value that must raise an error with the name of the option.
        steps: number of steps after which the loss must be lower; the interrupted training stops after half of them. A
            wrapper that acts every n steps needs more than n.
    """

    wrapper: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    bad_options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    steps: ClassVar[int] = 20

    @pytest.mark.parametrize("inside", _INSIDE)
    def test_it_goes_downhill(self, inside: str, tmp_path: Path) -> None:
        """The loss is lower after `steps` steps, with either kind of optimizer."""
        optimizer_checks.check_downhill(self._spec(inside), self._who(inside), self.steps, tmp_path)

    @pytest.mark.parametrize("inside", _INSIDE)
    def test_its_state_survives_save_and_restore(self, inside: str, tmp_path: Path) -> None:
        """`steps` steps have the result of half of them, a checkpoint and the other half, bit for bit."""
        optimizer_checks.check_resume(self._spec(inside), self._who(inside), self.steps, tmp_path)

    @pytest.mark.slow
    def test_two_replicas_train_as_one(self, tmp_path: Path) -> None:
        """Two replicas with half of a batch each have the result of one; they run in another process."""
        optimizer_checks.check_two_replicas(self._spec("tf1"), self._who("tf1"), tmp_path)

    def test_it_refuses_unknown_options_by_name(self) -> None:
        """An unknown option raises an error with its name."""
        optimizer_checks.check_unknown_option(self._spec("tf1"), self._who("tf1"))

    def test_it_refuses_bad_options_by_name(self) -> None:
        """Each value of `bad_options` raises an error with the name of its option."""
        if not self.bad_options:
            pytest.skip("no `bad_options` are given")
        for name, value in self.bad_options.items():
            spec = optimizer_checks.with_options(self._spec("tf1"), {name: value})
            optimizer_checks.check_refused(spec, self._who("tf1"), name)

    def _spec(self, inside: str) -> OptimizerSpec:
        return OptimizerSpec(None, dict(self.options), self.wrapper, inside)

    def _who(self, inside: str) -> str:
        return f"optimizer wrapper {self.wrapper!r} around {_INSIDE[inside]}"
