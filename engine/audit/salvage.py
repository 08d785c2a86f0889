"""Salvage of every intact frame of a damaged journal, without trusting the file as a whole.

SQLite finds a row through the pages above it, and gives up if one of those is damaged, although the row itself may be
intact. Here every page is read on its own. Anything that looks like a row of the table of frames and has the right
checksum (over the frame's number, time and bytes) is a frame, wherever it lies.

The format is described in SQLite's documentation, "Database File Format", sections 1.6 and 2.1.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from solvent.engine.journal.frames import Frame
from solvent.engine.journal.reader import JournalReader
from solvent.engine.journal.sqlite.reader import SqliteReader
from solvent.engine.journal.sqlite.wal import read_log
from solvent.engine.values.errors import JournalCorrupt, JournalError

PAGE_BYTES: Final = 4_096
"""The page size of the journal, the default of SQLite since 2016. It is fixed, since the header may be damaged."""
FRAMES_PER_READ: Final = 64

_NO_ROWS: Final = (0, 2, 10)
"""The first bytes of pages without rows: a continuation, or a page of an index. A page of rows has 13 and one above it
5; either may have been the other, or anything else, before a bit of it changed."""
_FILE_HEADER_BYTES: Final = 100
_LOCAL_MAX: Final = PAGE_BYTES - 35
_LOCAL_MIN: Final = (PAGE_BYTES - 12) * 32 // 255 - 23
_OVERFLOW_BYTES: Final = PAGE_BYTES - 4
_INTEGER_BYTES: Final = (0, 1, 2, 3, 4, 6, 8, 0, 0)
"""The size of an integer by serial type. Types 8 and 9 stand for the numbers 0 and 1."""


class Salvage:
    """All frames of a journal that can be recovered: through its reader, and in a SQLite file also past the damage."""

    def __init__(self, reader: JournalReader, *, acknowledged: int = 0) -> None:
        """Salvage the journal of ``reader`` up to the last frame that it finds, or to frame ``acknowledged``, because
        the newest frames may be lost without a trace in the journal itself. The caller closes ``reader``.

        Raises ``OSError``.
        """
        self._reader = reader
        self._pages: _Pages | None = None
        self.last = 0
        """The number of the last frame."""
        try:
            self.last = reader.last_number()
            sound = not reader.damage()
        except JournalError:
            sound = False
        if not sound:
            self.last = max(self.last, self._last_row())
        self.last = max(self.last, acknowledged)

    def close(self) -> None:
        """Close the file."""
        if self._pages is not None:
            self._pages.close()

    def frames(self) -> Iterator[Frame | JournalCorrupt]:
        """Yield frame 1, 2, 3, ... up to ``last``. In place of a lost frame, yield the reason."""
        for first in range(1, self.last + 1, FRAMES_PER_READ):
            numbers = range(first, min(first + FRAMES_PER_READ, self.last + 1))
            known = {frame.number: frame for frame in self._read(numbers)}
            for number in numbers:
                frame = known.get(number)
                if frame is None or not frame.is_intact():
                    frame = self._row(number) or frame
                yield JournalCorrupt("the frame cannot be read", frame=number) if frame is None else frame

    def _read(self, numbers: range) -> list[Frame]:
        """Return the frames of ``numbers`` that the reader finds."""
        try:
            return list(self._reader.frames(numbers[0] - 1, len(numbers)))
        except JournalCorrupt:
            found: list[Frame] = []
        for number in numbers:
            try:
                found += self._reader.frames(number - 1, 1)
            except JournalCorrupt:
                continue
        return found

    def _row(self, number: int) -> Frame | None:
        """Return frame ``number``, if it is on any page of a SQLite file."""
        pages = self._all_pages()
        return None if pages is None else pages.frame(number)

    def _last_row(self) -> int:
        pages = self._all_pages()
        return 0 if pages is None else pages.last

    def _all_pages(self) -> _Pages | None:
        if self._pages is None and isinstance(self._reader, SqliteReader):
            self._pages = _Pages(self._reader.path)
        return self._pages


class _Pages:
    """The pages of a file and its log, each read on its own."""

    def __init__(self, path: Path) -> None:
        log = read_log(path)
        with path.open("rb") as file:
            self._file = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else None
        self._in_log = dict(log.committed)
        self._beyond = dict(log.beyond)
        self._places: dict[int, tuple[int | bytes, int]] = {}
        """The place of each frame: the page, or its number in the file, and the start of the row in it."""
        self._bytes_max = PAGE_BYTES * (self._count() + len(log.committed) + len(log.beyond))
        """The most bytes that a row can have."""
        # Later pages take precedence: the log was written after the file. Pages beyond its end may be in neither.
        for leaf in (page for _, page in log.beyond):
            self._note(leaf, leaf)
        for number in range(1, self._count() + 1):
            self._note(number, self._page_of_file(number))
        for leaf in (page for _, page in log.committed):
            self._note(leaf, leaf)
        self.last = max(self._places, default=0)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def frame(self, number: int) -> Frame | None:
        """Return frame ``number``, if any page has it."""
        found = self._places.get(number)
        if found is None:
            return None
        page, place = found
        return self._frame_at(self._page_of_file(page) if isinstance(page, int) else page, place)

    def _count(self) -> int:
        return 0 if self._file is None else -(-len(self._file) // PAGE_BYTES)

    def _page_of_file(self, number: int) -> bytes:
        return b"" if self._file is None else self._file[(number - 1) * PAGE_BYTES : number * PAGE_BYTES]

    def _note(self, source: int | bytes, leaf: bytes) -> None:
        start = _FILE_HEADER_BYTES if source == 1 else 0
        if len(leaf) != PAGE_BYTES or leaf[start] in _NO_ROWS:
            return
        cells = int.from_bytes(leaf[start + 3 : start + 5])
        content = int.from_bytes(leaf[start + 5 : start + 7])
        # The count of rows may be damaged, and the pointers stand behind it all the same, up to the first row.
        end = min(max(start + 8 + 2 * cells, content), PAGE_BYTES - 1)
        places = [int.from_bytes(leaf[pointer : pointer + 2]) for pointer in range(start + 8, end, 2)]
        found = sum([self._note_row(source, leaf, place) for place in places])
        if found < cells:
            # A pointer is damaged, or a row is. Every place may be the beginning of one.
            for place in range(start + 8, PAGE_BYTES):
                self._note_row(source, leaf, place)

    def _note_row(self, source: int | bytes, leaf: bytes, place: int) -> bool:
        try:
            frame = self._frame_at(leaf, place)
        except (IndexError, ValueError):
            return False
        if frame.is_intact():
            self._places[frame.number] = (source, place)
        return frame.is_intact()

    def _frame_at(self, leaf: bytes, place: int) -> Frame:
        """Return the frame in the row at ``place``. Raises ``IndexError`` or ``ValueError`` if there is none."""
        size, place = _varint(leaf, place)
        number, place = _varint(leaf, place)
        if size > self._bytes_max:
            raise ValueError("the row is larger than the file")
        if size <= _LOCAL_MAX:
            payload = leaf[place : place + size]
        else:
            local = _LOCAL_MIN + (size - _LOCAL_MIN) % _OVERFLOW_BYTES
            local = local if local <= _LOCAL_MAX else _LOCAL_MIN
            payload = leaf[place : place + local]
            payload += self._overflow(int.from_bytes(leaf[place + local : place + local + 4]), size - local)
        if len(payload) != size:
            raise ValueError("the row is cut off")
        header_bytes, at = _varint(payload, 0)
        kinds: list[int] = []
        while at < header_bytes:
            kind, at = _varint(payload, at)
            kinds.append(kind)
        # A blob with one bit changed is text of the same bytes.
        if len(kinds) != 4 or kinds[0] or kinds[3] < 12:
            raise ValueError("it is no row of the table of frames")
        numbers: list[int] = []
        for kind in kinds[1:3]:
            length = _INTEGER_BYTES[kind] if kind < len(_INTEGER_BYTES) else 0
            numbers.append({8: 0, 9: 1}.get(kind, int.from_bytes(payload[at : at + length], signed=True)))
            at += length
        return Frame(number, numbers[0], payload[at:], numbers[1])

    def _overflow(self, number: int, size: int) -> bytes:
        parts: list[bytes] = []
        while size > 0:
            for page in (self._in_log.get(number, b""), self._page_of_file(number), self._beyond.get(number, b"")):
                if len(page) == PAGE_BYTES and any(page):
                    break
            else:
                raise ValueError("a page of the row is missing")
            parts.append(page[4 : 4 + min(size, _OVERFLOW_BYTES)])
            size -= _OVERFLOW_BYTES
            number = int.from_bytes(page[:4])
        return b"".join(parts)


def _varint(page: bytes, place: int) -> tuple[int, int]:
    """Return SQLite's integer of one to nine bytes, and where it ends."""
    value = 0
    for byte in range(8):
        value = value << 7 | page[place + byte] & 0x7F
        if page[place + byte] < 0x80:
            return value, place + byte + 1
    return (value << 8 | page[place + 8]) & 0x7FFF_FFFF_FFFF_FFFF, place + 9
