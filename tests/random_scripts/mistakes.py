"""Rules that are wrong on purpose, to see that random scripts find them, and how many it takes.

A mistake replaces a part of the rules for as long as its ``MonkeyPatch`` is in force. To measure how soon a fault of an
older version is found, write it down here as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count, takewhile
from typing import Any, TypeAlias

import msgspec
import pytest

from solvent.engine.projections import snapshots
from solvent.engine.rules import alerting, allowances, budgets, decide, due, evolve
from solvent.engine.rules import pool as pool_rules
from solvent.engine.rules.allowances import AllowanceTerms
from solvent.engine.rules.budgets import Budget, Charges
from solvent.engine.rules.commands import Capture
from solvent.engine.rules.decisions import debits, grants, holds, plans, repeats, transfers
from solvent.engine.rules.events import (
    Alerted,
    Captured,
    Debited,
    Event,
    Extended,
    Granted,
    Lapsed,
    MovedIn,
    RechargeRequested,
    RecurringEnded,
)
from solvent.engine.rules.outcomes import Repeat
from solvent.engine.rules.pool import Block, Pool
from solvent.engine.rules.views import balances
from solvent.engine.values import dimensions, matching
from solvent.engine.values.amounts import UNITS_MAX

from . import comparison
from .script import script_of
from .shrinking import failure_of

Mistake: TypeAlias = Callable[[pytest.MonkeyPatch], None]


def paid_credits_burn_first(patch: pytest.MonkeyPatch) -> None:
    """Of two grants that expire together, the paid one burns before the promotional one."""

    def rank(self: Block) -> tuple[Any, ...]:
        ends = 1 << 63 if self.expires_at is None else self.expires_at
        return self.priority, ends, self.category == "promotional", self.effective_at, self.created_at, self.number

    patch.setattr(Block, "burn_rank", rank)


def older_grants_burn_by_number(patch: pytest.MonkeyPatch) -> None:
    """When a grant takes effect has no say in burn order; when it was made has."""

    def rank(self: Block) -> tuple[Any, ...]:
        ends = 1 << 63 if self.expires_at is None else self.expires_at
        return self.priority, ends, self.category == "paid", self.number

    patch.setattr(Block, "burn_rank", rank)


def a_held_rest_keeps_a_grant_active(patch: pytest.MonkeyPatch) -> None:
    """A grant is said to be active as long as a hold keeps something of it, though it has expired meanwhile."""
    state_of = balances.grant_state
    patch.setattr(balances, "grant_state", lambda block, at: state_of(block, 0))


def a_hold_that_ends_revives_credits(patch: pytest.MonkeyPatch) -> None:
    """What comes back from a hold that ends by itself stays, though its grant has expired meanwhile."""
    patch.setattr(due, "lapses_of", lambda *arguments: ())


def a_capture_revives_credits(patch: pytest.MonkeyPatch) -> None:
    """What a capture gives back stays, though its grant has expired meanwhile."""
    _without_lapses(patch, "decide_capture")


def a_reversal_revives_credits(patch: pytest.MonkeyPatch) -> None:
    """What a reversal gives back stays, though its grant has expired meanwhile."""
    _without_lapses(patch, "decide_reverse")


def _without_lapses(patch: pytest.MonkeyPatch, name: str) -> None:
    right = getattr(decide, name)

    def wrong(*args: Any) -> Any:
        outcome = right(*args)
        if not isinstance(outcome, tuple):
            return outcome
        first = msgspec.structs.replace(outcome[0], lapsed=0)
        return first, *(event for event in outcome[1:] if not isinstance(event, Lapsed))

    patch.setattr(decide, name, wrong)


def a_budget_keeps_what_is_given_back(patch: pytest.MonkeyPatch) -> None:
    """What is released or reversed still counts for budgets."""
    right = budgets.count

    def wrong(all_budgets: Any, charges: Any, amount: int, *, holds: int = 0) -> None:
        right(all_budgets, charges, max(0, amount), holds=holds)

    patch.setattr(evolve, "count", wrong)


def a_budget_gives_back_into_another_window(patch: pytest.MonkeyPatch) -> None:
    """What is given back counts for the present window, not for that in which it was spent."""
    right = budgets.count

    def wrong(all_budgets: Any, charges: Any, amount: int, *, holds: int = 0) -> None:
        if amount < 0:
            charges = [
                (number, value, all_budgets[number].window_start)
                for number, value, _ in charges
                if number in all_budgets
            ]
        right(all_budgets, charges, amount, holds=holds)

    patch.setattr(evolve, "count", wrong)


def a_budget_is_passed_once(patch: pytest.MonkeyPatch) -> None:
    """A budget looks at what is used before an amount, not after it."""
    right = budgets.charge

    def wrong(all_budgets: Any, dimensions: Any, at: int, amount: int, *, hold: bool = False) -> Charges:
        charged = right(all_budgets, dimensions, at, amount, hold=hold)
        is_full = right(all_budgets, dimensions, at, 1, hold=hold).stop is not None
        return charged if is_full else charged._replace(stop=None)

    for module in (debits, holds):
        patch.setattr(module, "charge", wrong)


def a_rolling_window_forgets_early(patch: pytest.MonkeyPatch) -> None:
    """What was used comes back a step early, not a step late."""
    patch.setattr(AllowanceTerms, "forgotten_at", lambda self, start: start + self.rolling_us)


def what_lacks_a_dimension_passes(patch: pytest.MonkeyPatch) -> None:
    """A debit without the dimension of a budget passes it, though all of these should be counted together."""
    right = budgets.charge

    def wrong(all_budgets: Any, dimensions: Any, at: int, amount: int, *, hold: bool = False) -> Charges:
        passing = [
            Budget(
                each.number,
                msgspec.structs.replace(each.terms, missing="pass"),
                each.window_start,
                each.used,
                each.open_holds,
                each.reached,
            )
            for each in all_budgets
        ]
        return right(passing, dimensions, at, amount, hold=hold)

    for module in (debits, holds):
        patch.setattr(module, "charge", wrong)


def an_allowance_is_shared(patch: pytest.MonkeyPatch) -> None:
    """All values of a dimension share a quota that each should have for itself."""
    patch.setattr(allowances, "encode_value", lambda value: b"")


def a_quota_is_rounded_down(patch: pytest.MonkeyPatch) -> None:
    """What is used of a quota is rounded down, so that many small events use nothing of it."""
    right = allowances._cover_quantity

    def wrong(rest: int, amount: int, nanos: int, left: int) -> tuple[int, int]:
        units, used = right(rest, amount, nanos, left)
        return units, min(used, nanos * rest // amount // 1_000) if units == rest and amount else used

    patch.setattr(allowances, "_cover_quantity", wrong)


def all_rolls_over(patch: pytest.MonkeyPatch) -> None:
    """What is left of a plan's earlier grants rolls over without a cap."""
    patch.setattr(due, "trim", lambda *arguments: [])


