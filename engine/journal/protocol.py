"""The journal: the append-only record of all events, and the only truth.

This is the protocol that every store of frames fulfils; ``JournalContract`` of ``contract`` holds them to it. A journal
has one writer. It knows frames and sections, nothing of credits. ``reader`` has the protocol for everybody else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from solvent.engine.values.errors import JournalCorrupt, JournalError

from .frames import NOWHERE, Frame, Head, Pointer, Section, decode_section, digest_of, split_frame

HISTORY_SECTIONS_MAX = 4_096
"""How many sections one ``history`` call returns at most: it bounds the memory of a walk, and a reader's stay."""


class WrongFrame(JournalError):
    """An append did not follow the last frame: another writer was here, or an earlier append did land."""

    def __init__(self, *, expected: int, found: int) -> None:
        super().__init__(f"the journal ends with frame {found}, the writer expected {expected}")
        self.expected, self.found = expected, found


class NoSection(JournalCorrupt):
    """A frame is what was written, and no section of it is where one was looked for."""

    def __init__(self, pointer: Pointer) -> None:
        super().__init__(f"no section of {pointer.length} bytes is at {pointer.offset}", frame=pointer.frame)
        self.pointer = pointer


class Journal(Protocol):
    """Where frames are kept. Every method may raise ``JournalError``."""

    @property
    def identity(self) -> str:
        """Tells this journal from every other: what indexes and snapshots are made for."""
        ...

    async def append(self, frame: Frame) -> None:
        """Make ``frame`` durable. When this returns, it survives a crash of the process and of the machine.

        Raises ``WrongFrame`` unless ``frame.number`` is one more than that of the last frame. After any other error
        the frame may or may not be there: ask ``last_number``.
        """
        ...

    async def write_back(self) -> None:
        """Tidy up behind the appends until cancelled, without holding them up. Nothing depends on it but the size of
        what is kept beside the journal, and the time of the next start."""
        ...

    async def last_number(self) -> int:
        """The number of the last frame, 0 for an empty journal."""
        ...

    async def read(self, after: int, limit: int) -> Sequence[Frame]:
        """At most ``limit`` frames with numbers above ``after``, in order."""
        ...

    async def history(self, pool: str, head: Head, *, down_to: int) -> Sequence[Section]:
        """The sections of ``pool`` from ``head`` back to the one that holds version ``down_to``, oldest first.

        At most ``HISTORY_SECTIONS_MAX`` of them, the newest: the first one then says where to go on. Raises
        ``JournalCorrupt`` at the first link that does not fit.
        """
        ...

    async def sections(self, pointers: Sequence[Pointer]) -> Sequence[Section]:
        """The sections at ``pointers``, in their order. Raises ``JournalCorrupt`` if the frame is missing or damaged,
        ``NoSection`` if there is none."""
        ...

    async def aclose(self) -> None:
        """Give back what is held. What was appended stays."""
        ...


def sections_at(pointers: Sequence[Pointer], read: Callable[[int], Frame]) -> list[Section]:
    """The sections at ``pointers``, of frames that are read and checked as a whole, each once.

    The links of a chain say what they expect; here nobody does, so the frame's own checksum has to.
    """
    found: dict[Pointer, Section] = {}
    for number in sorted({pointer.frame for pointer in pointers}):
        parts = dict(split_frame(read(number)))
        for pointer in pointers:
            if pointer.frame == number:
                if pointer not in parts:
                    raise NoSection(pointer)
                found[pointer] = decode_section(parts[pointer], frame=number)
    return [found[pointer] for pointer in pointers]


def walk_back(pool: str, head: Head, down_to: int, body_of: Callable[[str, Pointer], bytes]) -> list[Section]:
    """The sections that ``Journal.history`` returns, where ``body_of`` reads the bytes of a section of a pool."""
    sections: list[Section] = []
    while head.version >= max(down_to, 1) and len(sections) < HISTORY_SECTIONS_MAX:
        section, head = follow(pool, head, body_of(pool, head.pointer))
        sections.append(section)
    sections.reverse()
    return sections


def follow(pool: str, head: Head, section: bytes) -> tuple[Section, Head]:
    """Check that ``section`` is the one that ``head`` speaks of. Returns it decoded, and the head before it."""
    frame = head.pointer.frame
    if digest_of(section) != head.digest:
        raise JournalCorrupt("a section is not the one that its successor was chained to", frame=frame, pool=pool)
    decoded = decode_section(section, frame=frame)
    if decoded.pool != pool:
        raise JournalCorrupt(f"a section of pool {decoded.pool} stands in the chain", frame=frame, pool=pool)
    if decoded.last_version != head.version:
        raise JournalCorrupt(
            f"a section ends at version {decoded.last_version} instead of {head.version}", frame=frame, pool=pool
        )
    before = Head(decoded.first_version - 1, decoded.previous, decoded.previous_digest)
    if (before.version == 0) != (before.pointer == NOWHERE):
        raise JournalCorrupt("the chain does not begin with version 1", frame=frame, pool=pool)
    return decoded, before
