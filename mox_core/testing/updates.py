"""What optimizers and their wrappers are checked for alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mox_core.testing import quadratic
from mox_core.testing.once import variables_of, working

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mox_core.testing.quadratic import Asked, Variables

_CLOSE = 1e-5
"""One replica and two add the same numbers in another order."""


def check_downhill(asked: Asked, who: str, steps: int, folder: Path) -> None:
    """Fails where the loss after some steps is not below that of the first weights."""
    with working(f"training with {who}"):
        after = variables_of(quadratic.train(asked.make, steps, folder).checkpoint)
    first, last = quadratic.loss_of(), quadratic.loss_of(after)
    assert last < first, (
        f"{who} does not go downhill: the loss of a quadratic is {first:.6g} at first and {last:.6g} after {steps} "
        f"steps with {dict(asked.options)!r}. Move against the gradient, or give `options` that suit a small problem."
    )


def check_resume(asked: Asked, who: str, steps: int, folder: Path) -> None:
    """Fails where a training that was interrupted ends with other numbers than one that was not."""
    with working(f"training with {who}"):
        whole = variables_of(quadratic.train(asked.make, steps, folder / "whole").checkpoint)
        quadratic.train(asked.make, steps // 2, folder / "parts")
        parts = variables_of(quadratic.train(asked.make, steps, folder / "parts").checkpoint)
    names = differing(whole, parts, tolerance=0)
    assert not names, (
        f"{who} forgets something over a resume: {steps} steps differ from {steps // 2} steps, a checkpoint and the "
        f"rest in {', '.join(names)}. Keep state in variables that are made in apply_gradients (slots, or "
        "mox_core.sdk.slot and state_variable), not in attributes and not outside of the graph."
    )


def check_two_replicas(asked: Asked, who: str, folder: Path) -> None:
    """Fails where two devices with half the batch each end with other numbers than one device."""
    with working(f"training with {who}"):
        one = variables_of(quadratic.train(asked.make, quadratic.STEPS_ON_TWO, folder / "one").checkpoint)
    names = differing(one, quadratic.train_on_two_devices(asked, folder), tolerance=_CLOSE)
    assert not names, (
        f"{who} trains two replicas to other weights than one with batches twice as large: {', '.join(names)} differ. "
        "Each replica has an optimizer of its own, which gets the mean gradient of all: let it depend on that, on its "
        "own variables and on the step only, and leave the averaging to mox."
    )


def check_refused(asked: Asked, who: str, option: str) -> None:
    """Fails where an option is taken, or refused without its name."""
    value = asked.options[option]
    try:
        quadratic.train(asked.make, 1, None)
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


def check_unknown_option(asked: Asked, who: str) -> None:
    """Fails where an option that nobody knows is passed over."""
    check_refused(with_options(asked, {"no_such_option": 1}), who, "no_such_option")


def with_options(asked: Asked, options: Mapping[str, Any]) -> Asked:
    """Returns the same optimizer with more options."""
    return quadratic.Asked(asked.optimizer, {**asked.options, **options}, asked.wrapper, asked.inside)


def differing(left: Variables, right: Variables, *, tolerance: float) -> list[str]:
    """Returns the names of variables that only one side has, or that differ by more than a tolerance."""

    def same(name: str) -> bool:
        if name not in left or name not in right or left[name].shape != right[name].shape:
            return False
        if tolerance and left[name].dtype.kind == "f":
            return np.allclose(left[name], right[name], rtol=tolerance, atol=tolerance, equal_nan=True)
        return bool(np.array_equal(left[name], right[name]))

    return sorted(name for name in left.keys() | right.keys() if not same(name))
