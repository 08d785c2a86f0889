"""Several commands as one, on one pool or on several of a customer: all of them happen or none.

The pools are borrowed from their actors, in the order of their names, so that no two callers wait for each other.
All commands are first judged on copies. Only if none is refused do the events go to the writer, all into the same
frame. A crash leaves the whole frame or none of it. Other callers of these pools wait for about one commit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from solvent.actors import Family
from solvent.engine.api.receipts import Receipt
from solvent.engine.projections.keys import hash_key
from solvent.engine.rules.commands import (
    CaptureReport,
    KeyedCommand,
    Release,
    Report,
    Reverse,
    Transfer,
    settlement_key,
)
from solvent.engine.rules.decisions.debits import completed
from solvent.engine.rules.decisions.repeats import hold_behind
from solvent.engine.rules.decisions.transfers import check_target, opening, receive
from solvent.engine.rules.events import KEYED, Event, MovedOut, answering
from solvent.engine.rules.evolve import apply
from solvent.engine.rules.explaining import explain
from solvent.engine.rules.outcomes import Prior, Unfit
from solvent.engine.rules.pool import Pool, check_totals, clone
from solvent.engine.values.errors import JournalError, SolventError, StateConflict, Unavailable
from solvent.engine.values.pool_id import PoolId, parse_canonical

from .actor import Lease, Message, PoolActor
from .partition import Partition
from .services import Services

T = TypeVar("T")


class Borrowed:
    """The actors of borrowed pools. They process nothing else while this is held."""

    def __init__(self, actors: dict[str, PoolActor], leases: Sequence[Lease]) -> None:
        self.actors = actors
        self._leases = leases

    def check(self) -> None:
        """Raise ``Unavailable`` if an actor was lost: its pool may have changed. Call this after every await."""
        if not all(lease.holds for lease in self._leases):
            raise Unavailable(
                "the journal is being read again after a failure: nothing was written, retry with the same keys"
            )


@asynccontextmanager
async def borrowed(services: Services, family: Family[Message], pools: Sequence[PoolId]) -> AsyncIterator[Borrowed]:
    """Borrow ``pools`` for the length of a block.

    Raises ``ActorError`` or ``Overloaded`` if they are not free in time, ``TooLarge`` if they never can be.
    """
    names = sorted({pool.canonical for pool in pools})
    leases: list[Lease] = []
    actors: dict[str, PoolActor] = {}
    async with services.loans.places(len(names), timeout_s=family.options.default_timeout_s):
        try:
            for name in names:
                lease = Lease()
                leases.append(lease)
                actors[name] = await family.ask(name, lease)
            yield Borrowed(actors, leases)
        finally:
            for lease in leases:
                lease.over.set()


async def priors_of(partition: Partition, commands: Sequence[tuple[str, KeyedCommand]]) -> dict[tuple[str, str], Prior]:
    """Return the events that used the keys of ``commands`` before, by pool and key."""
    keys, found = partition.keys, dict[tuple[str, str], Prior]()
    doubtful: dict[str, list[tuple[str, int]]] = {}
    for pool, command in commands:
        key_hash = hash_key(pool, command.key, keys.seed)
        prior = keys.find_recent(pool, command.key, key_hash)
        if prior is not None:
            found[pool, command.key] = prior
        elif key_hash in keys.seen:
            doubtful.setdefault(pool, []).append((command.key, key_hash))
    for pool, wanted in doubtful.items():
        while True:
            drops = keys.drops
            indexed = await partition.find_keys(pool, wanted)
            # A generation of recent keys that was dropped meanwhile may have held a key, and the look-up may have come
            # before the index had it. Then look again.
            if drops == keys.drops:
                break
        found.update({(pool, key): prior for key, prior in indexed.items()})
    return found


async def do_together(
    services: Services, family: Family[Message], commands: Sequence[tuple[PoolId, KeyedCommand]]
) -> list[Receipt | SolventError]:
    """Do all of ``commands`` or none. If one is refused, the others get ``StateConflict`` (batch_refused).

    Raises ``ActorError``, ``JournalError``, ``Unavailable``.
    """
    pools = [pool for pool, _ in commands]
    async with borrowed(services, family, pools) as lent:
        partition = services.partition
        named: list[tuple[str, KeyedCommand]] = []
        for pool, command in commands:
            named.append((pool.canonical, await _complete(services, pool.canonical, command)))
        priors = await priors_of(partition, named)
        priors |= await priors_of(partition, _ends_behind(lent, named, priors))
        lent.check()
        now = services.now_us()
        for actor in lent.actors.values():
            actor.let_time_pass(now)
        copies = {name: clone(actor.pool) for name, actor in lent.actors.items()}
        judged: list[tuple[Event, ...] | Receipt | SolventError] = []
        for name, command in named:
            prior, ended = priors.get((name, command.key)), None
            if (number := hold_behind(copies[name], command, prior)) is not None:
                # A hold may have expired just now, or be settled by this batch.
                ended = priors.get((name, settlement_key(number))) or lent.actors[name].find_end(number)[0]
            outcome = lent.actors[name].judge(copies[name], command, now, prior, ended)
            judged.append(outcome)
            if isinstance(outcome, tuple):
                _try_out(copies[name], outcome)
                event, version = answering(outcome, copies[name].version - len(outcome))
                if isinstance(event, KEYED):
                    priors[name, command.key] = (event, version)
        if any(isinstance(outcome, SolventError) for outcome in judged):
            refused = StateConflict("batch_refused", "another command of this batch was refused, so none was done")
            answers = [refused if isinstance(outcome, tuple) else outcome for outcome in judged]
        else:
            answers = _record(partition, lent, [(name, command.key) for name, command in named], judged)
    # A refusal and a repeated receipt wait as well: they may depend on events that are not durable yet.
    await _durable(partition)
    return answers


def _ends_behind(
    lent: Borrowed, commands: Sequence[tuple[str, KeyedCommand]], priors: dict[tuple[str, str], Prior]
) -> list[tuple[str, KeyedCommand]]:
    """Return stand-ins for what settled the holds that commands ask about: they have its keys."""
    behind = [
        (name, hold_behind(lent.actors[name].pool, command, priors.get((name, command.key))))
        for name, command in commands
    ]
    return [(name, Release(number)) for name, number in behind if number is not None]


def _record(
    partition: Partition,
    lent: Borrowed,
    keys: Sequence[tuple[str, str]],
    judged: Sequence[tuple[Event, ...] | Receipt | SolventError],
) -> list[Receipt | SolventError]:
    """Put all events into one frame."""
    # Open all sections first: if the frame fills up in between, a later section would begin the next frame.
    for name in dict.fromkeys(
        name for (name, _), outcome in zip(keys, judged, strict=True) if isinstance(outcome, tuple)
    ):
        lent.actors[name].open_section()
    answers: list[Receipt | SolventError] = []
    for (name, key), outcome in zip(keys, judged, strict=True):
        if isinstance(outcome, tuple):
            outcome = lent.actors[name].record(outcome, hash_key(name, key, partition.keys.seed))
        answers.append(outcome)
    return answers


async def transfer(
    services: Services, family: Family[Message], source: PoolId, target: PoolId, command: Transfer
) -> Receipt | SolventError:
    """Move credits from ``source`` to ``target``. Raises ``ActorError``, ``JournalError``, ``Unavailable``."""
    async with borrowed(services, family, [source, target]) as lent:
        partition = services.partition
        priors = await priors_of(partition, [(source.canonical, command)])
        lent.check()
        now = services.now_us()
        for actor in lent.actors.values():
            actor.let_time_pass(now)
        giving, getting = lent.actors[source.canonical], lent.actors[target.canonical]
        if not getting.keeps_scale:
            return getting.scale_conflict()
        prior = priors.get((source.canonical, command.key))
        unknown = None if prior is not None else check_target(getting.pool, command)
        if unknown is not None:
            answer: Receipt | SolventError = explain(unknown, pool=str(target), scale=getting.pool.scale)
        elif isinstance(outcome := giving.judge(giving.pool, command, now, prior), tuple):
            if not getting.pool.version:
                outcome = opening(outcome)
            answer = _move(services, giving, getting, outcome, now)
        else:
            answer = outcome
    # A refusal and a repeated receipt wait as well: they may depend on events that are not durable yet.
    await _durable(partition)
    return answer


def _move(
    services: Services, giving: PoolActor, getting: PoolActor, outcome: tuple[Event, ...], now: int
) -> Receipt | SolventError:
    """Put both sides of a transfer into one frame."""
    moved = outcome[0]  # Any others are notices about it.
    assert isinstance(moved, MovedOut)  # noqa: S101 - narrows the type: what a transfer is decided to be
    arrived = receive(getting.pool, giving.pool, giving.pool_id, moved, now, scale=getting.pool.scale)
    if isinstance(arrived, Unfit):
        return explain(arrived, pool=str(parse_canonical(getting.pool_id)), scale=getting.pool.scale)
    # Try both on copies first: once one half is with the writer, the other must not fail.
    _try_out(clone(giving.pool), outcome)
    _try_out(clone(getting.pool), arrived)
    giving.open_section()
    getting.open_section()
    getting.append(arrived)
    return giving.record(outcome, hash_key(giving.pool_id, moved.key, services.partition.keys.seed))


async def _complete(services: Services, pool: str, command: KeyedCommand) -> KeyedCommand:
    """Look up what a command needs besides its pool's state."""
    if isinstance(command, Reverse):
        return completed(command, await services.partition.find_entry(pool, command.debit))
    if isinstance(command, (Report, CaptureReport)):
        await services.rate_books.load(pool)
    return command


def _try_out(pool: Pool, events: Sequence[Event]) -> None:
    for event in events:
        apply(pool, event)
    check_totals(pool)


async def _durable(partition: Partition) -> None:
    try:
        await partition.writer.barrier()
    except JournalError as error:
        raise Unavailable(f"the outcome is unknown, retry with the same keys: {error}") from error
