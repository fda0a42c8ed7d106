"""The checks that the contracts of optimizers and of optimizer wrappers share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mox_core.testing import quadratic
from mox_core.testing.helpers import attempt, variables_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mox_core.testing.quadratic import OptimizerSpec, Variables

_CLOSE = 1e-5
"""Relative and absolute tolerance: one replica and two add the same numbers in another order."""


def check_downhill(spec: OptimizerSpec, who: str, steps: int, folder: Path) -> None:
    """Fail if the loss after some steps is not below that of the initial weights."""
    with attempt(f"training with {who}"):
        after = variables_of(quadratic.train(spec.make, steps, folder).checkpoint)
    first, last = quadratic.loss_of(), quadratic.loss_of(after)
    assert last < first, (
        f"{who} does not go downhill: the loss of a quadratic is {first:.6g} at first and {last:.6g} after {steps} "
        f"steps with {dict(spec.options)!r}. Move against the gradient, or give `options` that suit a small problem."
    )


def check_resume(spec: OptimizerSpec, who: str, steps: int, folder: Path) -> None:
    """Fail if a resumed training ends with other variables than an uninterrupted one."""
    with attempt(f"training with {who}"):
        whole = variables_of(quadratic.train(spec.make, steps, folder / "whole").checkpoint)
        quadratic.train(spec.make, steps // 2, folder / "parts")
        parts = variables_of(quadratic.train(spec.make, steps, folder / "parts").checkpoint)
    names = differing(whole, parts, tolerance=0)
    assert not names, (
        f"{who} forgets something over a resume: {steps} steps differ from {steps // 2} steps, a checkpoint and the "
        f"rest in {', '.join(names)}. Keep state in variables that are made in apply_gradients (slots, or "
        "mox_core.sdk.slot and state_variable), not in attributes and not outside of the graph."
    )


def check_two_replicas(spec: OptimizerSpec, who: str, folder: Path) -> None:
    """Fail if two replicas with half of a batch each end with other variables than one replica."""
    with attempt(f"training with {who}"):
        one = variables_of(quadratic.train(spec.make, quadratic.STEPS_ON_TWO, folder / "one").checkpoint)
    names = differing(one, quadratic.train_on_two_devices(spec, folder), tolerance=_CLOSE)
    assert not names, (
        f"{who} trains two replicas to other weights than one with batches twice as large: {', '.join(names)} differ. "
        "Each replica has an optimizer of its own, which gets the mean gradient of all: let it depend on that, on its "
        "own variables and on the step only, and leave the averaging to mox."
    )


def check_refused(spec: OptimizerSpec, who: str, option: str) -> None:
    """Fail if the value of an option is accepted, or raises an error without the name of the option."""
    value = spec.options[option]
    try:
        quadratic.train(spec.make, 1, None)
    except Exception as error:
        if option in str(error):
            return
        raise AssertionError(
            f"{who} refuses {option}={value!r} without naming the option: {type(error).__name__}: {error}"
        ) from error
    raise AssertionError(
        f"{who} takes {option}={value!r} without a word: refuse what it does not know or cannot use, by name "
        "(mox.UsageError), before training."
    )


def check_unknown_option(spec: OptimizerSpec, who: str) -> None:
    """Fail if an unknown option is ignored."""
    check_refused(with_options(spec, {"no_such_option": 1}), who, "no_such_option")


def with_options(spec: OptimizerSpec, options: Mapping[str, Any]) -> OptimizerSpec:
    """Return the spec with more options."""
    return quadratic.OptimizerSpec(spec.optimizer, {**spec.options, **options}, spec.wrapper, spec.inside)


def differing(left: Variables, right: Variables, *, tolerance: float) -> list[str]:
    """Return the names of variables that only one side has, or that differ by more than a tolerance."""

    def same(name: str) -> bool:
        if name not in left or name not in right or left[name].shape != right[name].shape:
            return False
        if tolerance and left[name].dtype.kind == "f":
            return np.allclose(left[name], right[name], rtol=tolerance, atol=tolerance, equal_nan=True)
        return bool(np.array_equal(left[name], right[name]))

    return sorted(name for name in left.keys() | right.keys() if not same(name))
