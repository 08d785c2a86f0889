"""Callers that do all sorts of things to the same pools, and never forget a command until they know what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from solvent import (
    CaptureRequest,
    Credits,
    DebitRequest,
    GrantRequest,
    HoldRequest,
    LedgerEntry,
    NotFound,
    Overloaded,
    Receipt,
    ReleaseRequest,
    ReportRequest,
    ReverseRequest,
    SolventError,
    Unavailable,
)
from solvent.engine.api.requests import BatchRequest
from solvent.engine.values.errors import JournalError

from .history import Attempt, Command, History, Read, error_of

UNDECIDED = (Unavailable, Overloaded, JournalError)
"""Errors after which a command may still be wanted: asked again with its key."""
KINDS: Mapping[str, float] = {
    "grant": 5,
    "debit": 10,
    "report": 4,
    "hold": 6,
    "capture": 4,
    "release": 2,
    "reverse": 2,
    "transfer": 2,
    "update": 1,
    "void": 0.7,
    "set_budget": 0.8,
    "remove_budget": 0.4,
    "set_allowance": 0.6,
    "remove_allowance": 0.3,
    "set_recurring": 0.6,
    "cancel_recurring": 0.3,
    "set_alerts": 0.8,
    "grant_recharge": 0.8,
    "refuse_recharge": 0.8,
    "open": 0.3,
    "set_rates": 0.4,
}
"""All commands that change anything, and how often they are chosen. ``batch`` has others in it."""
_ABOUT: Mapping[str, tuple[str, ...]] = {
    "capture": ("hold",),
    "release": ("hold",),
    "reverse": ("debit", "report", "capture"),
    "update": ("grant",),
    "void": ("grant",),
    "cancel_recurring": ("set_recurring",),
    "remove_budget": ("set_budget",),
    "remove_allowance": ("set_allowance",),
}
"""What a command is about: what one of these made."""
TOGETHER = ("grant", "debit", "report", "hold", "reverse")
"""Commands of an atomic batch: those with a key of their own, which nobody else can settle."""
SLOTS = 2
"""Budgets, allowances and recurring grants that each player sets, by name."""
METRIC = "tokens"
RATES_POOL = "rates"
"""In histories: where rate cards are set. They are nobody's pool."""


