"""All actors of one kind, addressed by key.

Actors are virtual: a key has no object, no task and no entry anywhere until a message for it arrives, and none again
after passivation. All methods are for the loop's own thread; none of them waits. A caller that is cancelled loses
only its answer: mail still waiting is dropped, mail already delivered is carried out.

Invariant: no mailbox takes a caller's message beyond ``mailbox_max``, nor the family one beyond ``pending_max``. Both
count what is waiting and what the actor has not answered yet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from .answers import Place
from .errors import ActorError, ActorFailed, Stopped
from .mailbox import Cell, Mail
from .residents import Residents
from .statistics import Counters, Statistics

__all__ = ["ActorRef", "Family"]

M = TypeVar("M")

_log = logging.getLogger(__name__)


class Family(Residents[M]):
    """All actors of one kind. Made by ``ActorSystem.register``."""

    def ask(self, key: str, message: M, *, timeout_s: float | None = None) -> asyncio.Future[Any]:
        """Send a message and return the future of its answer.

        The future ends with the actor's answer, or with one of the runtime's errors: DeadlineExceeded after
        ``timeout_s`` seconds (default: ``default_timeout_s``; late by at most the system's sweep interval),
        ActorCrashed, ActorFailed or Stopped. Cancelling it withdraws a message that has not been delivered.

        Raises at once, with nothing sent: MailboxFull, ActorFailed, Stopped.
        """
        if self.pending >= self._pending_max:
            raise self._refusal(key)
        cell = self._cells.get(key)
        if cell is None:
            cell = self._open(key)
        if cell.pending >= self._mailbox_max:
            raise self._refusal(key)
        future: asyncio.Future[Any] = asyncio.Future(loop=self._loop)
        deadline = self._time() + (self._timeout_s if timeout_s is None else timeout_s)
        cell.inbox.append(Mail(message, deadline, future, cell))
        cell.pending += 1
        self.pending += 1
        if not cell.attended:
            self.call_attention(cell)
        return future

    def ask_all(self, asks: Iterable[tuple[str, M, Place]]) -> None:
        """Send many messages, each with the place of its answer; those of one key arrive in this order.

        As ``ask``, except that what ``ask`` would raise is put into the place instead.
        """
        deadline = self._time() + self._timeout_s
        last_key: str | None = None
        cell: Cell[M] | None = None
        for key, message, place in asks:
            if key is not last_key or cell is None:
                last_key, cell = key, self._cells.get(key)
            if self.pending >= self._pending_max:
                place.set_exception(self._refusal(key))
                continue
            if cell is None:
                try:
                    cell = self._open(key)
                except ActorError as error:
                    place.set_exception(error)
                    continue
            if cell.pending >= self._mailbox_max:
                place.set_exception(self._refusal(key))
                continue
            cell.inbox.append(Mail(message, deadline, place, cell))
            cell.pending += 1
            self.pending += 1
            if not cell.attended:
                self.call_attention(cell)

    def tell(self, key: str, message: M) -> None:
        """Send a message that wants no answer. It is delivered at most once.

        Raises at once, with nothing sent: MailboxFull, ActorFailed, Stopped.
        """
        if self.pending >= self._pending_max:
            raise self._refusal(key)
        cell = self._cells.get(key)
        if cell is None:
            cell = self._open(key)
        if cell.pending >= self._mailbox_max:
            raise self._refusal(key)
        self.post(cell, message)

    def ref(self, key: str) -> ActorRef[M]:
        """Return a handle on one key. It keeps nothing alive and stays good through passivation and crashes."""
        return ActorRef(self, key)

    def crash(self, key: str, exc: BaseException, *, counts: bool = True) -> bool:
        """Drop an actor's state because somebody outside found that it cannot be trusted.

        Unanswered mail fails with ``exc`` itself; mail not yet delivered is kept for the next instance. With
        ``counts=False`` the restart is immediate and is not held against the actor. Return False if no instance of
        the key is alive, so that there was no state to drop. Raises TypeError for a StopIteration, which a future
        cannot carry.
        """
        if isinstance(exc, StopIteration):
            raise TypeError("StopIteration cannot be told to a caller")
        cell = self._cells.get(key)
        if cell is None or cell.life is None:
            return False
        _log.info("%s/%s was crashed from outside: %r", self.name, key, exc)
        self._fall(cell, exc, told=exc, counts=counts)
        return True

    def crash_all(self, exc: BaseException, keys: Iterable[str] | None = None, *, counts: bool = True) -> int:
        """Do what ``crash`` does to each of ``keys``, or to every living actor. Return how many were alive."""
        return sum([self.crash(key, exc, counts=counts) for key in (tuple(self._cells) if keys is None else keys)])

    @property
    def resident(self) -> int:
        """Actors holding a seat now; never more than ``resident_max``."""
        return self._resident

    def statistics(self) -> Statistics:
        """Return the family's numbers of this moment."""
        counters = {name: getattr(self._counters, name) for name in Counters.__slots__}
        return Statistics(resident=self._resident, queued=len(self._queue), pending=self.pending, **counters)

    def _refusal(self, key: str) -> ActorError:
        if self._system.stopping:
            return Stopped(family=self.name, key=key)
        if self.pending >= self._pending_max:
            return self.full(key, "family", self.pending, self._pending_max)
        return self.full(key, "mailbox", self._cells[key].pending, self._mailbox_max)

    def _open(self, key: str) -> Cell[M]:
        failure = self._crash_log.failure(key, self._time())
        if failure is not None:
            cause, retry_after_s = failure
            raise ActorFailed(family=self.name, key=key, cause=cause, retry_after_s=retry_after_s)
        if key in self._lingering:
            cause, retry_after_s = self._lingering[key], self.options.retry_after_s
            raise ActorFailed(family=self.name, key=key, cause=cause, retry_after_s=retry_after_s)
        cell = self._cells[key] = Cell(self, key)
        self._watch(cell)
        self._system.enqueue(cell)
        return cell


class ActorRef(Generic[M]):
    """One actor's address."""

    __slots__ = ("_family", "key")

    def __init__(self, family: Family[M], key: str) -> None:
        self._family = family
        self.key = key

    def ask(self, message: M, *, timeout_s: float | None = None) -> asyncio.Future[Any]:
        """``Family.ask`` for this key."""
        return self._family.ask(self.key, message, timeout_s=timeout_s)

    def tell(self, message: M) -> None:
        """``Family.tell`` for this key."""
        self._family.tell(self.key, message)

    def __repr__(self) -> str:
        return f"<ActorRef {self._family.name}/{self.key}>"
