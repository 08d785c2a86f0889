"""The answers to many asks, gathered, for who asks in bulk: a future and a callback for each would cost more than most
actors' work.

Belongs to the loop's thread, like everything here. A ``Place`` stands where an ask's future stands otherwise: it is
done once, by an answer or an error, and whatever comes second changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

__all__ = ["Answers", "Place"]

_MISSING: Final = object()


class Answers:
    """One place per ask. When the last has its answer, ``then`` hears of them all, in a turn of the loop of its own.

    An error stands in its place as a value, and is counted in ``errors``. Nothing is called for no asks at all.
    """

    __slots__ = ("_left", "_loop", "_then", "_values", "errors")

    def __init__(self, size: int, then: Callable[[Answers], object]) -> None:
        self._values: list[Any] = [_MISSING] * size
        self._left = size
        self._then = then
        self._loop = asyncio.get_running_loop()
        self.errors = 0

    @property
    def values(self) -> Sequence[Any]:
        """What came. Only to be read once all are there."""
        return self._values

    def places(self, first: int = 0) -> list[Place]:
        """The places from ``first`` on, in order."""
        return [Place(self, place) for place in range(first, len(self._values))]


class Place(msgspec.Struct, eq=False, gc=False):
    """Where one answer goes: of a future, what the runtime uses."""

    _answers: Answers
    _place: int

    def done(self) -> bool:
        """Whether the answer, or an error, is there."""
        return self._answers._values[self._place] is not _MISSING

    def set_result(self, value: object) -> None:
        """Give the answer. Not to be called twice."""
        answers = self._answers
        answers._values[self._place] = value
        answers._left -= 1
        if not answers._left:
            answers._loop.call_soon(answers._then, answers)

    def set_exception(self, error: BaseException) -> None:
        """Give an error instead."""
        self._answers.errors += 1
        self.set_result(error)
