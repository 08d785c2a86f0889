"""The journal: the append-only record of all events, and the only truth.

Every store of frames implements this protocol; ``JournalContract`` in ``contract`` tests that it does. A journal has
one writer. It knows frames and sections, nothing of credits. ``reader`` has the protocol for all other code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from solvent.engine.values.errors import JournalCorrupt, JournalError

from .frames import NOWHERE, Frame, Head, Pointer, Section, decode_section, digest_of, split_frame

HISTORY_SECTIONS_MAX = 4_096
"""The most sections that one ``history`` call returns. It bounds the memory of a walk, and how long a read takes."""


class WrongFrame(JournalError):
    """An append did not follow the last frame: another writer was here, or an earlier append succeeded after all."""

    def __init__(self, *, expected: int, found: int) -> None:
        super().__init__(f"the journal ends with frame {found}, the writer expected {expected}")
        self.expected, self.found = expected, found


class NoSection(JournalCorrupt):
    """A frame is intact, but has no section at the given place. The pointer is wrong."""

    def __init__(self, pointer: Pointer) -> None:
        super().__init__(f"no section of {pointer.length} bytes is at {pointer.offset}", frame=pointer.frame)
        self.pointer = pointer


class Journal(Protocol):
    """A store of frames. Every method may raise ``JournalError``."""

    @property
    def identity(self) -> str:
        """The name that tells this journal from every other. Indexes and snapshots record it, to name their journal."""
        ...

    async def append(self, frame: Frame) -> None:
        """Make ``frame`` durable. When this returns, it survives a crash of the process and of the machine.

        Raises ``WrongFrame`` unless ``frame.number`` is one more than the number of the last frame. After any other
        error the frame may or may not be stored: ask ``last_number``.
        """
        ...

    async def write_back(self) -> None:
        """Tidy up after the appends until cancelled, without delaying them. Only the size of the files next to the
        journal, and the duration of the next start, depend on it."""
        ...

    async def last_number(self) -> int:
        """Return the number of the last frame, 0 for an empty journal."""
        ...

    async def read(self, after: int, limit: int) -> Sequence[Frame]:
        """Return at most ``limit`` frames with numbers above ``after``, in order."""
        ...

    async def history(self, pool: str, head: Head, *, down_to: int) -> Sequence[Section]:
        """Return the sections of ``pool`` from ``head`` back to the one that holds version ``down_to``, oldest first.

        Returns at most the newest ``HISTORY_SECTIONS_MAX`` of them; the first one then points to where to continue.
        Raises ``JournalCorrupt`` at the first link that does not match.
        """
        ...

    async def sections(self, pointers: Sequence[Pointer]) -> Sequence[Section]:
        """Return the sections at ``pointers``, in their order.

        Raises ``JournalCorrupt`` if a frame is missing or damaged, ``NoSection`` if a pointer leads to no section.
        """
        ...

    async def aclose(self) -> None:
        """Release files and threads. Appended frames stay."""
        ...


def sections_at(pointers: Sequence[Pointer], read: Callable[[int], Frame]) -> list[Section]:
    """Return the sections at ``pointers``. Each frame is read once and checked as a whole.

    In a chain, each link carries the digest of the one before. Here there is no link to check against, so the
    checksum of the frame is checked instead.
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
    """Return the sections that ``Journal.history`` returns. ``body_of`` reads the bytes of a section of a pool."""
    sections: list[Section] = []
    while head.version >= max(down_to, 1) and len(sections) < HISTORY_SECTIONS_MAX:
        section, head = follow(pool, head, body_of(pool, head.pointer))
        sections.append(section)
    sections.reverse()
    return sections


def follow(pool: str, head: Head, section: bytes) -> tuple[Section, Head]:
    """Check that ``section`` is the one that ``head`` points to. Returns it decoded, and the head before it."""
    frame = head.pointer.frame
    if digest_of(section) != head.digest:
        raise JournalCorrupt("the digest of a section differs from the one in its successor", frame=frame, pool=pool)
    decoded = decode_section(section, frame=frame)
    if decoded.pool != pool:
        raise JournalCorrupt(f"a section of another pool, {decoded.pool}, is in the chain", frame=frame, pool=pool)
    if decoded.last_version != head.version:
        raise JournalCorrupt(
            f"a section ends at version {decoded.last_version} instead of {head.version}", frame=frame, pool=pool
        )
    before = Head(decoded.first_version - 1, decoded.previous, decoded.previous_digest)
    if (before.version == 0) != (before.pointer == NOWHERE):
        raise JournalCorrupt("the chain does not begin with version 1", frame=frame, pool=pool)
    return decoded, before
