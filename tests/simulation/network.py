"""A NATS that loses, delays, repeats and reorders messages. As much of ``nats.aio.client.Client`` as Solvent uses."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from nats.aio.msg import Msg

from .clockwork import PROCESS, SimulatedLoop
from .disk import Faults

DELAY_S = 0.005
LONG_DELAY_S = 8.0


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
        if self.is_alive:
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


class Network:
    """Everybody's server."""

    def __init__(self, loop: SimulatedLoop, faults: Faults) -> None:
        self.loop = loop
        self.faults = faults
        self._subscriptions: list[Subscription] = []
        self.messages = 0
        self.inboxes = 0

    def subscribe(self, subscription: Subscription) -> None:
        self._subscriptions.append(subscription)

    def publish(self, subject: str, payload: bytes, reply: str, headers: dict[str, str] | None) -> None:
        self.messages += 1
        faults, tokens = self.faults, subject.split(".")
        self._subscriptions = [each for each in self._subscriptions if each.is_alive]
        takers = [each for each in self._subscriptions if each.takes(tokens)]
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
                self.loop.call_later(faults.dice.random() * longest, taker.put, message, context=taker.context)


class SimulatedNats:
    """One connection."""

    is_connected = True
    max_payload = 1 << 20

    def __init__(self, network: Network) -> None:
        self._network = network

    def new_inbox(self) -> str:
        self._network.inboxes += 1
        return f"_INBOX.{self._network.inboxes}"

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        self._network.publish(subject, payload, reply, headers)

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
        await asyncio.sleep(self._network.faults.dice.random() * DELAY_S)
