"""Reading a pool's history in order, from any version, in bounded steps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from solvent.engine.journal.frames import Head, Section
from solvent.engine.journal.protocol import Journal
from solvent.engine.rules.due import pass_time
from solvent.engine.rules.evolve import apply
from solvent.engine.rules.pool import Pool
from solvent.engine.runtime.pacing import rest

from .index import Index
from .projection import MARK_EVERY
from .snapshots import Snapshot, Snapshots, encode_pool, past_interval

EVENTS_PER_TURN: Final = 256
"""The events applied before other tasks get a turn."""
STEP_VERSIONS: Final = 4 * MARK_EVERY
"""The versions in one step, roughly. Decoding a thousand events takes a few milliseconds."""


async def read_history(
    journal: Journal, index: Index, pool: str, head: Head, *, after: int
) -> AsyncIterator[list[Section]]:
    """Yield the sections of ``pool`` with versions above ``after``, up to ``head``, oldest first, in steps.

    The first section of a step may begin at or before its first new version. Raises ``JournalCorrupt``.
    """
    while after < head.version:
        step = await _nearest(index, pool, head, after + STEP_VERSIONS)
        yield await _walk(journal, pool, step, after + 1)
        after = step.version


async def fold_until(journal: Journal, index: Index, snapshots: Snapshots, pool: str, head: Head, moment: int) -> Pool:
    """Return the pool as of ``moment``, with all events recorded by then, and what was due by then but recorded later.

    A pool that did not exist yet is empty. Raises ``JournalCorrupt``.
    """
    past = await fold_before(journal, index, snapshots, pool, head, moment + 1)
    pass_time(past, moment)
    return past


async def fold_before(journal: Journal, index: Index, snapshots: Snapshots, pool: str, head: Head, moment: int) -> Pool:
    """Return the pool with all events that were recorded before ``moment``. Raises ``JournalCorrupt``.

    Reads from the nearest snapshot of the past on, in turns of a millisecond with a rest after each. Where there is
    none, such as in a journal of an older version, it keeps some for the next question.
    """
    past = await snapshots.before(pool, moment, version_max=head.version) or Pool()
    kept, interval, rested = past.version, past_interval(0), past.version
    async for sections in read_history(journal, index, pool, head, after=past.version):
        for section in sections:
            first = past.version + 1 - section.first_version
            for start in range(first, len(section.events), EVENTS_PER_TURN):
                for event in section.events[start : start + EVENTS_PER_TURN]:
                    if event.at >= moment:
                        return past
                    apply(past, event)
                if past.version - rested >= EVENTS_PER_TURN:
                    rested = past.version
                    await rest()
        if past.version - kept >= interval:
            body = encode_pool(past)
            interval = past_interval(len(body))
            if past.version - kept >= interval:
                kept = past.version
                await snapshots.keep_past(Snapshot(pool, past.version, body, past.clock))
    return past


async def sections_between(
    journal: Journal, index: Index, pool: str, head: Head, *, first: int, last: int
) -> list[Section]:
    """Return the sections that hold versions ``first`` to ``last``, and perhaps some later ones, oldest first."""
    return await _walk(journal, pool, await _nearest(index, pool, head, last), first)


async def _nearest(index: Index, pool: str, head: Head, version: int) -> Head:
    """Return the nearest head at or after ``version`` from which the history can be walked back."""
    if version >= head.version:
        return head
    mark = await index.mark(pool, version)
    return head if mark is None or mark.version > head.version else mark


async def _walk(journal: Journal, pool: str, head: Head, down_to: int) -> list[Section]:
    parts = [await journal.history(pool, head, down_to=down_to)]
    while (first := parts[-1][0]).first_version > down_to:
        before = Head(first.first_version - 1, first.previous, first.previous_digest)
        parts.append(await journal.history(pool, before, down_to=down_to))
    return [section for part in reversed(parts) for section in part]
