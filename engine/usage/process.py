"""The engine's side of the usage process: starts it on first use, asks it questions, and restarts it if it ends."""

from __future__ import annotations

import asyncio
import itertools
import logging
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

from solvent.engine.api.usage_table import UsageTable
from solvent.engine.api.usage_words import CompareOrder
from solvent.engine.journal.opening import Location
from solvent.engine.journal.protocol import Journal
from solvent.engine.values.errors import (
    InvalidRequest,
    JournalError,
    JournalShorter,
    NewerFormat,
    SolventError,
    TooLarge,
    Unavailable,
)

from .analysis import Compared
from .messages import (
    LENGTH_BYTES,
    AskComparison,
    AskEntries,
    AskFrames,
    AskSpikes,
    AskStatus,
    AskTable,
    Comparison,
    Entries,
    Extent,
    Failed,
    Frames,
    Lookup,
    Rebuild,
    Reply,
    Spikes,
    Status,
    Stop,
    TableEnd,
    TablePart,
    compared_in,
    framed,
    length_of,
    replies,
    table_from,
)
from .query import UsageCell, UsageEntries, UsageQuery

STOP_TIMEOUT_S: Final = 5.0
RESTART_INTERVAL_S: Final = 0.5
SENDS_MAX: Final = 3
"""The number of processes that get a question before it is suspected of ending them."""
GRACE_S: Final = 2.0
"""The seconds to wait beyond the patience of a question: the process knows best why it has no answer."""

log = logging.getLogger(__name__)
T = TypeVar("T")
_Question: TypeAlias = Lookup | AskStatus | Rebuild


