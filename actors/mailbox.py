"""One message on its way to an actor and back, and the mailbox it waits in.

Everything here belongs to the loop's thread. A mailbox (``Cell``) exists while its actor is resident or has mail; the
actor inside may be replaced after a crash, the cell and what waits in it stay. A message counts as *pending* from the
moment it is accepted until it is answered (an ask) or delivered (a tell).

Invariant of every cell: ``pending`` is the number of mails that still name the cell, and those are the ones in
``inbox`` plus the unsettled ones in ``unanswered``.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    from .actor import Actor, Context
    from .answers import Place
    from .residents import Residents

__all__ = ["Cell", "Mail", "State", "reply_all"]

M = TypeVar("M")


class Mail(msgspec.Struct, Generic[M], eq=False, gc=False):
    """A message in an actor's hands. Answer it once, now or later; whatever comes second changes nothing.

    ``deadline`` is the loop time (seconds) after which the caller no longer waits; infinity for a tell. A caller that
    leaves does not free the mail's place in the bound: the actor still has it, and ``reply`` or ``fail`` ends it.

    A msgspec Struct because one is made per message: a quarter of the time a class with ``__init__`` takes. The
    collector need not know of it: a mail forgets its cell when it is answered, and every mail is.
    """

    message: M
    deadline: float
    _future: asyncio.Future[Any] | Place
    _cell: Cell[M] | None

    def reply(self, value: object) -> None:
        """Answer the caller. Harmless after an earlier answer, a crash, or once the caller has gone."""
        cell = self._cell
        if cell is None:
            return
        if self._future.done():
            cell.family.unclaimed(self, cell.key)
        else:
            self._future.set_result(value)
        self._abandon(None)
        if not cell.pending and not cell.attended:
            cell.family.grow_quiet(cell)

    def fail(self, exc: BaseException) -> None:
        """Answer the caller with an exception. Harmless where ``reply`` is.

        Raises TypeError for a StopIteration, which a future cannot carry.
        """
        cell = self._cell
        if cell is None:
            return
        if self._future.done():
            cell.family.unclaimed(self, cell.key)
        else:
            self._future.set_exception(exc)
        self._abandon(None)
        if not cell.pending and not cell.attended:
            cell.family.grow_quiet(cell)

    def _abandon(self, error: BaseException | None) -> None:
        """Take the mail out of the count and, with an error, tell its caller. The cell is for the runtime to see to."""
        cell = self._cell
        if cell is None:
            return
        self._cell = None
        cell.pending -= 1
        cell.family.pending -= 1
        if error is not None and not self._future.done():
            self._future.set_exception(error)


def reply_all(answers: Iterable[tuple[Mail[Any], object]]) -> None:
    """Answer many callers, each as ``Mail.reply`` does."""
    # Spelled out: the hottest lines of the runtime.
    for mail, value in answers:
        cell = mail._cell
        if cell is None:
            continue
        future = mail._future
        if future.done():
            cell.family.unclaimed(mail, cell.key)
        else:
            future.set_result(value)
        mail._cell = None
        cell.pending = pending = cell.pending - 1
        cell.family.pending -= 1
        if not pending and not cell.attended:
            cell.family.grow_quiet(cell)


class State(enum.Enum):
    """Where a cell is in its life. It has an actor in STARTING, READY and BUSY."""

    NEW = "new"  # has mail, wants a seat
    SEATED = "seated"  # its turn to start comes
    STARTING = "starting"  # on_start runs
    READY = "ready"  # can be handed a batch
    BUSY = "busy"  # an awaitable receive runs
    BACKOFF = "backoff"  # crashed, keeps its seat, will restart
    GONE = "gone"  # passivated, given up or stopped; the family no longer knows it


class Cell(Generic[M]):
    """The private side of one key: its mailbox, its actor and where both stand."""

    __slots__ = (
        "actor",
        "attended",
        "family",
        "inbox",
        "key",
        "life",
        "pending",
        "restart",
        "rested_at",
        "state",
        "tasks",
        "tells",
        "unanswered",
        "watched",
    )

    def __init__(self, family: Residents[M], key: str) -> None:
        self.family = family
        self.key = key
        self.state = State.NEW
        self.inbox: list[Mail[M]] = []
        # Delivered mail, some of it perhaps settled since: settled entries are dropped in bulk, not one by one.
        self.unanswered: list[Mail[M]] = []
        self.pending = 0
        self.tells = 0  # tells in the inbox
        # True while somebody is bound to look at this cell: the ready list, or whoever starts, restarts or runs the
        # actor. Only an unattended cell needs to be put on the ready list when mail arrives.
        self.attended = True
        self.watched = False  # in the family's list for the sweep
        self.actor: Actor[M] | None = None
        self.life: Context[M] | None = None  # one per incarnation: what belongs to it dies with it
        self.tasks = 0  # owned tasks not yet ended, those of earlier incarnations included
        self.restart: asyncio.TimerHandle | None = None
        self.rested_at = inf