def what_comes_back_rolls_over_without_a_cap(patch: pytest.MonkeyPatch) -> None:
    """What comes back from a hold, a reversal or another pool after the end of its period stays, whatever the cap."""
    for module in (due, transfers):
        patch.setattr(module, "beyond_roll_over", lambda *arguments: 0)


def a_plan_that_has_ended_leaves_all(patch: pytest.MonkeyPatch) -> None:
    """The cap of a plan ends with it, and the credits of its last period stay for ever."""

    def wrong(pool: Pool, recurring: int) -> int | None:
        plan = pool.recurring.get(recurring)
        return None if plan is None else plan.terms.roll_over

    for module in (due, pool_rules):
        patch.setattr(module, "roll_over_of", wrong)


def a_cap_of_none_is_no_cap(patch: pytest.MonkeyPatch) -> None:
    """What a plan granted when credits rolled over stays for ever once they no longer do."""
    right = due.trim

    def wrong(pool: Pool, recurring: int, most: int | None, *rest: Any, **options: Any) -> Any:
        return right(pool, recurring, most or None, *rest, **options)

    for module in (due, plans):
        patch.setattr(module, "trim", wrong)


def a_plan_in_other_words_is_another(patch: pytest.MonkeyPatch) -> None:
    """Another first of a month as anchor, or another name of a time zone, is another rhythm."""
    patch.setattr(plans, "same_times", lambda one, other: one == other)


