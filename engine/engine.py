"""The engine: Solvent embedded in an application, in a folder, without any server.

``Engine.open`` locks the folder for one process. Every answer of a method is durable. Methods may be called from any
task of the event loop that opened the engine. Cancelling a call does not undo what was journalled: call again with the
same key to get the receipt.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar, cast

import msgspec

from solvent.actors import (
    ActorError,
)
from solvent.engine.api.balances import GrantList
from solvent.engine.api.clock import ClockStatus
from solvent.engine.api.credits import Credits
from solvent.engine.api.events import PoolEvent
from solvent.engine.api.receipts import Receipt, asked_for
from solvent.engine.api.requests import (
    BatchRequest,
    ClockRequest,
    CommandRequest,
    ConfirmClockRequest,
    Request,
    SetRatesRequest,
    TransferRequest,
    key_of,
)
from solvent.engine.api.usage_requests import UsageRequest
from solvent.engine.journal.opening import Location, OpensJournal, open_journal
from solvent.engine.journal.protocol import Journal
from solvent.engine.pools.asking import outcome_of
from solvent.engine.pools.host import Host
from solvent.engine.pools.partition import Progress
from solvent.engine.reads.feed import Feed, chosen
from solvent.engine.reads.reads import Reads
from solvent.engine.rules.checking import debit_command
from solvent.engine.rules.commands import WHOLE, Read
from solvent.engine.runtime.clock import TrustedClock
from solvent.engine.runtime.files import INDEX_NAME
from solvent.engine.usage.covered import check_covered
from solvent.engine.usage.desk import UsageDesk
from solvent.engine.usage.messages import Extent
from solvent.engine.usage.process import UsageProcess
from solvent.engine.values.amounts import AmountLike, parse_scale
from solvent.engine.values.dimensions import Dimensions
from solvent.engine.values.errors import JournalCorrupt, SolventError
from solvent.engine.values.pool_id import (
    ENVIRONMENT_DEFAULT,
    PoolLike,
    check_id,
    parse_pool,
)
from solvent.engine.values.quantities import QuantityLike
from solvent.engine.values.times import TimeLike, to_datetime

from .settings import SETTINGS_DEFAULT, Settings

A = TypeVar("A")
log = logging.getLogger(__name__)


def system_clock_us() -> int:
    """Return the microseconds since 1970, UTC."""
    return time.time_ns() // 1_000


class Engine(Credits):
    """``Credits`` on a journal of its own. Only ``Engine.open`` creates it."""

    def __init__(self, host: Host, usage: UsageProcess, clock: TrustedClock, *, usage_timeout_s: float) -> None:
        self.live = pools = host.pools
        """The live pools, for transports, which submit commands without a coroutine for each."""
        self.feed = Feed(pools)
        """The events of all pools, with positions, for transports that publish them."""
        self._reads = Reads(pools, self.feed)
        self._refusal_log = host.refusal_log
        self._clock = clock
        self._usage = usage
        self._desk = UsageDesk(
            usage,
            now_us=pools.services.now_us,
            scale_of=pools.scale_kept,
            extent=self._extent,
            grants_of=self._active_grants,
            timeout_s=usage_timeout_s,
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        directory: Location,
        *,
        currencies: Mapping[str, int] | None = None,
        settings: Settings = SETTINGS_DEFAULT,
        now_us: Callable[[], int] = system_clock_us,
        elapsed_us: Callable[[], int] | None = None,
        on_progress: Progress | None = None,
        journal: OpensJournal = open_journal,
    ) -> AsyncIterator[Engine]:
        """Open the journal in the folder ``directory``, or create one there, for the length of a block.

        The string ``":memory:"`` means a new journal in memory, for tests. Nothing of it remains after the block.

        ``currencies`` gives the decimal places of each currency, 0 to 9. A currency that is not named has the decimal
        places of its pools in the journal, or 6 if it has no pools. If the number given differs from that of the pools,
        every amount in that currency is refused (``StateConflict``, ``currency_scale``).

        ``settings`` are the bounds of the engine. ``now_us`` is its clock, in microseconds since 1970, UTC. A leap of
        the system's clock is not believed (``docs/guarantees.md``, "Time"). Another clock, such as one of a test, is
        believed unless ``elapsed_us`` is given: a clock that only counts, in microseconds, to compare it with.
        ``on_progress`` is called with (frames read, frames to read) while the indexes catch up. ``journal`` opens
        another kind of journal at ``directory``. Leaving the block answers the commands that wait, then stops.

        Raises ``JournalLocked`` if another process has the directory open, ``JournalError``, ``InvalidRequest``.
        """
        given = _check_currencies(currencies)
        async with journal(directory) as opened:
            if opened.readable_at is not None and not (opened.folder / INDEX_NAME).is_file():
                last = await opened.journal.last_number()
                await opened.machine.in_thread(partial(check_covered, opened.folder, opened.journal.identity, last))
            if elapsed_us is None and now_us is system_clock_us:
                elapsed_us = opened.machine.elapsed_us
            clock = TrustedClock(
                now_us,
                elapsed_us,
                ahead_max_us=round(settings.clock_ahead_max_s * 1e6),
                gap_max_us=round(settings.clock_gap_max_s * 1e6),
            )
            if elapsed_us is not None:
                clock.begin(await _last_at(opened.journal))
            source = opened.journal if opened.readable_at is None else opened.readable_at
            usage = UsageProcess(opened.folder, source=source, threads=settings.usage_threads)
            if settings.usage == "always":
                usage.start()
            async with Host.open(
                opened,
                currencies=given,
                limits=settings.limits,
                options=settings.options,
                stop_timeout_s=settings.stop_timeout_s,
                now_us=now_us if elapsed_us is None else clock.now_us,
                on_progress=on_progress,
                beside=usage.run,
            ) as host:
                yield cls(host, usage, clock, usage_timeout_s=settings.usage_timeout_s)

    async def send(self, request: Request[A]) -> A:
        if isinstance(request, CommandRequest):
            answer: Any = asked_for(await self.live.change(request), request.pool, key_of(request))
        elif isinstance(request, UsageRequest):
            answer = await self._desk.answer(request)
        elif isinstance(request, TransferRequest):
            answer = asked_for(await self.live.transfer(request), request.pool, request.key)
        elif isinstance(request, SetRatesRequest):
            answer = await self.live.set_rates(request)
        elif isinstance(request, ClockRequest):
            answer = self._clock_status()
        elif isinstance(request, ConfirmClockRequest):
            answer = await self._confirm_clock()
        else:
            answer = await self._reads.answer(request)
        return cast("A", answer)

    def _clock_status(self) -> ClockStatus:
        state = self._clock.state()
        return ClockStatus(time=to_datetime(state.now), wall_clock=to_datetime(state.wall), not_believed=state.doubt)

    async def _confirm_clock(self) -> ClockStatus:
        if self._clock.confirm():
            # A frame without entries, dated by the clock: without it, the next start would doubt the clock again.
            await (await self.live.partition()).writer.date()
        return self._clock_status()

    async def debit(
        self,
        pool: PoolLike,
        amount: AmountLike,
        *,
        key: str,
        partial: bool = False,
        occurred_at: TimeLike | None = None,
        metric: str | None = None,
        quantity: QuantityLike | None = None,
        dimensions: Dimensions | None = None,
        backfill: bool = False,
    ) -> Receipt:
        # This skips the request object, a match and two coroutines, which cost a tenth of a debit's processor time.
        target = parse_pool(pool)
        live = self.live
        command = debit_command(
            scale=live.scale_of(target.currency),
            amount=amount,
            key=key,
            partial=partial,
            occurred_at=occurred_at,
            metric=metric,
            quantity=quantity,
            dimensions=dimensions,
            backfill=backfill,
        )
        future = live.submit(target, command)
        try:
            answer = await future
        except ActorError:
            answer = outcome_of(future)
        if type(answer) is Receipt:
            return asked_for(answer, target, command.key)
        raise answer

    async def batch(self, requests: Sequence[BatchRequest], *, atomic: bool = False) -> list[Receipt | SolventError]:
        answers = await self.live.batch(requests, atomic=atomic)
        for request, answer in zip(requests, answers, strict=True):
            if type(answer) is Receipt:
                asked_for(answer, request.pool, key_of(request))
        return answers

    def events(
        self,
        pool: PoolLike | None = None,
        *,
        customer: str | None = None,
        environment: str = ENVIRONMENT_DEFAULT,
        after: str | None = None,
    ) -> AsyncIterator[PoolEvent]:
        return self.feed.events(after, chosen(pool, customer, environment))

    def scale_of(self, currency: str) -> int:
        """Return the decimal places of amounts in ``currency``."""
        return self.live.scale_of(currency)

    async def _active_grants(self, pool: str) -> GrantList:
        """Return all active grants of a pool, as of one version."""
        page = msgspec.structs.replace(WHOLE, state="active")
        return await self.live.ask(parse_pool(pool), Read("grants", page), GrantList)

    async def _extent(self) -> Extent:
        """Return the extent of everything that was acknowledged up to now."""
        await self._refusal_log.flush()
        return Extent((await self.live.partition()).writer.last_number, self._refusal_log.last_number)

    @property
    def is_ready(self) -> bool:
        """Whether pools can be asked: the journal is open, and is not being read again after a failure."""
        return self.live.services.ready.is_set()

    @property
    def usage_pid(self) -> int | None:
        """The id of the process that answers questions about usage; ``None`` if it is not running."""
        return self._usage.pid

    def statistics(self) -> dict[str, int]:
        """Return counters for people and monitoring."""
        partition = self.live.services.partition
        return {
            "frames": partition.writer.frames,
            "events": partition.writer.events,
            "resident_pools": self.live.resident,
            "keys_not_indexed": partition.projector.behind,
            "projector_rounds": partition.projector.rounds,
            "clock_not_believed": int(self._clock.state().doubt is not None),
        }


async def _last_at(journal: Journal) -> int | None:
    """Return the time of the last frame; ``None`` if there is none, or if it cannot be read."""
    last = await journal.last_number()
    try:
        frames = await journal.read(last - 1, 1) if last else ()
    except JournalCorrupt as error:
        log.warning("the time of the last frame cannot be read: %s", error)
        return None
    return frames[0].at if frames and frames[0].is_intact() else None


def _check_currencies(currencies: Mapping[str, int] | None) -> dict[str, int]:
    scales: dict[str, int] = {}
    for currency, scale in (currencies or {}).items():
        scales[check_id(currency, "currencies")] = parse_scale(scale, f"currencies.{currency}")
    return scales