class Player:
    """One caller. ``clock`` gives seconds that all players share, ``now`` the time of day."""

    def __init__(
        self,
        name: str,
        pools: Sequence[str],
        dice: Random,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        tries: int = 3,
    ) -> None:
        self.name = name
        self.history = History()
        self._pools = pools
        self._dice = dice
        self._clock = clock
        self._now = now
        self._tries = tries
        self._made = 0
        self._recharges: list[tuple[str, str]] = []
        """Requests that were seen open: pool and id."""

    async def play(self, credits: Credits, commands: int, *, pause_s: float) -> None:
        """Do so many things, some of them a second time, with pauses up to ``pause_s``."""
        for _ in range(commands):
            await asyncio.sleep(self._dice.random() * pause_s)
            choice = self._dice.random()
            if choice < 0.18:
                await self._read(credits, self._dice.choice(self._pools))
            elif choice < 0.25 and self.history.commands:
                await self._attempt(credits, self._dice.choice(self.history.commands))
            elif choice < 0.35:
                # What is done at once races with itself.
                racing = [self._next() for _ in range(3)]
                pool = racing[0].pool if racing[0].pool in self._pools else self._pools[0]
                await asyncio.gather(*(self._insist(credits, each) for each in racing), self._read(credits, pool))
            elif choice < 0.43:
                await self._insist_on_batch(credits, atomic=self._dice.random() < 0.6)
            else:
                await self._insist(credits, self._next())

    async def settle(self, credits: Credits) -> None:
        """Ask for everything once more: what nobody knew is known then, and what was known must stay so."""
        groups: set[str] = set()
        for command in self.history.commands:
            if command.group is not None:
                if command.group in groups:
                    continue
                groups.add(command.group)
            while await self._attempt(credits, command):
                await asyncio.sleep(0.2)

    async def _insist(self, credits: Credits, command: Command) -> None:
        self.history.commands.append(command)
        for _ in range(self._tries):
            if not await self._attempt(credits, command):
                return
            await asyncio.sleep(self._dice.random() * 0.5)

    async def _insist_on_batch(self, credits: Credits, *, atomic: bool) -> None:
        dice = self._dice
        # An atomic batch is about one customer, and needs all of its pools in memory at once.
        family = [pool for pool in self._pools if pool.partition("/")[0] == self._pools[0]]
        pools = dice.sample(family, 2) if atomic else self._pools
        kinds = TOGETHER if atomic else tuple(_REQUESTS)
        commands = [self._next(kinds, pools) for _ in range(dice.randint(2, 4))]
        if atomic:
            self._made += 1
            for command in commands:
                command.group = f"{self.name}-{self._made}"
        self.history.commands += commands
        for _ in range(self._tries):
            if not await self._attempt_all(credits, commands, atomic=atomic):
                return
            await asyncio.sleep(dice.random() * 0.5)

    async def _read(self, credits: Credits, pool: str) -> None:
        began = self._clock()
        try:
            if self._dice.random() < 0.4:
                request = (await credits.alerts(pool)).open_recharge
            else:
                balance = await credits.balance(pool)
                self.history.reads.append(Read(pool, began, self._clock(), balance))
                return
        except (NotFound, *UNDECIDED):
            return
        if request is not None:
            self._recharges.append((pool, request.id))
            if self._dice.random() < 0.7:
                # While it is open: one that is drawn later mostly finds it closed by somebody else.
                kind = ("refuse_recharge", "grant_recharge")[len(self._recharges) % 2]
                await self._insist(credits, self._next((kind,), (pool,)))

    async def _attempt(self, credits: Credits, command: Command) -> bool:
        """Ask for ``command`` once. Whether nobody knows what came of it."""
        if command.group is not None:
            commands = [each for each in self.history.commands if each.group == command.group]
            return await self._attempt_all(credits, commands, atomic=True)
        attempt = Attempt(self._clock())
        command.attempts.append(attempt)
        try:
            return self._heard(attempt, await _CALLS[command.kind](credits, command))
        except SolventError as error:
            return self._heard(attempt, error)

    async def _attempt_all(self, credits: Credits, commands: Sequence[Command], *, atomic: bool) -> bool:
        attempts = [Attempt(self._clock()) for _ in commands]
        for command, attempt in zip(commands, attempts, strict=True):
            command.attempts.append(attempt)
        answers: Sequence[Receipt | SolventError]
        try:
            answers = await credits.batch([_REQUESTS[each.kind](each) for each in commands], atomic=atomic)
        except SolventError as error:
            answers = [error] * len(commands)
        unknown = [self._heard(attempt, answer) for attempt, answer in zip(attempts, answers, strict=True)]
        return any(unknown)

    def _heard(self, attempt: Attempt, answer: Receipt | SolventError) -> bool:
        """Note an answer. Whether it leaves open what happened."""
        if isinstance(answer, UNDECIDED):
            return True
        if isinstance(answer, SolventError):
            attempt.error = error_of(answer)
        else:
            attempt.receipt = answer
        attempt.ended = self._clock()
        return False

    # What to do next

    def _next(self, kinds: Sequence[str] = tuple(KINDS), pools: Sequence[str] = ()) -> Command:
        """A command of one of ``kinds``; if there is nothing for it to be about, a debit."""
        dice, pool = self._dice, self._dice.choice(pools or self._pools)
        self._made += 1
        key = f"{self.name}-{self._made}"
        kind = dice.choices(kinds, [KINDS[kind] for kind in kinds])[0]
        if kind == "set_rates":
            card = {"metric": METRIC, "credits": str(dice.randint(1, 9)), "per": dice.choice((1, 7, 1_000))}
            return Command(RATES_POOL, kind, {"rates": [card]}, key)
        if kind in _ABOUT or kind in ("grant_recharge", "refuse_recharge"):
            about = self._about(kind, pools or self._pools)
            if about is not None:
                pool, args = about
                return Command(pool, kind, args, key)
            kind = "debit"
        if kind == "transfer":
            others = [each for each in self._pools if each != pool and each.partition("/")[0] == pool.partition("/")[0]]
            if others:
                return Command(pool, kind, {"target": dice.choice(others), "amount": str(dice.randint(1, 6))}, key)
            kind = "debit"
        return Command(pool, kind, self._terms(kind), key)

    def _about(self, kind: str, pools: Sequence[str]) -> tuple[str, dict[str, Any]] | None:
        """A command about something that is there: its pool and arguments."""
        dice = self._dice
        if kind in ("grant_recharge", "refuse_recharge"):
            open_ones = [each for each in self._recharges[-4:] if each[0] in pools]
            if not open_ones:
                return None
            pool, request = dice.choice(open_ones)
            args: dict[str, Any] = {"recharge": request}
            if kind == "grant_recharge":
                args["amount"] = None if dice.random() < 0.6 else str(dice.randint(1, 20))
            return pool, args
        found = [
            (each.pool, each.receipt.id, each.args)
            for each in self.history.commands
            if each.kind in _ABOUT[kind] and each.pool in pools and each.receipt is not None
        ]
        if not found:
            return None
        pool, name, of = dice.choice(found[-8:])
        match kind:
            case "remove_budget" | "remove_allowance":
                return pool, {"name": of["name"]}
            case "cancel_recurring":
                return pool, {"name": of["name"], "at_once": dice.random() < 0.5}
            case "capture":
                return pool, {"hold": name, "amount": str(Decimal(dice.randint(1, 14)) / 2)}
            case "release":
                return pool, {"hold": name}
            case "reverse":
                part = str(Decimal(dice.randint(1, 4)) / 4) if dice.random() < 0.5 else None
                return pool, {"debit": name, "amount": part}
            case "update":
                args = {"grant": name}
                if dice.random() < 0.6:
                    args["priority"] = dice.choice((10, 50, 90))
                if "priority" not in args or dice.random() < 0.3:
                    args["expires_at"] = self._soon(0.7)
                return pool, args
        return pool, {"grant": name}

    def _terms(self, kind: str) -> dict[str, Any]:
        dice = self._dice
        slot = dice.randrange(SLOTS)
        name = f"{self.name}-{slot}"
        amount = str(Decimal(dice.randint(1, 40)) / 4)
        whose = {"match": {"user": f"u{slot + 1}"}, "each": None} if slot else {"match": None, "each": "user"}
        match kind:
            case "grant":
                return {
                    "amount": str(dice.randint(1, 30)),
                    "priority": dice.choice((10, 50, 50, 90)),
                    "category": dice.choice(("paid", "promotional")),
                    "effective_at": self._soon(0.2, 1, 20),
                    "expires_at": self._soon(0.4, 21, 110),
                }
            case "debit":
                return {"amount": amount, "partial": dice.random() < 0.15, "dimensions": self._dimensions()}
            case "report":
                partial = dice.random() < 0.15
                return {"quantity": str(dice.randint(1, 20)), "partial": partial, "dimensions": self._dimensions()}
            case "set_budget":
                # What a budget counts is always the same under one name; how much it lets pass is not.
                window = "minute" if len(self.name) % 2 == slot else "total"
                holds_max = 2 if slot else None
                terms = {"window": window, "mode": "block" if slot else dice.choice(("block", "warn"))}
                return {"name": name, "amount": str(dice.randint(5, 60)), "holds_max": holds_max, **whose, **terms}
            case "set_allowance":
                # The same terms whenever it is set.
                length = {"window": None, "rolling_s": 60} if slot else {"window": "hour", "rolling_s": None}
                return {"name": name, "amount": str(3 + 4 * slot), **length, **whose}
            case "set_recurring":
                self._made += 1
                return {
                    "name": f"{self.name}-{self._made}",
                    "amount": str(dice.randint(1, 12)),
                    "starts_at": self._soon(0.5, 2, 20),
                    "category": dice.choice(("paid", "promotional")),
                    "roll_over": dice.choice(("none", "all", "3")),
                }
            case "set_alerts":
                recharge = {"below": "5", "target": str(dice.randint(8, 20)), "timeout_s": 3_600}
                recharge["grants"] = dice.random() < 0.3
                return {
                    "low": ["2", "50%"] if dice.random() < 0.7 else [],
                    "expiring_within_s": dice.choice((None, 30)),
                    "budget_percents": [50, 100] if dice.random() < 0.5 else [],
                    "recharge": recharge if dice.random() < 0.7 else None,
                }
            case "open":
                return {}
        return {"amount": amount, "ttl_s": dice.choice((5, 20, 600)), "dimensions": self._dimensions()}

    def _dimensions(self) -> dict[str, Any]:
        return {} if self._dice.random() < 0.15 else {"user": f"u{self._dice.randint(1, 3)}"}

    def _soon(self, chance: float, first_s: int = 5, last_s: int = 90) -> str | None:
        if self._dice.random() >= chance:
            return None
        return (self._now() + timedelta(seconds=self._dice.randint(first_s, last_s))).isoformat()