def another_rhythm_grants_at_once(patch: pytest.MonkeyPatch) -> None:
    """A plan that gets another rhythm grants a whole period when that is set."""
    right = plans._start

    def wrong(command: Any, plan: Any, at: int, *, same: bool) -> int | None:
        start = right(command, plan, at, same=same)
        return at if start is None and not same else start

    patch.setattr(plans, "_start", wrong)


def a_plan_that_is_set_again_grants_again(patch: pytest.MonkeyPatch) -> None:
    """A plan that was cancelled and is set again grants a second time for its period."""
    right = pool_rules.granted_until

    def wrong(pool: Pool, recurring: Any) -> int | None:
        return None if recurring.number in pool.ended else right(pool, recurring)

    patch.setattr(plans, "granted_until", wrong)


def what_a_plan_leaves_out_is_reset(patch: pytest.MonkeyPatch) -> None:
    """Terms that are left out get their defaults, whatever they were."""
    patch.setattr(plans, "_completed", lambda command, plan: command.terms)


def any_request_with_a_key_is_the_same(patch: pytest.MonkeyPatch) -> None:
    """A key answers with its first receipt, whatever is asked."""
    patch.setattr(repeats, "_same_request", lambda event, command: True)


def any_capture_of_a_hold_is_the_same(patch: pytest.MonkeyPatch) -> None:
    """A hold that was captured answers with its first receipt, whatever amount is captured again."""
    right = repeats._same_request
    patch.setattr(
        repeats,
        "_same_request",
        lambda event, command: (isinstance(event, Captured) and isinstance(command, Capture)) or right(event, command),
    )


def a_hold_asked_for_again_is_open(patch: pytest.MonkeyPatch) -> None:
    """A hold that is asked for again is answered as the first time, whatever became of it."""
    right = repeats.repeat

    def wrong(pool: Pool, command: Any, event: Any, version: int, ended: Any = None) -> Any:
        outcome = right(pool, command, event, version, ended)
        return msgspec.structs.replace(outcome, ended=None) if isinstance(outcome, Repeat) else outcome

    patch.setattr(decide, "repeat", wrong)


def an_extended_hold_ends_as_it_was_made(patch: pytest.MonkeyPatch) -> None:
    """A hold that is extended still expires when it would have before."""
    right = evolve._apply_extended

    def wrong(pool: Pool, event: Any) -> None:
        right(pool, msgspec.structs.replace(event, expires_at=pool.holds[event.hold].expires_at))

    patch.setitem(evolve._APPLY, Extended, wrong)


def a_transfer_loses_the_expiry(patch: pytest.MonkeyPatch) -> None:
    """What is moved to another pool never expires there."""
    right = transfers.receive

    def wrong(*args: Any, **options: Any) -> Any:
        outcome = right(*args, **options)
        if not isinstance(outcome, tuple):
            return outcome
        return tuple(
            msgspec.structs.replace(event, expires_at=None) if isinstance(event, MovedIn) else event
            for event in outcome
        )

    patch.setattr(comparison, "receive", wrong)


def a_transfer_opens_any_pool(patch: pytest.MonkeyPatch) -> None:
    """A transfer to a pool that does not exist opens it, though nobody asked for that."""
    patch.setattr(comparison, "check_target", lambda target, command: None)


