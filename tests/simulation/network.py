"""A NATS that loses, delays, repeats and reorders messages. As much of ``nats.aio.client.Client`` as Solvent uses."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from nats.aio.msg import Msg

from solvent.transports.nats.subjects import BALANCE_EVENT, EVENTS

from .clockwork import PROCESS, SimulatedLoop
from .disk import Faults

DELAY_S = 0.005
LONG_DELAY_S = 8.0
FLUSH_S = 0.001
"""How long what is published may stay in the process."""


class Subscription:
    """Hands messages to a callback one after another, as nats-py does."""

    def __init__(self, network: Network, subject: str, queue: str, callback: Callable[[Msg], Awaitable[None]]) -> None:
        self.subject, self.queue = subject.split("."), queue
        self._network, self._callback = network, callback
        self._inbox: deque[Msg] = deque()
        self._wake = asyncio.Event()
        self.process = PROCESS.get()
        self.context = contextvars.copy_context()
        self.is_closed = False
        self.take: Callable[[str, str, bytes, bytes], bool] | None = None
        """Hears of each message first, and perhaps keeps it from the callback."""
        self._task = network.loop.create_task(self._run())

    @property
    def is_alive(self) -> bool:
        return not self.is_closed and (self.process is None or not self.process.is_dead)

    @property
    def pending_msgs(self) -> int:
        return len(self._inbox)

    @property
    def pending_bytes(self) -> int:
        return sum(len(message.data) for message in self._inbox)

    def takes(self, subject: list[str]) -> bool:
        return len(subject) == len(self.subject) and all(
            mine in ("*", theirs) for mine, theirs in zip(self.subject, subject, strict=True)
        )

    def put(self, message: Msg) -> None:
        if not self.is_alive:
            return
        if self.take is not None and self.take(message.subject, message.reply, message.data, _raw(message.headers)):
            return
        self._inbox.append(message)
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            while self._inbox:
                await self._callback(self._inbox.popleft())
            self._wake.clear()

    async def drain(self) -> None:
        self.is_closed = True
        while self._inbox:
            await asyncio.sleep(0.001)


def _raw(headers: dict[str, str] | None) -> bytes:
    """Headers as they come over the wire."""
    if not headers:
        return b""
    status = headers.get("Status")
    if status is not None:
        return f"NATS/1.0 {status}\r\n\r\n".encode()
    return ("NATS/1.0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n").encode()


class Network:
    """Everybody's server."""

    def __init__(self, loop: SimulatedLoop, faults: Faults) -> None:
        self.loop = loop
        self.faults = faults
        self._subscriptions: list[Subscription] = []
        self.inboxes = 0
        self.told: list[bytes] = []
        """What pools said, as it reached the server: nothing more is promised of it."""
        self._sent = 0
        self._last_put: dict[str, int] = {}

    def subscribe(self, subscription: Subscription) -> None:
        self._subscriptions.append(subscription)

    def publish(self, subject: str, payload: bytes, reply: str, headers: dict[str, str] | None) -> None:
        self._sent += 1
        faults, tokens = self.faults, subject.split(".")
        self._subscriptions = [each for each in self._subscriptions if each.is_alive]
        takers = [each for each in self._subscriptions if each.takes(tokens)]
        if len(tokens) > 4 and tokens[4] == EVENTS:
            if tokens[5] != BALANCE_EVENT:
                self.told.append(payload)
            return
        kind = "reply" if subject.startswith("_INBOX") else "request"
        if not takers:
            if reply:
                self.publish(reply, b"", "", {"Status": "503"})
            return
        if faults.strikes(f"lost {kind}"):
            return
        copies = 2 if faults.strikes(f"repeated {kind}") else 1
        for taker in takers:
            for _ in range(copies):
                longest = LONG_DELAY_S if faults.strikes(f"late {kind}") else DELAY_S
                message = Msg(None, subject, reply, payload, headers)  # type: ignore[arg-type]
                delay_s = faults.dice.random() * longest
                self.loop.call_later(delay_s, self._put, taker, message, kind, self._sent, context=taker.context)

    def _put(self, taker: Subscription, message: Msg, kind: str, number: int) -> None:
        if number < self._last_put.get(kind, 0):
            self.faults.struck[f"{kind} overtaken"] += 1
        self._last_put[kind] = max(number, self._last_put.get(kind, 0))
        taker.put(message)


class SimulatedNats:
    """One connection. What is published waits a moment before it leaves the process, and dies with it."""

    is_connected = True
    refusal = None
    max_payload = 1 << 20

    def __init__(self, network: Network) -> None:
        self._network = network
        self._pending: list[tuple[str, bytes, str, dict[str, str] | None]] = []

    def new_inbox(self) -> str:
        self._network.inboxes += 1
        return f"_INBOX.{self._network.inboxes}"

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        self.send(subject, payload, reply, headers)

    def send(self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None) -> None:
        if not self._pending:
            delay_s = self._network.faults.dice.random() * FLUSH_S
            self._network.loop.call_later(delay_s, self._leave)
        self._pending.append((subject, payload, reply, headers))

    def write(self) -> None:
        """What waits leaves in its own time."""

    async def subscribe_directly(
        self,
        subject: str,
        take: Callable[[str, str, bytes, bytes], bool],
        *,
        otherwise: Callable[[Msg], Awaitable[None]],
        **options: Any,
    ) -> Subscription:
        subscription = await self.subscribe(subject, cb=otherwise, **options)
        subscription.take = take
        return subscription

    def _leave(self) -> None:
        pending, self._pending = self._pending, []
        for message in pending:
            self._network.publish(*message)

    async def subscribe(
        self,
        subject: str,
        queue: str = "",
        cb: Callable[[Msg], Awaitable[None]] | None = None,
        **_: Any,
    ) -> Subscription:
        assert cb is not None
        subscription = Subscription(self._network, subject, queue, cb)
        self._network.subscribe(subscription)
        return subscription

    async def flush(self) -> None:
        while self._pending:
            await asyncio.sleep(FLUSH_S)
        await asyncio.sleep(self._network.faults.dice.random() * DELAY_S)
