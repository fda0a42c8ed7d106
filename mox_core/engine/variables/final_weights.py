"""The weights with which a model is used, where its optimizer trains others: moving averages, for instance.

Keras assigns them to the model at the end of `fit`. A run has them in the model where it evaluates and exports, and at
its end; its training goes on from those that it trains. A checkpoint holds both.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import define, field, frozen

from mox_core.engine.tf_internals.variables import parts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


@frozen
class Finish:
    """What an optimizer does with the weights when the training is over.

    Attributes:
        variables: the variables that it trains.
        assign: assigns the final weights to as many variables, in this order.
        begun: whether it has been applied; before, there are no final weights.
    """

    variables: Sequence[tf.Variable]
    assign: Callable[[Sequence[tf.Variable]], Any]
    begun: Callable[[], bool]


@define
class FinalWeights:
    """The final weights of a run; none, where all optimizers train the weights that are used."""

    _finishes: list[Finish] = field(factory=list)

    @property
    def differ(self) -> bool:
        """Whether there are weights that are used and not trained."""
        return bool(self._finishes)

    def add(self, finish: Finish) -> None:
        """Add what an optimizer does."""
        self._finishes.append(finish)

    def values(self, variables: Mapping[str, tf.Variable]) -> dict[str, tf.Tensor]:
        """Return the present final weights by the names of their variables.

        Args:
            variables: all variables of the run, by name.
        """
        names = {id(part): name for name, whole in variables.items() for part in (whole, *parts_of(whole))}
        found: dict[str, tf.Tensor] = {}
        for finish in self._finishes:
            if finish.begun():
                # Into others: with parameter servers, workers go on with those of the run.
                copies = [tf.Variable(each.read_value(), trainable=False) for each in finish.variables]
                finish.assign(copies)
                found |= {
                    names[id(each)]: copy.read_value() for each, copy in zip(finish.variables, copies, strict=True)
                }
        return found

    def assign(self, variables: Mapping[str, tf.Variable]) -> None:
        """Assign the final weights to the variables of the run."""
        for name, value in self.values(variables).items():
            variables[name].assign(value)

    @contextlib.contextmanager
    def in_place(self, variables: Mapping[str, tf.Variable]) -> Iterator[None]:
        """Have the final weights in the variables of the run for the block, and those that are trained after it."""
        final = self.values(variables)
        trained = {name: variables[name].read_value() for name in final}
        for name, value in final.items():
            variables[name].assign(value)
        try:
            yield
        finally:
            for name, value in trained.items():
                variables[name].assign(value)
