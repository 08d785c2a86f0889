"""Where a value stands in a record: a column of a table, or a path into nested objects and arrays. Pure.

``data.tokens`` is the member ``tokens`` of the object ``data``, ``items[0].tokens`` that of the first of several. What
has the whole text as its name comes first, so that a header with a dot in it needs nothing special; further in, a dot
that belongs to a name is written ``\\.``. Where a path meets an array, the record has an event for each element. A path
into text, such as a cell of a table, reads the text as JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

from solvent.engine.values.errors import InvalidRequest

from .json_text import ABSENT, decode_json, kind_of

Step: TypeAlias = str | int
Path: TypeAlias = tuple[Step, ...]
Row: TypeAlias = Mapping[str, object]
"""The values of a record: the texts of a table by column, or the members of a JSON object."""

EVENTS_MAX: Final = 10_000
"""Of one record: arrays within arrays multiply."""

_DOT: Final = re.compile(r"(?<!\\)\.")
_INDEXES: Final = re.compile(r"((?:\[\d{1,6}\])*)\Z")


class Place(NamedTuple):
    """Where a value stands: ``name`` as it was written, and the steps that lead there."""

    name: str
    path: Path
    nested: bool = False
    """Whether it is more than a name."""


def parse_place(text: str) -> Place:
    """Return the place that ``data.items[0].tokens`` means. Text that is no path is a name."""
    steps: list[Step] = []
    for part in _DOT.split(text):
        indexes = _INDEXES.search(part)
        name = part[: indexes.start()] if indexes else part
        if not name:
            return Place(text, (text,))
        steps.append(name.replace("\\.", "."))
        steps += (int(index) for index in re.findall(r"\d+", indexes[0] if indexes else ""))
    path = tuple(steps)
    return Place(text, path, nested=path != (text,))


class View:
    """A record as one of its events sees it: of each array that it is an element of, only that element is there."""

    __slots__ = ("_bound", "indexes", "row")

    def __init__(self, row: Row, bound: Mapping[Path, object] | None = None, indexes: tuple[int, ...] = ()) -> None:
        self.row = row
        self._bound: Mapping[Path, object] = bound or {}
        self.indexes = indexes
        """Which element of each array, outermost first."""

    def get(self, place: Place) -> object:
        """Return the value at a place: ``ABSENT`` if there is none."""
        value = self.row.get(place.name, ABSENT)
        if value is not ABSENT or not place.nested:
            return value
        value = self.row
        for depth, step in enumerate(place.path):
            value = _step(self.element(value, place.path[:depth]), step)
        return self.element(value, place.path)

    def element(self, value: object, prefix: Path) -> object:
        """Return the element of the array at ``prefix`` that this view has; of anything else, the value itself."""
        return self._bound.get(prefix, value) if isinstance(value, list) else value

    def first_array(self, place: Place) -> tuple[Path, list[object]] | None:
        """Return the first array on the way to ``place`` of which this view has not one element, and where it is."""
        if not place.nested or place.name in self.row:
            return None
        value: object = self.row
        for depth, step in enumerate(place.path):
            prefix = place.path[:depth]
            value = self.element(value, prefix)
            if isinstance(value, list) and isinstance(step, str):
                return prefix, value
            value = _step(value, step)
        return None

    def arrays_on(self, place: Place) -> int:
        """Return how many of the arrays whose elements this view has lie on the way to ``place``."""
        return sum(1 for prefix in self._bound if place.path[: len(prefix)] == prefix and len(place.path) > len(prefix))

    @property
    def arrays(self) -> tuple[Path, ...]:
        """Where the arrays stand whose elements this view has, outermost first."""
        return tuple(self._bound)

    def with_element(self, prefix: Path, element: object, index: int) -> View:
        """Return the view that has of the array at ``prefix`` only this element."""
        return View(self.row, {**self._bound, prefix: element}, (*self.indexes, index))


def expand(row: Row, places: Iterable[Place]) -> Iterator[View]:
    """Yield a view for each event of a record: one for each element of the arrays that ``places`` lead through.

    Raises ``InvalidRequest`` where two arrays stand side by side: which elements belong together, nobody can say.
    """
    for count, view in enumerate(_expand(View(row), [place for place in places if place.nested])):
        if count == EVENTS_MAX:
            raise InvalidRequest("record", f"at most {EVENTS_MAX:,} events")
        yield view


def _expand(view: View, places: list[Place]) -> Iterator[View]:
    arrays = [found for place in places if (found := view.first_array(place)) is not None] if places else ()
    if not arrays:
        yield view
        return
    prefix, elements = arrays[0]
    for other, _ in arrays:
        if other != prefix:
            raise InvalidRequest(
                written(prefix), f"one array whose elements are the events, {written(other)} is another"
            )
    for index, element in enumerate(elements):
        if isinstance(element, list):
            raise InvalidRequest(f"{written(prefix)}[{index}]", "an object", got=kind_of(element))
        yield from _expand(view.with_element(prefix, element, index), places)


def written(path: Path) -> str:
    """Return a path as text."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _step(value: object, step: Step) -> object:
    if isinstance(value, str):
        try:
            value = decode_json(value)
        except InvalidRequest:
            return ABSENT
    if isinstance(value, Mapping) and isinstance(step, str):
        return value.get(step, ABSENT)
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return value[step]
    return ABSENT