def a_snapshot_forgets_reversals(patch: pytest.MonkeyPatch) -> None:
    """A pool that is read from a snapshot can have its debits reversed again."""
    right = snapshots.decode_pool

    def wrong(body: bytes) -> Pool:
        pool = right(body)
        pool.reversed.clear()
        return pool

    patch.setattr(comparison, "decode_pool", wrong)


def a_hold_arms_alerts(patch: pytest.MonkeyPatch) -> None:
    """Credits that come back from a hold arm the alerts again, as those do that are added."""
    right = evolve._come_back

    def wrong(pool: Pool, number: int, part: int) -> None:
        right(pool, number, part)
        evolve._credits_added(pool)

    patch.setattr(evolve, "_come_back", wrong)


def a_month_has_no_end(patch: pytest.MonkeyPatch) -> None:
    """A recharge rule asks for more than a month may have."""
    right = alerting._wanted

    def wrong(pool: Pool, alerts: Any, balance: int, at: int) -> int:
        rule = alerts.terms.recharge
        if rule is None:
            return right(pool, alerts, balance, at)
        lavish = msgspec.structs.replace(alerts.terms, recharge=msgspec.structs.replace(rule, monthly_max=None))
        return right(pool, msgspec.structs.replace(alerts, terms=lavish), balance, at)

    patch.setattr(alerting, "_wanted", wrong)


def a_request_is_made_only_when_something_is_spent(patch: pytest.MonkeyPatch) -> None:
    """What a grant of a request leaves open is asked for when something lessens the balance, not before."""
    right = alerting.with_alerts

    def wrong(pool: Pool, events: tuple[Event, ...]) -> tuple[Event, ...]:
        after = right(pool, events)
        if not isinstance(events[0], Granted):
            return after
        rest = after[len(events) :]
        return events + tuple(takewhile(lambda event: not isinstance(event, RechargeRequested), rest))

    patch.setattr(decide, "with_alerts", wrong)


def usage_may_be_dated_ahead(patch: pytest.MonkeyPatch) -> None:
    """A debit may be dated as far ahead as its caller likes."""
    for module in (debits, holds):
        patch.setattr(module, "check_occurred_at", lambda occurred_at, at, limits, backfill: None)


def a_full_pool_grants_on(patch: pytest.MonkeyPatch) -> None:
    """A plan grants more than a pool can have."""
    patch.setattr(due, "room_of", lambda pool: 1 << 70)


def a_life_has_63_bits(patch: pytest.MonkeyPatch) -> None:
    """What went through a pool in its life is counted as if it were still there."""
    for module in (debits, due, grants, transfers):
        patch.setattr(module, "room_of", lambda pool: UNITS_MAX - pool.granted - pool.pending)


def a_plan_that_cannot_grant_ends(patch: pytest.MonkeyPatch) -> None:
    """A plan of which a pool cannot take a period ends, and says nothing."""
    right = due.recur

    def wrong(pool: Pool, recurring: Any, at: int) -> tuple[Event, ...]:
        events = right(pool, recurring, at)
        if not isinstance(events[-1], Alerted):
            return events
        until = pool_rules.granted_until(pool, recurring)
        ended = RecurringEnded(at, recurring.number, events[-1].balance, recurring.terms.name, True, until)
        return *events[:-1], ended

    for module in (due, plans):
        patch.setattr(module, "recur", wrong)


def a_capture_that_does_not_fit_is_cut(patch: pytest.MonkeyPatch) -> None:
    """What a capture asks for beyond its hold is paid as far as there are credits, not as a whole or not at all."""
    right = holds.decide_capture

    def wrong(pool: Pool, command: Any, at: int, limits: Any) -> Any:
        outcome = right(pool, command, at, limits)
        if isinstance(outcome, tuple) and isinstance(event := outcome[0], Captured) and event.uncovered:
            fits = min(event.uncovered, pool.available)
            fitting = msgspec.structs.replace(command, amount=command.amount - event.uncovered + fits)
            return right(pool, fitting, at, limits) if fits else outcome
        return outcome

    patch.setattr(decide, "decide_capture", wrong)


