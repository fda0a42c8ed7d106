"""The parser of learning rate strategies, `5:0.1->0.4,10:0.4=>0.8,20:0.08`.

    strategy = stage {"," stage}
    stage    = END_EPOCH ":" (LR | LR "->" LR | LR "=>" LR)

Blanks are allowed but inside a number or an arrow. Every error shows its place in the text.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final, NoReturn

from attrs import define, frozen

from mox_core.errors import UsageError

_NUMBER: Final = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_ARROWS: Final = ("->", "=>")


@frozen
class Stage:
    """A range of epochs with one rule for the learning rate.

    Attributes:
        end: the epoch at which it ends, exact as written: no float is a tenth.
        first: the learning rate at its beginning.
        last: the learning rate at its end.
        exponential: whether it changes by equal factors instead of equal differences.
    """

    end: Fraction
    first: float
    last: float
    exponential: bool = False


def parse(text: str) -> list[Stage]:
    """Return the stages of a strategy, in order.

    Raises:
        UsageError: if it cannot be parsed, with the place.
    """
    if not isinstance(text, str):
        raise UsageError(f"lr_strategy is {text!r}; it must be a text like '5:0.1->0.4,10:0.4=>0.8,20:0.08'.")
    reader = _Reader(text)
    stages = [_stage(reader, after=Fraction(0))]
    while reader.takes(","):
        stages.append(_stage(reader, after=stages[-1].end))
    if not reader.at_end():
        reader.fail("expected ',' and the next stage, or the end")
    return stages


def _stage(reader: _Reader, *, after: Fraction) -> Stage:
    end, place = reader.number("the epoch at which a stage ends")
    if end <= after:
        rule = f"it must be higher than {float(after):g}, where it begins" if after else "it must be higher than 0"
        reader.fail(f"a stage ends at epoch {float(end):g}; {rule}", place)
    if not reader.takes(":"):
        reader.fail("expected ':' and the learning rate of the stage")
    first, first_place = reader.number("a learning rate")
    arrow = next((arrow for arrow in _ARROWS if reader.takes(arrow)), None)
    last, last_place = (first, first_place) if arrow is None else reader.number(f"a learning rate behind '{arrow}'")
    exponential = arrow == "=>"
    for rate, where in ((first, first_place), (last, last_place)):
        if rate < 0:
            reader.fail("a learning rate must be 0 or more", where)
        if exponential and rate == 0:
            reader.fail(
                "'=>' goes by equal factors, and gets neither from 0 nor to 0: use '->', or a small number", where
            )
    return Stage(end, float(first), float(last), exponential)


@define
class _Reader:
    """A position in a text.

    Attributes:
        text: the whole text.
        place: the index of the next character.
    """

    text: str
    place: int = 0

    def takes(self, word: str) -> bool:
        """Return whether a word comes next, and skip it."""
        found = self.text.startswith(word, self._skip_blanks())
        self.place += len(word) * found
        return found

    def number(self, what: str) -> tuple[Fraction, int]:
        """Read a number, and return it with its place."""
        place = self._skip_blanks()
        match = _NUMBER.match(self.text, place)
        if match is None:
            self.fail(f"expected {what}")
        self.place = match.end()
        return Fraction(match[0]), place

    def at_end(self) -> bool:
        """Return whether only blanks are left."""
        return self._skip_blanks() == len(self.text)

    def fail(self, what: str, place: int | None = None) -> NoReturn:
        """Raise the error, with a caret under the place, by default the current one."""
        place = self._skip_blanks() if place is None else place
        line = re.sub(r"\s", " ", self.text)
        raise UsageError(
            f"lr_strategy: {what}.\n  {line}\n  {' ' * place}^\n"
            "Stages are END_EPOCH:LR, END_EPOCH:LR->LR (linear) or END_EPOCH:LR=>LR (exponential), with ',' between."
        )

    def _skip_blanks(self) -> int:
        while self.text[self.place : self.place + 1].isspace():
            self.place += 1
        return self.place
