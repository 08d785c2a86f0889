"""Faults planted in the engine, to show that a simulation finds what it is there to find."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import takewhile
from typing import Any

from solvent import Balance
from solvent.engine.journal import writer
from solvent.engine.pools import actor as pool_actor
from solvent.engine.pools import atomic as together
from solvent.engine.projections import snapshots, store
from solvent.engine.projections.key_filters import SeenKeys
from solvent.engine.projections.keys import KeyBook
from solvent.engine.reads.feed import Feed
from solvent.engine.rules import alerting as watch
from solvent.engine.rules import budgets, burning, decide
from solvent.engine.rules import due as passing
from solvent.engine.rules.budgets import Charges
from solvent.engine.rules.decisions import debits, holds
from solvent.engine.rules.events import Event, Granted, Held, RechargeClosed, RechargeRequested, Released
from solvent.engine.rules.evolve import apply
from solvent.engine.rules.pool import Pool
from solvent.engine.values.positions import Position, end_of


def acknowledge_before_the_flush() -> None:
    """Callers are answered when their frame is full, not when it is durable."""
    commit = writer.Writer._commit

    async def hasty(self: writer.Writer, batch: writer.Batch) -> None:
        for mail, answer in batch.answers:
            mail.reply(answer)
        batch.answers.clear()
        await commit(self, batch)

    writer.Writer._commit = hasty  # type: ignore[method-assign]


def lose_a_key() -> None:
    """A filter says of one key in eight that it is new, whatever it has seen."""
    contains = SeenKeys.__contains__

    def forgetful(self: SeenKeys, key_hash: int) -> bool:
        return bool(key_hash % 8) and contains(self, key_hash)

    SeenKeys.__contains__ = forgetful  # type: ignore[method-assign]


def forget_keys_with_their_generation() -> None:
    """Keys in memory are given up a round too early, before the index has them."""
    begin = KeyBook.begin_generation

    def early(self: KeyBook) -> None:
        begin(self)
        self._sealing = {}

    KeyBook.begin_generation = early  # type: ignore[method-assign]


def burn_the_second_grant_first() -> None:
    """Burn order is off by one."""
    take = burning.take

    def off_by_one(pool: Pool, amount: int) -> Any:
        blocks = [block for block in pool.burn if block.available]
        if len(blocks) < 2 or amount > blocks[1].available:
            return take(pool, amount)
        return ((blocks[1].number, amount),)

    debits.take = holds.take = off_by_one  # type: ignore[attr-defined]


def forget_a_hold_at_recovery() -> None:
    """A snapshot is read back without the holds that are open."""
    decode = snapshots.decode_pool

    def without_holds(body: bytes) -> Pool:
        pool = decode(body)
        version = pool.version
        for number, hold in list(pool.holds.items()):
            balance = pool.available + hold.amount
            apply(pool, Released(pool.clock, number, hold.amount, balance, hold.parts, 0, None, hold.dimensions))
        pool.version = version
        return pool

    snapshots.decode_pool = without_holds


def skip_an_event_at_recovery() -> None:
    """What was held since the snapshot is not read back from the journal."""

    def skipping(pool: Pool, event: Any) -> None:
        if isinstance(event, Held):
            pool.version += 1
            return
        apply(pool, event)

    store.apply = skipping  # type: ignore[attr-defined]


def go_on_after_a_failed_flush() -> None:
    """A frame that could not be written is taken for written."""
    from .disk import SimulatedJournal

    append = SimulatedJournal.append

    async def careless(self: SimulatedJournal, frame: Any) -> None:
        try:
            await append(self, frame)
        except Exception:  # noqa: BLE001 - the bug that is planted
            self._frames.append(frame)

    SimulatedJournal.append = careless  # type: ignore[method-assign]


def tear_a_transfer_apart() -> None:
    """What leaves a pool and what arrives in the other are written into two frames."""
    append = pool_actor.PoolActor.append

    def torn(self: pool_actor.PoolActor, events: tuple[Any, ...]) -> None:
        append(self, events)
        _begin_another_frame(self)

    pool_actor.PoolActor.open_section = lambda self: None  # type: ignore[method-assign]
    pool_actor.PoolActor.append = torn  # type: ignore[method-assign]


def tear_an_atomic_batch_apart() -> None:
    """Each command of an atomic batch has a frame of its own."""
    record = together._record

    def apart(partition: Any, lent: together.Borrowed, keys: Any, judged: Any) -> list[Any]:
        answers: list[Any] = []
        for key, outcome in zip(keys, judged, strict=True):
            answers += record(partition, lent, [key], [outcome])
            _begin_another_frame(lent.actors[key[0]])
        return answers

    pool_actor.PoolActor.open_section = lambda self: None  # type: ignore[method-assign]
    together._record = apart


def _begin_another_frame(actor: pool_actor.PoolActor) -> None:
    """What is given to the writer from here on goes into the next frame."""
    of = actor._services.partition.writer
    if of._open.sections:
        of._full.append(of._open)
        of._open = writer.Batch()
        of._wake.set()


def read_what_is_not_durable() -> None:
    """A balance is answered at once, though the debits that it counts are still being written."""
    answer = pool_actor.PoolActor._answer

    def eager(self: pool_actor.PoolActor, mail: Any, told: object) -> None:
        if isinstance(told, Balance):
            mail.reply(told)
        else:
            answer(self, mail, told)

    pool_actor.PoolActor._answer = eager  # type: ignore[method-assign, assignment]


def let_a_budget_pass() -> None:
    """A budget looks at what is used before an amount, not after it."""
    charge = budgets.charge

    def lenient(all_budgets: Any, dimensions: Any, at: int, amount: int, *, hold: bool = False) -> Charges:
        charged = charge(all_budgets, dimensions, at, amount, hold=hold)
        return charged if charge(all_budgets, dimensions, at, 1).stop is not None else charged._replace(stop=None)

    debits.charge = holds.charge = lenient  # type: ignore[attr-defined, assignment]


def forget_what_was_free() -> None:
    """A snapshot is read back with all allowances unused."""
    decode = snapshots.decode_pool

    def unused(body: bytes) -> Pool:
        pool = decode(body)
        for allowance in pool.allowances.values():
            allowance.used.clear()
        return pool

    snapshots.decode_pool = unused


def forget_what_was_reversed() -> None:
    """A snapshot is read back as if no debit had been reversed."""
    decode = snapshots.decode_pool

    def unreversed(body: bytes) -> Pool:
        pool = decode(body)
        pool.reversed.clear()
        return pool

    snapshots.decode_pool = unreversed


def spend_what_has_expired() -> None:
    """Time does nothing to grants and holds before the sweep comes by."""
    pool_actor.PoolActor.let_time_pass = lambda self, now: None  # type: ignore[method-assign]


def publish_from_now_on() -> None:
    """A service that starts publishes what happens from then on, and does not look back."""

    async def end(self: Feed, publisher: str) -> Position:
        return end_of((await self._pools.partition()).writer.last_number)

    Feed.published = end  # type: ignore[method-assign]


def answer_another_key() -> None:
    """Of a key in memory only the hash is compared, and of that only a part."""
    find = KeyBook.find_recent

    def confused(self: KeyBook, pool: str, key: str, key_hash: int) -> Any:
        for generation in (self._recent, self._sealing):
            for other, use in generation.items():
                if use.pool == pool and other % 64 == key_hash % 64:
                    return use.event, use.version
        return find(self, pool, key, key_hash)

    KeyBook.is_new = lambda self, key_hash: False  # type: ignore[method-assign]
    KeyBook.find_recent = confused  # type: ignore[method-assign]


def recharge_while_a_request_is_open() -> None:
    """A request that a snapshot had is forgotten, so a second is made beside it."""
    decode = snapshots.decode_pool

    def unasked(body: bytes) -> Pool:
        pool = decode(body)
        if pool.alerts is not None:
            pool.alerts.recharge.request = 0
        return pool

    snapshots.decode_pool = unasked


def ask_only_when_something_is_spent() -> None:
    """What a request left open, by its grant or by its end, is asked for when something lessens the balance."""
    with_alerts = watch.with_alerts

    def edge_triggered(pool: Pool, events: tuple[Event, ...]) -> tuple[Event, ...]:
        told = with_alerts(pool, events)
        if not isinstance(events[0], (Granted, RechargeClosed)):
            return told
        return events + tuple(takewhile(lambda event: not isinstance(event, RechargeRequested), told[len(events) :]))

    decide.with_alerts = passing.with_alerts = edge_triggered  # type: ignore[attr-defined]
    passing.recharge_of = lambda pool, at: ()  # type: ignore[attr-defined]


BUGS: Mapping[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        acknowledge_before_the_flush,
        lose_a_key,
        forget_keys_with_their_generation,
        burn_the_second_grant_first,
        forget_a_hold_at_recovery,
        skip_an_event_at_recovery,
        go_on_after_a_failed_flush,
        tear_a_transfer_apart,
        tear_an_atomic_batch_apart,
        read_what_is_not_durable,
        let_a_budget_pass,
        forget_what_was_free,
        forget_what_was_reversed,
        spend_what_has_expired,
        publish_from_now_on,
        answer_another_key,
        recharge_while_a_request_is_open,
        ask_only_when_something_is_spent,
    )
}
