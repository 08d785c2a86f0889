"""Streams of commands: a line of NDJSON each, answered a line each, in the order in which they arrived.

A stream has no length. It holds at most ``SLICE`` commands and their answers in memory, and reads no more while its
answers are not taken. If it is cut, whatever was not answered may have been done: the client sends those lines again,
with their keys.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Final

import anyio

from solvent.actors import Answers
from solvent.engine.pools.asking import outcomes_of
from solvent.engine.values.errors import SolventError
from solvent.transports.wire.answers import encode_answer, encode_error
from solvent.transports.wire.batches import decode_command, decode_event
from solvent.transports.wire.bodies import Address, CommandBody
from solvent.transports.wire.operations import BATCH
from solvent.transports.wire.submitting import Live, submit_all

from .asgi import Message, Receive, Scope, Send, cut, waits_to_send
from .errors import RequestTimeout
from .reading import Stopping, read_lines
from .replies import NDJSON, NO_STORE, shown

SLICE: Final = 256
"""The lines that are taken together, before other requests get a turn."""
log = logging.getLogger(__name__)


async def stream_answers(
    live: Live,
    operation: str,
    address: Address,
    scope: Scope,
    receive: Receive,
    send: Send,
    progress_s: float,
    stopping: Stopping,
) -> None:
    """Answer the lines of a body until it ends, or ``stopping`` is set: then the lines taken so far are answered.

    The answer begins before the first line, for clients that wait for it. One that expects "100 Continue" is asked for
    its lines first.

    Returns without the end of the answer, so that the server closes the connection, if no line arrives or no answer is
    taken for ``progress_s`` seconds. Raises ``ClientGone``.
    """
    decode = decode_command if operation == BATCH else decode_event
    begin: Message = {"type": "http.response.start", "status": 200, "headers": [NO_STORE, (b"content-type", NDJSON)]}
    begun = not waits_to_send(scope)
    if begun:
        await send(begin)
    try:
        async for lines in read_lines(receive, progress_s, stopping):
            if not begun:
                begun = True
                await send(begin)
            for start in range(0, len(lines), SLICE):
                commands = [decode(each) if isinstance(each, bytes) else each for each in lines[start : start + SLICE]]
                answers = await _do(live, commands, address)
                with anyio.fail_after(progress_s):
                    await send({"type": "http.response.body", "body": answers, "more_body": True})
                # Neither bad lines nor a client that takes its answers at once would leave a turn to others.
                await asyncio.sleep(0)
    except (RequestTimeout, TimeoutError):
        if not begun:
            raise
        log.info("a stream of commands was cut: nothing moved for %g s", progress_s)
        cut(scope)
        return
    if not begun:
        await send(begin)
    await send({"type": "http.response.body", "body": b""})


async def _do(live: Live, commands: Sequence[CommandBody | SolventError], address: Address) -> bytes:
    done: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()
    submit_all(live, commands, Answers(len(commands), partial(finish, done)).places(), address)
    answers = outcomes_of(await done)
    lines = [encode_error(shown(each)) if isinstance(each, SolventError) else encode_answer(each) for each in answers]
    return b"\n".join(lines) + b"\n"


def finish(done: asyncio.Future[Answers], answers: Answers) -> None:
    """Set the answers of commands, unless nobody waits for them any more."""
    if not done.done():
        done.set_result(answers)
