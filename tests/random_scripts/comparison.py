"""A pool of the engine and its model, side by side: both are asked the same, and everything about them is compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from solvent.engine.audit.plain_rules import PlainPool
from solvent.engine.projections.snapshots import decode_pool, encode_pool
from solvent.engine.rules.alerts import NO_ALERTS
from solvent.engine.rules.commands import (
    SETTING_COMMANDS,
    Check,
    Debit,
    Reverse,
    SetRecurring,
    Transfer,
    settlement_key,
)
from solvent.engine.rules.decide import decide
from solvent.engine.rules.decisions.debits import completed
from solvent.engine.rules.decisions.repeats import hold_behind
from solvent.engine.rules.decisions.transfers import check_target, opening, receive
from solvent.engine.rules.due import due, due_after, pass_time
from solvent.engine.rules.events import KEYED, Debited, Event, Keyed, MovedOut, RecurringEnded, answering
from solvent.engine.rules.evolve import apply, fold
from solvent.engine.rules.outcomes import Outcome, Repeat, Unfit
from solvent.engine.rules.pool import Pool, check_books, clone
from solvent.engine.rules.short_debit import debit_plainly
from solvent.engine.rules.views import balances
from solvent.engine.rules.views.balances import balance_of, grants_of
from solvent.engine.rules.views.ledger import entry_of
from solvent.engine.rules.views.verdicts import verdict_of
from solvent.engine.values.times import to_datetime
from tests.model.allowances import Allowance, covers_of
from tests.model.budgets import Budget, concerns, value_of
from tests.model.due import moments
from tests.model.due import pass_time as pass_model_time
from tests.model.lines import Command, Dims, Line, Refused, line_of, show, words_of
from tests.model.pool import SCALE, ModelPool
from tests.model.rules import ask
from tests.model.units import Block, parts_of

from .outcomes import DETAILS

PLACES = ("left", "held", "spent", "expired", "voided", "moved_out")
ANSWERS = {
    "Grant": "Granted",
    "Debit": "Debited",
    "Hold": "Held",
    "Capture": "Captured",
    "Extend": "Extended",
    "Release": "Released",
    "Reverse": "Reversed",
    "UpdateGrant": "Updated",
    "VoidGrant": "Voided",
    "Transfer": "MovedOut",
    "GrantRecharge": "Granted",
    "RefuseRecharge": "RechargeClosed",
    "OpenPool": "Opened",
    "SetAlerts": "AlertsSet",
    "SetBudget": "BudgetSet",
    "RemoveBudget": "BudgetRemoved",
    "SetAllowance": "AllowanceSet",
    "RemoveAllowance": "AllowanceRemoved",
    "SetRecurring": "RecurringSet",
    "CancelRecurring": "RecurringEnded",
}
"""The event that answers a command."""
COUNTERS_MAX = 63
"""Windows, or steps of a rolling one, that an allowance keeps at most."""


class Pair:
    """A pool of the engine and its model. ``customer`` are all pairs by name; ``met`` counts what happens."""

    def __init__(self, model: ModelPool, customer: dict[str, Pair], met: Counter[str]) -> None:
        self.name = model.name
        self.customer = customer
        self.met = met
        self.pool = Pool()
        self.model = model
        self.audited = PlainPool()
        self.events: list[Event] = []
        self.keys: dict[str, tuple[Keyed, int]] = {}
        self.agenda: int | None = None
        """When a reader of the journal that does not fold it would look at the pool again."""
        self.compared = 0
        """Lines that were compared."""

    # Both are asked

    def pass_time(self, now: int) -> None:
        first = min(moments(self.model), default=None)
        if first is not None:
            assert self.pool.schedule, f"nothing would wake the pool for {first}"
            assert self.pool.schedule[0][0] <= first[0], f"too late for {first}"
            assert self.agenda is not None, f"after the index was lost, nothing would wake the pool for {first}"
            assert self.agenda <= max(first[0], self.model.clock), f"after the index was lost, too late for {first}"
        foreseen = due(self.pool, now)
        facts = pass_time(self.pool, now)
        assert list(foreseen) == facts, "what is due is not what happens"
        assert due(self.pool, now) == (), "what is due happens twice"
        self.happened(facts)
        self.agenda = self.pool.schedule[0][0] if self.pool.schedule else None
        pass_model_time(self.model, now)
        self.compare_lines()

    def ask(self, command: Command, now: int) -> None:
        """Ask both, and compare what they answer. Time has passed, also for the target of a transfer."""
        if isinstance(command, Reverse):
            found = self.events[command.debit - 1] if 1 <= command.debit <= len(self.events) else None
            command = completed(command, found)
        outcome, arrived = self.decide(command, now)
        refused = None
        try:
            ask(self.model, command)
        except Refused as refusal:
            refused = refusal
        self.met[f"asked: {type(command).__name__}"] += 1
        if not isinstance(outcome, tuple):
            words = words_of(outcome)
            assert refused is not None, f"the engine refuses, {words}; the model does not"
            assert refused.words == words, f"the engine refuses, {words}; the model, {refused.words}"
            if isinstance(outcome, Repeat):
                assert outcome.event == self.events[outcome.version - 1], "not the first receipt"
            self.met[f"{words[0]}: {words[1]}" if type(outcome) in DETAILS else words[0]] += 1
            self.compare_lines()
            return
        assert refused is None, f"the model refuses, {refused}; the engine does not: {outcome}"
        version = len(self.events)
        self.apply(outcome)
        answer, number = answering(outcome, version)
        assert self.events[number - 1] == answer
        # New terms by which a plan grants nothing more end it.
        ends = isinstance(command, SetRecurring) and isinstance(answer, RecurringEnded)
        assert ends or type(answer).__name__ == ANSWERS[type(command).__name__], f"the answer to {command} is {answer}"
        if isinstance(command, Transfer):
            target = self.customer[command.target]
            target.apply(arrived)
            target.compare_lines()
        self.compare_lines()

    def decide(self, command: Command, now: int) -> tuple[Outcome, tuple[Event, ...]]:
        """Return what the engine decides, and what arrives at the other end if it is a transfer."""
        before = encode_pool(self.pool)
        prior = self.keys.get(command.key) if not isinstance(command, SETTING_COMMANDS) else None
        ended = None
        if not isinstance(command, SETTING_COMMANDS) and (number := hold_behind(self.pool, command, prior)) is not None:
            ended = self.keys.get(settlement_key(number))
        outcome = decide(self.pool, command, now, prior=prior, ended=ended, scale=SCALE)
        if isinstance(command, Transfer) and prior is None:
            target = self.customer[command.target].pool
            if (unknown := check_target(target, command)) is not None:
                outcome = unknown
            elif isinstance(outcome, tuple) and not target.version:
                outcome = opening(outcome)
        arrived: tuple[Event, ...] = ()
        if isinstance(command, Transfer) and isinstance(outcome, tuple):
            moved = outcome[0]
            assert isinstance(moved, MovedOut)
            other = receive(self.customer[command.target].pool, self.pool, self.name, moved, now, scale=SCALE)
            if isinstance(other, Unfit):
                outcome = other
            else:
                arrived = other
        if isinstance(command, Debit) and prior is None and self.pool.version:
            self.check_other_ways(command, outcome, now)
        assert encode_pool(self.pool) == before, "a question changed the pool"
        return outcome, arrived

    def check_other_ways(self, command: Debit, outcome: Outcome, now: int) -> None:
        """The short way of a debit does what the rules do, and ``check`` predicts it."""
        short = debit_plainly(clone(self.pool), command, now)
        assert short is None or outcome == (short,)
        if not command.partial and not isinstance(outcome, Unfit):
            check = Check(command.amount, command.dimensions, command.metric, command.quantity)
            verdict = verdict_of(self.pool, self.name, check, max(self.pool.clock, now))
            assert verdict.allowed == isinstance(outcome, tuple), f"{verdict}, but {outcome}"
            if isinstance(outcome, tuple) and isinstance(debited := outcome[0], Debited):
                assert sum(part.amount for part in verdict.allocations) == Decimal(debited.amount) / 10**SCALE

    def apply(self, events: Sequence[Event]) -> None:
        for event in events:
            apply(self.pool, event)
        self.happened(events)

    def happened(self, events: Sequence[Event]) -> None:
        for version, event in enumerate(events, len(self.events) + 1):
            if isinstance(event, KEYED):
                assert event.key not in self.keys, f"two entries with key {event.key!r}"
                self.keys[event.key] = event, version
            # What the verifier judges by agrees that this can happen.
            self.audited.happen(event, frame=1)
            moment = due_after(event)
            if moment is not None:
                self.agenda = moment if self.agenda is None else min(moment, self.agenda)
        self.events += events

    # What comes through a restart

    def restart_by_snapshot(self) -> None:
        self.pool = decode_pool(encode_pool(self.pool))

    def restart_by_fold(self) -> None:
        replayed = fold(Pool(), self.events)
        assert encode_pool(replayed) == encode_pool(self.pool), "the journal says another pool"
        self.pool = replayed

    # Everything is compared

    def compare_lines(self) -> None:
        """The journal has the lines that the model wrote."""
        lines = self.model.log[self.compared :]
        found = [line_of(event) for event in self.events[self.compared :]]
        assert found == lines, f"the model writes\n{show(lines)}the engine\n{show(found)}{difference(found, lines)}"
        for line in lines:
            self.met[f"Alerted: {line.about['kind']}" if line.kind == "Alerted" else line.kind] += 1
        self.compared += len(lines)

    def compare(self, now: int) -> None:
        """All that the engine and the verifier know of the pool is what the model has."""
        pool, model, at = self.pool, self.model, max(self.model.clock, now)
        check_books(pool)
        self.audited.finish()
        assert (pool.version, pool.clock, pool.available) == (len(model.log), model.clock, model.available)
        assert (self.audited.version, self.audited.clock, self.audited.granted) == (
            *(pool.version, pool.clock, pool.granted),
        )
        self.compare_grants()
        states = {number: balances.grant_state(block, at) for number, block in pool.blocks.items()}
        assert states == self.states(at)
        holds = {
            number: (hold.amount, hold.parts, line_covers(hold.covers), hold.expires_at)
            for number, hold in pool.holds.items()
        }
        assert holds == {
            number: (len(hold.units), parts_of(hold.units), covers_of(hold.free), hold.ends)
            for number, hold in model.holds.items()
        }
        assert list(pool.allowances) == [allowance.number for allowance in model.allowances.all]
        for allowance in model.allowances.all:
            self.compare_allowance(allowance, at)
        assert list(pool.budgets) == [budget.number for budget in model.budgets.all]
        all_dims = list({repr(usage.dims): usage.dims for usage in model.budgets.usage}.values())
        for budget in model.budgets.all:
            self.compare_budget(budget, all_dims, at)
        assert {number: (each.next_at, each.last_grant) for number, each in pool.recurring.items()} == {
            plan.number: (plan.next, plan.last) for plan in model.plans.all
        }
        request = model.alerts.open_request
        assert (NO_ALERTS if pool.alerts is None else pool.alerts.terms) == model.alerts.terms
        assert (0 if pool.alerts is None else pool.alerts.recharge.request) == (request.number if request else 0)

    def compare_grants(self) -> None:
        pool, model = self.pool, self.model
        assert list(pool.blocks) == list(model.blocks)
        totals: Counter[str] = Counter()
        for number, block in model.blocks.items():
            count, found = block.count(), pool.blocks[number]
            totals.update(count)
            places = (found.available, found.held, found.spent, found.expired, found.voided, found.moved_out)
            assert places == tuple(count[place] for place in PLACES), f"grant {number}: {places}, {count}"
            assert found.amount == block.amount == count.total()
            assert (found.category, found.priority, found.created_at, found.effective_at, found.expires_at) == (
                *(block.category, block.priority, block.created, block.starts, block.ends),
            )
        places = (pool.available, pool.held, pool.spent, pool.expired, pool.voided, pool.moved_out)
        assert (*places, pool.pending) == tuple(totals[place] for place in (*PLACES, "pending"))
        assert pool.granted == sum(places)
        assert [block.number for block in pool.burn] == [block.number for block in model.burn_order()]

    def compare_allowance(self, allowance: Allowance, at: int) -> None:
        """What is used of an allowance in all windows that are not over."""
        used: Counter[tuple[int, bytes]] = Counter()
        for free in allowance.counting(at):
            used[allowance.start(free.at), b"" if free.value is None else name_of(free.value)] += free.share
        counted: Counter[tuple[int, bytes]] = Counter()
        counters_of = self.pool.allowances[allowance.number].used
        for start, counters in counters_of.items():
            for value, count in counters.items():
                assert count > 0
                if allowance.ends(start) > at:
                    counted[start, value] = count
        assert counted == +used, f"allowance {allowance.number}: the model counts {used}, the engine {counted}"
        assert len(counters_of) <= COUNTERS_MAX, "counters of times that are over are kept"

    def compare_budget(self, budget: Budget, all_dims: Sequence[Dims], at: int) -> None:
        """What is used of a budget in its window, and its open holds, by value."""
        model, found = self.model.budgets, self.pool.budgets[budget.number]
        terms = budget.terms
        used = found.used if found.window_start == budget.window(at) else {}
        assert min([1, *used.values(), *found.open_holds.values()]) > 0, "a counter of zero is kept"
        values = {name_of(value_of(terms, dims)): dims for dims in all_dims if concerns(terms, dims)}
        for raw, dims in values.items():
            value = value_of(terms, dims)
            assert used.get(raw, 0) == model.used(budget, dims, at), f"budget {budget.number}, {value!r}"
            assert found.open_holds.get(raw, 0) == model.open_holds(budget, dims), f"budget {budget.number}, {value!r}"

    def states(self, at: int) -> dict[int, str]:
        """Return the states of all grants, as the model has them."""
        ended = {line.about["grant"] for line in self.model.log if line.kind in ("Expired", "Lapsed")}
        cut = [(line.about["grant"], line.at) for line in self.model.log if line.kind == "Trimmed"]
        ended |= {number for number, when in cut if self.model.blocks[number].is_over(when)}
        return {
            number: state_of(block, has_expired=number in ended, at=at) for number, block in self.model.blocks.items()
        }

    def compare_views(self) -> None:
        """What callers see of a pool adds up to what the model has."""
        scale = Decimal(10) ** SCALE
        balance = balance_of(self.pool, self.name)
        assert balance.available * scale == self.model.available
        assert balance.as_of == to_datetime(self.model.clock)
        total = Decimal(0)
        for version, event in enumerate(self.events, 1):
            entry = entry_of(event, version, SCALE)
            total += entry.change
            assert (entry.version, entry.balance) == (version, total), entry
        assert total == balance.available
        states = {int(view.id[1:]): view.state for view in grants_of(self.pool, self.name).grants}
        assert states == self.states(self.model.clock)


def name_of(value: Any) -> bytes:
    """Return the name of a value's counter: that of an integer for a whole number, however it was written."""
    if value is None:
        return b""
    is_whole = isinstance(value, float) and value.is_integer()
    return msgspec.msgpack.encode(int(value) if is_whole else value)


def line_covers(covers: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(
        (each.allowance, msgspec.msgpack.decode(each.value) if each.value else None, *each[2:]) for each in covers
    )


def state_of(block: Block, *, has_expired: bool, at: int) -> str:
    """Return the state of a grant as callers see it."""
    if block.is_pending:
        return "pending"
    if block.is_voided:
        return "voided"
    is_over = block.ends is not None and block.ends <= at
    if has_expired or (is_over and block.those("held")):
        return "expired"
    return "active" if block.those("left") or block.those("held") else "depleted"


def difference(found: Sequence[Line], lines: Sequence[Line]) -> str:
    """Return the first field that differs."""
    for engine, model in zip(found, lines, strict=False):
        if engine != model:
            fields = {name: (model.about.get(name), value) for name, value in engine.about.items()}
            differs = {name: both for name, both in fields.items() if both[0] != both[1]}
            return f"in {engine.kind} (the model, the engine): {differs or (str(model), str(engine))}"
    return f"the model writes {len(lines)} lines, the engine {len(found)}"
