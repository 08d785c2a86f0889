"""The actor of one pool: decides commands on the state it holds, and answers when what it decided is durable.

It is the single writer of its pool, so debits need no lock. It decides at once, on top of events that are still on
their way to the disk, and puts every answer into the batch with the newest event the answer reflects. So no caller
learns, and no read returns, what is not durable. If the actor dies between any two lines, its state is dropped and the
pool is folded from the journal again; callers get a typed error and retry with their key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import NamedTuple, TypeAlias, TypeGuard

import msgspec

from solvent.actors import Actor, Mail, StopReason
from solvent.engine.api.answers import Answer
from solvent.engine.api.receipts import Receipt
from solvent.engine.journal.writer import Batch, OpenSection, PoolLog
from solvent.engine.projections.keys import hash_key
from solvent.engine.rules.commands import (
    SETTING_COMMANDS,
    WHOLE,
    Capture,
    CaptureReport,
    Check,
    Command,
    Debit,
    Extend,
    Hold,
    KeyedCommand,
    Page,
    Read,
    Report,
    Reverse,
    settlement_key,
)
from solvent.engine.rules.decide import decide
from solvent.engine.rules.decisions.debits import completed
from solvent.engine.rules.decisions.repeats import hold_behind
from solvent.engine.rules.due import pass_time
from solvent.engine.rules.events import KEYED, NOTICES, SETTINGS, Event, Opened, RatesSet, RechargeClosed, answering
from solvent.engine.rules.evolve import apply
from solvent.engine.rules.explaining import explain
from solvent.engine.rules.outcomes import Insufficient, OverBudget, Prior, Repeat, Unchanged, UnknownEntry
from solvent.engine.rules.pool import Pool, check_totals
from solvent.engine.rules.rates import RateBook, price
from solvent.engine.rules.short_debit import debit_plainly
from solvent.engine.rules.views.balances import balance_of, grants_of, holds_of
from solvent.engine.rules.views.receipts import receipt_of, receipt_of_repeat, unchanged
from solvent.engine.rules.views.settings import (
    alerts_of,
    allowance_counts_of,
    allowances_of,
    budget_counts_of,
    budgets_of,
    recurring_of,
)
from solvent.engine.rules.views.verdicts import verdict_of
from solvent.engine.values.dimensions import decode_dimensions
from solvent.engine.values.errors import (
    InvalidRequest,
    JournalCorrupt,
    NotFound,
    Overloaded,
    SolventError,
    StateConflict,
    Unavailable,
)
from solvent.engine.values.pool_id import PoolId, is_stream, parse_canonical, rates_stream
from solvent.engine.values.positions import Position, end_of

from .services import Services


class Lease:
    """A request to borrow a pool, which then takes no other command until ``over``. The answer is its actor."""

    __slots__ = ("holds", "over")

    def __init__(self) -> None:
        self.over = asyncio.Event()
        """The end of the lease. The borrower always sets it, even if the lease was never granted."""
        self.holds = True
        """False once the borrower has lost the pool: the lease is over, or the actor is gone."""


_Priced: TypeAlias = Report | CaptureReport
"""The commands that a rate card prices."""
Message: TypeAlias = Command | Read | Check | Lease
RETRY_AFTER_S = 0.1
"""The delay before a retry at an overloaded pool, in seconds. A full mailbox is worked off in less."""


class Due(NamedTuple):
    """The time of the next change due in a pool, such as an expiry, as of a version."""

    at: int | None
    version: int


class PoolActor(Actor[Message]):
    """One live pool."""

    def __init__(self, pool_id: str, services: Services) -> None:
        self.pool_id = pool_id
        self.pool = Pool()
        self._services = services
        self._log = PoolLog(pool_id)
        self._lease: Lease | None = None
        self._name: PoolId = parse_canonical(pool_id)
        self._scale = services.scales.of(self._name.currency)
        self._rates = rates_stream(self._name.environment, self._name.currency).canonical

    async def on_start(self) -> None:
        while True:
            await self._services.ready.wait()
            try:
                self.pool, head = await self._services.partition.store.load(self.pool_id)
                break
            except Unavailable:
                # The journal failed meanwhile. Callers have their own deadlines, so wait here for the next partition.
                await asyncio.sleep(0)
        self._log = PoolLog(self.pool_id, head)
        if is_stream(self.pool_id):
            # It holds no amounts.
            self._scale = self.pool.scale
        elif not self.pool.version:
            self.pool.scale = self._services.scales.of_new_pool(self._name.currency)

    def may_passivate(self) -> bool:
        return self._log.batch is None

    def on_stop(self, reason: StopReason) -> None:
        self._services.partition.store.leave(self, self._log.head)

    def receive(self, batch: list[Mail[Message]]) -> Awaitable[None] | None:
        try:
            lending = self._receive(batch)
        except BaseException:
            self._services.partition.store.forget(self)
            raise
        return lending if lending is None else self._trusted(lending)

    async def _trusted(self, lending: Awaitable[None]) -> None:
        try:
            await lending
        except BaseException:
            self._services.partition.store.forget(self)
            raise

    def _receive(self, batch: list[Mail[Message]]) -> Awaitable[None] | None:
        services, pool, pool_id, log = self._services, self.pool, self.pool_id, self._log
        now = services.now_us()
        self.let_time_pass(now)
        partition = services.partition
        keys, writer = partition.keys, partition.writer
        is_new, use_new, seed = keys.is_new, keys.use_new, keys.seed
        doubtful: list[tuple[Mail[Message], KeyedCommand, int]] = []
        lacking: list[tuple[Mail[Message], _Priced]] = []
        may_debit = self.keeps_scale and writer.failure is None and not partition.is_behind()
        section: OpenSection | None = None
        open_batch: Batch | None = None
        for mail in batch:
            message = mail.message
            # Debits come by the thousand, so they skip the checks for rarer messages.
            if not isinstance(message, Debit):
                if isinstance(message, Lease):
                    if doubtful:
                        self.context.spawn(self._look_up(doubtful))
                    if lacking:
                        self.context.spawn(self._report(lacking))
                    return self._lend(mail, message, batch[batch.index(mail) + 1 :])
                if isinstance(message, (Read, Check)):
                    self._answer(mail, self._read(message))
                    continue
                if isinstance(message, SETTING_COMMANDS):
                    section = None
                    self._answer(mail, self._execute(message, now, None, 0))
                    continue
                if self._lacks_rates(message):
                    lacking.append((mail, message))
                    continue
                if isinstance(message, Reverse):
                    self.context.spawn(self._reverse(mail, message))
                    continue
            prior = None
            key_hash = hash_key(pool_id, message.key, seed)
            if not is_new(key_hash):
                prior = keys.find_recent(pool_id, message.key, key_hash)
                if prior is None and key_hash in keys.seen:
                    doubtful.append((mail, message, key_hash))
                    continue
            elif may_debit and isinstance(message, Debit):
                debited = debit_plainly(pool, message, now)
                if debited is not None:
                    if section is None or open_batch is None:
                        # This cannot raise: the writer had not failed above, and nothing was awaited since.
                        section = writer.section(log)
                        open_batch = log.batch
                        assert open_batch is not None  # noqa: S101 - narrows the type: a section is in a batch
                        if pool.schedule:
                            section.due_at = pool.schedule[0][0]
                        partition.store.changed(self)
                    section.events.append(debited)
                    section.key_hashes.append(key_hash)
                    use_new(pool_id, debited, pool.version, key_hash)
                    open_batch.answers.append((mail, receipt_of(debited, pool.version, pool.scale, replayed=False)))
                    open_batch.events += 1
                    continue
            # The next events may go into another frame.
            section = None
            if isinstance(message, (Hold, Extend)) and (number := hold_behind(pool, message, prior)) is not None:
                ended, is_known = self.find_end(number)
                if not is_known:
                    doubtful.append((mail, message, key_hash))
                    continue
                self._answer(mail, self._execute(message, now, prior, key_hash, ended))
                continue
            self._answer(mail, self._execute(message, now, prior, key_hash))
        if doubtful:
            self.context.spawn(self._look_up(doubtful))
        if lacking:
            self.context.spawn(self._report(lacking))
        return None

    async def _lend(self, mail: Mail[Message], lease: Lease, rest: list[Mail[Message]]) -> None:
        """Lend the pool until the lease is over, then process the messages that came after it."""
        self._lease = lease
        try:
            mail.reply(self)
            await lease.over.wait()
        finally:
            self._lease = None
            lease.holds = False
        if rest and (another := self._receive(rest)) is not None:
            await another

    def let_time_pass(self, now: int) -> None:
        """Record the changes that were due in the pool by ``now``, such as expiries."""
        partition = self._services.partition
        schedule = self.pool.schedule
        if not schedule or schedule[0][0] > max(self.pool.clock, now) or partition.writer.failure is not None:
            return
        facts = pass_time(self.pool, now)
        if not facts:
            # What was due no longer matters, and an empty section would stay in the journal for ever.
            return
        check_totals(self.pool)
        section = partition.writer.section(self._log)
        self._hand_over(section, facts)
        self._note(section, facts, self.pool.version - len(facts))

    def find_end(self, hold: int) -> tuple[Prior | None, bool]:
        """Return the entry that settled ``hold``, if it is in memory, and whether there can be no other on disk."""
        keys, key = self._services.partition.keys, settlement_key(hold)
        key_hash = hash_key(self.pool_id, key, keys.seed)
        ended = keys.find_recent(self.pool_id, key, key_hash)
        return ended, ended is not None or key_hash not in keys.seen

    def _execute(
        self, command: Command, now: int, prior: Prior | None, key_hash: int, ended: Prior | None = None
    ) -> Receipt | SolventError:
        outcome = self.judge(self.pool, command, now, prior, ended)
        return self.record(outcome, key_hash) if isinstance(outcome, tuple) else outcome

    def judge(
        self, pool: Pool, command: Command, now: int, prior: Prior | None, ended: Prior | None = None
    ) -> tuple[Event, ...] | Receipt | SolventError:
        """Return the events that should happen to ``pool``, this actor's or a copy; if there are none, the answer.

        ``prior`` is the entry that used the key before, ``ended`` the one that settled the hold of ``hold_behind``.
        """
        services = self._services
        if pool.scale != self._scale:
            return self.scale_conflict()
        if isinstance(command, Report):
            priced = self._price(command, now)
            if not isinstance(priced, Debit):
                if prior is None:
                    return priced
                # It was priced the first time. Now only its answer is repeated, so any debit will do.
                priced = command.debit(0, 1)
            command = priced
        elif isinstance(command, CaptureReport):
            priced_capture = command.capture(0, 1) if prior is not None else self._price_capture(pool, command, now)
            if not isinstance(priced_capture, Capture):
                return priced_capture
            command = priced_capture
        outcome = decide(pool, command, now, prior=prior, ended=ended, scale=self._scale, limits=services.limits)
        if isinstance(outcome, tuple):
            return Overloaded(retry_after=RETRY_AFTER_S) if services.partition.is_behind() else outcome
        if isinstance(outcome, Repeat):
            return receipt_of_repeat(outcome, pool.scale)
        if isinstance(outcome, Unchanged):
            return unchanged(pool, outcome.next_at)
        if isinstance(command, (Debit, Hold)) and isinstance(outcome, (Insufficient, OverBudget)):
            services.refusals.add(self.pool_id, now, command.metric, bytes(command.dimensions))
        return explain(outcome, pool=str(self._name), scale=pool.scale)

    @property
    def keeps_scale(self) -> bool:
        """Whether the pool keeps the decimal places in which amounts are given."""
        return self.pool.scale == self._scale

    def scale_conflict(self) -> StateConflict:
        """Return the refusal of every amount for a pool that keeps other decimal places."""
        return StateConflict(
            "currency_scale",
            f"{self._name} keeps {self.pool.scale} decimal places of {self._name.currency}, "
            f"the engine was opened with {self._scale}",
        )

    def record(self, events: tuple[Event, ...], key_hash: int) -> Receipt | SolventError:
        """Apply ``events`` and hand them to the writer. Send the returned receipt only once they are durable."""
        partition, pool = self._services.partition, self.pool
        try:
            section = partition.writer.section(self._log)
        except Unavailable as error:
            return error
        version = pool.version
        for event in events:
            apply(pool, event)
        # Check before handing over: events that break the books must never reach the journal.
        check_totals(pool)
        self._hand_over(section, events)
        answer, answer_version = answering(events, version)
        if len(events) == 1 and isinstance(answer, KEYED) and not isinstance(answer, RechargeClosed):
            # The usual case, where the hash is known already.
            section.key_hashes.append(key_hash)
            partition.keys.use(self.pool_id, answer, answer_version, key_hash)
        else:
            self._note(section, events, version)
        opened = isinstance(events[0], Opened) and isinstance(answer, SETTINGS)
        return receipt_of(answer, answer_version, pool.scale, replayed=False, opened=opened)

    def _hand_over(self, section: OpenSection, events: Sequence[Event]) -> None:
        """Hand the writer ``events`` that were applied to the pool, and mark the pool as changed."""
        if self.pool.schedule:
            section.due_at = self.pool.schedule[0][0]
        section.events.extend(events)
        partition = self._services.partition
        partition.writer.added(self._log, len(events))
        partition.store.changed(self)

    def _note(self, section: OpenSection, events: Sequence[Event], version: int) -> None:
        """Note what ``events`` mean outside their pool: keys, notices, rate cards. The first made ``version`` + 1."""
        keys = self._services.partition.keys
        for place, event in enumerate(events, version + 1):
            if isinstance(event, KEYED):
                key_hash = hash_key(self.pool_id, event.key, keys.seed)
                section.key_hashes.append(key_hash)
                keys.use(self.pool_id, event, place, key_hash)
            if isinstance(event, NOTICES):
                section.has_notices = True
            if isinstance(event, RatesSet):
                self._services.rate_books.changed(self.pool_id)

    def open_section(self) -> None:
        """Reserve a section in the open frame. Pools that do so in one turn share it. Raises ``Unavailable``."""
        self._services.partition.writer.section(self._log)

    def append(self, events: tuple[Event, ...]) -> None:
        """Apply and hand over events that follow from another pool's, under no key of this pool."""
        section = self._services.partition.writer.section(self._log)
        for event in events:
            apply(self.pool, event)
        check_totals(self.pool)
        self._hand_over(section, events)
        self._note(section, events, self.pool.version - len(events))

    def _lacks_rates(self, command: object) -> TypeGuard[_Priced]:
        return isinstance(command, (Report, CaptureReport)) and self._rates not in self._services.rate_books

    def _price(self, report: Report, now: int) -> Debit | SolventError:
        """Return the debit for ``report``, or why it has no price."""
        priced = self._price_of(report.metric, report.quantity, report.dimensions, report.occurred_at, now)
        return priced if isinstance(priced, SolventError) else report.debit(*priced)

    def _price_capture(self, pool: Pool, report: CaptureReport, now: int) -> Capture | SolventError:
        """Return the capture for ``report`` of an open hold of ``pool``, or why there is none."""
        hold = pool.holds.get(report.hold)
        if hold is None:
            return explain(UnknownEntry("hold", report.hold), pool=str(self._name), scale=pool.scale)
        metric = report.metric or hold.metric
        if metric is None:
            return InvalidRequest("metric", "the metric of the quantity, which the hold does not name either")
        priced = self._price_of(metric, report.quantity, hold.dimensions, report.occurred_at, now)
        return priced if isinstance(priced, SolventError) else report.capture(*priced)

    def _price_of(
        self, metric: str, quantity: str, dimensions: msgspec.Raw, occurred_at: int | None, now: int
    ) -> tuple[int, int] | SolventError:
        """Return the units that usage costs and the version of the rate card that says so, or why it has no price."""
        book = self._services.rate_books.get(self._rates)
        if book is None:
            return Unavailable("the rate card has just changed: retry with the same key")
        version = book.at(max(self.pool.clock, now) if occurred_at is None else occurred_at)
        if version is None:
            return NotFound("rate card", f"{self._name.currency} of {self._name.environment} at that time")
        try:
            priced = price(version.card, metric, quantity, decode_dimensions(dimensions), self._scale)
        except SolventError as error:
            return error
        return priced.units, version.number

    def _answer(self, mail: Mail[Message], answer: object) -> None:
        batch = self._log.batch
        if batch is None:
            mail.reply(answer)
        else:
            batch.answers.append((mail, answer))

    def _read(self, read: Read | Check) -> Answer | RateBook | Due | Position | int | SolventError:
        if isinstance(read, Read) and read.what == "rates":
            return self.pool.rates or RateBook()
        if isinstance(read, Read) and read.what == "due":
            return Due(self.pool.schedule[0][0] if self.pool.schedule else None, self.pool.version)
        if isinstance(read, Read) and read.what == "outbox":
            return end_of(self.pool.outbox)
        if not self.pool.version:
            return NotFound("pool", str(self._name))
        if isinstance(read, Check):
            if not self.keeps_scale:
                return self.scale_conflict()
            return verdict_of(self.pool, str(self._name), read, max(self.pool.clock, self._services.now_us()))
        if read.what == "balance":
            return balance_of(self.pool, str(self._name))
        if read.what == "scale":
            return self.pool.scale
        if read.what == "alerts":
            return alerts_of(self.pool, str(self._name))
        return self._read_list(read.what, read.page or WHOLE)

    def _read_list(self, what: str, page: Page) -> Answer | SolventError:
        pool, name = self.pool, str(self._name)
        if what == "grants":
            return grants_of(pool, name, page, now=self._services.now_us())
        if what == "holds":
            return holds_of(pool, name, page)
        if what == "recurring":
            return recurring_of(pool, name, page)
        now = max(pool.clock, self._services.now_us())
        if what == "budgets":
            return budgets_of(pool, name, now, page)
        if what == "budget.counts":
            return budget_counts_of(pool, name, now, page)
        if what == "allowances":
            return allowances_of(pool, name, now, page)
        return allowance_counts_of(pool, name, now, page)

    async def _look_up(self, doubtful: list[tuple[Mail[Message], KeyedCommand, int]]) -> None:
        """Execute commands whose keys may have been used long ago, once the index shows which event used them."""
        keys = self._services.partition.keys
        while True:
            drops = keys.drops
            try:
                seen = [(command.key, key_hash) for _, command, key_hash in doubtful if key_hash in keys.seen]
                indexed = await self._services.partition.find_keys(self.pool_id, seen) if seen else {}
                indexed |= await self._find_ends(doubtful, indexed)
            except SolventError as error:
                for mail, _, _ in doubtful:
                    mail.fail(_of_look_up("key", error))
                return
            # A generation of recent keys that was dropped meanwhile may have held one of the keys, and the look-up may
            # have come before the index had it. Then look again.
            if drops == keys.drops:
                break
        while self._lease is not None:
            await self._lease.over.wait()
            await asyncio.sleep(0)
        try:
            now = self._services.now_us()
            self.let_time_pass(now)
            lacking: list[tuple[Mail[Message], _Priced]] = []
            for mail, command, key_hash in doubtful:
                if self._lacks_rates(command):
                    # The card was changed during the look-up.
                    lacking.append((mail, command))
                    continue
                prior = keys.find_recent(self.pool_id, command.key, key_hash) or indexed.get(command.key)
                number, ended = hold_behind(self.pool, command, prior), None
                if number is not None:
                    ended = self.find_end(number)[0] or indexed.get(settlement_key(number))
                self._answer(mail, self._execute(command, now, prior, key_hash, ended))
            if lacking:
                self.context.spawn(self._report(lacking))
        except BaseException:
            self._services.partition.store.forget(self)
            raise

    async def _find_ends(
        self, doubtful: list[tuple[Mail[Message], KeyedCommand, int]], indexed: dict[str, Prior]
    ) -> dict[str, Prior]:
        """Return the ends of settled holds that commands ask about, by their keys, as far as only the index has them.

        ``indexed`` are the events that used the keys of the commands.
        """
        keys, wanted = self._services.partition.keys, dict[str, int]()
        for _, command, key_hash in doubtful:
            prior = keys.find_recent(self.pool_id, command.key, key_hash) or indexed.get(command.key)
            number = hold_behind(self.pool, command, prior)
            if number is not None and not self.find_end(number)[1]:
                wanted[settlement_key(number)] = hash_key(self.pool_id, settlement_key(number), keys.seed)
        return await self._services.partition.find_keys(self.pool_id, list(wanted.items())) if wanted else {}

    async def _report(self, reports: list[tuple[Mail[Message], _Priced]]) -> None:
        """Read the rate cards, then execute the reports like commands whose keys may have been used before."""
        try:
            await self._services.rate_books.load(self.pool_id)
        except SolventError as error:
            for mail, _ in reports:
                mail.fail(Unavailable(f"the rate cards could not be read, retry with the same key: {error}"))
            return
        seed = self._services.partition.keys.seed
        await self._look_up([(mail, report, hash_key(self.pool_id, report.key, seed)) for mail, report in reports])

    async def _reverse(self, mail: Mail[Message], command: Reverse) -> None:
        """Find the debit in the journal, then execute the reversal like any command whose key may not be new."""
        try:
            found = await self._services.partition.find_entry(self.pool_id, command.debit)
        except SolventError as error:
            mail.fail(_of_look_up("debit", error))
            return
        command = completed(command, found)
        key_hash = hash_key(self.pool_id, command.key, self._services.partition.keys.seed)
        await self._look_up([(mail, command, key_hash)])


def _of_look_up(what: str, error: SolventError) -> SolventError:
    """Return the error for the caller. Damage is passed on as it is, because a retry does not help."""
    if isinstance(error, JournalCorrupt):
        return error
    return Unavailable(f"the {what} could not be looked up, retry with the same key: {error}")
