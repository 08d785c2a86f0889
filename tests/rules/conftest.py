"""What the tests of rules share: a pool that is asked something, as its actor asks it."""

from __future__ import annotations

from typing import TypeVar

from solvent.engine.rules.commands import PoolCommand, SettingCommand
from solvent.engine.rules.decide import decide
from solvent.engine.rules.due import pass_time
from solvent.engine.rules.events import Event, answering
from solvent.engine.rules.evolve import apply
from solvent.engine.rules.pool import Pool, check_books

E = TypeVar("E", bound=Event)


def accepted(pool: Pool, command: PoolCommand | SettingCommand, now: int, kind: type[E]) -> E:
    """Apply ``command`` to ``pool`` at ``now``, and what is due before it. Returns the event that answers it."""
    pass_time(pool, now)
    outcome = decide(pool, command, now)
    assert isinstance(outcome, tuple), outcome
    version = pool.version
    for event in outcome:
        apply(pool, event)
    check_books(pool)
    answer, _ = answering(outcome, version)
    assert isinstance(answer, kind)
    return answer
