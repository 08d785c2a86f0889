"""One file, and how it is to be read: what the options and the preset say together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .documents import members_of
from .events import Event, read_events
from .formats import Format, Shape, shape_of
from .mapping import EventMapping
from .paths import Path as Steps
from .records import RECORD_BYTES_MAX
from .source import PIECE_BYTES, STDIN, Source


class Opened(NamedTuple):
    """A file that is open, and the events in it."""

    source: Source
    events: Iterator[Event]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How to read one file."""

    file: Path
    mapping: EventMapping
    format: Format | None = None
    """``None`` for what the content says."""
    delimiter: str | None = None
    quote: str | None = '"'
    encoding: str | None = None
    records: Steps = ()
    """Where each JSON object of the file has its records."""
    records_if_there: Sequence[Steps] = ()
    """Where they may be: the first that the first object has is where they are."""
    natural: bool = True
    """Whether members of JSON objects are looked for under their natural names."""
    example_prices: bool = False
    """Whether the prices are made up, and only to start from."""

    @property
    def name(self) -> str:
        """What to call the file."""
        return "standard input" if str(self.file) == STDIN else self.file.name

    @contextmanager
    def open(self) -> Iterator[Opened]:
        """Open the file for the length of a block. Raises ``InvalidRequest`` for what is wrong with all of it, or with
        the mapping."""
        source = Source(self.file, self.encoding)
        try:
            shape = shape_of(
                source.first_line(RECORD_BYTES_MAX),
                self.name,
                format=self.format,
                delimiter=self.delimiter,
                quote=self.quote,
            )
            mapping = self.mapping.with_natural_names() if self.natural and shape.format.is_json else self.mapping
            mapping.check()
            events = read_events(source.text, shape, mapping, self._records(source, shape))
            # Only now: a column that is not there is the nearer mistake.
            mapping.check_identity()
            yield Opened(source, events)
        finally:
            source.close()

    def _records(self, source: Source, shape: Shape) -> Steps:
        if self.records or not self.records_if_there or not shape.format.is_json:
            return self.records
        members = members_of(source.head(PIECE_BYTES))
        return next((steps for steps in self.records_if_there if steps[0] in members), ())
