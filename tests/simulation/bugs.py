"""Faults planted in the engine, to show that a simulation finds what it is there to find."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from solvent.engine import decide, snapshots, store, writer
from solvent.engine.events import Held, Released
from solvent.engine.evolve import apply
from solvent.engine.keys import KeyBook
from solvent.engine.pool import Pool
from solvent.engine.seen import SeenKeys


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
    take = decide._take

    def off_by_one(pool: Pool, amount: int) -> Any:
        blocks = [block for block in pool.burn if block.available]
        if len(blocks) < 2 or amount > blocks[1].available:
            return take(pool, amount)
        return ((blocks[1].number, amount),)

    decide._take = off_by_one


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
    )
}
