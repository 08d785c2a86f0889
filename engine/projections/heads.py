"""How the index stores the place of a pool's section: with its own checksum, so that a change is found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final
from zlib import crc32

import msgspec

from solvent.engine.journal.frames import DIGEST_BYTES, Head, Pointer

from .index_file import Difference
from .statements import slices_of

INSERT_HEADS: Final = (
    "insert or replace into {} select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4,"
    f" substr(?2, key * {DIGEST_BYTES} + 1, {DIGEST_BYTES}), value ->> 5 from json_each(?1)"
)
"""The statement that fills a table from two parameters: an array of rows without digests, and all digests joined."""


def packed(heads: Sequence[tuple[str, Head]], step: int) -> Iterator[tuple[str, bytes]]:
    """Yield the parameters of ``INSERT_HEADS``."""
    for some in slices_of(heads, step):
        rows = [
            (pool, head.version, head.pointer.frame, head.pointer.offset, head.pointer.length, _crc_of(pool, head))
            for pool, head in some
        ]
        yield msgspec.json.encode(rows).decode(), b"".join([head.digest for _, head in some])


def head_of(row: Sequence[Any]) -> Head:
    """Return the head in a row of heads or marks. Raises ``Difference`` if its checksum does not match."""
    pool, version, frame, offset, length, digest, crc = row
    numbers = (version, frame, offset, length)
    # Damage may change the type as well.
    if not (isinstance(pool, str) and isinstance(digest, bytes) and all(isinstance(each, int) for each in numbers)):
        raise Difference(f"a row of pool {pool!r} has other types than were written")
    head = Head(version, Pointer(frame, offset, length), digest)
    if _crc_of(pool, head) != crc:
        raise Difference(f"a section of pool {pool} is not where it says")
    return head


def _crc_of(pool: str, head: Head) -> int:
    pointer = head.pointer
    place = f"{pool}\0{head.version}\0{pointer.frame}\0{pointer.offset}\0{pointer.length}"
    return crc32(head.digest, crc32(place.encode()))
