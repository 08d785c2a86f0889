"""Reading the write-ahead log of the journal's file without SQLite, to find damage to committed pages.

SQLite takes the first invalid frame of its log for the end, because a crash leaves one there. A damaged byte looks the
same to it, and all later commits would be lost silently. But commits are flushed one after the other, so a crash can
only spoil the last one. If whole frames of a later commit follow an invalid frame, it is damage. (A frame of the log is
a page, "WAL frame" here; a frame of the journal is something else.)

The format is described in SQLite's documentation, "Database File Format", section 4.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final, NamedTuple

from solvent.engine.values.errors import JournalCorrupt

HEADER_BYTES: Final = 32
FRAME_HEADER_BYTES: Final = 24
PAGE_BYTES_MIN: Final = 512
PAGE_BYTES_MAX: Final = 65_536

_HEADER: Final = struct.Struct(">8I")
_FRAME: Final = struct.Struct(">6I")
_MAGIC: Final = 0x377F0682
"""The magic number of a log. If its last bit is 1, checksums are over big-endian words."""
_32: Final = 0xFFFFFFFF

_Sum = tuple[int, int]


class Log(NamedTuple):
    """The pages of a log, in order, with their numbers."""

    committed: list[tuple[int, bytes]]
    """The pages that SQLite accepts."""
    beyond: list[tuple[int, bytes]]
    """The pages of the same log after the first invalid one: part of a spoiled commit, or after one."""
    damage: str
    """The reason that the end of the log cannot come from a crash; empty if it can."""


def read_log(path: Path) -> Log:
    """Read the log of the database at ``path``; empty if there is none. Takes about 0.1 ms a page."""
    name = f"{path.name}-wal"
    try:
        body = path.with_name(name).read_bytes()
    except FileNotFoundError:
        body = b""
    if len(body) < HEADER_BYTES or not any(body[:HEADER_BYTES]):
        # Nothing was ever flushed, or the log was truncated.
        return Log([], [], "")
    magic, _, page_bytes, _, salt_1, salt_2, *stored = _HEADER.unpack_from(body)
    order = ">" if magic & 1 else "<"
    running = _add((0, 0), body[: HEADER_BYTES - 8], order)
    sound = magic | 1 == _MAGIC | 1 and running == tuple(stored) and PAGE_BYTES_MIN <= page_bytes <= PAGE_BYTES_MAX
    if not sound:
        # The header is flushed on its own, within one sector, so a crash cannot spoil it.
        return Log([], [], f"{name}: its header is damaged, what was committed last cannot be read")
    step = FRAME_HEADER_BYTES + page_bytes
    frames = [_FRAME.unpack_from(body, start) for start in range(HEADER_BYTES, len(body) - step + 1, step)]
    pages = [(frame[0], HEADER_BYTES + place * step + FRAME_HEADER_BYTES) for place, frame in enumerate(frames)]

    def summed(place: int, before: _Sum) -> _Sum:
        start = HEADER_BYTES + place * step
        before = _add(before, body[start : start + 8], order)
        return _add(before, body[start + FRAME_HEADER_BYTES : start + step], order)

    end = commits = 0
    broken = running
    while end < len(frames) and frames[end][2:4] == (salt_1, salt_2):
        broken = summed(end, running)
        if broken != frames[end][4:]:
            break
        running = broken
        end += 1
        if frames[end - 1][1]:
            commits = end
    found = [(number, body[start : start + page_bytes]) for number, start in pages]
    behind = [place for place in range(commits, len(frames)) if frames[place][2:4] == (salt_1, salt_2)]
    damage = ""
    committed_behind = False
    for place in range(end, len(frames) - 1):
        committed_behind = committed_behind or frames[place][1] != 0
        links = (frames[place][4:], broken) if place == end else (frames[place][4:],)
        if (
            committed_behind
            and frames[place + 1][2:4] == (salt_1, salt_2)
            and any(summed(place + 1, link) == frames[place + 1][4:] for link in links)
        ):
            damage = f"{name}: page {end + 1} of the log is damaged, and commits stand behind it"
            break
    return Log(found[:commits], [found[place] for place in behind], damage)


def check_log(path: Path) -> None:
    """Raise ``JournalCorrupt`` if the log of the database at ``path`` lost anything but a last, unfinished commit."""
    damage = read_log(path).damage
    if damage:
        raise JournalCorrupt(f"{damage}: restore the journal, or accept the loss by removing {path.name}-wal")


def _add(before: _Sum, part: bytes, order: str) -> _Sum:
    first, second = before
    words = iter(struct.unpack(f"{order}{len(part) // 4}I", part))
    for one, two in zip(words, words, strict=True):
        first = (first + one + second) & _32
        second = (second + two + first) & _32
    return first, second
