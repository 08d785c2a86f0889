"""Callers that do all sorts of things to the same pools, and never forget a command until they know what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from solvent import Credits, LedgerEntry, NotFound, Overloaded, Receipt, SolventError, Unavailable
from solvent.engine.errors import JournalError

from .history import Attempt, Command, History, Read, error_of

UNDECIDED = (Unavailable, Overloaded, JournalError)
"""Errors after which a command may still be wanted: asked again with its key."""


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

    async def play(self, credits: Credits, commands: int, *, pause_s: float) -> None:
        """Do so many things, some of them a second time, with pauses up to ``pause_s``."""
        for _ in range(commands):
            await asyncio.sleep(self._dice.random() * pause_s)
            choice = self._dice.random()
            if choice < 0.15:
                await self._read(credits, self._dice.choice(self._pools))
            elif choice < 0.25 and self.history.commands:
                await self._attempt(credits, self._dice.choice(self.history.commands))
            elif choice < 0.35:
                # What is done at once races with itself.
                await asyncio.gather(*(self._insist(credits, self._next()) for _ in range(3)))
            else:
                await self._insist(credits, self._next())

    async def settle(self, credits: Credits) -> None:
        """Ask for everything once more: what nobody knew is known then, and what was known must stay so."""
        for command in self.history.commands:
            while await self._attempt(credits, command):
                await asyncio.sleep(0.2)

    async def _insist(self, credits: Credits, command: Command) -> None:
        self.history.commands.append(command)
        for _ in range(self._tries):
            if not await self._attempt(credits, command):
                return
            await asyncio.sleep(self._dice.random() * 0.5)

    async def _read(self, credits: Credits, pool: str) -> None:
        began = self._clock()
        try:
            balance = await credits.balance(pool)
        except (NotFound, *UNDECIDED):
            return
        self.history.reads.append(Read(pool, began, self._clock(), balance))

    async def _attempt(self, credits: Credits, command: Command) -> bool:
        """Ask for ``command`` once. Whether nobody knows what came of it."""
        attempt = Attempt(self._clock())
        command.attempts.append(attempt)
        try:
            attempt.receipt = await _CALLS[command.kind](credits, command)
        except UNDECIDED:
            return True
        except SolventError as error:
            attempt.error = error_of(error)
        attempt.ended = self._clock()
        return False

    def _next(self) -> Command:
        dice, pool = self._dice, self._dice.choice(self._pools)
        self._made += 1
        key = f"{self.name}-{self._made}"
        kind = dice.choices(
            ("grant", "debit", "hold", "capture", "release", "reverse", "transfer"), (4, 12, 5, 3, 2, 2, 2)
        )[0]
        done = [each for each in self.history.commands if each.receipt is not None]
        args: dict[str, Any]
        if kind in ("capture", "release"):
            holds = [each for each in done if each.kind == "hold"]
            if holds:
                hold = dice.choice(holds[-8:])
                args = {"hold": str(_receipt(hold).id)}
                if kind == "capture":
                    args["amount"] = str(Decimal(dice.randint(1, 14)) / 2)
                return Command(hold.pool, kind, args, key)
            kind = "hold"
        if kind == "reverse":
            debits = [each for each in done if each.kind in ("debit", "capture")]
            if debits:
                debit = dice.choice(debits[-8:])
                args = {"debit": _receipt(debit).id}
                if dice.random() < 0.5:
                    args["amount"] = str(Decimal(dice.randint(1, 4)) / 4)
                return Command(debit.pool, kind, args, key)
            kind = "debit"
        if kind == "transfer":
            others = [each for each in self._pools if each != pool and each.partition("/")[0] == pool.partition("/")[0]]
            if others:
                return Command(pool, kind, {"target": dice.choice(others), "amount": str(dice.randint(1, 6))}, key)
            kind = "debit"
        amount = str(Decimal(dice.randint(1, 40)) / 4)
        match kind:
            case "grant":
                args = {
                    "amount": str(dice.randint(1, 30)),
                    "priority": dice.choice((10, 50, 50, 90)),
                    "category": dice.choice(("paid", "promotional")),
                    "expires_at": None,
                }
                if dice.random() < 0.4:
                    args["expires_at"] = (self._now() + timedelta(seconds=dice.randint(5, 90))).isoformat()
            case "debit":
                args = {"amount": amount, "partial": dice.random() < 0.15}
            case _:
                args = {"amount": amount, "ttl_s": dice.choice((5, 20, 600))}
        return Command(pool, kind, args, key)


def _receipt(command: Command) -> Receipt:
    receipt = command.receipt
    assert receipt is not None
    return receipt


async def _hold(credits: Credits, command: Command) -> Receipt:
    return (await credits.hold(command.pool, key=command.key, **command.args)).receipt


_CALLS: Mapping[str, Callable[[Credits, Command], Any]] = {
    "grant": lambda credits, each: credits.grant(each.pool, key=each.key, **each.args),
    "debit": lambda credits, each: credits.debit(each.pool, key=each.key, **each.args),
    "hold": _hold,
    "capture": lambda credits, each: credits.capture(each.pool, **each.args),
    "release": lambda credits, each: credits.release(each.pool, **each.args),
    "reverse": lambda credits, each: credits.reverse(each.pool, key=each.key, **each.args),
    "transfer": lambda credits, each: credits.transfer(
        each.pool, each.args["target"], each.args["amount"], key=each.key
    ),
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
