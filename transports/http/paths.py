"""Paths: ``/v1/{environment}/{customer}/{operation}``, with ``-`` for "all customers", as in a subject of NATS.

A path is split before it is decoded, so an id may have a slash, written ``%2F``. An id that is only ``-`` is ``%2D``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.pool_id import check_id
from solvent.transports.wire.bodies import Address

from .asgi import Scope

VERSION: Final = b"v1"
ANY_CUSTOMER: Final = b"-"


def parts_of(scope: Scope) -> list[bytes]:
    """Return the parts of the path below the application, encoded as they arrived."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    root = quote(scope.get("root_path", "")).encode()
    if root and raw.startswith(root):
        raw = raw[len(root) :]
    return raw.split(b"/")[1:]


@lru_cache(maxsize=32_768)
def address_of(environment: bytes, customer: bytes) -> Address:
    """Return the address that two parts of a path name. Raises ``InvalidRequest``."""
    named = None if customer == ANY_CUSTOMER else _decoded(customer, "customer")
    return Address(_decoded(environment, "environment"), named)


def _decoded(part: bytes, field: str) -> str:
    try:
        return check_id(unquote_to_bytes(part).decode(), field)
    except UnicodeDecodeError:
        raise InvalidRequest(field, "percent-encoded UTF-8", got=ascii(part.decode("latin-1"))[:60]) from None
