"""Follows what pools say, over NATS: read from the journal by position, a page at a time, and told when to look again.

A message that is published only says that there is more. What is handed on is read with the client's own requests, so
it comes in the journal's order, each event once, whatever is lost, repeated or restarted on the way; and only what the
client may ask for. The next page is asked for when the last one is used up: whoever is slow holds up nobody, and keeps
one page in memory.

If the service is away, the stream waits for it. Whoever restarts goes on behind the position of the last event that was
dealt with.
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
"""Events of one page: some 60 KB. Fewer if they do not fit into one message."""
LOOK_EVERY_S: Final = 5.0
"""How often to look for events of which nobody told: the message was lost, or may not be heard by this client."""
RETRY_S: Final = 0.5
"""How long to wait before asking a service again that did not answer in a request's whole time."""

log = logging.getLogger(__name__)


class ReadPage(Protocol):
    """Asks for at most ``limit`` events behind a position. Raises ``SolventError``."""

    async def __call__(self, *, after: str, limit: int) -> EventPage: ...


async def follow(
    read: ReadPage, after: str, told: asyncio.Event, check_open: Callable[[], None]
) -> AsyncIterator[PoolEvent]:
    """The events behind ``after``, and those to come.

    ``told`` is set when there may be more, and when the connection came back or was closed; ``check_open`` raises if it
    was. What is wrong with the first question is raised. Later ones are asked again while nothing but time helps.
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
            # Cleared first: what is told of from here on may be missing in the answer.
            told.clear()
            try:
                page, limit = await _read(read, page.position, limit)
                break
            except SolventError as error:
                check_open()
                if not error.retry_safe:
                    raise
                log.info("events are not read for now: %s", error)
                await asyncio.sleep(error.retry_after if isinstance(error, Overloaded) else RETRY_S)


async def _read(read: ReadPage, after: str, limit: int) -> tuple[EventPage, int]:
    """A page, and how many events fit into one."""
    while True:
        try:
            return await read(after=after, limit=limit), limit
        except TooLarge:
            if limit == 1:
                raise
            limit //= 2
