"""Events of pools over NATS: read from the journal by position, a page at a time.

A published message only signals that there is more. The events are read with the client's own requests. So they come in
the journal's order, each once, whatever is lost, repeated or restarted on the way, and the client gets only what it may
ask for. The next page is requested when the last one is used up, so a slow reader delays nobody and keeps one page in
memory.

If the service is away, the stream waits for it. A reader that restarts continues after the position of the last event
that it dealt with.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Final, Protocol

import anyio

from solvent.engine.api.events import EventPage, PoolEvent
from solvent.engine.values.errors import Overloaded, SolventError, TooLarge

PAGE_EVENTS: Final = 200
"""The events on a page: some 60 KB. Fewer if they do not fit into one message."""
LOOK_EVERY_S: Final = 5.0
"""The seconds between looks for events without a message: it was lost, or this client may not subscribe."""
RETRY_S: Final = 0.5
"""The seconds to wait before asking again a service that did not answer in the whole time of a request."""

log = logging.getLogger(__name__)


class ReadPage(Protocol):
    """Read at most ``limit`` events after a position. Raises ``SolventError``."""

    async def __call__(self, *, after: str, limit: int) -> EventPage: ...


async def follow(
    read: ReadPage, after: str, told: asyncio.Event, check_open: Callable[[], None]
) -> AsyncIterator[PoolEvent]:
    """Yield the events after ``after``, and those to come.

    ``told`` is set when there may be more, and when the connection came back or was closed. ``check_open`` raises if it
    was closed. An error of the first request is raised. Later requests are repeated if a retry is safe.
    """
    page, limit = await _read(read, after, PAGE_EVENTS)
    while True:
        for event in page.events:
            yield event
        if not page.more:
            with anyio.move_on_after(LOOK_EVERY_S):
                await told.wait()
        while True:
            check_open()
            # Clear before reading: an event that is signalled from here on may be missing in the answer.
            told.clear()
            try:
                page, limit = await _read(read, page.position, limit)
                break
            except SolventError as error:
                check_open()
                if not error.retry_safe:
                    raise
                log.info("could not read events, trying again: %s", error)
                await asyncio.sleep(error.retry_after if isinstance(error, Overloaded) else RETRY_S)


async def _read(read: ReadPage, after: str, limit: int) -> tuple[EventPage, int]:
    """Return a page, and how many events fit into one."""
    while True:
        try:
            return await read(after=after, limit=limit), limit
        except TooLarge:
            if limit == 1:
                raise
            limit //= 2
