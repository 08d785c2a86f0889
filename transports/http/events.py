"""The events of pools and their balances as server-sent events (WHATWG HTML, 9.2), which resume by position.

The id of an event is its position in the journal. A reader that comes back with the last one it has seen, in
``Last-Event-ID`` or ``after``, misses nothing, whatever restarted in between. Balances have no id: of each pool, the
newest is sent at most once a second.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import anyio
import msgspec

from solvent.engine.engine import Engine
from solvent.engine.reads.feed import chosen
from solvent.engine.values.errors import InvalidRequest, SolventError
from solvent.engine.values.pool_id import CURRENCY_DEFAULT, is_stream, parse_canonical, pool_id
from solvent.engine.values.positions import Position, parse_position
from solvent.transports.wire.answers import encode_event
from solvent.transports.wire.bodies import Address

from .asgi import Message, Receive, Scope, Send, cut, header
from .queries import body_from_query
from .reading import PROGRESS_S, Stopping
from .replies import EVENT_STREAM, NO_STORE

BEAT_S: Final = 15.0
"""The seconds between signs of life on a quiet stream. Each carries the position that was reached."""
RETRY_S: Final = 1.0
BALANCES_S: Final = 1.0
BALANCES_MAX: Final = 1_000
"""The most balances sent in one interval. Others wait for the next."""
log = logging.getLogger(__name__)


class Choice(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The query of a stream: which pools, from where on, and whether their balances are sent too."""

    resource: str | None = None
    """One pool of the customer; ``""`` for the global one. Default: all pools of the customer."""
    currency: str = CURRENCY_DEFAULT
    """The currency of that one pool."""
    after: str | None = None
    """The position after which to begin; default: now. ``Last-Event-ID`` has precedence."""
    balances: bool = True
    """Whether balances are sent when they change."""


async def stream_events(
    engine: Engine, address: Address, scope: Scope, receive: Receive, send: Send, stopping: Stopping
) -> None:
    """Send the events of the chosen pools until the client goes, or ``stopping`` is set.

    A client that takes nothing is left without the end of its answer: what it missed, it asks for when it returns.

    Raises ``InvalidRequest`` before anything is sent.
    """
    choice = body_from_query(Choice, scope["query_string"])
    wanted = _wanted(choice, address)
    last = header(scope, b"last-event-id")
    begin = engine.feed.begin(choice.after if last is None else last.decode("latin-1"))
    writer = _Writer(scope, send)
    await writer.start(begin)
    async with anyio.create_task_group() as tasks:

        async def until(ended: Callable[[], Awaitable[object]]) -> None:
            await ended()
            tasks.cancel_scope.cancel()

        tasks.start_soon(until, stopping.wait)
        tasks.start_soon(until, writer.stalled.wait)
        tasks.start_soon(until, partial(_gone, receive))
        tasks.start_soon(until, partial(_send_events, engine, begin, wanted, writer))
        if choice.balances:
            tasks.start_soon(_send_balances, engine, wanted, writer)
        tasks.start_soon(writer.beat)
    if not writer.stalled.is_set():
        await writer.end()


def _wanted(choice: Choice, address: Address) -> Callable[[str], bool]:
    if choice.resource is None:
        return chosen(None, address.customer, address.environment)
    if address.customer is None:
        raise InvalidRequest("customer", "a customer in the path, for one of its pools")
    pool = pool_id(address.environment, address.customer, choice.resource or None, choice.currency)
    return chosen(pool, None, address.environment)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_events(engine: Engine, begin: Position, wanted: Callable[[str], bool], writer: _Writer) -> None:
    while True:
        try:
            async for span in engine.feed.spans(writer.position, wanted):
                for event in span.events:
                    await writer.write(event.kind, encode_event(event), parse_position(event.position))
                writer.position = span.position
        except SolventError as error:
            # The journal is being read again. The stream goes on where it was.
            log.info("could not read events, trying again: %s", error)
            await anyio.sleep(RETRY_S)


async def _send_balances(engine: Engine, wanted: Callable[[str], bool], writer: _Writer) -> None:
    with engine.feed.following() as changes:
        while True:
            for name in await changes.take(BALANCES_MAX):
                if is_stream(name) or not wanted(name):
                    continue
                try:
                    balance = await engine.balance(parse_canonical(name))
                except SolventError as error:
                    log.info("could not read the balance of %s: %s", name, error)
                else:
                    await writer.write("balance", encode_event(balance), None)
            await anyio.sleep(BALANCES_S)


class _Writer:
    """The one place that writes to a stream. A client that takes nothing for ``PROGRESS_S`` seconds is cut off.

    Ids never go back: a reader that returns with an earlier one would get events twice.
    """

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._turn = anyio.Lock()
        self.stalled = anyio.Event()
        """Set once the client has taken nothing for too long. Nothing is written after that."""
        self.position = Position(0, 0)
        """The position up to which all wanted events were sent."""

    async def start(self, begin: Position) -> None:
        self.position = begin
        headers = [NO_STORE, (b"content-type", EVENT_STREAM), (b"x-accel-buffering", b"no")]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        # An id without data is no event, but a reader that is cut off now comes back with it.
        async with self._turn:
            await self._put({"body": f"id: {begin}\n\n".encode(), "more_body": True})

    async def write(self, kind: str, data: bytes, position: Position | None) -> None:
        number = "" if position is None else f"id: {position}\n"
        # JSON has no line breaks outside of text, and escapes them inside.
        part = b"%bevent: %b\ndata: %b\n\n" % (number.encode(), kind.encode(), data)
        async with self._turn:
            await self._put({"body": part, "more_body": True})
            self.position = position or self.position

    async def beat(self) -> None:
        while True:
            await anyio.sleep(BEAT_S)
            async with self._turn:
                part = f": {self.position}\nid: {self.position}\n\n".encode()
                await self._put({"body": part, "more_body": True})

    async def end(self) -> None:
        async with self._turn:
            await self._put({"body": b""})

    async def _put(self, part: Message) -> None:
        if self.stalled.is_set():
            return
        with anyio.move_on_after(PROGRESS_S) as waiting:
            await self._send({"type": "http.response.body", **part})
        if waiting.cancelled_caught:
            log.info("a stream of events was cut: nothing was taken for %g s", PROGRESS_S)
            self.stalled.set()
            cut(self._scope)
