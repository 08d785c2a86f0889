"""A script that is being run: each step becomes a command for a pool of the engine and its model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from solvent.engine.projections.snapshots import encode_pool
from solvent.engine.rules.alerts import AlertTerms, RechargeTerms
from solvent.engine.rules.allowances import AllowanceTerms
from solvent.engine.rules.budgets import BudgetTerms
from solvent.engine.rules.commands import (
    CancelRecurring,
    Capture,
    Debit,
    Extend,
    Grant,
    GrantRecharge,
    Hold,
    OpenPool,
    RefuseRecharge,
    Release,
    RemoveAllowance,
    RemoveBudget,
    Reverse,
    SetAlerts,
    SetAllowance,
    SetBudget,
    SetRecurring,
    Transfer,
    UpdateGrant,
    VoidGrant,
)
from solvent.engine.rules.evolve import fold
from solvent.engine.rules.pool import Pool
from solvent.engine.rules.recurring import RecurringTerms
from solvent.engine.values.dimensions import decode_dimensions, encode_dimensions
from tests.model.lines import Command
from tests.model.pool import ModelPool
from tests.model.times import DAY, HOUR

from .comparison import Pair
from .script import Step

POOLS = ("acme", "acme/a", "acme/b")
BEGIN = 20_000 * DAY + 7 * HOUR
NOTHING = 10**6
"""The number of an entry that does not exist."""


class Run:
    """A script that is being run on three pools of a customer. ``met`` counts what happens."""

    def __init__(self) -> None:
        self.met: Counter[str] = Counter()
        models: dict[str, ModelPool] = {}
        models.update({name: ModelPool(name, models, self.met) for name in POOLS})
        pairs: dict[str, Pair] = {}
        pairs.update({name: Pair(model, pairs, self.met) for name, model in models.items()})
        self.pairs = list(pairs.values())
        self.now = BEGIN
        self.asked: dict[int, tuple[int, Command]] = {}
        """By step: a pool and what it was asked."""
        self.made: dict[tuple[str, int], int] = {}
        """By pool and step: the first entry that the step made there."""
        self.done: list[Step] = []
        """The steps, with what they turned out to be about."""
        self.trace: list[str] = []

    def run(self, steps: Iterable[Step]) -> None:
        """Run a script, and let time pass after it. Raises ``AssertionError`` where engine and model differ."""
        for step in steps:
            self.now = max(BEGIN, self.now + step.wait)
            self.done.append(step)
            self.do(step)
        for pair in self.pairs:
            assert encode_pool(fold(Pool(), pair.events)) == encode_pool(pair.pool), "the journal says another pool"
            for later in (5 * DAY, 40 * DAY):
                pair.pass_time(self.now + later)
                pair.compare(self.now + later)
            pair.compare_views()

    def do(self, step: Step) -> None:
        pair = self.pairs[step.pool]
        pair.pass_time(self.now)
        match step.kind:
            case "restart by snapshot":
                pair.restart_by_snapshot()
            case "restart by fold":
                pair.restart_by_fold()
            case "again" | "conflict":
                earlier = self.asked.get(self.about(step, list(self.asked)))
                if earlier is not None:
                    place, command = earlier
                    self.ask(
                        step, place, respelled(command) if step.kind == "again" else other(command, step.terms["key"])
                    )
            case _:
                made = self.command_of(step, pair.model)
                if made is not None:
                    self.asked[step.number] = step.pool, made
                    self.ask(step, step.pool, made)
        self.met[f"step: {step.kind}"] += 1
        pair.compare(self.now)

    def ask(self, step: Step, place: int, command: Command) -> None:
        pair = self.pairs[place]
        self.trace.append(f"{self.now} {pair.name}: {command}")
        concerned = {place: pair}
        if isinstance(command, Transfer):
            target = POOLS.index(command.target)
            concerned[target] = self.pairs[target]
        for number, each in concerned.items():
            if number != step.pool:
                each.pass_time(self.now)
            self.made[each.name, step.number] = each.model.next
        pair.ask(command, self.now)
        for number, each in concerned.items():
            if number != step.pool:
                each.compare(self.now)

    def about(self, step: Step, numbers: Sequence[int]) -> int:
        """Return one of ``numbers``; at times, and if there is none, one that does not exist."""
        terms, pool = step.terms, POOLS[step.pool]
        is_of_step = step.kind in ("again", "conflict")
        if "of" in terms:
            maker, place = terms["of"]
            return int(place) + (int(maker) if is_of_step else self.made.get((pool, maker), NOTHING))
        which = int(terms["which"])
        if not numbers or not which % 17:
            return NOTHING
        number = numbers[which % len(numbers)]
        of: tuple[int, int] | None = (number, 0)
        if not is_of_step:
            earlier = [(first, maker) for (name, maker), first in self.made.items() if name == pool and first <= number]
            of = (max(earlier)[1], number - max(earlier)[0]) if earlier else None
        if of is not None:
            self.done[-1] = replace(step, terms={**terms, "of": of})
        return number

    def command_of(self, step: Step, model: ModelPool) -> Command | None:
        """Return the command that a step comes to; ``None`` if it makes no sense now."""
        terms, key = at_once(step.terms, model.at), f"k{step.number}"
        match step.kind:
            case "open":
                return OpenPool()
            case "grant":
                return Grant(key, **terms)
            case "update":
                return UpdateGrant(key, self.about(step, list(model.blocks)), **terms)
            case "void":
                return VoidGrant(self.about(step, list(model.blocks)))
            case "transfer":
                return Transfer(key, terms["amount"], POOLS[(step.pool + terms["by"]) % len(POOLS)], terms["open_pool"])
            case "debit":
                return Debit(key, **terms)
            case "hold":
                return Hold(key, **terms)
            case "capture":
                number = self.about(step, holds_of(model, step))
                hold = model.holds.get(number)
                size = 1 if hold is None else len(hold.free) + len(hold.units)
                return Capture(number, max(0 if terms["card"] else 1, size + terms.pop("beyond")), **terms)
            case "extend":
                return Extend(key, self.about(step, holds_of(model, step)), **terms)
            case "release":
                return Release(self.about(step, holds_of(model, step)))
            case "reverse":
                return Reverse(key, self.about(step, list(model.payments)), **terms)
            case "budget":
                return SetBudget(BudgetTerms(**terms))
            case "remove budget":
                return RemoveBudget(terms["name"])
            case "allowance":
                return SetAllowance(AllowanceTerms(**terms))
            case "remove allowance":
                return RemoveAllowance(terms["name"])
            case "plan":
                left_out, start = terms.pop("left_out"), terms.pop("start")
                given = {name: value for name, value in terms.items() if name not in left_out}
                return SetRecurring(RecurringTerms(**given), left_out, None if given["starts_at"] else start)
            case "new terms of a plan" | "the same plan":
                plans = model.plans.all
                if not plans:
                    return None
                plan = plans[step.terms["which"] % len(plans)]
                if step.kind == "new terms of a plan":
                    return SetRecurring(msgspec.structs.replace(plan.terms, **terms))
                anchor = plan.anchor + terms["later"] * plan.size
                words = {"anchor": anchor, "zone": terms["zone"], "starts_at": None}
                return SetRecurring(msgspec.structs.replace(plan.terms, **words), start=terms["start"])
            case "cancel":
                names = [plan.terms.name for plan in model.plans.all] or ["plan"]
                return CancelRecurring(names[step.terms["which"] % len(names)], **terms)
            case "alerts":
                rule = terms.pop("recharge")
                return SetAlerts(AlertTerms(**terms, recharge=None if rule is None else RechargeTerms(**rule)))
            case "grant a recharge":
                return GrantRecharge(self.about(step, newest_requests(model)), **terms)
            case "refuse a recharge":
                return RefuseRecharge(self.about(step, newest_requests(model)))
        raise AssertionError(step)


def at_once(terms: dict[str, Any], at: int) -> dict[str, Any]:
    """Return what is asked for at ``at`` by the terms of a step."""
    terms = {name: value for name, value in terms.items() if name not in ("which", "of")}
    for name in ("effective_at", "expires_at", "starts_at", "ends_at", "anchor", "occurred_at"):
        if isinstance(terms.get(name), int):
            terms[name] += at
    if "dims" in terms:
        terms["dimensions"] = encode_dimensions(terms.pop("dims"), "dimensions")
    if isinstance(terms.get("metadata"), dict):
        terms["metadata"] = encode_dimensions(terms["metadata"], "metadata")
    return terms


def holds_of(model: ModelPool, step: Step) -> list[int]:
    """Return the open holds, at times all that there ever were."""
    ever = [number for number, line in enumerate(model.log, 1) if line.kind == "Held"]
    return ever if step.terms["which"] % 5 == 0 else list(model.holds)


def newest_requests(model: ModelPool) -> list[int]:
    return [request.number for request in reversed(model.alerts.requests[-2:])]


def respelled(command: Command) -> Command:
    """Return the same request, with the numbers of its dimensions written in another way."""
    if isinstance(command, (Debit, Hold)):
        dims = decode_dimensions(command.dimensions)
        spelled = {name: float(value) if type(value) is int else value for name, value in dims.items()}
        return msgspec.structs.replace(command, dimensions=encode_dimensions(spelled, "dimensions"))
    return command


def other(command: Command, kind: int) -> Command:
    """Return another request with the same key."""
    match command:
        case Debit() | Grant() | Hold() | Transfer() if kind:
            return msgspec.structs.replace(command, amount=command.amount + 1)
        case Debit(key=key) | Hold(key=key) | Transfer(key=key):
            return Grant(key, 1)
        case Grant(key=key):
            return Debit(key, 1)
        case Reverse():
            return msgspec.structs.replace(command, amount=(command.amount or 0) + 1)
        case UpdateGrant():
            return msgspec.structs.replace(command, priority=77)
        case Capture(hold=number):
            return Capture(number, command.amount + 1) if kind else Release(number)
        case Extend(key=key, ttl=ttl):
            changed = {"expires_at": (command.expires_at or 0) + 1} if ttl is None else {"ttl": ttl + 1}
            return msgspec.structs.replace(command, **changed) if kind else Grant(key, 1)
        case Release(hold=number):
            return Capture(number, 1)
        case GrantRecharge(recharge=number):
            return RefuseRecharge(number)
        case RefuseRecharge(recharge=number):
            return GrantRecharge(number)
    return command
