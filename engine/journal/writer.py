"""Group commit: one writer gathers the events of all pools and makes them durable, a frame at a time.

While one frame is being flushed, the next one fills. All events that arrive during a flush share the cost of the next.
An answer is sent only once the events it depends on are durable: it waits in the batch that holds the newest event it
reflects.

Runs on one event loop. If an append fails, or the writer is cancelled, every waiting answer fails with
``Unavailable`` (its outcome is unknown: the frame may have reached the disk). Nothing more is written until the
engine has read the journal again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from solvent.actors import Mail, reply_all
from solvent.engine.rules.events import Event, Opened
from solvent.engine.values.errors import JournalError, Unavailable

from .frames import NO_HEAD, CommittedSection, FrameBuilder, Head
from .protocol import Journal

FRAME_EVENTS_MAX: Final = 2_048
"""The events in one frame, roughly: a batch with this many is closed, and the next begins. About half a megabyte, a few
ms."""


class OpenSection(msgspec.Struct, gc=False):
    """The events of one pool for one frame, and the hashes of their keys."""

    events: list[Event] = []
    key_hashes: list[int] = []
    due_at: int | None = None
    """The time of the next change due in the pool, such as an expiry, as far as its actor knows."""
    has_notices: bool = False
    """Whether any of the events will be published."""


class PoolLog:
    """The end of one pool's history, as its actor sees it: the newest section, and the batch not durable yet."""

    __slots__ = ("batch", "head", "pool", "section")

    def __init__(self, pool: str, head: Head = NO_HEAD) -> None:
        self.pool = pool
        self.head = head
        """The newest section handed to the journal. Durable once ``batch`` is ``None``."""
        self.batch: Batch | None = None
        """The newest batch with events of this pool that is not durable yet."""
        self.section: OpenSection | None = None
        """The pool's section in that batch."""


class Batch:
    """The content of a future frame, and the answers that wait for it."""

    __slots__ = ("answers", "events", "sections")

    def __init__(self) -> None:
        self.sections: list[tuple[PoolLog, OpenSection]] = []
        self.answers: list[tuple[Mail[Any], object]] = []
        self.events = 0
        """The number of events in all sections, as reported through ``Writer.added``."""


def scale_of_new(events: Sequence[Event]) -> int | None:
    """Return the decimal places of the pool whose first events are ``events``, if they give any."""
    opened = events[0]
    return opened.scale if isinstance(opened, Opened) else None


class Writer:
    """Owns the end of the journal. ``run`` is its task; the pools call ``section`` and ``defer``."""

    def __init__(
        self,
        journal: Journal,
        *,
        last_number: int,
        now_us: Callable[[], int],
        on_commit: Callable[[int, list[CommittedSection]], None],
    ) -> None:
        self._journal = journal
        self._last_number = last_number
        self._now_us = now_us
        self._on_commit = on_commit
        self._open = Batch()
        self._full: deque[Batch] = deque()
        self._flushing: Batch | None = None
        self._wake = asyncio.Event()
        self._barriers: list[tuple[Batch, asyncio.Future[None]]] = []
        self.failure: JournalError | None = None
        """The error that stopped the writer; ``None`` while it runs."""
        self.frames = 0
        self.events = 0

    @property
    def last_number(self) -> int:
        """The number of the last durable frame."""
        return self._last_number

    def section(self, log: PoolLog) -> OpenSection:
        """Return the section for the next events of ``log``. Call again after every await: the batch may be sealed.

        Raises ``Unavailable`` after a failure.
        """
        if self.failure is not None:
            raise Unavailable(f"the journal cannot be written at the moment: {self.failure}")
        batch = self._open
        if batch.events >= FRAME_EVENTS_MAX:
            self._full.append(batch)
            batch = self._open = Batch()
        section = log.section
        if section is None or log.batch is not batch:
            section = OpenSection()
            batch.sections.append((log, section))
            log.batch, log.section = batch, section
            self._wake.set()
        return section

    def added(self, log: PoolLog, events: int) -> None:
        """Count ``events`` that were added to the section of ``log``. This count bounds a frame."""
        assert log.batch is not None  # noqa: S101 - narrows the type: section() was called before
        log.batch.events += events

    async def barrier(self) -> None:
        """Wait until all events handed to the writer so far are durable. Raises ``JournalError``."""
        if self.failure is not None:
            raise self.failure
        if self._open.sections:
            batch = self._open
        elif self._full:
            batch = self._full[-1]
        elif self._flushing is not None:
            batch = self._flushing
        else:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._barriers.append((batch, done))
        await done

    async def date(self) -> None:
        """Write a frame, even one without entries, so that the journal has the present time. Raises ``JournalError``,
        ``Unavailable``."""
        if self.failure is not None:
            raise Unavailable(f"the journal cannot be written at the moment: {self.failure}")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._barriers.append((self._open, done))
        self._wake.set()
        await done

    async def run(self) -> None:
        """Write until cancelled. If an append fails, fail all waiting answers, then raise its ``JournalError``."""
        try:
            while True:
                await self._wake.wait()
                if self._full:
                    batch = self._full.popleft()
                else:
                    batch, self._open = self._open, Batch()
                    self._wake.clear()
                self._flushing = batch
                await self._commit(batch)
                self._flushing = None
        except JournalError as error:
            self._fail(error)
            raise
        finally:
            self._fail(JournalError("the engine stopped"))

    async def _commit(self, batch: Batch) -> None:
        builder = FrameBuilder(self._last_number + 1)
        committed: list[CommittedSection] = []
        for log, section in batch.sections:
            head = log.head
            log.head = builder.add(log.pool, head, section.events)
            committed.append(
                CommittedSection(
                    log.pool,
                    head.version + 1,
                    log.head,
                    section.key_hashes,
                    section.due_at,
                    section.has_notices,
                    None if head.version else scale_of_new(section.events),
                )
            )
        await self._journal.append(builder.seal(self._now_us()))
        self._last_number = builder.number
        self.frames += 1
        self.events += batch.events
        # A caller with an answer must find its events, so look-ups learn of them before the answers are sent.
        self._on_commit(builder.number, committed)
        for log, _ in batch.sections:
            if log.batch is batch:
                log.batch = log.section = None
        reply_all(batch.answers)
        if self._barriers:
            self._release(batch)

    def _release(self, batch: Batch) -> None:
        waiting = self._barriers
        self._barriers = [(awaited, done) for awaited, done in waiting if awaited is not batch]
        for awaited, done in waiting:
            if awaited is batch and not done.done():
                done.set_result(None)

    def _fail(self, error: JournalError) -> None:
        if self.failure is not None:
            return
        self.failure = error
        batches = [*([self._flushing] if self._flushing is not None else []), *self._full, self._open]
        for batch in batches:
            for mail, _ in batch.answers:
                mail.fail(Unavailable(f"the outcome is unknown, retry with the same key: {error}"))
        for _, done in self._barriers:
            if not done.done():
                done.set_exception(error)
        self._barriers.clear()
        self._full.clear()
        self._open = Batch()
