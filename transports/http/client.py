"""The client: the methods of the embedded engine, over HTTP."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, TypeVar, cast
from urllib.parse import quote

import httpx
import msgspec

from solvent.engine.api.credits import BATCH_COMMANDS_MAX, Credits
from solvent.engine.api.events import PoolEvent
from solvent.engine.api.receipts import Receipt, asked_for
from solvent.engine.api.requests import (
    BATCH_REQUESTS,
    BatchRequest,
    CommandRequest,
    Request,
    TransferRequest,
    key_of,
)
from solvent.engine.values.errors import (
    InvalidRequest,
    SolventError,
    StateConflict,
    TooLarge,
    Unavailable,
    error_from_wire,
)
from solvent.engine.values.pool_id import ENVIRONMENT_DEFAULT, PoolLike, check_id, parse_pool
from solvent.engine.values.positions import END, parse_position
from solvent.transports.wire.answers import decode_event, decode_receipt, decode_unit_answers, decoder_of
from solvent.transports.wire.batches import BATCH_COMMANDS_MAX as MESSAGE_COMMANDS_MAX
from solvent.transports.wire.bodies import BODY_BYTES_MAX, Address, body_of, encode_body
from solvent.transports.wire.operations import BATCH, READS

TIMEOUT_S: Final = 10.0
CONNECTIONS_MAX: Final = 64
"""The most connections to one service."""
RETRY_S: Final = 0.1
RETRY_MAX_S: Final = 2.0
"""The first and the longest pause before a request is sent again."""
STREAM_QUIET_S: Final = 40.0
"""The longest that a stream of events may be quiet: the service gives a sign of life every 15 s."""

A = TypeVar("A")
T = TypeVar("T")

_DECODERS: Final[dict[type[Any], Callable[[bytes], Any]]] = {
    **{each.answer: decoder_of(each.answer) for each in READS.values()},
    Receipt: decode_receipt,
}


class HttpClient(Credits):
    """``Credits`` over HTTP. Only ``connect`` creates it. Use it on the loop that created it."""

    def __init__(self, http: httpx.AsyncClient, *, timeout_s: float) -> None:
        self._http = http
        self._timeout_s = timeout_s

    async def send(self, request: Request[A]) -> A:
        address, body = body_of(request)
        answer = await self._ask(_path(address, request.operation), encode_body(body), _DECODERS[request.answer])
        if isinstance(request, (CommandRequest, TransferRequest)):
            asked_for(answer, request.pool, key_of(request))
        return cast("A", answer)

    async def batch(self, requests: Sequence[BatchRequest], *, atomic: bool = False) -> list[Receipt | SolventError]:
        if len(requests) > BATCH_COMMANDS_MAX:
            raise TooLarge("requests", f"at most {BATCH_COMMANDS_MAX} commands", got=str(len(requests)))
        answers: list[Receipt | SolventError | None] = [None] * len(requests)
        parts: list[_Part] = []
        for place, request in enumerate(requests):
            try:
                parts.append(_part_of(place, request))
            except SolventError as error:
                answers[place] = error
        if atomic:
            await self._together(parts, answers)
        else:
            async with asyncio.TaskGroup() as tasks:
                for environment in {part.address.environment for part in parts}:
                    chosen = [part for part in parts if part.address.environment == environment]
                    tasks.create_task(self._in_turn(_messages(chosen), answers))
        for request, answer in zip(requests, answers, strict=True):
            if type(answer) is Receipt:
                asked_for(answer, request.pool, key_of(request))
        return [answer for answer in answers if answer is not None]

    async def _together(self, parts: list[_Part], answers: list[Receipt | SolventError | None]) -> None:
        """Do all commands or none. ``answers`` has the errors of those that could not be sent."""
        if len(parts) < len(answers):
            refused = StateConflict("batch_refused", "another command of this batch was refused, so none was done")
            for place, answer in enumerate(answers):
                answers[place] = answer or refused
            return
        if len({part.address for part in parts}) > 1:
            mixed = InvalidRequest("requests", "commands of one customer: an atomic batch is all about one")
            answers[:] = [mixed] * len(answers)
        elif parts:
            await self._send_batch(parts, answers, atomic=True)

    async def _in_turn(self, messages: list[list[_Part]], answers: list[Receipt | SolventError | None]) -> None:
        for parts in messages:
            try:
                await self._send_batch(parts, answers, atomic=False)
            except SolventError as error:
                for part in parts:
                    answers[part.place] = error

    async def _send_batch(
        self, parts: list[_Part], answers: list[Receipt | SolventError | None], *, atomic: bool
    ) -> None:
        customers = {part.address.customer for part in parts}
        address = parts[0].address if len(customers) == 1 else Address(parts[0].address.environment, None)
        head = b'{"receipts":"units","atomic":true,"commands":[' if atomic else b'{"receipts":"units","commands":['
        payload = head + b",".join([part.body for part in parts]) + b"]}"
        found = await self._ask(_path(address, BATCH), payload, decode_unit_answers)
        for part, answer in zip(parts, found, strict=True):
            answers[part.place] = answer

    async def _ask(self, path: str, payload: bytes, decode: Callable[[bytes], T]) -> T:
        """Send a request until it is answered. Repeating is safe: a key, or the operation's own rule, sees to that."""
        pause = RETRY_S
        problem: SolventError | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    try:
                        response = await self._http.post(path, content=payload, headers=_JSON)
                    except httpx.TransportError as error:
                        problem = Unavailable(f"the service does not answer: {error or type(error).__name__}")
                    else:
                        if response.status_code == 200:
                            return decode(response.content)
                        problem = _error_of(response)
                        if not isinstance(problem, Unavailable):
                            raise problem
                    await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                    pause = min(2 * pause, RETRY_MAX_S)
        except TimeoutError:
            reason = "" if problem is None else f": {problem.message}"
            raise Unavailable(
                f"no answer within {self._timeout_s:g} s, the outcome is unknown, retry with the same key{reason}"
            ) from None

    def events(
        self,
        pool: PoolLike | None = None,
        *,
        customer: str | None = None,
        environment: str = ENVIRONMENT_DEFAULT,
        after: str | None = None,
    ) -> AsyncIterator[PoolEvent]:
        if after is not None and after != END:
            parse_position(after)
        query: dict[str, str] = {"balances": "false"}
        if pool is not None:
            target = parse_pool(pool)
            environment, customer = target.environment, target.customer
            query |= {"resource": target.resource or "", "currency": target.currency}
        check_id(environment, "environment")
        address = Address(environment, None if customer is None else check_id(customer, "customer"))
        return self._follow(_path(address, "events/stream"), query, after)

    async def _follow(self, path: str, query: dict[str, str], after: str | None) -> AsyncIterator[PoolEvent]:
        pause = RETRY_S
        while True:
            if after is not None:
                query["after"] = after
            try:
                async with self._http.stream("GET", path, params=query, timeout=_STREAM) as response:
                    if response.status_code != 200:
                        await response.aread()
                        raise _error_of(response)
                    async for id_, data in _events_in(response.aiter_lines()):
                        pause, after = RETRY_S, id_
                        if data:
                            yield decode_event(data.encode())
            except (httpx.TransportError, Unavailable):
                # The service is away or starting again. The stream goes on where it was.
                pass
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, RETRY_MAX_S)


