"""The messages between an engine and its usage process: a length, then msgpack, over the pipes of the process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Final, TypeAlias

import msgspec

from solvent.engine.api.usage_table import Packed, UsageGroup, UsageTable, pack, unpack, unpacked
from solvent.engine.api.usage_words import CompareOrder
from solvent.engine.journal.frames import Frame

from .analysis import Compared
from .query import UsageCell, UsageEntries, UsageQuery

LENGTH_BYTES: Final = 4
ROWS_PER_PART: Final = 5_000
"""The rows of an answer in one message: a quarter of a megabyte, which the engine's loop reads in some hundred
microseconds."""
GROUPS_PER_PART: Final = 500
"""The groups in one message. They take about as long to decode."""


class Extent(msgspec.Struct, frozen=True, array_like=True):
    """What an answer must cover: the journal up to a frame, and the refusals up to a number."""

    frame: int = 0
    refusal: int = 0


class AskTable(msgspec.Struct, frozen=True, tag="table"):
    """Answer ``query``, once ``extent`` is reached, within ``patience_s`` seconds."""

    id: int
    query: UsageQuery
    extent: Extent
    patience_s: float


class AskEntries(msgspec.Struct, frozen=True, tag="entries"):
    """Return a page of the entries behind a cell."""

    id: int
    query: UsageQuery
    cell: UsageCell
    as_of: int | None
    cursor: str | None
    limit: int
    patience_s: float


class AskComparison(msgspec.Struct, frozen=True, tag="comparison"):
    """Compare the answers to ``query`` and ``before``, group by group."""

    id: int
    query: UsageQuery
    before: UsageQuery
    order: CompareOrder
    top: int | None
    extent: Extent
    patience_s: float


class AskSpikes(msgspec.Struct, frozen=True, tag="spikes"):
    """Find spikes in the answer to ``query``, in buckets that end after ``since``."""

    id: int
    query: UsageQuery
    since: int
    history_min: int
    sensitivity: float
    limit: int
    extent: Extent
    patience_s: float


class AskStatus(msgspec.Struct, frozen=True, tag="status"):
    id: int


class Rebuild(msgspec.Struct, frozen=True, tag="rebuild"):
    """Rebuild the file from the journal. The status is returned at once."""

    id: int


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Close the file and end."""


Lookup: TypeAlias = AskTable | AskEntries | AskComparison | AskSpikes
"""The questions that are answered from the file, and may have to wait for it."""
Question: TypeAlias = Lookup | AskStatus | Rebuild | Stop


class TablePart(msgspec.Struct, frozen=True, tag="part"):
    """The next groups and the next rows of a table. The rows may belong to groups that are still to come."""

    id: int
    groups: list[UsageGroup]
    cells: list[Packed]


class TableEnd(msgspec.Struct, frozen=True, tag="end"):
    """The end of a table, after its last part."""

    id: int
    metrics: list[str]
    total: list[Packed]
    position: int
    as_of: int


class Entries(msgspec.Struct, frozen=True, tag="entries"):
    id: int
    entries: UsageEntries


class Comparison(msgspec.Struct, frozen=True, tag="comparison"):
    """The groups in two periods, by columns."""

    id: int
    groups: list[UsageGroup]
    columns: list[Packed]
    """The credits before and after, then the events before and after."""
    events_before: int
    """The events of all groups together, each counted once."""
    events_after: int


def comparison_of(id: int, groups: Sequence[Compared], events_before: int, events_after: int) -> Comparison:
    """Return ``groups`` as a message, with the events of all of them together."""
    columns = [
        pack([getattr(each, name) for each in groups])
        for name in ("credits_before", "credits_after", "events_before", "events_after")
    ]
    told = [UsageGroup(each.values, each.other) for each in groups]
    return Comparison(id, told, columns, events_before, events_after)


def compared_in(message: Comparison) -> list[Compared]:
    """Return the groups of a message."""
    columns = map(unpack, message.columns)
    return [
        Compared(group.values, group.other, *numbers) for group, *numbers in zip(message.groups, *columns, strict=True)
    ]


class Spikes(msgspec.Struct, frozen=True, tag="spikes"):
    """The spikes, as a table in one part with a group for each. Half of ``expected_twice`` units were expected."""

    id: int
    part: TablePart
    end: TableEnd
    expected_twice: Packed
    scores: list[float]


class Status(msgspec.Struct, frozen=True, tag="status"):
    """The progress of the file, and of the new file during a rebuild; or why the last rebuild failed."""

    id: int
    position: int
    journal: int
    rebuilt: int | None = None
    failure: str | None = None


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The error to raise for the caller: its code, and the values that the code needs."""

    id: int
    code: str
    field: str
    text: str
    got: str | None = None
    found: int = 0
    known: int = 0
    """Of ``NewerFormat``, whose file is the ``field``; of ``JournalShorter``, whose folder is the ``field``, the last
    frame and the newest one that was acknowledged."""


class AskFrames(msgspec.Struct, frozen=True, tag="frames"):
    """A request to the engine for at most ``limit`` frames with numbers above ``after``, from a process that cannot
    read the journal itself. It asks for more only when it has these, so at most one such answer is under way."""

    id: int
    after: int
    limit: int


class Frames(msgspec.Struct, frozen=True, tag="frames"):
    """The requested frames, with the identity and the last frame number of their journal."""

    id: int
    identity: str = ""
    last: int = 0
    frames: list[Frame] = []
    failure: str = ""
    """The reason that there are none, if the journal could not be read; else empty."""


Reply: TypeAlias = TablePart | TableEnd | Entries | Comparison | Spikes | Status | Failed

_encoder: Final = msgspec.msgpack.Encoder()
questions: Final = msgspec.msgpack.Decoder(Question | Frames)
"""The decoder of messages to the process."""
replies: Final = msgspec.msgpack.Decoder(Reply | AskFrames)
"""The decoder of messages to the engine."""


def framed(message: Question | Frames | Reply | AskFrames) -> bytes:
    """Return the message as bytes, after its length."""
    payload = _encoder.encode(message)
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


def parts_of(id: int, table: UsageTable) -> Iterator[TablePart | TableEnd]:
    """Yield a table as messages."""
    cells = table.cells.narrow()
    offsets = cells.offsets()
    rows = range(0, max(1, len(table.cells.bucket)), ROWS_PER_PART)
    groups = range(0, len(table.groups), GROUPS_PER_PART)
    for row, group in zip_longest(rows, groups):
        yield TablePart(
            id,
            [] if group is None else list(table.groups[group : group + GROUPS_PER_PART]),
            [] if row is None else cells.part(row, row + ROWS_PER_PART, offsets).packed(),
        )
    yield TableEnd(id, list(table.metrics), table.total.narrow().packed(), table.position, table.as_of)


def table_from(query: UsageQuery, parts: Sequence[TablePart], end: TableEnd) -> UsageTable:
    """Return the answer to ``query`` that arrived as messages."""
    return UsageTable(
        query.group_by,
        query.buckets(),
        [group for part in parts for group in part.groups],
        end.metrics,
        unpacked([part.cells for part in parts if part.cells]),
        unpacked([end.total]),
        end.position,
        end.as_of,
    )


def length_of(header: bytes) -> int:
    """Return the number of bytes after a header."""
    return int.from_bytes(header, "big")
