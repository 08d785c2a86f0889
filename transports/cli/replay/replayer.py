"""Drives parsed usage events into a pool's journal, a bounded number at a time, and counts what became of each.

``Replayer.run`` is called once, from one task. Events go out in chunks through ``Credits.batch``, a few chunks at a
time; their order does not matter, because each event has its own key. What is overloaded or unavailable is sent
again with the same key. So a crash between any two lines leaves some events recorded and some not, each of them whole,
and running again over the same file completes it: what is there already is answered with its first receipt.

The file is read and parsed in a thread, a chunk ahead, so that the loop has time for the answers meanwhile.

Stopping (``stop``) and giving up (``Tally.gave_up``) let the chunks under way finish. Cancellation abandons them: those
events may or may not be recorded, which the next run finds out.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, NamedTuple

import anyio
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream

from solvent.engine.api.credits import Credits
from solvent.engine.api.receipts import Receipt
from solvent.engine.api.requests import DebitRequest
from solvent.engine.values.errors import InvalidRequest, JournalError, Overloaded, Refused, SolventError, Unavailable

from .events import Event
from .records import BadRecord
from .source import SourceError, Stopped

CHUNK_EVENTS: Final = 500
"""Commands in one batch: enough that a message's own cost vanishes, few enough to stay under a server's 1 MiB."""
CHUNKS_IN_FLIGHT: Final = 4
"""While one chunk is flushed the next are under way; more would only wait in mailboxes."""
PATIENCE_S: Final = 60.0
"""How long a chunk is tried while nothing of it gets through: longer than a service needs to restart."""
RETRY_PAUSE_FIRST_S: Final = 0.05
RETRY_PAUSE_MAX_S: Final = 2.0


class Problem(NamedTuple):
    """A record that did not become what it asked for. ``code`` is the wire code of the answer."""

    record: int
    line: int
    """Where the record begins."""
    code: str
    reason: str


@dataclass(slots=True)
class Tally:
    """What a run has done so far. Every event that was read is in exactly one of the counts, or still under way."""

    records: int = 0
    """Records read, good and bad ones."""
    last: Event | None = None
    """The last of them."""
    booked: int = 0
    already: int = 0
    """Were in the journal before this run: the same key and the same request."""
    free: int = 0
    left_out: int = 0
    """Events that a condition of the mapping leaves out."""
    bad_records: int = 0
    """Records that are no usage event. They are in none of the other counts of events."""
    no: Counter[str] = field(default_factory=Counter)
    """Events that were answered "no", by wire code."""
    retried: int = 0
    amount_booked: Decimal = Decimal(0)
    gave_up: SolventError | None = None
    """Why the run ended before the end of the file, if it did so by itself."""

    @property
    def answered(self) -> int:
        """Events with a final answer in this run."""
        return self.booked + self.already + self.free + self.no.total()


class BadRecordStopped(InvalidRequest):
    """The first record that could not be booked ended the run, as ``--strict`` asks."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"record {problem.record}", problem.reason)
        self.message = f"record {problem.record} (line {problem.line}): {problem.reason}"


class _Waiting(NamedTuple):
    record: int
    line: int
    request: DebitRequest


class _Batch(NamedTuple):
    """What was read at once. ``broken`` says why there is nothing behind it, if that is not the end of the file."""

    events: list[Event]
    ended: bool
    broken: SourceError | None = None


