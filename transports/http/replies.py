"""Whole answers: a status, headers and a body. Errors are problem documents (RFC 9457)."""

from __future__ import annotations

import logging
from hashlib import blake2b
from math import ceil
from typing import Any, Final, NamedTuple

import msgspec

from solvent.engine.values.errors import JournalError, Overloaded, SolventError, Unavailable, error_to_wire

from .asgi import Headers, Send
from .errors import MethodNotAllowed

JSON: Final = b"application/json"
NDJSON: Final = b"application/x-ndjson"
PROBLEM: Final = b"application/problem+json"
HTML: Final = b"text/html; charset=utf-8"
EVENT_STREAM: Final = b"text/event-stream"

RETRY_AFTER_S: Final = 1
"""The seconds after which to ask again if an error names none."""
NO_STORE: Final = (b"cache-control", b"no-store")
_encode: Final = msgspec.json.Encoder().encode
log = logging.getLogger(__name__)


class Reply(NamedTuple):
    """An answer that is sent in one piece."""

    status: int
    body: bytes = b""
    content_type: bytes = JSON
    headers: Headers = ()

    async def send(self, send: Send) -> None:
        """Send it. Raises ``OSError`` if the connection is gone."""
        headers = [NO_STORE, *self.headers]
        if self.status not in (204, 304):
            headers += [(b"content-type", self.content_type), (b"content-length", str(len(self.body)).encode())]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def problem(error: SolventError) -> Reply:
    """Return an error as a problem document: its code and its numbers are members, named as in docs/errors.md."""
    document: dict[str, Any] = {
        "type": f"/docs/errors#{error.code}",
        "title": error.code.replace("_", " ").capitalize(),
        "status": error.status,
        "detail": error.message,
        **error_to_wire(error),
    }
    del document["message"]
    if isinstance(error, JournalError):
        # Its message may name files of this machine.
        log.error("the journal cannot be used: %s", error)
        document = {name: document[name] for name in ("type", "title", "status", "code")}
        document["detail"] = "the journal cannot be used: the service's log says more"
    headers: list[tuple[bytes, bytes]] = []
    if isinstance(error, (Overloaded, Unavailable)):
        seconds = ceil(error.retry_after) if isinstance(error, Overloaded) else RETRY_AFTER_S
        headers.append((b"retry-after", str(max(1, seconds)).encode()))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allowed.encode()))
    if error.status == 409:
        # Generated clients repeat a 409, and this one would be the same again.
        headers.append((b"x-should-retry", b"false"))
    return Reply(error.status, _encode(document), PROBLEM, tuple(headers))


def tag_of(body: bytes) -> bytes:
    """Return the entity tag of an answer (RFC 9110, 8.8.3).

    It is a digest of the whole answer, not the version of the pool: what a budget has used falls to zero when its
    window ends, and the version stays the same.
    """
    return b'"' + blake2b(body, digest_size=12).hexdigest().encode() + b'"'


def matches(tag: bytes, if_none_match: bytes) -> bool:
    """Return whether ``tag`` is one of those of an ``If-None-Match`` header."""
    return any(each.strip().removeprefix(b"W/") in (tag, b"*") for each in if_none_match.split(b","))
