"""The engine: Solvent embedded in an application, in a folder, without any server.

``Engine.open`` holds the folder for one process. Everything a method answers is durable. Methods may be called from
any task of the event loop that opened the engine; a caller that is cancelled does not undo what was journalled:
it asks again with its key and gets the receipt.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import anyio

from solvent.actors import (
    ActorError,
    Answers,
    Family,
    Place,
)
from solvent.engine.api.balances import Balance, CustomerTotals, GrantList, HoldList, PoolPage
from solvent.engine.api.credits import ATOMIC_COMMANDS_MAX, BATCH_COMMANDS_MAX, REQUESTS, Credits, DebitRequest, Request
from solvent.engine.api.events import EventPage, PoolEvent
from solvent.engine.api.ledger import CostReport, LedgerPage
from solvent.engine.api.prices import CardList, Estimate
from solvent.engine.api.receipts import Receipt
from solvent.engine.api.settings import AlertsView, AllowanceList, BudgetList, RecurringList
from solvent.engine.api.usage_requests import AnyUsageRequest
from solvent.engine.api.verdicts import Verdict
from solvent.engine.journal.frames import Head
from solvent.engine.journal.listeners import Changes, Listeners
from solvent.engine.journal.lock import exclusive
from solvent.engine.journal.sqlite.journal import SqliteJournal
from solvent.engine.pools.actor import Message, Services
from solvent.engine.pools.asking import outcome_of, outcomes_of, tell, translate
from solvent.engine.pools.atomic import do_together, transfer
from solvent.engine.pools.borrowing import Loans
from solvent.engine.pools.host import SEED_BITS, running
from solvent.engine.pools.partition import Partition, Progress
from solvent.engine.pools.refusal_log import RefusalLog
from solvent.engine.pools.refusals import Refusals
from solvent.engine.pools.scales import Scales
from solvent.engine.projections.history import fold_until, read_history
from solvent.engine.projections.index import IndexDamaged
from solvent.engine.reads.costs import CostSums
from solvent.engine.reads.feed import EventSpan, read_events
from solvent.engine.reads.ledger import parse_cursor, read_page
from solvent.engine.reads.totals import PoolSums
from solvent.engine.rules.checking import COMMANDS, check_question, debit_command, set_rates_command, transfer_command
from solvent.engine.rules.commands import SETTING_COMMANDS, KeyedCommand, MoveOutbox, Read
from solvent.engine.rules.events import Event, Opened
from solvent.engine.rules.pool import Pool
from solvent.engine.rules.rates import RateBook, price
from solvent.engine.rules.views import balance_of, cards_of, grants_of, rate_view
from solvent.engine.runtime.files import JOURNAL_NAME
from solvent.engine.usage.desk import UsageDesk
from solvent.engine.usage.messages import Extent
from solvent.engine.usage.process import UsageProcess
from solvent.engine.values.amounts import SCALE_DEFAULT, AmountLike, parse_scale, to_decimal
from solvent.engine.values.dimensions import Dimensions
from solvent.engine.values.errors import (
    InvalidRequest,
    JournalError,
    NotFound,
    SolventError,
    StateConflict,
    TooLarge,
    Unavailable,
)
from solvent.engine.values.pages import EVENT_PAGE_MAX, LEDGER_PAGE_MAX, POOL_PAGE_MAX, check_limit
from solvent.engine.values.pool_id import (
    CURRENCY_DEFAULT,
    ENVIRONMENT_DEFAULT,
    PoolId,
    PoolLike,
    check_id,
    currency_of,
    customer_prefixes,
    environment_prefix,
    outbox_stream,
    parse_canonical,
    parse_pool,
    rates_stream,
)
from solvent.engine.values.positions import END, Position, end_of, parse_position
from solvent.engine.values.times import MOMENT_MAX_US, TimeLike, parse_time, to_datetime

from .settings import SETTINGS_DEFAULT, Settings

log = logging.getLogger(__name__)
T = TypeVar("T")


def system_clock_us() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1_000


class Engine(Credits):
    """``Credits`` on a folder. Made by ``Engine.open`` only."""

    def __init__(
        self,
        services: Services,
        family: Family[Message],
        streams: Family[Message],
        usage: UsageProcess,
        refusal_log: RefusalLog,
        *,
        usage_timeout_s: float,
    ) -> None:
        self._services = services
        self._family = family
        self._streams = streams
        self._currencies = services.scales.given
        self._refusal_log = refusal_log
        self._usage = usage
        self._desk = UsageDesk(
            usage,
            now_us=services.now_us,
            scale_of=self._scale_kept,
            extent=self._extent,
            find_entry=self._find_entry,
            grants_of=self.grants,
            timeout_s=usage_timeout_s,
        )
        services.read_rates = self._read_rates

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        directory: str | PathLike[str],
        *,
        currencies: Mapping[str, int] | None = None,
        settings: Settings = SETTINGS_DEFAULT,
        now_us: Callable[[], int] = system_clock_us,
        on_progress: Progress | None = None,
    ) -> AsyncIterator[Engine]:
        """Open the journal in ``directory``, or begin one there.

        ``currencies`` gives the decimal places of each currency, 0 to 9. One that is not named keeps what its pools in
        the journal do, and 6 if there are none; one that is named otherwise than they do takes no amounts
        (``StateConflict``, ``currency_scale``). ``on_progress`` hears (frames read, frames to read) while indexes are
        caught up. Leaving the block answers what was asked, then stops.

        Raises ``JournalLocked`` if another process has the directory open, ``JournalError``, ``InvalidRequest``.
        """
        told = _check_currencies(currencies)
        path = _directory(directory)
        with exclusive(path):
            journal = await SqliteJournal.open(path / JOURNAL_NAME)
            try:
                seed = secrets.randbits(SEED_BITS)
                listeners, refusals = Listeners(), Refusals()
                try:
                    partition = await Partition.open(
                        path, journal, seed=seed, now_us=now_us, listeners=listeners, on_progress=on_progress
                    )
                except (IndexDamaged, sqlite3.Error) as error:
                    raise JournalError(f"the index or the snapshots in {path} cannot be written: {error}") from error
                services = Services(
                    now_us=now_us,
                    scales=Scales(told, partition.index.scales),
                    limits=settings.limits,
                    partition=partition,
                    listeners=listeners,
                    refusals=refusals,
                    loans=Loans(settings.resident_max),
                )
                refusal_log = RefusalLog(path, refusals)
                usage = UsageProcess(path, threads=settings.usage_threads)
                if settings.usage == "always":
                    usage.start()
                beside = (usage.run, refusal_log.run)
                stop_timeout_s = settings.stop_timeout_s
                async with running(path, journal, services, settings.options, stop_timeout_s, beside) as (
                    family,
                    streams,
                ):
                    timeout_s = settings.usage_timeout_s
                    yield cls(services, family, streams, usage, refusal_log, usage_timeout_s=timeout_s)
            finally:
                with anyio.CancelScope(shield=True):
                    await journal.aclose()

    def scale_of(self, currency: str) -> int:
        """In how many decimal places amounts of ``currency`` are given."""
        return self._currencies.get(currency, SCALE_DEFAULT)

    async def _scale_kept(self, currency: str, pool: str | None) -> int:
        """The decimal places of a pool of ``currency``, by its canonical name, or of all of them.

        Raises ``StateConflict`` if all have not the same, ``JournalError``.
        """
        scales = self._services.scales
        if pool is not None and len(scales.kept(currency)) > 1:
            opened = await self._find_entry(pool, 1)
            return opened.scale if isinstance(opened, Opened) else scales.of(currency)
        return scales.of_all(currency)

    async def _scale_of_pool(self, pool: str) -> int:
        return await self._scale_kept(currency_of(pool), pool)

    def submit(self, pool: PoolId, command: Message) -> asyncio.Future[Any]:
        """Hand a checked command to its pool, without a coroutine. For transports, which have many at once.

        The result is the answer, or a ``SolventError`` as a value: a refusal. Pass the finished future to
        ``outcome_of``, which also translates what else can happen to it. Raises ``Overloaded``, ``Unavailable``.
        """
        try:
            return self._family.ask(pool.canonical, command)
        except ActorError as error:
            raise translate(error) from None

    def submit_all(self, asks: Iterable[tuple[str, Message, Place]]) -> None:
        """Hand many checked commands to their pools, each with the canonical name of its pool and the place of its
        answer; the commands of one pool in this order. What is in the places at last, ``outcomes_of`` reads.
        """
        self._family.ask_all(asks)

    async def _ask(self, pool: PoolId, command: Message, kind: type[T]) -> T:
        return await self._answer_to(self.submit(pool, command), kind)

    async def _ask_stream(self, stream: PoolId, command: Message, kind: type[T]) -> T:
        try:
            future = self._streams.ask(stream.canonical, command)
        except ActorError as error:
            raise translate(error) from None
        return await self._answer_to(future, kind)

    @staticmethod
    async def _answer_to(future: asyncio.Future[Any], kind: type[T]) -> T:
        try:
            answer = await future
        except ActorError:
            answer = outcome_of(future)
        if isinstance(answer, SolventError):
            raise answer
        assert isinstance(answer, kind)  # noqa: S101 - narrows the type: a command has one kind of answer
        return answer

    async def _read_rates(self, stream: str) -> RateBook:
        return await self._ask_stream(parse_canonical(stream), Read("rates"), RateBook)

    async def _command(self, operation: str, pool: PoolLike, fields: dict[str, Any]) -> Receipt:
        target = parse_pool(pool)
        command = COMMANDS[operation](scale=self.scale_of(target.currency), **fields)
        return await self._ask(target, command, Receipt)

    async def debit(
        self,
        pool: PoolLike,
        amount: AmountLike,
        *,
        key: str,
        partial: bool = False,
        occurred_at: TimeLike | None = None,
        metric: str | None = None,
        quantity: AmountLike | None = None,
        dimensions: Dimensions | None = None,
        backfill: bool = False,
    ) -> Receipt:
        """See ``Credits.debit``. The same by a shorter way: this is the hot path."""
        target = parse_pool(pool)
        command = debit_command(
            scale=self.scale_of(target.currency),
            amount=amount,
            key=key,
            partial=partial,
            occurred_at=occurred_at,
            metric=metric,
            quantity=quantity,
            dimensions=dimensions,
            backfill=backfill,
        )
        future = self.submit(target, command)
        try:
            answer = await future
        except ActorError:
            answer = outcome_of(future)
        if type(answer) is Receipt:
            return answer
        raise answer

    async def batch(self, requests: Sequence[Request], *, atomic: bool = False) -> list[Receipt | SolventError]:
        """See ``Credits.batch``."""
        if len(requests) > BATCH_COMMANDS_MAX:
            raise TooLarge("requests", f"at most {BATCH_COMMANDS_MAX} commands", got=str(len(requests)))
        if atomic:
            return await self._batch_atomically(requests)
        if not requests:
            return []
        done: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()
        answers = Answers(len(requests), partial(tell, done))
        asks: list[tuple[str, Message, Place]] = []
        for request, place in zip(requests, answers.places(), strict=True):
            try:
                pool, command = self.command_of(request)
            except SolventError as error:
                place.set_result(error)
            else:
                asks.append((pool.canonical, command, place))
        self.submit_all(asks)
        return list(outcomes_of(await done))

    async def _batch_atomically(self, requests: Sequence[Request]) -> list[Receipt | SolventError]:
        checked: list[tuple[PoolId, KeyedCommand] | SolventError] = []
        for request in requests:
            try:
                checked.append(self.command_of(request))
            except SolventError as error:
                checked.append(error)
        return await self.do_together(checked)

    async def do_together(
        self, commands: Sequence[tuple[PoolId, KeyedCommand] | SolventError]
    ) -> list[Receipt | SolventError]:
        """All of ``commands`` or none, for transports: what could not be checked stands in its place as its error."""
        if len(commands) > ATOMIC_COMMANDS_MAX:
            raise TooLarge("requests", f"at most {ATOMIC_COMMANDS_MAX} commands at once", got=str(len(commands)))
        if any(isinstance(each, SolventError) for each in commands):
            refused = StateConflict("batch_refused", "another command of this batch was refused, so none was done")
            return [each if isinstance(each, SolventError) else refused for each in commands]
        given = [each for each in commands if not isinstance(each, SolventError)]
        if len({(pool.environment, pool.customer) for pool, _ in given}) > 1:
            mixed = InvalidRequest("requests", "commands of one customer: an atomic batch is all about one")
            return [mixed] * len(given)
        try:
            return await do_together(self._services, self._family, given)
        except ActorError as error:
            return [translate(error)] * len(given)
        except SolventError as error:
            return [error] * len(given)

    async def transfer(self, source: PoolLike, target: PoolLike, amount: AmountLike, *, key: str) -> Receipt:
        """See ``Credits.transfer``."""
        giving, getting = parse_pool(source), parse_pool(target)
        scale = self.scale_of(giving.currency)
        command = transfer_command(scale=scale, source=giving, target=getting, amount=amount, key=key)
        try:
            answer = await transfer(self._services, self._family, giving, getting, command)
        except ActorError as error:
            raise translate(error) from None
        if isinstance(answer, SolventError):
            raise answer
        return answer

    def command_of(self, request: Request) -> tuple[PoolId, KeyedCommand]:
        """The pool and the checked command of one request of a batch. Raises ``InvalidRequest``."""
        if isinstance(request, DebitRequest):
            # The same by a shorter way: debits come by the thousand.
            pool = parse_pool(request.pool)
            return pool, debit_command(
                scale=self.scale_of(pool.currency),
                amount=request.amount,
                key=request.key,
                partial=request.partial,
                occurred_at=request.occurred_at,
                metric=request.metric,
                quantity=request.quantity,
                dimensions=request.dimensions,
                backfill=request.backfill,
            )
        if not isinstance(request, REQUESTS):
            raise InvalidRequest("requests", "a GrantRequest, DebitRequest, ...", got=type(request).__name__)
        pool = parse_pool(request.pool)
        fields = {name: getattr(request, name) for name in request.__struct_fields__ if name != "pool"}
        command = COMMANDS[request.operation](scale=self.scale_of(pool.currency), **fields)
        assert not isinstance(command, SETTING_COMMANDS)  # noqa: S101 - no request is a setting
        return pool, command

    async def check(
        self,
        pool: PoolLike,
        amount: AmountLike,
        *,
        dimensions: Dimensions | None = None,
        metric: str | None = None,
        quantity: AmountLike | None = None,
    ) -> Verdict:
        """See ``Credits.check``."""
        target = parse_pool(pool)
        question = check_question(
            scale=self.scale_of(target.currency),
            amount=amount,
            dimensions=dimensions,
            metric=metric,
            quantity=quantity,
        )
        return await self._ask(target, question, Verdict)

    async def estimate(
        self,
        pool: PoolLike,
        metric: str,
        quantity: AmountLike,
        *,
        occurred_at: TimeLike | None = None,
        dimensions: Dimensions | None = None,
    ) -> Estimate:
        """See ``Credits.estimate``."""
        target = parse_pool(pool)
        scale = self.scale_of(target.currency)
        at = self._services.now_us() if occurred_at is None else parse_time(occurred_at, "occurred_at")
        book = await self._services.read_rates(rates_stream(target.environment, target.currency).canonical)
        version = book.at(at)
        if version is None:
            raise NotFound("rate card", f"{target.currency} of {target.environment} at that time")
        priced = price(version.card, metric, quantity, dimensions, scale)
        amount = to_decimal(priced.units, scale)
        verdict = None
        if priced.units:
            verdict = await self.check(target, amount, dimensions=dimensions, metric=metric, quantity=quantity)
        else:
            # It is always allowed, but nowhere else than in a pool.
            await self._ask(target, Read("balance"), Balance)
        return Estimate(amount=amount, card=version.number, rate=rate_view(priced.rate), verdict=verdict)

    async def set_rates(
        self,
        rates: Sequence[Mapping[str, Any]],
        *,
        environment: str = ENVIRONMENT_DEFAULT,
        currency: str = CURRENCY_DEFAULT,
        effective_at: TimeLike | None = None,
    ) -> Receipt:
        """See ``Credits.set_rates``."""
        stream = rates_stream(environment, currency)
        command = set_rates_command(currency=currency, rates=rates, effective_at=effective_at)
        return await self._ask_stream(stream, command, Receipt)

    async def rates(self, *, environment: str = ENVIRONMENT_DEFAULT, currency: str = CURRENCY_DEFAULT) -> CardList:
        """See ``Credits.rates``."""
        return cards_of(await self._services.read_rates(rates_stream(environment, currency).canonical))

    async def balance(self, pool: PoolLike, *, as_of: TimeLike | None = None) -> Balance:
        """See ``Credits.balance``."""
        target = parse_pool(pool)
        if as_of is None:
            return await self._ask(target, Read("balance"), Balance)
        return balance_of(await self._as_of(target, as_of), str(target))

    async def grants(self, pool: PoolLike, *, as_of: TimeLike | None = None) -> GrantList:
        """See ``Credits.grants``."""
        target = parse_pool(pool)
        if as_of is None:
            return await self._ask(target, Read("grants"), GrantList)
        return grants_of(await self._as_of(target, as_of), str(target))

    async def holds(self, pool: PoolLike) -> HoldList:
        """See ``Credits.holds``."""
        return await self._ask(parse_pool(pool), Read("holds"), HoldList)

    async def budgets(self, pool: PoolLike) -> BudgetList:
        """See ``Credits.budgets``."""
        return await self._ask(parse_pool(pool), Read("budgets"), BudgetList)

    async def allowances(self, pool: PoolLike) -> AllowanceList:
        """See ``Credits.allowances``."""
        return await self._ask(parse_pool(pool), Read("allowances"), AllowanceList)

    async def recurring(self, pool: PoolLike) -> RecurringList:
        """See ``Credits.recurring``."""
        return await self._ask(parse_pool(pool), Read("recurring"), RecurringList)

    async def alerts(self, pool: PoolLike) -> AlertsView:
        """See ``Credits.alerts``."""
        return await self._ask(parse_pool(pool), Read("alerts"), AlertsView)

    def events(
        self,
        pool: PoolLike | None = None,
        *,
        customer: str | None = None,
        environment: str = ENVIRONMENT_DEFAULT,
        after: str | None = None,
    ) -> AsyncIterator[PoolEvent]:
        """See ``Credits.events``."""
        begin = _begin(END if after is None else after, self._services.partition)
        return self._events(begin, _chosen(pool, customer, environment))

    async def _events(self, after: Position, wanted: Callable[[str], bool]) -> AsyncIterator[PoolEvent]:
        async for span in self.event_spans(after, wanted):
            for event in span.events:
                yield event

    async def event_spans(self, after: Position, wanted: Callable[[str], bool]) -> AsyncIterator[EventSpan]:
        """The events of all pools whose canonical names are ``wanted``, behind ``after`` and as they happen.

        Raises ``JournalError``.
        """
        while True:
            ring = self._services.listeners.notices.listen()
            span = await read_events(await self._partition(), after, wanted, self._scale_of_pool, limit=EVENT_PAGE_MAX)
            yield span
            after = span.position
            if not span.more:
                await ring

    async def past_events(
        self,
        pool: PoolLike | None = None,
        *,
        customer: str | None = None,
        environment: str = ENVIRONMENT_DEFAULT,
        after: str = "0.0",
        limit: int = 100,
    ) -> EventPage:
        """See ``Credits.past_events``."""
        check_limit(limit, EVENT_PAGE_MAX)
        wanted = _chosen(pool, customer, environment)
        partition = await self._partition()
        span = await read_events(partition, _begin(after, partition), wanted, self._scale_of_pool, limit=limit)
        return EventPage(tuple(span.events), str(span.position), span.more)

    async def published(self, publisher: str) -> Position:
        """Up to where ``publisher`` has published events, as far as it has noted that."""
        return await self._ask_stream(outbox_stream(publisher), Read("outbox"), Position)

    async def note_published(self, publisher: str, frame: int) -> None:
        """Note durably that ``publisher`` has published the events of all frames up to ``frame``."""
        await self._ask_stream(outbox_stream(publisher), MoveOutbox(frame), Receipt)

    @contextmanager
    def following(self) -> Iterator[Changes]:
        """Hear of every pool that changes durably, for the length of a block."""
        changes = Changes()
        self._services.listeners.changes.append(changes)
        try:
            yield changes
        finally:
            self._services.listeners.changes.remove(changes)

    async def _as_of(self, pool: PoolId, as_of: TimeLike) -> Pool:
        """The pool as it was at a moment: folded from the journal, with what was due by then."""
        moment = parse_time(as_of, "as_of")
        if moment > self._services.now_us():
            raise InvalidRequest("as_of", "a time that has come already")
        partition, head, _ = await self._history(pool)
        past = await fold_until(partition.journal, partition.index, pool.canonical, head, moment)
        if not past.version:
            raise NotFound("pool", f"{pool} at that time")
        return past

    async def costs(self, pool: PoolLike, *, start: TimeLike | None = None, end: TimeLike | None = None) -> CostReport:
        """See ``Credits.costs``."""
        target = parse_pool(pool)
        begins = 0 if start is None else parse_time(start, "start")
        ends = MOMENT_MAX_US if end is None else parse_time(end, "end")
        if ends < begins:
            raise InvalidRequest("end", "a time that is not before start")
        partition, head, scale = await self._history(target)
        sums = CostSums(begins, ends)
        await sums.read(read_history(partition.journal, partition.index, target.canonical, head, after=0))
        return CostReport(
            pool=str(target),
            start=None if start is None else to_datetime(begins),
            end=None if end is None else to_datetime(ends),
            lines=sums.lines(scale),
        )

    async def _history(self, pool: PoolId) -> tuple[Partition, Head, int]:
        """Where the history of a pool ends, with all that was acknowledged and all that was due, and how many decimal
        places it keeps. Raises ``NotFound``."""
        scale = await self._ask(pool, Read("scale"), int)
        partition = await self._partition()
        head = (await partition.store.heads([pool.canonical])).get(pool.canonical)
        if head is None:
            raise NotFound("pool", str(pool))
        return partition, head, scale

    async def ledger(
        self, pool: PoolLike, *, limit: int = 100, cursor: str | None = None, newest_first: bool = True
    ) -> LedgerPage:
        """See ``Credits.ledger``."""
        target = parse_pool(pool)
        check_limit(limit, LEDGER_PAGE_MAX)
        version = parse_cursor(cursor)
        partition, head, scale = await self._history(target)
        return await read_page(
            partition.journal,
            partition.index,
            target.canonical,
            head,
            name=str(target),
            scale=scale,
            limit=limit,
            cursor=version,
            newest_first=newest_first,
        )

    async def pools(
        self,
        customer: str | None = None,
        *,
        environment: str = ENVIRONMENT_DEFAULT,
        limit: int = 100,
        cursor: str | None = None,
    ) -> PoolPage:
        """See ``Credits.pools``."""
        check_limit(limit, POOL_PAGE_MAX)
        check_id(environment, "environment")
        if customer is None:
            prefixes: tuple[str, ...] = (environment_prefix(environment),)
        else:
            prefixes = customer_prefixes(environment, check_id(customer, "customer"))
        after = "" if cursor is None else parse_pool(cursor).canonical
        partition = await self._partition()
        # What the index may not have yet is in memory. Taken first: it only ever moves from there to the index.
        names = {name for name in partition.projector.pools() if name > after and name.startswith(prefixes)}
        for prefix in prefixes:
            names.update(await partition.index.pools(prefix, after=after, limit=limit + 1))
        page = sorted(names)[: limit + 1]
        balances = await asyncio.gather(*(self.balance(parse_pool(name)) for name in page[:limit]))
        return PoolPage(tuple(balances), page[limit - 1] if len(page) > limit else None)

    async def totals(self, customer: str, *, environment: str = ENVIRONMENT_DEFAULT) -> CustomerTotals:
        """See ``Credits.totals``."""
        sums = PoolSums()
        cursor: str | None = None
        while True:
            page = await self.pools(check_id(customer, "customer"), environment=environment, cursor=cursor)
            for balance in page.pools:
                sums.add(parse_pool(balance.pool).currency, balance)
            cursor = page.next_cursor
            if cursor is None:
                return CustomerTotals(environment=environment, customer=customer, totals=sums.totals())

    async def _ask_usage(self, request: AnyUsageRequest, kind: type[T]) -> T:
        answer = await self._desk.answer(request)
        assert isinstance(answer, kind)  # noqa: S101 - narrows the type: a request has one kind of answer
        return answer

    async def _extent(self) -> Extent:
        """Everything that was acknowledged up to now."""
        await self._refusal_log.flush()
        return Extent((await self._partition()).writer.last_number, self._refusal_log.last_number)

    async def _find_entry(self, pool: str, version: int) -> Event | None:
        return await (await self._partition()).find_entry(pool, version)

    async def _partition(self) -> Partition:
        with anyio.move_on_after(SETTINGS_DEFAULT.timeout_s):
            await self._services.ready.wait()
            return self._services.partition
        raise Unavailable("the journal is being read again after a failure")

    @property
    def usage_pid(self) -> int | None:
        """The process that answers questions about usage, if it runs."""
        return self._usage.pid

    def statistics(self) -> dict[str, int]:
        """Counters for people and monitoring."""
        partition = self._services.partition
        return {
            "frames": partition.writer.frames,
            "events": partition.writer.events,
            "resident_pools": self._family.resident,
            "keys_not_indexed": partition.projector.behind,
            "projector_rounds": partition.projector.rounds,
        }


def _chosen(pool: PoolLike | None, customer: str | None, environment: str) -> Callable[[str], bool]:
    """Whether a canonical name is that of the pool, of one of the customer's, or of one of the environment's."""
    if pool is not None:
        return parse_pool(pool).canonical.__eq__
    check_id(environment, "environment")
    if customer is None:
        return lambda name: name.startswith(environment_prefix(environment))
    prefixes = customer_prefixes(environment, check_id(customer, "customer"))
    return lambda name: name.startswith(prefixes)


def _begin(after: str, partition: Partition) -> Position:
    """The position that ``after`` says. Raises ``InvalidRequest`` for one behind the journal's end."""
    last = partition.writer.last_number
    if after == END:
        return end_of(last)
    position = parse_position(after)
    if position.frame > last:
        # Waiting there, a reader would miss all that comes before it.
        raise InvalidRequest("after", f"a position of this journal, which ends with frame {last}", got=after)
    return position


def _directory(directory: str | PathLike[str]) -> Path:
    path = Path(directory)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JournalError(f"{path} cannot be used as a journal directory: {error}") from error
    return path


def _check_currencies(currencies: Mapping[str, int] | None) -> dict[str, int]:
    scales: dict[str, int] = {}
    for currency, scale in (currencies or {}).items():
        scales[check_id(currency, "currencies")] = parse_scale(scale, f"currencies.{currency}")
    return scales
