"""The runtime side of a family: who has a seat, whose turn it is, what follows a crash, what is past its deadline.

``Family`` adds what callers use. Everything here runs on the loop's thread and none of it waits. A cell's way:

    NEW -> SEATED -> STARTING -> READY <-> BUSY -> GONE
              ^------ BACKOFF <---- a crash in any state with an actor

Invariants, between any two turns of the loop: ``resident <= resident_max``, and every pending ask belongs to a cell
that the ready list, an owned task, a restart, the seat queue or its actor's own answer will come back to. The sweep
ends what outlives its deadline in any of those places. This is the supervisor: it alone catches ``Exception``, and
``CancelledError`` out of a plain method, where nobody can have been cancelled: it came out of a cancelled future's
result, and passed on it would end the turn, the sweep or the stop in which others wait to be seen to.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from .actor import Actor, Context, StopReason
from .deadletters import Reason
from .errors import ActorCrashed, ActorFailed, DeadlineExceeded, Full, MailboxFull, Stopped
from .mailbox import Cell, Mail, State
from .options import Options
from .statistics import Counters
from .supervision import CrashLog

if TYPE_CHECKING:
    from .system import ActorSystem

__all__ = ["Residents"]

M = TypeVar("M")

_log = logging.getLogger(__name__)

# Attribute look-ups on an enum class are slow enough to show in the hot path.
_NEW: Final = State.NEW
_READY: Final = State.READY


class Residents(Generic[M]):
    """The cells of one family and all that happens to them."""

    def __init__(self, system: ActorSystem, name: str, factory: Callable[[str], Actor[M]], options: Options) -> None:
        self.name = name
        self.options = options
        self.pending = 0
        self._system = system
        self._loop = system.loop
        self._time = system.loop.time
        self._factory = factory
        self._counters = Counters()
        self._crash_log = CrashLog(options.supervision)
        # The hot path reads these from here. A closing family takes no mail: its pending bound is then negative.
        self._mailbox_max = options.mailbox_max
        self._pending_max = options.pending_max
        self._timeout_s = options.default_timeout_s
        self._nobody: asyncio.Future[Any] = self._loop.create_future()  # stands in for a tell's caller, never done
        self._cells: dict[str, Cell[M]] = {}
        self._resident = 0
        self._resting: OrderedDict[str, Cell[M]] = OrderedDict()  # quiet actors, longest at rest first
        self._queue: OrderedDict[str, Cell[M]] = OrderedDict()  # cells waiting for a seat, first come first
        self._watched: list[Cell[M]] = []  # cells that may have pending mail: what the sweep looks at
        # Keys given up whose last instance still has tasks to end, and why they were: not to be started meanwhile.
        self._lingering: dict[str, BaseException] = {}

    # For mails, contexts and timers

    def post(self, cell: Cell[M], message: M) -> Mail[M]:
        """Put a tell into a mailbox without asking whether it is full."""
        mail = Mail(message, inf, self._nobody, cell)
        cell.inbox.append(mail)
        cell.tells += 1
        cell.pending += 1
        self.pending += 1
        if not cell.attended:
            self.call_attention(cell)
        return mail

    def tell_cell(self, cell: Cell[M], message: M) -> None:
        """Put an actor's message to itself into its mailbox. Raises MailboxFull."""
        if cell.pending >= self._mailbox_max:
            raise self.full(cell.key, "mailbox", cell.pending, self._mailbox_max)
        if self.pending >= self.options.pending_max:
            raise self.full(cell.key, "family", self.pending, self.options.pending_max)
        self.post(cell, message)

    def full(self, key: str, what: Full, pending: int, pending_max: int) -> MailboxFull:
        """Count a refusal and put it into words."""
        self._counters.refused += 1
        return MailboxFull(
            family=self.name, key=key, full=what, pending=pending, pending_max=pending_max,
            retry_after_s=self.options.retry_after_s,
        )  # fmt: skip

    def own(
        self, cell: Cell[M], life: Context[M], work: Awaitable[object], then: Callable[[Cell[M]], None] | None
    ) -> None:
        """Run ``work`` in a task that ends with this life at the latest. When it ends well, call ``then``."""
        self._resting.pop(cell.key, None)
        task: asyncio.Future[Any] = asyncio.ensure_future(work, loop=self._loop)
        cell.tasks += 1
        life.tasks.add(task)
        self._system.tasks.add(task)
        task.add_done_callback(partial(self._ended, cell, life, then))

    def call_attention(self, cell: Cell[M]) -> None:
        """Have the next turn look at a cell that nobody attends to: it has mail, or may go to rest."""
        cell.attended = True
        self._resting.pop(cell.key, None)
        if not cell.watched:
            self._watch(cell)
        self._system.enqueue(cell)

    def grow_quiet(self, cell: Cell[M]) -> None:
        """Note that a cell which nobody attends to has answered all of its mail.

        The sweep will find it, unless somebody waits for its seat, or for the end: a cell that is asked again before
        that never goes to rest, and spends nothing on it.
        """
        if self._queue or self._system.stopping:
            self.call_attention(cell)

    def unclaimed(self, mail: Mail[M], key: str) -> None:
        """Note an answer that found nobody."""
        self._dead(key, mail.message, "unclaimed")

    # One cell's turn

    def attend(self, cell: Cell[M], now: float) -> None:
        """Take the next step with a cell from the ready list."""
        state = cell.state
        if state is _READY:
            if cell.inbox:
                self._deliver(cell, now)
            else:
                self._settle_down(cell, now)
        elif state is _NEW:
            if self._queue or not self._seat_free():
                self._queue[cell.key] = cell
            else:
                self._seat(cell)
                self._begin(cell)
        elif state is State.SEATED:
            self._begin(cell)

    def _begin(self, cell: Cell[M]) -> None:
        cell.state = State.STARTING
        life: Context[M] | None = None
        try:
            actor = self._factory(cell.key)
            life = Context(cell, self._loop)
            actor.context = life
            cell.actor, cell.life = actor, life
            if type(actor).on_start is Actor.on_start:
                self._resume(cell)
            else:
                self._work(cell, life, actor.on_start(), State.STARTING)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the supervisor
            if cell.life is life:
                self._fall(cell, error)

    def _work(self, cell: Cell[M], life: Context[M], work: Awaitable[None], state: State) -> None:
        """Await what a method returned, unless that method has ended this life. Raises TypeError if one cannot."""
        if cell.life is life:
            cell.state = state
            self.own(cell, life, work, self._resume)
        elif asyncio.iscoroutine(work):
            work.close()

    def _resume(self, cell: Cell[M]) -> None:
        cell.state = _READY
        self._system.enqueue(cell)

    def _deliver(self, cell: Cell[M], now: float) -> None:
        waiting, cell.inbox = cell.inbox, []
        if cell.pending == len(waiting):
            cell.unanswered.clear()  # all that was delivered earlier is settled
        batch = [mail for mail in waiting if mail.deadline > now and not mail._future.done()]
        if len(batch) < len(waiting):
            self._discard(cell, waiting, now)
        if cell.tells:
            cell.tells = 0
            for mail in batch:
                if mail._future is self._nobody:
                    mail._abandon(None)
        if not batch:
            self._settle_down(cell, now)
            return
        size = len(batch)
        counters = self._counters
        counters.delivered += size
        if size > counters.batch_max:
            counters.batch_max = size
        # Before the actor sees it: from here on a crash must find this mail.
        cell.unanswered += batch
        actor, life = cell.actor, cell.life
        assert actor is not None  # noqa: S101 - narrows the type: READY has an actor
        assert life is not None  # noqa: S101 - and a life
        try:
            work = actor.receive(batch)
            if work is not None:
                self._work(cell, life, work, State.BUSY)
            elif cell.life is life:
                self._settle_down(cell, now)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the supervisor
            if cell.life is life:
                self._fall(cell, error)

    def _settle_down(self, cell: Cell[M], now: float) -> None:
        """After a delivery: more mail, mail in the actor's hands, or rest."""
        unanswered = cell.unanswered
        count = cell.pending - len(cell.inbox)
        if not count:
            unanswered.clear()
        elif len(unanswered) > 2 * count + 64:
            # Amortised: each pass drops at least as many as it keeps.
            cell.unanswered = [mail for mail in unanswered if mail._cell is not None]
        cell.attended = False
        if cell.inbox:
            self.call_attention(cell)
        elif not cell.pending and not cell.tasks:
            self._rest(cell, now)

    def _ended(
        self, cell: Cell[M], life: Context[M], then: Callable[[Cell[M]], None] | None, task: asyncio.Future[Any]
    ) -> None:
        self._system.tasks.discard(task)
        life.tasks.discard(task)
        cell.tasks -= 1
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if cell.life is not life:
            # That life is over and so is its say. If it is what a restart waited for, the wait is over too.
            if cell.state is State.BACKOFF and cell.restart is None:
                self._restart(cell)
            elif cell.state is State.GONE and not cell.tasks:
                self._lingering.pop(cell.key, None)
        elif error is not None:
            # A cancellation counts: nobody here asked for it, so the actor awaited something that was cancelled.
            self._fall(cell, error)
        elif then is not None:
            then(cell)
        elif not cell.attended:
            self.call_attention(cell)

    # Seats

    def _rest(self, cell: Cell[M], now: float) -> None:
        cell.rested_at = now
        self._resting[cell.key] = cell
        if self._queue:
            self._passivate(cell)
        # Else the sweep, due soon because it watches whoever is attended to, finds out when this rest ends.

    def _rest_if_quiet(self, cell: Cell[M], now: float) -> None:
        if cell.state is _READY and not cell.attended and not cell.pending and not cell.tasks:
            cell.unanswered.clear()
            if cell.key not in self._resting:
                self._rest(cell, now)

    def _rest_the_quiet(self, now: float) -> None:
        for cell in self._watched:
            self._rest_if_quiet(cell, now)

    def _seat_free(self) -> bool:
        """Return whether there is a seat, after making room if somebody at rest can go."""
        if self._resident < self.options.resident_max:
            return True
        if not self._resting and self._resident > self.pending:
            # More seats than mail: some of those who sit are quiet, and the sweep has not come by yet.
            self._rest_the_quiet(self._time())
        unasked = len(self._resting)
        while unasked > 0 and self._resting:
            if self._passivate(next(iter(self._resting.values()))):
                return True
            unasked -= 1
        return False

    def _passivate(self, cell: Cell[M]) -> bool:
        """Passivate a quiet actor if it is willing; else it is at rest anew."""
        assert cell.actor is not None  # noqa: S101 - narrows the type: what rests is READY
        life = cell.life
        try:
            willing = cell.actor.may_passivate()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the supervisor
            if cell.life is life:
                self._fall(cell, error)
            return False
        if cell.life is not life or cell.pending or cell.tasks:  # the question itself made it busy
            return False
        if not willing:
            self._resting.move_to_end(cell.key)
            cell.rested_at = self._time()
            return False
        self._counters.passivations += 1
        self._retire(cell, "passivated")
        return True

    def _retire(self, cell: Cell[M], reason: StopReason) -> None:
        actor = cell.actor
        self._remove(cell)
        if actor is not None:
            try:
                actor.on_stop(reason)
            except (Exception, asyncio.CancelledError):  # noqa: BLE001 - the supervisor
                _log.exception("%s/%s: on_stop raised", self.name, cell.key)

    def _remove(self, cell: Cell[M]) -> None:
        """Forget a cell, whose mail has been seen to, and give its seat to the first in the queue."""
        self._end_life(cell)
        if cell.restart is not None:
            cell.restart.cancel()
            cell.restart = None
        del self._cells[cell.key]
        if cell.state is not _NEW:
            self._resident -= 1
        elif self._queue.get(cell.key) is cell:
            del self._queue[cell.key]
        cell.state = State.GONE
        self._admit()

    def _admit(self) -> None:
        while self._queue and self._resident < self.options.resident_max and not self._system.closed:
            _, cell = self._queue.popitem(last=False)
            self._seat(cell)
            self._system.enqueue(cell)

    def _seat(self, cell: Cell[M]) -> None:
        self._resident += 1
        self._counters.activations += 1
        cell.state = State.SEATED

    def _end_life(self, cell: Cell[M]) -> None:
        self._resting.pop(cell.key, None)
        life, cell.life, cell.actor = cell.life, None, None
        if life is not None:
            life.end()

    # Crashes

    def _fall(
        self, cell: Cell[M], cause: BaseException, *, told: BaseException | None = None, counts: bool = True
    ) -> None:
        """Throw the instance away and see to its mail and its successor."""
        self._counters.crashes += 1
        self._end_life(cell)
        unanswered, cell.unanswered = cell.unanswered, []
        for mail in unanswered:
            mail._abandon(told or ActorCrashed(family=self.name, key=cell.key, cause=cause))
        cell.attended = True
        if not cell.watched:
            self._watch(cell)
        now = self._time()
        delay_s = self._crash_log.crashed(cell.key, cause, now) if counts else 0.0
        if told is None:
            fate = "given up" if delay_s is None else f"restarting in {delay_s:.3f} s"
            _log.warning("%s/%s crashed, %s", self.name, cell.key, fate, exc_info=cause)
        if delay_s is None:
            self._give_up(cell, cause)
            return
        self._counters.restarts += 1
        cell.state = State.BACKOFF
        if delay_s > 0:
            cell.restart = self._loop.call_at(now + delay_s, self._restart, cell)
        else:
            self._restart(cell)

    def _restart(self, cell: Cell[M]) -> None:
        cell.restart = None
        if not cell.tasks:  # else the last of the old life's tasks will do this
            cell.state = State.SEATED
            self._system.enqueue(cell)

    def _give_up(self, cell: Cell[M], cause: BaseException) -> None:
        self._counters.given_up += 1
        failed = partial(
            ActorFailed, family=self.name, key=cell.key, cause=cause,
            retry_after_s=self.options.supervision.window_s,
        )  # fmt: skip
        for mail in cell.inbox:
            self._dead(cell.key, mail.message, "failed")
            mail._abandon(failed())
        cell.inbox = []
        if cell.tasks:
            self._lingering[cell.key] = cause
        self._remove(cell)
        if self.options.supervision.escalate:
            self._system.escalate(failed())

    # Deadlines and the end

    def sweep(self, now: float) -> float:
        """End what is past its time. Return the loop time at which to sweep again."""
        watched, self._watched = self._watched, []
        for cell in watched:
            if cell.pending:
                self._expire(cell, now)
            if cell.state is not State.GONE and (cell.pending or cell.attended):
                self._watched.append(cell)
            else:
                cell.watched = False
                self._rest_if_quiet(cell, now)
        while self._resting:
            cell = next(iter(self._resting.values()))
            if cell.rested_at + self.options.idle_after_s > now:
                break
            self._passivate(cell)
        while self._queue and self._seat_free():
            self._admit()
        self._crash_log.forget(now)
        return self._sweep_at(now)

    def _sweep_at(self, now: float) -> float:
        if self._watched:
            return now + self._system.sweep_interval_s
        rest_ends_at = inf
        if self._resting:
            rest_ends_at = next(iter(self._resting.values())).rested_at + self.options.idle_after_s
        return min(rest_ends_at, self._crash_log.due_at())

    def _expire(self, cell: Cell[M], now: float) -> None:
        for mail in cell.unanswered:
            if mail.deadline <= now and mail._cell is not None and not mail._future.done():
                self._counters.expired += 1
                mail._future.set_exception(DeadlineExceeded(family=self.name, key=cell.key, delivered=True))
        alive = [mail for mail in cell.inbox if mail.deadline > now and not mail._future.done()]
        if len(alive) < len(cell.inbox):
            waiting, cell.inbox = cell.inbox, alive
            self._discard(cell, waiting, now)
            if cell.state is _NEW and not alive:
                self._remove(cell)

    def _discard(self, cell: Cell[M], waiting: list[Mail[M]], now: float) -> None:
        """End those mails whose caller no longer waits."""
        for mail in waiting:
            if mail._future.done():
                self._dead(cell.key, mail.message, "cancelled")
                mail._abandon(None)
            elif not mail.deadline > now:  # rather than <=: a deadline that is no number has passed, too
                self._counters.expired += 1
                self._dead(cell.key, mail.message, "expired")
                mail._abandon(DeadlineExceeded(family=self.name, key=cell.key, delivered=False))

    def _watch(self, cell: Cell[M]) -> None:
        cell.watched = True
        self._watched.append(cell)
        self._system.wake_by(self._time() + self._system.sweep_interval_s)

    def _dead(self, key: str, message: M, reason: Reason) -> None:
        self._counters.dead_letters += 1
        self._system.dead_letters.report(self.name, key, message, reason)

    def refuse_mail(self) -> None:
        """Take no message from outside any more."""
        self._pending_max = -1

    @property
    def drained(self) -> bool:
        """True when nothing is waiting, unanswered or being worked on."""
        return not self.pending and not any(cell.state is State.BUSY for cell in self._cells.values())

    def close(self) -> None:
        """End every actor and every pending ask. Nothing runs in this family afterwards."""
        for cell in tuple(self._cells.values()):
            for mail in cell.unanswered:
                mail._abandon(Stopped(family=self.name, key=cell.key, delivered=True))
            for mail in cell.inbox:
                self._dead(cell.key, mail.message, "stopped")
                mail._abandon(Stopped(family=self.name, key=cell.key))
            cell.unanswered, cell.inbox = [], []
            if cell.state is State.STARTING:
                self._remove(cell)
            else:
                self._retire(cell, "stopped")