def a_partial_debit_stops_at_nothing(patch: pytest.MonkeyPatch) -> None:
    """A partial debit of which a budget lets a part pass is refused."""
    right = debits.decide_debit

    def wrong(pool: Pool, command: Any, at: int, limits: Any) -> Any:
        outcome = right(pool, command, at, limits)
        cut = isinstance(outcome, tuple) and isinstance(event := outcome[0], Debited) and event.balance
        whole = msgspec.structs.replace(command, partial=False)
        return right(pool, whole, at, limits) if cut and command.partial else outcome

    patch.setattr(decide, "decide_debit", wrong)


def a_debit_of_a_part_says_not_what_stopped_it(patch: pytest.MonkeyPatch) -> None:
    """A partial debit that a used-up window stops does not say when the window resets."""
    right = debits.decide_debit

    def wrong(pool: Pool, command: Any, at: int, limits: Any) -> Any:
        outcome = right(pool, command, at, limits)
        if isinstance(outcome, tuple) and isinstance(event := outcome[0], Debited):
            return (msgspec.structs.replace(event, cut=None),)
        return outcome

    patch.setattr(decide, "decide_debit", wrong)


def numbers_differ_by_how_they_are_written(patch: pytest.MonkeyPatch) -> None:
    """1 and 1.0 are two values of a dimension."""
    for module in (dimensions, matching):
        patch.setattr(module, "canonical_value", lambda value: value)
    patch.setattr(repeats, "same_dimensions", lambda stored, given: bytes(stored) == bytes(given))


MISTAKES: Mapping[str, Mistake] = {
    mistake.__name__: mistake
    for mistake in (
        paid_credits_burn_first,
        older_grants_burn_by_number,
        a_held_rest_keeps_a_grant_active,
        a_hold_that_ends_revives_credits,
        a_capture_revives_credits,
        a_reversal_revives_credits,
        a_budget_keeps_what_is_given_back,
        a_budget_gives_back_into_another_window,
        a_budget_is_passed_once,
        a_rolling_window_forgets_early,
        what_lacks_a_dimension_passes,
        an_allowance_is_shared,
        a_quota_is_rounded_down,
        all_rolls_over,
        what_comes_back_rolls_over_without_a_cap,
        a_plan_that_has_ended_leaves_all,
        a_cap_of_none_is_no_cap,
        a_plan_in_other_words_is_another,
        another_rhythm_grants_at_once,
        a_plan_that_is_set_again_grants_again,
        what_a_plan_leaves_out_is_reset,
        any_request_with_a_key_is_the_same,
        any_capture_of_a_hold_is_the_same,
        a_hold_asked_for_again_is_open,
        an_extended_hold_ends_as_it_was_made,
        a_transfer_loses_the_expiry,
        a_transfer_opens_any_pool,
        a_snapshot_forgets_reversals,
        a_hold_arms_alerts,
        a_month_has_no_end,
        a_request_is_made_only_when_something_is_spent,
        usage_may_be_dated_ahead,
        a_full_pool_grants_on,
        a_life_has_63_bits,
        a_plan_that_cannot_grant_ends,
        a_capture_that_does_not_fit_is_cut,
        a_partial_debit_stops_at_nothing,
        a_debit_of_a_part_says_not_what_stopped_it,
        numbers_differ_by_how_they_are_written,
    )
}


def scripts_to_find(mistake: Mistake, *, first: int = 0, most: int = 1_000) -> int | None:
    """Return how many scripts, from seed ``first`` on, it takes to find a mistake; ``None``: more than ``most``."""
    with pytest.MonkeyPatch.context() as patch:
        mistake(patch)
        found = (number for number in count(1) if number > most or failure_of(script_of(first + number - 1)))
        number = next(found)
    return number if number <= most else None
