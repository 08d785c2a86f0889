"""Whole answers: a status, headers and a body. Errors are problem documents (RFC 9457)."""

from __future__ import annotations

import logging
from hashlib import blake2b
from math import ceil
from typing import Any, Final, NamedTuple

import msgspec

from solvent.engine.values.errors import (
    JournalCorrupt,
    JournalError,
    NewerFormat,
    Overloaded,
    SolventError,
    Unavailable,
    error_to_wire,
)

from .asgi import Headers, Scope, Send
from .errors import MethodNotAllowed

JSON: Final = b"application/json"
NDJSON: Final = b"application/x-ndjson"
PROBLEM: Final = b"application/problem+json"
HTML: Final = b"text/html; charset=utf-8"
EVENT_STREAM: Final = b"text/event-stream"

RETRY_AFTER_S: Final = 1
"""The seconds after which to ask again if an error names none."""
_IN_THE_LOG: Final = "the service's log says more"
NO_STORE: Final = (b"cache-control", b"no-store")
_encode: Final = msgspec.json.Encoder().encode
log = logging.getLogger(__name__)


class Reply(NamedTuple):
    """An answer that is sent in one piece."""

    status: int
    body: bytes = b""
    content_type: bytes = JSON
    headers: Headers = ()

    def closing(self, scope: Scope) -> Reply:
        """Return the answer after which the connection is closed, where HTTP/1 has connections to close."""
        if not scope.get("http_version", "1.1").startswith("1"):
            return self
        return self._replace(headers=(*self.headers, (b"connection", b"close")))

    async def send(self, send: Send) -> None:
        """Send it. Raises ``OSError`` if the connection is gone."""
        headers = [NO_STORE, *self.headers]
        if self.status not in (204, 304):
            headers += [(b"content-type", self.content_type), (b"content-length", str(len(self.body)).encode())]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def shown(error: SolventError) -> SolventError:
    """Return an error as it is shown to callers. What may name files of this machine goes to the log instead."""
    hidden: SolventError
    match error:
        case NewerFormat():
            hidden = NewerFormat("a file of the service", found=error.found, known=error.known)
        case JournalCorrupt():
            hidden = JournalCorrupt(f"a stored entry is not what was written: {_IN_THE_LOG}")
        case JournalError():
            hidden = JournalError(f"the journal cannot be used: {_IN_THE_LOG}")
        case Unavailable():
            hidden = Unavailable(f"no answer can be given, a command may have been written: {_IN_THE_LOG}")
        case _:
            return error
    log.error("a request was answered %s: %s", error.code, error)
    return hidden


def problem(error: SolventError, root: str = "") -> Reply:
    """Return an error as a problem document: its code and its numbers are members, named as in docs/errors.md.

    ``root`` is the path at which the application is mounted.
    """
    error = shown(error)
    document: dict[str, Any] = {
        "type": f"{root}/docs/errors#{error.code}",
        "title": error.code.replace("_", " ").capitalize(),
        "status": error.status,
        "detail": error.message,
        **error_to_wire(error),
    }
    del document["message"]
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


def matches(tag: bytes, if_none_match: list[bytes]) -> bool:
    """Return whether ``tag`` is one of those of the ``If-None-Match`` headers, which are one list."""
    return any(each.strip().removeprefix(b"W/") in (tag, b"*") for each in b",".join(if_none_match).split(b","))