async def _hold(credits: Credits, command: Command) -> Receipt:
    return (await credits.hold(command.pool, key=command.key, **command.args)).receipt


_CALLS: Mapping[str, Callable[[Credits, Command], Any]] = {
    "grant": lambda credits, each: credits.grant(each.pool, key=each.key, **each.args),
    "debit": lambda credits, each: credits.debit(each.pool, key=each.key, **each.args),
    "report": lambda credits, each: credits.report(each.pool, METRIC, key=each.key, **each.args),
    "hold": _hold,
    "capture": lambda credits, each: credits.capture(each.pool, **each.args),
    "release": lambda credits, each: credits.release(each.pool, **each.args),
    "reverse": lambda credits, each: credits.reverse(each.pool, key=each.key, **each.args),
    "transfer": lambda credits, each: credits.transfer(
        each.pool, each.args["target"], each.args["amount"], key=each.key, open_pool=True
    ),
    "update": lambda credits, each: credits.update_grant(each.pool, key=each.key, **each.args),
    "void": lambda credits, each: credits.void_grant(each.pool, **each.args),
    "set_budget": lambda credits, each: credits.set_budget(each.pool, **each.args),
    "remove_budget": lambda credits, each: credits.remove_budget(each.pool, **each.args),
    "set_allowance": lambda credits, each: credits.set_allowance(each.pool, **each.args),
    "remove_allowance": lambda credits, each: credits.remove_allowance(each.pool, **each.args),
    "set_recurring": lambda credits, each: credits.set_recurring(each.pool, period="day", **each.args),
    "cancel_recurring": lambda credits, each: credits.cancel_recurring(each.pool, **each.args),
    "set_alerts": lambda credits, each: credits.set_alerts(each.pool, **each.args),
    "grant_recharge": lambda credits, each: credits.grant_recharge(each.pool, **each.args),
    "refuse_recharge": lambda credits, each: credits.refuse_recharge(each.pool, **each.args),
    "open": lambda credits, each: credits.open_pool(each.pool),
    "set_rates": lambda credits, each: credits.set_rates(**each.args),
}
_REQUESTS: Mapping[str, Callable[[Command], BatchRequest]] = {
    "grant": lambda each: GrantRequest(pool=each.pool, key=each.key, **each.args),
    "debit": lambda each: DebitRequest(pool=each.pool, key=each.key, **each.args),
    "report": lambda each: ReportRequest(pool=each.pool, metric=METRIC, key=each.key, **each.args),
    "hold": lambda each: HoldRequest(pool=each.pool, key=each.key, **each.args),
    "capture": lambda each: CaptureRequest(pool=each.pool, **each.args),
    "release": lambda each: ReleaseRequest(pool=each.pool, **each.args),
    "reverse": lambda each: ReverseRequest(pool=each.pool, key=each.key, **each.args),
}


async def read_ledgers(credits: Credits, pools: Sequence[str]) -> dict[str, list[LedgerEntry]]:
    """The whole ledgers of those ``pools`` that exist."""
    ledgers: dict[str, list[LedgerEntry]] = {}
    for pool in pools:
        cursor: str | None = None
        entries: list[LedgerEntry] = []
        try:
            while True:
                page = await credits.ledger(pool, limit=500, cursor=cursor, newest_first=False)
                entries += page.entries
                cursor = page.next_cursor
                if cursor is None:
                    break
        except NotFound:
            continue
        ledgers[pool] = entries
    return ledgers
