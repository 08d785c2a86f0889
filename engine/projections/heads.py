"""How the place of a pool's section is filed in the index: with a checksum of its own, so that a change is found."""

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
"""Of an array of rows without their digests, and all digests one after the other, into a table of that name."""


def packed(heads: Sequence[tuple[str, Head]], step: int) -> Iterator[tuple[str, bytes]]:
    """The parameters of ``INSERT_HEADS``."""
    for some in slices_of(heads, step):
        rows = [
            (pool, head.version, head.pointer.frame, head.pointer.offset, head.pointer.length, _crc_of(pool, head))
            for pool, head in some
        ]
        yield msgspec.json.encode(rows).decode(), b"".join([head.digest for _, head in some])


def head_of(row: Sequence[Any]) -> Head:
    """Return what a row of heads or marks says. Raises ``Difference`` if its checksum does not fit."""
    pool, version, frame, offset, length, digest, crc = row
    head = Head(version, Pointer(frame, offset, length), digest)
    if _crc_of(pool, head) != crc:
        raise Difference(f"a section of pool {pool} is not where it says")
    return head


def _crc_of(pool: str, head: Head) -> int:
    pointer = head.pointer
    place = f"{pool}\0{head.version}\0{pointer.frame}\0{pointer.offset}\0{pointer.length}"
    return crc32(head.digest, crc32(place.encode()))