class _Asked:
    """A question that waits for its answer, and the parts of the answer so far."""

    __slots__ = ("future", "parts", "question", "sent")

    def __init__(self, question: _Question, parts: list[TablePart]) -> None:
        self.question = question
        self.parts = parts
        self.sent = 0
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class UsageProcess:
    """The usage process of an engine. Run ``run`` in a task group. Any task of its loop may ask questions."""

    def __init__(self, folder: Path, *, source: Location | Journal, threads: int) -> None:
        """The process keeps its file in ``folder``. ``source`` is the location from which it can read the journal
        itself; or the journal, whose frames the engine then sends on request."""
        command = [sys.executable, "-m", "solvent.engine.usage.worker.worker", str(folder), str(threads)]
        self._journal: Journal | None = None
        if isinstance(source, (str, PathLike)):
            command.append(str(source))
        else:
            self._journal = source
        self._command = command
        self._wanted = asyncio.Event()
        self._ids = itertools.count(1)
        self._asked: dict[int, _Asked] = {}
        self._outbox: asyncio.Queue[_Asked | AskFrames] = asyncio.Queue()
        self.pid: int | None = None
        """The id of the running process; ``None`` if there is none."""

    def start(self) -> None:
        """Start the process now, without waiting for a question."""
        self._wanted.set()

    async def table(self, query: UsageQuery, extent: Extent, timeout_s: float) -> UsageTable:
        """Return the answer to ``query``, which covers at least ``extent``.

        Raises ``TooLarge``; ``Unavailable`` if there is no answer in time.
        """
        parts: list[TablePart] = []
        question = AskTable(next(self._ids), query, extent, timeout_s)
        end = await self._ask(question, TableEnd, timeout_s, parts)
        return table_from(query, parts, end)

    async def entries(
        self,
        query: UsageQuery,
        cell: UsageCell,
        *,
        as_of: int | None,
        cursor: str | None,
        limit: int,
        timeout_s: float,
    ) -> UsageEntries:
        """Return a page of the entries behind ``cell``. Raises ``InvalidRequest``, ``Unavailable``."""
        question = AskEntries(next(self._ids), query, cell, as_of, cursor, limit, timeout_s)
        return (await self._ask(question, Entries, timeout_s)).entries

    async def comparison(
        self,
        query: UsageQuery,
        before: UsageQuery,
        *,
        order: CompareOrder,
        top: int | None,
        extent: Extent,
        timeout_s: float,
    ) -> tuple[list[Compared], int, int]:
        """Return the groups of two queries, side by side, and all events before and after.

        Raises the errors of ``table``.
        """
        question = AskComparison(next(self._ids), query, before, order, top, extent, timeout_s)
        found = await self._ask(question, Comparison, timeout_s)
        return compared_in(found), found.events_before, found.events_after

    async def spikes(
        self,
        query: UsageQuery,
        *,
        since: int,
        history_min: int,
        sensitivity: float,
        limit: int,
        extent: Extent,
        timeout_s: float,
    ) -> Spikes:
        """Return the spikes in the answer to ``query``, in buckets that end after ``since``.

        Raises the errors of ``table``.
        """
        id = next(self._ids)
        question = AskSpikes(id, query, since, history_min, sensitivity, limit, extent, timeout_s)
        return await self._ask(question, Spikes, timeout_s)

    async def status(self, timeout_s: float) -> Status:
        """Return the progress of the file."""
        return await self._ask(AskStatus(next(self._ids)), Status, timeout_s)

    async def rebuild(self, timeout_s: float) -> Status:
        """Begin to rebuild the file, unless a rebuild is under way."""
        return await self._ask(Rebuild(next(self._ids)), Status, timeout_s)

    async def _ask(
        self, question: _Question, kind: Callable[..., T], timeout_s: float, parts: list[TablePart] | None = None
    ) -> T:
        self._wanted.set()
        asked = self._asked[question.id] = _Asked(question, [] if parts is None else parts)
        self._outbox.put_nowait(asked)
        try:
            with anyio.fail_after(timeout_s + GRACE_S):
                answer: T = await asked.future
        except TimeoutError:
            raise Unavailable(f"the usage process gave no answer within {timeout_s + GRACE_S:g} s") from None
        finally:
            del self._asked[question.id]
        return answer

    async def run(self) -> None:
        """Keep the process running, from its first use on, until cancelled."""
        await self._wanted.wait()
        while True:
            try:
                await self._run_once()
            except (OSError, anyio.BrokenResourceError, anyio.IncompleteRead, anyio.EndOfStream) as error:
                log.warning("the usage process ended: %s", str(error) or type(error).__name__)
            self._ask_again()
            await anyio.sleep(RESTART_INTERVAL_S)

    async def _run_once(self) -> None:
        process = await anyio.open_process(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None)
        assert process.stdin is not None  # noqa: S101 - narrows the type: it was asked for
        assert process.stdout is not None  # noqa: S101
        self.pid = process.pid
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._send, process.stdin)
                await self._receive(process.stdout)
        except* (OSError, anyio.BrokenResourceError, anyio.IncompleteRead, anyio.EndOfStream) as failures:
            raise anyio.BrokenResourceError from failures
        finally:
            self.pid = None
            with anyio.CancelScope(shield=True):
                await _stop(process)

    async def _send(self, sink: anyio.abc.ByteSendStream) -> None:
        while True:
            asked = await self._outbox.get()
            if isinstance(asked, AskFrames):
                await sink.send(framed(await self._frames(asked)))
            elif asked.question.id in self._asked:  # Otherwise the caller has gone.
                asked.sent += 1
                await sink.send(framed(asked.question))

    async def _receive(self, source: anyio.abc.ByteReceiveStream) -> None:
        stream = BufferedByteReceiveStream(source)
        while True:
            header = await stream.receive_exactly(LENGTH_BYTES)
            message = replies.decode(await stream.receive_exactly(length_of(header)))
            if isinstance(message, AskFrames):
                self._outbox.put_nowait(message)
            else:
                self._take(message)

    async def _frames(self, asked: AskFrames) -> Frames:
        assert self._journal is not None  # noqa: S101 - narrows the type: a process that can read does not ask
        try:
            frames = await self._journal.read(asked.after, asked.limit) if asked.limit else []
            return Frames(asked.id, self._journal.identity, await self._journal.last_number(), list(frames))
        except JournalError as error:
            return Frames(asked.id, failure=error.message)

    def _take(self, reply: Reply) -> None:
        asked = self._asked.get(reply.id)
        if asked is None or asked.future.done():
            return
        if isinstance(reply, TablePart):
            asked.parts.append(reply)
        elif isinstance(reply, Failed):
            asked.future.set_exception(_error_of(reply))
        else:
            asked.future.set_result(reply)

    def _ask_again(self) -> None:
        """Put open questions to the next process, except those that may have ended too many processes already."""
        while not self._outbox.empty():
            self._outbox.get_nowait()
        for asked in self._asked.values():
            asked.parts.clear()
            if asked.future.done():
                continue
            if asked.sent < SENDS_MAX:
                self._outbox.put_nowait(asked)
            else:
                asked.future.set_exception(Unavailable("the usage process ended before it could answer"))


def _error_of(failed: Failed) -> SolventError:
    match failed.code:
        case TooLarge.code:
            return TooLarge(failed.field, failed.text)
        case InvalidRequest.code:
            return InvalidRequest(failed.field, failed.text)
        case Unavailable.code:
            return Unavailable(failed.text)
        case NewerFormat.code:
            return NewerFormat(failed.field, found=failed.found, known=failed.known, cache=True)
        case JournalShorter.code:
            return JournalShorter(failed.field, last=failed.found, acknowledged=failed.known, known_by=failed.text)
    return SolventError(failed.text)


async def _stop(process: anyio.abc.Process) -> None:
    """Let the process close its file, if it still runs; kill it if it does not."""
    assert process.stdin is not None  # noqa: S101 - narrows the type: it was asked for
    with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        await process.stdin.send(framed(Stop()))
    with anyio.move_on_after(STOP_TIMEOUT_S):
        await process.wait()
    if process.returncode is None:
        process.kill()
    await process.aclose()
