"""Cursors: the place where a page of a list ends, for the request of the next page.

A cursor belongs to one list: of one pool, with one order and one filter. It carries a digest of both, so that one that
was garbled, or comes from another list, is refused instead of leading to a wrong page. The digest is not secret, and
protects nothing else.
"""

from __future__ import annotations

import base64
from hashlib import blake2b
from typing import Any, Final

import msgspec

from .amounts import shown
from .errors import InvalidRequest

CURSOR_CHARS_MAX: Final = 4_096
"""The longest cursor has the names of a pool: four ids of 128 characters."""
_DIGEST_BYTES: Final = 8
_EXPECTED: Final = "the next_cursor of the page before, of the same list"


def write_cursor(about: tuple[Any, ...], place: object) -> str:
    """Return the cursor after ``place`` of the list that is ``about``: its kind, its pool, its filters."""
    packed = msgspec.msgpack.encode(place)
    return base64.urlsafe_b64encode(_digest(about, packed) + packed).decode().rstrip("=")


def read_cursor(cursor: object, about: tuple[Any, ...], kind: Any) -> Any:
    """Return the place of ``cursor``, a ``kind``; ``None`` if there is no cursor. Raises ``InvalidRequest``."""
    if cursor is None:
        return None
    if isinstance(cursor, str) and len(cursor) <= CURSOR_CHARS_MAX:
        try:
            found = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            packed = found[_DIGEST_BYTES:]
            # A last character may have bits that nothing stands for: only one spelling counts.
            if found[:_DIGEST_BYTES] == _digest(about, packed) and _is_spelled_so(cursor, found):
                return msgspec.msgpack.decode(packed, type=kind)
        except (ValueError, msgspec.MsgspecError):
            pass
    raise InvalidRequest("cursor", _EXPECTED, got=shown(cursor))


def _is_spelled_so(cursor: str, found: bytes) -> bool:
    return base64.urlsafe_b64encode(found).decode().rstrip("=") == cursor


def _digest(about: tuple[Any, ...], packed: bytes) -> bytes:
    return blake2b(msgspec.msgpack.encode((about, packed)), digest_size=_DIGEST_BYTES).digest()
