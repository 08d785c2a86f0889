"""What arrives: bodies up to a bound, lines of any number, and how long to wait for the next part of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

import anyio

from solvent.engine.values.errors import TooLarge
from solvent.transports.wire.bodies import BODY_BYTES_MAX

from .asgi import Receive, Scope, header
from .errors import RequestTimeout

PROGRESS_S: Final = 30.0
"""The longest that the next part of a body, or a client that takes no answer, is waited for."""


class ClientGone(Exception):
    """The client closed the connection before its request was whole."""


async def next_part(receive: Receive, timeout_s: float) -> tuple[bytes, bool]:
    """Return the next part of a body, and whether there is more. Raises ``RequestTimeout``, ``ClientGone``."""
    try:
        with anyio.fail_after(timeout_s):
            message = await receive()
    except TimeoutError:
        raise RequestTimeout(timeout_s) from None
    if message["type"] != "http.request":
        raise ClientGone
    return message.get("body", b""), message.get("more_body", False)


async def read_body(scope: Scope, receive: Receive, timeout_s: float) -> bytes:
    """Return a whole body. Raises ``TooLarge`` as soon as it is, ``RequestTimeout``, ``ClientGone``."""
    length = header(scope, b"content-length")
    if length is not None and length.isdigit() and int(length[:20]) > BODY_BYTES_MAX:
        raise _too_large(length[:20].decode())
    body, more = await next_part(receive, timeout_s)
    if not more:
        return body
    parts, size = [body], len(body)
    while more:
        body, more = await next_part(receive, timeout_s)
        parts.append(body)
        size += len(body)
        if size > BODY_BYTES_MAX:
            raise _too_large("more")
    return b"".join(parts)


def _too_large(got: str) -> TooLarge:
    return TooLarge("body", f"at most {BODY_BYTES_MAX} bytes", got=got)


class Stopping:
    """Whether the service stops. It ends the waits for input that has not begun to arrive."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._waits: set[anyio.CancelScope] = set()

    def is_set(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        self._event.set()
        for scope in self._waits:
            scope.cancel()

    async def wait(self) -> bool:
        """Wait until the service stops."""
        return await self._event.wait()

    @contextmanager
    def ends(self) -> Iterator[anyio.CancelScope]:
        """Leave the block when the service stops. The scope says whether it was left."""
        with anyio.CancelScope() as scope:
            self._waits.add(scope)
            try:
                yield scope
            finally:
                self._waits.discard(scope)


async def read_lines(receive: Receive, timeout_s: float, stopping: Stopping) -> AsyncIterator[list[bytes | TooLarge]]:
    """Yield the lines of a body as they arrive, those of each part, until ``stopping``. Empty lines are left out.

    In the place of a line of more than ``BODY_BYTES_MAX`` bytes stands its error; no more of it is kept in memory.
    Raises ``RequestTimeout``, ``ClientGone``.
    """
    # Half a line grows in place: joining it with each part anew would cost a mebibyte for every byte.
    rest, skipping, more = bytearray(), False, True
    while more and not stopping.is_set():
        with stopping.ends() as wait:
            part, more = await next_part(receive, timeout_s)
        if wait.cancelled_caught:
            return
        first, ended, others = part.partition(b"\n")
        rest += first
        whole: list[bytes] = []
        if ended:
            *between, last = others.split(b"\n")
            whole = [bytes(rest), *between]
            rest = bytearray(last)
        if not more:
            whole.append(bytes(rest))
        lines: list[bytes | TooLarge] = []
        for line in whole:
            if skipping:
                # The end of a line that was refused when it grew too long.
                skipping = False
            elif len(line) > BODY_BYTES_MAX:
                lines.append(_line_too_large())
            elif stripped := line.strip():
                lines.append(stripped)
        if more and len(rest) > BODY_BYTES_MAX:
            if not skipping:
                lines.append(_line_too_large())
            rest, skipping = bytearray(), True
        if lines:
            yield lines


def _line_too_large() -> TooLarge:
    return TooLarge("line", f"at most {BODY_BYTES_MAX} bytes")
