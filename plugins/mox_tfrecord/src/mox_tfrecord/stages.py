"""A source whose batches change at steps of a training: each stage reads other records, in batches of another size.

A position is a step and, below it, how many samples the stage has been read of: so a resumed run finds its stage by its
step, whatever the sizes of batches are, and goes on behind the last sample.
"""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Final

import attrs
import tensorflow as tf
from attrs import frozen

import mox_core
from mox_core.errors import UsageError
from mox_core.sdk import BadSampleReport, Features, Order, features_of, fold, no_autograph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mox_core.sdk import Dataset, SampleSource

_STEP: Final = 2**36
"""The distance of two steps: more samples than a stage is ever read of."""


@frozen
class Stage:
    """A part of a training.

    Attributes:
        source: gives its batches, for ever.
        begin: its first step.
        end: the step behind its last one; None for the last stage.
    """

    source: SampleSource
    begin: int
    end: int | None


@frozen(eq=False)
class StagedSource:
    """The batches of some stages, one after the other.

    Attributes:
        stages: the stages.
        replicas: how many batches a step of one worker takes.
    """

    stages: tuple[Stage, ...]
    replicas: int

    @property
    def batch_size(self) -> int:
        """How many samples the first batches hold: these are no single samples."""
        return self.stages[0].source.batch_size or 1

    @property
    def end(self) -> int | None:
        """There is no last position."""
        return None

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """What `SampleSource.block_sizes` is, of each stage."""
        return tuple(size for stage in self.stages for size in stage.source.block_sizes)

    def in_blocks(self, sizes: Sequence[int]) -> StagedSource:
        """Return what `SampleSource.in_blocks` does."""
        sources = (stage.source.in_blocks([size]) for stage, size in zip(self.stages, sizes, strict=True))
        stages = (attrs.evolve(stage, source=source) for stage, source in zip(self.stages, sources, strict=True))
        return attrs.evolve(self, stages=tuple(stages))

    def elements(self, *, order: Order, start: int, needed: frozenset[str] | None, report: BadSampleReport) -> Dataset:
        """Return (next position, features of a batch) from a position on.

        Args:
            order: the share of this worker.
            start: the position.
            needed: the names of the features that are used; None for all.
            report: the report of the samples that cannot be read.

        Raises:
            UsageError: where steps are not the same for all workers.
        """
        if order.workers > 1 and not mox_core.get_flag("sync_replicas"):
            raise UsageError(
                "a data set that changes with the global step is read by workers that step on their own "
                "(--sync_replicas=False): each would be at another step. Leave the flag out, or use one data set of "
                "one image size."
            )
        step, drawn = divmod(start, _STEP)
        number = self._at(step)
        parts = []
        for place in range(number, len(self.stages)):
            stage = self.stages[place]
            goes_on = place == number and step > stage.begin  # at its first step, `drawn` counts the stage before it
            first = step if goes_on else stage.begin
            own = self._order(order, place)
            batches = stage.source.dataset(order=own, start=drawn if goes_on else 0, needed=needed, report=report)
            parts.append(self._numbered(batches, first, stage.end))
        return functools.reduce(lambda before, after: before.concatenate(after), parts)

    def dataset(self, *, order: Order, start: int, needed: frozenset[str] | None, report: BadSampleReport) -> Dataset:
        """Return what `elements` does; bad samples are reported there."""
        return self.elements(order=order, start=start, needed=needed, report=report)

    def specs(self) -> dict[str, tf.TensorSpec]:
        """Return the specs of the features of a batch."""
        with tf.init_scope():
            elements = self.elements(order=Order(seed=0), start=0, needed=None, report=BadSampleReport())
            specs: dict[str, tf.TensorSpec] = features_of(elements)
            return specs

    def name_at(self, position: int, order: Order) -> str:
        """Return the name of the first record of the batch that a worker reads at a position, for messages."""
        step, drawn = divmod(position, _STEP)
        number = self._at(step)
        stage = self.stages[number]
        return stage.source.name_at(drawn if step > stage.begin else 0, self._order(order, number))

    def _at(self, step: int) -> int:
        """Return the number of the stage that a step belongs to."""
        return next(number for number, stage in enumerate(self.stages) if stage.end is None or step < stage.end)

    @staticmethod
    def _order(order: Order, number: int) -> Order:
        """Return the order of a stage: each has a seed of its own, so that its first epoch is no other's again."""
        return attrs.evolve(order, seed=fold(order.seed, "stage", number))

    def _numbered(self, batches: Dataset, first: int, end: int | None) -> Dataset:
        """Return batches with the positions behind them, from a step on."""

        @no_autograph
        def number(place: tf.Tensor, batch: tuple[tf.Tensor, Features]) -> tuple[tf.Tensor, Features]:
            drawn, features = batch
            return (first + 1 + place // self.replicas) * _STEP + drawn, features

        numbered = batches.enumerate().map(number)
        return numbered if end is None else numbered.take((end - first) * self.replicas)


def stages_of(sources: list[SampleSource], switches: list[int]) -> tuple[Stage, ...]:
    """Return the stages between some steps.

    Args:
        sources: of each stage.
        switches: the first step of each stage but the first one.
    """
    return tuple(itertools.starmap(Stage, zip(sources, [0, *switches], [*switches, None], strict=True)))