class _Part(NamedTuple):
    """A command of a batch, its place in it, and its bytes in a message."""

    place: int
    address: Address
    body: bytes


_JSON: Final = {"content-type": "application/json"}
_STREAM: Final = httpx.Timeout(TIMEOUT_S, read=STREAM_QUIET_S)
_problems: Final = msgspec.json.Decoder(dict[str, Any])


def _path(address: Address, operation: str) -> str:
    customer = "-" if address.customer is None else _encoded(address.customer)
    return f"/v1/{_encoded(address.environment)}/{customer}/{operation}"


def _encoded(part: str) -> str:
    return "%2D" if part == "-" else quote(part, safe="")


def _part_of(place: int, request: BatchRequest) -> _Part:
    if not isinstance(request, BATCH_REQUESTS):
        raise InvalidRequest("requests", "a GrantRequest, DebitRequest, ...", got=type(request).__name__)
    address, body = body_of(request)
    return _Part(place, address, encode_body(body))


def _messages(parts: list[_Part]) -> list[list[_Part]]:
    """Divide the commands of a batch into messages that the service takes."""
    messages: list[list[_Part]] = []
    size = 0
    for part in parts:
        size += len(part.body) + 1
        if not messages or len(messages[-1]) == MESSAGE_COMMANDS_MAX or size > BODY_BYTES_MAX - 100:
            messages.append([])
            size = len(part.body) + 1
        messages[-1].append(part)
    return messages


def _error_of(response: httpx.Response) -> SolventError:
    """Return the error in a problem document."""
    try:
        document = _problems.decode(response.content)
    except msgspec.MsgspecError:
        return Unavailable(f"the answer is not one of Solvent: HTTP status {response.status_code}")
    return error_from_wire({**document, "message": document.get("detail", "")})


async def _events_in(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, str]]:
    """Yield the id and the data of each server-sent event that has an id."""
    id_, data = "", ""
    async for line in lines:
        if line.startswith("id: "):
            id_ = line[4:]
        elif line.startswith("data: "):
            data = line[6:]
        elif not line:
            if id_:
                yield id_, data
            id_, data = "", ""


@asynccontextmanager
async def connect_http(url: str, *, timeout_s: float = TIMEOUT_S, **options: Any) -> AsyncIterator[HttpClient]:
    """Connect to the service at ``url``, such as "http://127.0.0.1:8080", for the length of a block.

    Args:
        url: The service.
        timeout_s: The seconds that each request may take, retries included.
        options: Options of ``httpx.AsyncClient``, for instance ``verify``, ``proxy``, ``headers``.

    Returns:
        A context manager that yields an ``HttpClient``, which has the methods of ``Credits``.
    """
    limits = httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX)
    # Requests wait for a connection as long as for an answer: ``timeout_s`` covers both.
    async with httpx.AsyncClient(base_url=url, timeout=None, limits=limits, **options) as http:
        yield HttpClient(http, timeout_s=timeout_s)
