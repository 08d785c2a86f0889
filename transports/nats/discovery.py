"""The service for NATS tools: PING, INFO and STATS of the services convention (ADR-32).

``nats.micro`` would do this, but it ties every endpoint to one connection and runs its handlers one after another.
Solvent answers commands and reads on two connections. The answers are those of ADR-32, so ``nats micro list``, ``info``
and ``stats`` work.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from solvent.engine.values.errors import SolventError

SERVICE_NAME: Final = "solvent"
QUEUE_GROUP: Final = "solvent"
DISCOVERY_S: Final = 0.5
"""The seconds that a starting service listens for others. A service on the same network answers in milliseconds."""

_TYPE: Final = "io.nats.micro.v1."


class AlreadyServed(SolventError):
    """Another service answers for the same environments. Two journals behind one subject would split every pool."""

    code = "already_served"
    status = 409
    outcome_unknown = False


class EndpointStatistics:
    """The counts of one operation."""

    __slots__ = ("errors", "last_error", "name", "processing_ns", "requests", "subject")

    def __init__(self, name: str, subject: str) -> None:
        self.name = name
        self.subject = subject
        self.requests = 0
        self.errors = 0
        self.last_error = ""
        self.processing_ns = 0
        """The time from arrival to answer, summed over requests, the wait for the disk included."""

    def failed(self, error: SolventError) -> None:
        self.errors += 1
        self.last_error = f"{error.status}:{error.code}"


class Discovery:
    """Answers the discovery subjects of one service instance."""

    def __init__(
        self,
        nats: Nats,
        *,
        instance: str,
        version: str,
        environments: Sequence[str],
        statistics: Callable[[], Mapping[str, int]],
    ) -> None:
        self._nats = nats
        self._identity: dict[str, Any] = {
            "name": SERVICE_NAME,
            "id": instance,
            "version": version,
            "metadata": {"environments": msgspec.json.encode(list(environments)).decode()},
        }
        self._started = datetime.datetime.now(datetime.UTC).isoformat()
        self._statistics = statistics
        self.endpoints: list[EndpointStatistics] = []

    async def start(self) -> None:
        """Subscribe to the discovery subjects."""
        instance = self._identity["id"]
        for verb, handler in (("PING", self._ping), ("INFO", self._info), ("STATS", self._stats)):
            for tail in ("", f".{SERVICE_NAME}", f".{SERVICE_NAME}.{instance}"):
                await self._nats.subscribe(f"$SRV.{verb}{tail}", cb=handler)

    async def _ping(self, message: Msg) -> None:
        await self._respond(message, {**self._identity, "type": f"{_TYPE}ping_response"})

    async def _info(self, message: Msg) -> None:
        endpoints = [
            {"name": each.name, "subject": each.subject, "queue_group": QUEUE_GROUP, "metadata": {}}
            for each in self.endpoints
        ]
        await self._respond(
            message,
            {
                **self._identity,
                "type": f"{_TYPE}info_response",
                "description": "Solvent, the credit engine",
                "endpoints": endpoints,
            },
        )

    async def _stats(self, message: Msg) -> None:
        endpoints: list[dict[str, Any]] = [
            {
                "name": each.name,
                "subject": each.subject,
                "queue_group": QUEUE_GROUP,
                "num_requests": each.requests,
                "num_errors": each.errors,
                "last_error": each.last_error,
                "processing_time": each.processing_ns,
                "average_processing_time": each.processing_ns // max(each.requests, 1),
                "data": None,
            }
            for each in self.endpoints
        ]
        if endpoints:
            endpoints[0]["data"] = dict(self._statistics())
        await self._respond(
            message,
            {**self._identity, "type": f"{_TYPE}stats_response", "started": self._started, "endpoints": endpoints},
        )

    async def _respond(self, message: Msg, answer: dict[str, Any]) -> None:
        if message.reply:
            await self._nats.publish(message.reply, msgspec.json.encode(answer))


class _Identity(msgspec.Struct):
    id: str
    metadata: dict[str, str] = {}


async def refuse_second_service(nats: Nats, environments: Sequence[str]) -> None:
    """Raise ``AlreadyServed`` if a service on this NATS answers for one of ``environments``. An empty list means all.

    Two services that start at the same time can miss each other. This guards against mistakes, not against malice.
    """
    inbox = nats.new_inbox()
    answers = await nats.subscribe(inbox)
    try:
        await nats.publish(f"$SRV.PING.{SERVICE_NAME}", b"", reply=inbox)
        until = time.monotonic() + DISCOVERY_S
        while (left := until - time.monotonic()) > 0:
            try:
                message = await answers.next_msg(timeout=left)
            except (NoRespondersError, TimeoutError, NatsError):
                return
            if message.headers and message.headers.get("Status") == "503":
                return
            try:
                other = msgspec.json.decode(message.data, type=_Identity)
                theirs = msgspec.json.decode(other.metadata.get("environments", "[]"), type=list[str])
            except msgspec.MsgspecError as error:
                raise AlreadyServed(f"another service calls itself {SERVICE_NAME} on this NATS: {error}") from error
            if not theirs or not environments or set(theirs) & set(environments):
                served = ", ".join(theirs) if theirs else "all environments"
                raise AlreadyServed(f"service {other.id} already serves {served} on this NATS")
    finally:
        await answers.unsubscribe()
