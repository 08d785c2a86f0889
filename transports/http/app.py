"""The ASGI application: it finds the operation of a request, submits it to the engine, and sends its answer.

Nothing here holds up the event loop: bodies are read as they arrive, a command waits in the mailbox of its pool, and
streams leave turns to others. Every request gets an answer, also one that meets a bug: the bug is logged here, and the
answer has no details.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import anyio.to_thread
import msgspec

from solvent.actors import ActorError, Answers
from solvent.engine.api.receipts import Receipt
from solvent.engine.api.requests import Request
from solvent.engine.api.usage_answers import Usage
from solvent.engine.engine import Engine
from solvent.engine.pools.asking import outcome_of, outcomes_of
from solvent.engine.values.errors import InvalidRequest, NotFound, Overloaded, SolventError, TooLarge
from solvent.transports.wire.answers import ReceiptForm, encode_answer, encode_answers
from solvent.transports.wire.batches import decode_batch, decode_events
from solvent.transports.wire.bodies import BODIES, Address, CommandBody, decode_body, decoder_of_body, request_of
from solvent.transports.wire.operations import BATCH, COMMANDS, READS
from solvent.transports.wire.pages import PAGE_BYTES_MAX, read_page
from solvent.transports.wire.submitting import INTERNAL, check_together, submit_all
from solvent.transports.wire.usage import with_lines

from .asgi import Receive, Scope, Send, header, headers, waits_to_send
from .errors import MethodNotAllowed, RequestTimeout, UnknownPath, UnsupportedMediaType
from .events import stream_events
from .lines import SLICE, finish, stream_answers
from .local import check_local
from .paths import VERSION, address_of, parts_of
from .queries import body_from_query
from .reading import PROGRESS_S, ClientGone, Stopping, read_body
from .replies import HTML, JSON, NDJSON, Reply, matches, problem, shown, tag_of

READS_MAX: Final = 1_000
"""The most reads under way. More are refused: a ledger page is a walk through the journal."""
STREAMS_MAX: Final = 200
"""The most streams open at once: of events, and of lines."""
RETRY_AFTER_S: Final = 0.2
USAGE_BYTES_MAX: Final = 16 << 20
"""The bytes of the largest answer about usage."""
REPORT: Final = "report"
EVENTS: Final = "events"
_TAGGED: Final = frozenset({"balance", "grants", "holds", "budgets", "allowances", "recurring", "alerts"})
"""The reads whose answers have an entity tag, so that a page can ask for them often."""

log = logging.getLogger(__name__)
"""The log of our own failures."""


class _Read(NamedTuple):
    decoder: msgspec.json.Decoder[Any]
    kind: type[Any]
    by_get: bool
    """Whether a ``GET`` can ask it: it changes nothing."""


class HttpApp:
    """An ASGI application that answers for ``engine`` until ``stop``.

    With ``local_only``, it answers programs on the same machine only. Otherwise the application around it decides who
    may do what. ``progress_s`` is the longest that a part of a body is waited for, and a client that takes no answer.
    """

    def __init__(self, engine: Engine, *, local_only: bool = False, progress_s: float = PROGRESS_S) -> None:
        self._engine = engine
        self._local_only = local_only
        self._progress_s = progress_s
        self._reading = 0
        self._streams = 0
        self._stopping = Stopping()
        self._describing = asyncio.Lock()

    def stop(self) -> None:
        """End all streams after what they have taken. Other requests are answered as before."""
        self._stopping.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        else:
            await receive()
            await send({"type": "websocket.close"})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            reply = await self._reply(scope, receive, send)
        except ClientGone:
            return
        except SolventError as error:
            reply = problem(error, _root(scope))
            if isinstance(error, RequestTimeout) or waits_to_send(scope):
                # The body was not read, and nobody knows whether it still comes.
                reply = reply.closing(scope)
        except Exception:
            log.exception("a request failed")
            reply = problem(SolventError(INTERNAL), _root(scope))
        if reply is not None:
            await reply.send(send)

    async def _reply(self, scope: Scope, receive: Receive, send: Send) -> Reply | None:
        """Return the answer to a request; ``None`` if it was a stream, which has ended."""
        parts = parts_of(scope)
        if len(parts) == 1 and parts[0] in (b"healthz", b"readyz"):
            return await self._health(scope, parts[0])
        if self._local_only:
            check_local(scope)
        if parts in _DESCRIPTIONS:
            return await self._description(scope, parts)
        if len(parts) not in (4, 5) or parts[0] != VERSION:
            raise UnknownPath
        address = address_of(parts[1], parts[2])
        name = parts[3].decode("ascii", "replace")
        if len(parts) == 5:
            if (name, parts[4]) != (EVENTS, b"stream"):
                raise UnknownPath
            _check_method(scope, "GET")
            await self._stream(partial(stream_events, self._engine, address, scope, receive, send))
            return None
        if name in _COMMANDS or name == BATCH:
            _check_method(scope, "POST")
            return await self._change(name, address, scope, receive, send)
        read = _READS.get(name)
        if read is None:
            raise NotFound("operation", name[:60])
        _check_method(scope, "GET", "HEAD", "POST") if read.by_get else _check_method(scope, "POST")
        return await self._read(name, read, address, scope, receive)

    async def _change(self, name: str, address: Address, scope: Scope, receive: Receive, send: Send) -> Reply | None:
        if _check_type(scope, lines=name in (BATCH, REPORT)) == NDJSON:
            take = partial(stream_answers, self._engine.live, name, address, scope, receive, send, self._progress_s)
            await self._stream(take)
            return None
        data = await read_body(scope, receive, self._progress_s)
        if name == BATCH:
            batch = decode_batch(data)
            if batch.atomic:
                checked = check_together(self._engine.live, batch.commands, address)
                return Reply(200, _encoded(await self._engine.live.do_together(checked), batch.receipts))
            return Reply(200, _encoded(await self._submit(batch.commands, address), batch.receipts))
        if name == REPORT and (events := decode_events(data)) is not None:
            return Reply(200, _encoded(await self._submit(events, address), "text"))
        return await self._command(_COMMANDS[name], address, scope, data)

    async def _command(
        self, decoder: msgspec.json.Decoder[CommandBody], address: Address, scope: Scope, data: bytes
    ) -> Reply:
        if address.customer is None:
            raise InvalidRequest("customer", "a customer in the path")
        live = self._engine.live
        body = decode_body(decoder, _with_key(data, scope))
        future = live.submit(*body.command(address, live.scale_of))
        try:
            answer = await future
        except ActorError:
            answer = outcome_of(future)
        if isinstance(answer, SolventError):
            raise answer
        return _receipt(answer)

    async def _submit(
        self, commands: Sequence[CommandBody | InvalidRequest], address: Address
    ) -> Sequence[Receipt | SolventError]:
        if not commands:
            return []
        done: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()
        places = Answers(len(commands), partial(finish, done)).places()
        for start in range(0, len(commands), SLICE):
            end = start + SLICE
            large = len(commands) > SLICE
            submit_all(self._engine.live, commands[start:end], places[start:end], address, large=large)
            if start + SLICE < len(commands):
                await asyncio.sleep(0)
        return outcomes_of(await done)

    async def _read(self, name: str, read: _Read, address: Address, scope: Scope, receive: Receive) -> Reply:
        if scope["method"] == "POST":
            _check_type(scope, lines=False)
            data = await read_body(scope, receive, self._progress_s)
            body = decode_body(read.decoder, data if read.by_get else _with_key(data, scope))
        else:
            body = body_from_query(read.kind, scope["query_string"])
        if self._reading >= READS_MAX:
            raise Overloaded(retry_after=RETRY_AFTER_S)
        self._reading += 1
        try:
            answer, encoded = await read_page(self._ask, request_of(body, address), PAGE_BYTES_MAX)
        finally:
            self._reading -= 1
        if isinstance(answer, Receipt):
            return _receipt(answer)
        if isinstance(answer, Usage) and len(encoded) > USAGE_BYTES_MAX:
            raise TooLarge("top", f"a smaller number: an answer of at most {USAGE_BYTES_MAX} bytes")
        if name not in _TAGGED:
            return Reply(200, encoded)
        tag = tag_of(encoded)
        if scope["method"] != "POST" and matches(tag, headers(scope, b"if-none-match")):
            return Reply(304, headers=((b"etag", tag),))
        return Reply(200, encoded, headers=((b"etag", tag),))

    async def _ask(self, request: Request[Any]) -> Any:
        answer: Any = await self._engine.send(request)
        return await with_lines(answer, USAGE_BYTES_MAX) if isinstance(answer, Usage) else answer

    async def _stream(self, run: Callable[..., Awaitable[None]]) -> None:
        if self._streams >= STREAMS_MAX:
            raise Overloaded(retry_after=RETRY_AFTER_S)
        self._streams += 1
        try:
            await run(self._stopping)
        finally:
            self._streams -= 1

    async def _health(self, scope: Scope, part: bytes) -> Reply:
        """Answer whether the process runs, and whether its journal takes writes: for whoever starts and watches it."""
        _check_method(scope, "GET", "HEAD")
        ready = True
        if part == b"readyz":
            ready = not self._stopping.is_set() and self._engine.is_ready
        return Reply(200 if ready else 503, b'{"status": "ok"}' if ready else b'{"status": "not ready"}')

    async def _description(self, scope: Scope, parts: list[bytes]) -> Reply:
        """Return the OpenAPI document, or a page for people. A thread makes them: the first time takes long."""
        _check_method(scope, "GET", "HEAD")
        async with self._describing:
            return await anyio.to_thread.run_sync(_describe, parts[-1], _root(scope))


def http_app(engine: Engine) -> HttpApp:
    """Return an ASGI application with every operation of ``engine``, to be mounted in one of your own.

    It asks for no credential: whatever reaches it may do everything, so the application around it decides who does.
    """
    return HttpApp(engine)


_DESCRIPTIONS: Final = ([b"openapi.json"], [b"docs"], [b"docs", b"errors"])
"""The paths at which the API describes itself."""


def _describe(part: bytes, root: str) -> Reply:
    """Return the OpenAPI document, or a page for people."""
    # Only here: they read the source of every struct, and most engines are never asked.
    from .openapi import document
    from .pages import POLICY, errors_page, operations_page

    if part == b"openapi.json":
        return Reply(200, document(root))
    body = operations_page(root) if part == b"docs" else errors_page(root)
    policy = ((b"content-security-policy", POLICY.encode()), (b"x-content-type-options", b"nosniff"))
    return Reply(200, body, HTML, policy)


def _root(scope: Scope) -> str:
    """Return the path at which the application is mounted, percent-encoded."""
    return quote(scope.get("root_path", ""))


def _encoded(answers: Sequence[Receipt | SolventError], receipts: ReceiptForm) -> bytes:
    return encode_answers([shown(each) if isinstance(each, SolventError) else each for each in answers], receipts)


def _check_method(scope: Scope, *allowed: str) -> None:
    if scope["method"] not in allowed:
        raise MethodNotAllowed(", ".join(allowed))


def _check_type(scope: Scope, *, lines: bool) -> bytes:
    """Return the type of a body, JSON if none is given. Raises ``UnsupportedMediaType``."""
    given = header(scope, b"content-type")
    if given is None:
        return JSON
    kind = given.partition(b";")[0].strip().lower()
    if kind == JSON or (lines and kind == NDJSON):
        return kind
    expected = "application/json or application/x-ndjson" if lines else "application/json"
    raise UnsupportedMediaType(expected, got=kind.decode("latin-1")[:60])


_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_anything: Final = msgspec.json.Decoder()


def _with_key(data: bytes, scope: Scope) -> bytes:
    """Return a body with the key of the ``Idempotency-Key`` header. Raises ``InvalidRequest`` if it has another."""
    key = header(scope, b"idempotency-key")
    if key is None:
        return data
    members = decode_body(_members, data)
    try:
        text = key.decode()
    except UnicodeDecodeError:
        raise InvalidRequest("key", "UTF-8 in the header Idempotency-Key", got=ascii(key)[:60]) from None
    if "key" in members and decode_body(_anything, given := bytes(members["key"])) != text:
        got = given.decode()[:60]
        raise InvalidRequest("key", "the key in the header Idempotency-Key, or none", got=got)
    members["key"] = msgspec.Raw(msgspec.json.encode(text))
    return msgspec.json.encode(members)


def _receipt(receipt: Receipt) -> Reply:
    headers = ((b"idempotency-replayed", b"true"),) if receipt.replayed else ()
    return Reply(200, encode_answer(receipt), headers=headers)


async def _live(receive: Receive, send: Send) -> None:
    """Answer the server's messages about its start and its stop: nothing here depends on either."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


_COMMANDS: Final[dict[str, msgspec.json.Decoder[CommandBody]]] = {
    name: decoder_of_body(operation.request) for name, operation in COMMANDS.items()
}
_READS: Final[dict[str, _Read]] = {
    name: _Read(
        decoder_of_body(operation.request),
        BODIES.get(operation.request, operation.request),
        operation.access == "read",
    )
    for name, operation in READS.items()
}
