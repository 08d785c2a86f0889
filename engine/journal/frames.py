"""Frames: the bytes of one group commit, and how to find a pool's history in them.

A frame holds the events of all pools that were committed together: a *section* per pool, then a trailer with the
lengths of the sections, then the trailer's own length in four bytes. A section names its pool, the version of its first
event, and the place and digest of the pool's previous section. So each pool's history is a chain that can be walked
backwards without an index, and a changed or missing link is detected. Digests are BLAKE2b of 16 bytes (RFC 7693). A
frame as a whole carries a CRC-32 against damage.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Annotated, Final
from zlib import crc32

import msgspec

from solvent.engine.rules.events import Event
from solvent.engine.runtime.files import JOURNAL_FORMAT
from solvent.engine.values.errors import JournalCorrupt

DIGEST_BYTES: Final = 16
NO_DIGEST: Final = bytes(DIGEST_BYTES)
"""The digest before a pool's first section."""


class Pointer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The place of a section. There is no frame 0: it stands for "nowhere"."""

    frame: int
    offset: int
    length: int


NOWHERE: Final = Pointer(0, 0, 0)


class Head(msgspec.Struct, frozen=True, gc=False):
    """The newest section of a pool, from which its history is walked backwards."""

    version: int
    """The version of the pool after the section's last event."""
    pointer: Pointer
    digest: bytes


NO_HEAD: Final = Head(0, NOWHERE, NO_DIGEST)


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One group commit as the journal stores it."""

    number: int
    """The frame's place in the journal: 1, 2, 3, ... without gaps."""
    at: int
    """The time of sealing, in microseconds."""
    body: bytes
    crc: int

    @classmethod
    def seal(cls, number: int, at: int, body: bytes) -> Frame:
        return cls(number, at, body, _crc(number, at, body))

    def is_intact(self) -> bool:
        return self.crc == _crc(self.number, self.at, self.body)


class Section(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The events of one pool in one frame, decoded."""

    pool: str
    """The canonical name of the pool."""
    first_version: int
    previous: Pointer
    previous_digest: bytes
    events: list[Event]

    @property
    def last_version(self) -> int:
        return self.first_version + len(self.events) - 1


class _Unread(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A section whose events are not decoded."""

    pool: str
    first_version: int
    previous: msgspec.Raw
    previous_digest: bytes
    events: list[msgspec.Raw]


class _Trailer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    format: int
    lengths: list[Annotated[int, msgspec.Meta(ge=0)]]


_encoder: Final = msgspec.msgpack.Encoder()
_sections: Final = msgspec.msgpack.Decoder(Section)
_unread: Final = msgspec.msgpack.Decoder(_Unread)
_FIVE_FIELDS: Final = b"\x95"
"""How msgpack begins a section: an array of five."""
_trailers: Final = msgspec.msgpack.Decoder(_Trailer)
_TRAILER_LENGTH_BYTES: Final = 4
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""The exceptions that decoding raises for invalid bytes. Text that is not UTF-8 has its own."""


class FrameBuilder:
    """Gathers the sections of one frame. Offsets are final as soon as a section is added."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, pool: str, previous: Head, events: Sequence[Event]) -> Head:
        """Add the next events of ``pool``, whose newest section is ``previous``. Returns the new head."""
        body = _encoder.encode((pool, previous.version + 1, previous.pointer, previous.digest, events))
        pointer = Pointer(self.number, self._size, len(body))
        self._parts.append(body)
        self._size += len(body)
        return Head(previous.version + len(events), pointer, digest_of(body))

    def seal(self, at: int) -> Frame:
        trailer = _encoder.encode(_Trailer(JOURNAL_FORMAT, [len(part) for part in self._parts]))
        self._parts += (trailer, len(trailer).to_bytes(_TRAILER_LENGTH_BYTES))
        return Frame.seal(self.number, at, b"".join(self._parts))


def digest_of(section: bytes) -> bytes:
    """Return the digest that the pool's next section must carry."""
    return blake2b(section, digest_size=DIGEST_BYTES).digest()


def decode_section(body: bytes, *, frame: int) -> Section:
    """Decode one section. Raises ``JournalCorrupt``, which names ``frame``, if the bytes are not a section."""
    try:
        return _sections.decode(body)
    except _UNREADABLE as error:
        raise JournalCorrupt(f"a section cannot be read: {error}", frame=frame) from None


def events_at(frame: Frame, pool: str, versions: Iterable[int]) -> dict[int, msgspec.Raw]:
    """Return the events that made ``versions`` of ``pool`` in ``frame``, encoded, as far as they are there.

    Nothing else in the frame is decoded. Raises ``JournalCorrupt`` if it is not intact.
    """
    found: dict[int, msgspec.Raw] = {}
    # A string is preceded by its length, so no other pool's section begins with these bytes.
    begin = _FIVE_FIELDS + _encoder.encode(pool)
    wanted = sorted(versions)
    for _, body in split_frame(frame):
        if not body.startswith(begin):
            continue
        try:
            section = _unread.decode(body)
        except _UNREADABLE as error:
            raise JournalCorrupt(f"a section cannot be read: {error}", frame=frame.number, pool=pool) from None
        first, last = section.first_version, section.first_version + len(section.events) - 1
        low, high = bisect_left(wanted, first), bisect_right(wanted, last)
        found.update((version, section.events[version - first]) for version in wanted[low:high])
    return found


def split_frame(frame: Frame) -> Iterable[tuple[Pointer, bytes]]:
    """Yield the place and bytes of each section of a frame, in order.

    Raises ``JournalCorrupt`` if the frame is not intact.
    """
    body = frame.body
    offset = 0
    for length in _trailer_of(frame).lengths:
        yield Pointer(frame.number, offset, length), body[offset : offset + length]
        offset += length


def rules_of(frame: Frame) -> int:
    """Return the number of the rules by which a frame was written: the format of the journal at that time.

    Rules change only with the number, so the entries of a frame are judged by the rules of then. Raises
    ``JournalCorrupt`` if the frame is not intact.
    """
    return _trailer_of(frame).format


def _trailer_of(frame: Frame) -> _Trailer:
    if not frame.is_intact():
        raise JournalCorrupt("the checksum does not match", frame=frame.number)
    body = frame.body
    trailer_end = len(body) - _TRAILER_LENGTH_BYTES
    trailer_length = int.from_bytes(body[trailer_end:])
    try:
        trailer = _trailers.decode(body[trailer_end - trailer_length : trailer_end])
    except _UNREADABLE as error:
        raise JournalCorrupt(f"the trailer cannot be read: {error}", frame=frame.number) from None
    if not 1 <= trailer.format <= JOURNAL_FORMAT:
        raise JournalCorrupt(
            f"format {trailer.format} is not known to this version, which knows {JOURNAL_FORMAT}", frame=frame.number
        )
    if sum(trailer.lengths) + trailer_length + _TRAILER_LENGTH_BYTES != len(body):
        raise JournalCorrupt("the lengths of the sections do not add up", frame=frame.number)
    return trailer


def _crc(number: int, at: int, body: bytes) -> int:
    # Signed, since a damaged row may hold any number that SQLite can store.
    return crc32(body, crc32(number.to_bytes(8, signed=True) + at.to_bytes(8, signed=True)))


class CommittedSection(msgspec.Struct, frozen=True, gc=False):
    """The facts about a newly durable section that look-ups need."""

    pool: str
    first_version: int
    head: Head
    key_hashes: Sequence[int]
    due_at: int | None
    has_notices: bool
    scale: int | None
    """The decimal places of a pool that begins with this section; otherwise ``None``."""