class Replayer:
    """One run over a file's events. ``on_problem`` hears of every record that was not booked for another reason than a
    lack of credits; it must not wait. With ``strict`` the first such record ends the run."""

    def __init__(
        self,
        credits: Credits,
        *,
        on_problem: Callable[[Problem], None],
        strict: bool = False,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tally: Final = Tally()
        self.stop: Final = anyio.Event()
        """Set it to end the run after the chunks under way."""
        self._credits = credits
        self._on_problem = on_problem
        self._strict = strict
        self._patience_s = patience_s
        self._clock = clock
        self._hopeless = False
        """Nobody answers: chunks that wait are not sent any more."""

    async def run(self, events: Iterator[Event]) -> Tally:
        """Send every event and return the counts. Errors of single events are counted, never raised."""
        chunks, work = anyio.create_memory_object_stream[list[_Waiting]](0)
        async with anyio.create_task_group() as senders:
            for _ in range(CHUNKS_IN_FLIGHT):
                senders.start_soon(self._send_chunks, work.clone())
            work.close()
            async with chunks:
                while not self.stop.is_set():
                    batch = await anyio.to_thread.run_sync(_take, events)
                    if self.stop.is_set():
                        break
                    for chunk in self._gather(batch):
                        await chunks.send(chunk)
                    if batch.ended:
                        break
        return self.tally

    def _gather(self, batch: _Batch) -> Iterator[list[_Waiting]]:
        waiting: list[_Waiting] = []
        for event in batch.events:
            self.tally.records += 1
            self.tally.last = event
            if isinstance(event, BadRecord):
                self.tally.bad_records += 1
                self._report(Problem(event.number, event.line, InvalidRequest.code, event.reason), fatal=self._strict)
            else:
                self.tally.free += event.free
                self.tally.left_out += event.left_out
                waiting.extend(_Waiting(event.number, event.line, request) for request in event.requests)
            if self.stop.is_set():
                break
        else:
            if batch.broken is not None:
                self._give_up(self._located(batch.broken))
        for start in range(0, len(waiting), CHUNK_EVENTS):
            yield waiting[start : start + CHUNK_EVENTS]

    def _located(self, broken: SourceError) -> SourceError:
        last = self.tally.last
        where = (
            "no record was read" if last is None else f"record {last.number} (line {last.line}) is the last before it"
        )
        return SourceError(f"{broken.message}; {where}")

    async def _send_chunks(self, work: MemoryObjectReceiveStream[list[_Waiting]]) -> None:
        async with work:
            async for chunk in work:
                if not self._hopeless:
                    await self._send(chunk)

    async def _send(self, chunk: list[_Waiting]) -> None:
        pause_s = RETRY_PAUSE_FIRST_S
        patient_until = self._clock() + self._patience_s
        while chunk:
            answers = await self._ask(chunk)
            again: list[_Waiting] = []
            last: SolventError | None = None
            for waiting, answer in zip(chunk, answers, strict=True):
                if isinstance(answer, (Overloaded, Unavailable)):
                    again.append(waiting)
                    last = answer
                else:
                    self._count(waiting, answer)
            if last is None:
                return
            self.tally.retried += len(again)
            if len(again) < len(chunk):
                pause_s = RETRY_PAUSE_FIRST_S
                patient_until = self._clock() + self._patience_s
            elif self._clock() >= patient_until:
                self._hopeless = True
                self._give_up(last)
                return
            chunk = again
            hint_s = last.retry_after if isinstance(last, Overloaded) else 0.0
            await anyio.sleep(min(max(pause_s, hint_s), RETRY_PAUSE_MAX_S))
            pause_s *= 2

    async def _ask(self, chunk: list[_Waiting]) -> list[Receipt | SolventError]:
        try:
            return await self._credits.batch([waiting.request for waiting in chunk])
        except (Overloaded, Unavailable) as error:
            # The batch as a whole was not answered: each of its events is as unknown as the next.
            return [error] * len(chunk)

    def _count(self, waiting: _Waiting, answer: Receipt | SolventError) -> None:
        if isinstance(answer, Receipt):
            if answer.replayed:
                self.tally.already += 1
            else:
                self.tally.booked += 1
                self.tally.amount_booked += answer.amount
            return
        self.tally.no[answer.code] += 1
        if isinstance(answer, Refused):
            return
        self._report(Problem(waiting.record, waiting.line, answer.code, answer.message), fatal=self._strict)
        if isinstance(answer, JournalError):
            self._hopeless = True
            self._give_up(answer)

    def _report(self, problem: Problem, *, fatal: bool) -> None:
        self._on_problem(problem)
        if fatal:
            self._give_up(BadRecordStopped(problem))

    def _give_up(self, why: SolventError) -> None:
        if self.tally.gave_up is None:
            self.tally.gave_up = why
        self.stop.set()


def _take(events: Iterator[Event]) -> _Batch:
    """Read on until there is a chunk to send. Called in a thread, one call at a time."""
    taken: list[Event] = []
    requests = 0
    try:
        for event in events:
            taken.append(event)
            requests += 1 if isinstance(event, BadRecord) else max(1, len(event.requests))
            if requests >= CHUNK_EVENTS:
                return _Batch(taken, ended=False)
    except SourceError as error:
        return _Batch(taken, ended=True, broken=error)
    except Stopped:
        pass
    return _Batch(taken, ended=True)
