"""How a pool and its history look from outside: balances, grants, receipts and ledger entries."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final, assert_never

from solvent.engine.api.balances import Balance, GrantList, GrantState, GrantView, HoldList, HoldView
from solvent.engine.api.events import PoolEvent
from solvent.engine.api.ledger import EntryKind, LedgerEntry
from solvent.engine.api.prices import CardList, CardView, RateView
from solvent.engine.api.receipts import NO_DETAILS, Allocation, Coverage, Details, Receipt
from solvent.engine.api.settings import (
    AlertsView,
    AllowanceCount,
    AllowanceList,
    AllowanceView,
    BudgetCount,
    BudgetList,
    BudgetView,
    OpenRecharge,
    RechargeRule,
    RecurringList,
    RecurringView,
)
from solvent.engine.api.verdicts import ResetView, StopView, Verdict
from solvent.engine.values.amounts import to_decimal
from solvent.engine.values.dimensions import decode_dimensions
from solvent.engine.values.matching import decode_value
from solvent.engine.values.pool_id import parse_canonical
from solvent.engine.values.terms import CostBasis
from solvent.engine.values.times import SECOND_US, to_datetime
from solvent.engine.values.windows import window_of

from .alerts import NO_ALERTS
from .allowances import NOTHING_COVERED, QUOTA_PLACES, Allowance, Covers, cover, sum_covers
from .budgets import Budget, charge
from .commands import Check
from .decide import payers
from .events import (
    Activated,
    Alerted,
    AlertsSet,
    AllowanceRemoved,
    AllowanceSet,
    BudgetRemoved,
    BudgetSet,
    Captured,
    Debited,
    Event,
    Expired,
    Granted,
    Held,
    Keyed,
    Lapsed,
    MovedIn,
    MovedOut,
    Notice,
    Opened,
    OutboxMoved,
    Parts,
    RatesSet,
    RechargeClosed,
    RechargeRequested,
    RecurringEnded,
    RecurringSet,
    Released,
    Reversed,
    Setting,
    Trimmed,
    Updated,
    Voided,
)
from .pool import EXPIRED, PENDING, VOIDED, Block, Pool
from .rates import Rate, RateBook
from .recurring import Recurring

BUDGET_COUNTS_MAX: Final = 1_000


def balance_of(pool: Pool, name: str) -> Balance:
    """The balance of ``pool``, which is written ``name``."""
    scale = pool.scale
    return Balance(
        pool=name,
        version=pool.version,
        as_of=to_datetime(pool.clock),
        available=to_decimal(pool.available, scale),
        held=to_decimal(pool.held, scale),
        granted=to_decimal(pool.granted, scale),
        spent=to_decimal(pool.spent, scale),
        expired=to_decimal(pool.expired, scale),
        voided=to_decimal(pool.voided, scale),
        moved_out=to_decimal(pool.moved_out, scale),
        pending=to_decimal(pool.pending, scale),
    )


def grants_of(pool: Pool, name: str) -> GrantList:
    """All grants of ``pool``: those that can be burned in burn order, then the others, newest first."""
    burning = {block.number for block in pool.burn}
    others = [block for block in reversed(pool.blocks.values()) if block.number not in burning]
    return GrantList(name, pool.version, tuple(_grant_view(block, pool.scale) for block in [*pool.burn, *others]))


def _grant_view(block: Block, scale: int) -> GrantView:
    return GrantView(
        id=f"g{block.number}",
        state=_grant_state(block),
        amount=to_decimal(block.amount, scale),
        available=to_decimal(block.available, scale),
        held=to_decimal(block.held, scale),
        spent=to_decimal(block.spent, scale),
        expired=to_decimal(block.expired, scale),
        voided=to_decimal(block.voided, scale),
        moved_out=to_decimal(block.moved_out, scale),
        category=block.category,
        priority=block.priority,
        created_at=to_datetime(block.created_at),
        effective_at=to_datetime(block.effective_at),
        expires_at=None if block.expires_at is None else to_datetime(block.expires_at),
        cost_basis=_cost_view(block.cost_basis),
        name=block.name,
        comment=block.comment,
        metadata=decode_dimensions(block.metadata),
        key=block.key,
    )


def _cost_view(cost: CostBasis | None) -> dict[str, str] | None:
    return None if cost is None else {"per_credit": cost.per_credit, "currency": cost.currency}


def _grant_state(block: Block) -> GrantState:
    if block.state == PENDING:
        return "pending"
    if block.state == EXPIRED:
        return "expired"
    if block.state == VOIDED:
        return "voided"
    return "active" if block.available or block.held else "depleted"


def holds_of(pool: Pool, name: str) -> HoldList:
    """The open holds of ``pool``."""
    scale = pool.scale
    return HoldList(
        name,
        pool.version,
        tuple(
            HoldView(
                id=f"h{hold.number}",
                amount=to_decimal(hold.amount, scale),
                allocations=_allocations(hold.parts, scale),
                created_at=to_datetime(hold.created_at),
                expires_at=to_datetime(hold.expires_at),
                key=hold.key,
                metric=hold.metric,
                dimensions=decode_dimensions(hold.dimensions),
            )
            for hold in pool.holds.values()
        ),
    )


def verdict_of(pool: Pool, name: str, check: Check, at: int) -> Verdict:
    """Whether ``pool`` would let ``check`` pass at ``at``."""
    scale, covered = pool.scale, NOTHING_COVERED
    rest = check.amount
    if pool.allowances:
        covered = cover(
            pool.allowances.values(), check.dimensions, at, rest, metric=check.metric, quantity=check.quantity
        )
        rest = covered.rest
    charged = charge(pool.budgets.values(), check.dimensions, at, rest)
    payable = pool.available if charged.room is None else min(pool.available, charged.room)
    allowed = rest <= payable
    stop, reset = charged.stop, covered.reset
    counted = scale if stop is None or stop.counts == "credits" else 0
    return Verdict(
        pool=name,
        version=pool.version,
        allowed=allowed,
        requested=to_decimal(check.amount, scale),
        available=to_decimal(sum_covers(covered.covers) + covered.room + payable, scale),
        allocations=_allocations(payers(pool, min(rest, payable)), scale),
        top_up=to_decimal(max(0, rest - pool.available), scale),
        covered=_coverages(covered.covers, scale),
        resets_at=None if reset is None else to_datetime(reset.at),
        reset=None
        if reset is None
        else ResetView(
            allowance=reset.allowance, dimension=reset.dimension, value=reset.value, resets_at=to_datetime(reset.at)
        ),
        stopped_by=None
        if stop is None
        else StopView(
            budget=stop.budget,
            value=stop.value,
            limit=to_decimal(stop.limit, counted),
            used=to_decimal(stop.used, counted),
            resets_at=None if stop.resets_at is None else to_datetime(stop.resets_at),
            counts=stop.counts,
        ),
        warnings=charged.warned,
    )


def allowances_of(pool: Pool, name: str, at: int) -> AllowanceList:
    """The allowances of ``pool``, with what is used of them at ``at``."""
    views = tuple(_allowance_view(each, pool.scale, at) for each in pool.allowances.values())
    return AllowanceList(name, pool.version, views)


def _allowance_view(allowance: Allowance, scale: int, at: int) -> AllowanceView:
    terms = allowance.terms
    counted = scale if terms.metric is None else QUOTA_PLACES
    found = {value: allowance.used_at(at, value) for counters in allowance.used.values() for value in counters}
    used = sorted((-count, value, resets_at) for value, (count, resets_at) in found.items() if count)
    return AllowanceView(
        name=terms.name,
        amount=to_decimal(terms.amount, counted),
        metric=terms.metric,
        window=terms.window,
        rolling_s=terms.rolling_us // SECOND_US if terms.window is None else None,
        time_zone=terms.zone,
        match=dict(terms.match),
        each=terms.each,
        counts=tuple(
            AllowanceCount(
                value=None if terms.each is None else decode_value(value),
                used=to_decimal(-count, counted),
                left=to_decimal(max(0, terms.amount + count), counted),
                resets_at=to_datetime(resets_at),
            )
            for count, value, resets_at in used[:BUDGET_COUNTS_MAX]
        ),
    )


def recurring_of(pool: Pool, name: str) -> RecurringList:
    """The recurring grants of ``pool`` that are not over."""
    return RecurringList(
        name, pool.version, tuple(_recurring_view(each, pool.scale) for each in pool.recurring.values())
    )


def _recurring_view(recurring: Recurring, scale: int) -> RecurringView:
    terms = recurring.terms
    most = terms.roll_over
    return RecurringView(
        name=terms.name,
        amount=to_decimal(terms.amount, scale),
        period=terms.period,
        every=terms.every,
        anchor=to_datetime(recurring.anchor),
        next_at=to_datetime(recurring.next_at),
        ends_at=None if terms.ends_at is None else to_datetime(terms.ends_at),
        time_zone=terms.zone,
        category=terms.category,
        priority=terms.priority,
        cost_basis=_cost_view(terms.cost_basis),
        roll_over="all" if most is None else str(to_decimal(most, scale)) if most else "none",
        prorate=terms.prorate,
        last_grant=f"g{recurring.last_grant}" if recurring.last_grant else None,
    )


def alerts_of(pool: Pool, name: str) -> AlertsView:
    """The alerts of ``pool``."""
    scale = pool.scale
    terms = NO_ALERTS if pool.alerts is None else pool.alerts.terms
    state = None if pool.alerts is None else pool.alerts.recharge
    rule = terms.recharge
    return AlertsView(
        pool=name,
        version=pool.version,
        low=tuple(str(to_decimal(each.units, scale)) if each.units else f"{each.percent}%" for each in terms.low),
        expiring_within_s=None if terms.expiring_us is None else terms.expiring_us // SECOND_US,
        budget_percents=terms.budget_percents,
        recharge=None
        if rule is None
        else RechargeRule(
            below=to_decimal(rule.below, scale),
            target=to_decimal(rule.target, scale),
            monthly_max=None if rule.monthly_max is None else to_decimal(rule.monthly_max, scale),
            time_zone=rule.zone,
            grants=rule.grants,
            timeout_s=rule.timeout_us // SECOND_US,
            category=rule.category,
            cost_basis=_cost_view(rule.cost_basis),
        ),
        open_recharge=None
        if state is None or not state.request
        else OpenRecharge(
            id=f"q{state.request}", amount=to_decimal(state.amount, scale), until=to_datetime(state.until)
        ),
    )


def pool_event_of(event: Notice, pool: str, version: int, position: str, scale: int) -> PoolEvent:
    """What is published of ``event``, which made ``version``."""
    common: dict[str, Any] = {
        "pool": pool,
        "version": version,
        "recorded_at": to_datetime(event.at),
        "available": to_decimal(event.balance, scale),
        "position": position,
    }
    match event:
        case RechargeRequested():
            return PoolEvent(
                kind="recharge_requested",
                amount=to_decimal(event.amount, scale),
                recharge=f"q{version}",
                expires_at=to_datetime(event.until),
                granted=event.granted,
                **common,
            )
        case RechargeClosed():
            return PoolEvent(
                kind="recharge_refused" if event.due_at is None else "recharge_timed_out",
                amount=to_decimal(event.amount, scale),
                recharge=f"q{event.recharge}",
                **common,
            )
        case Alerted(kind="low"):
            return PoolEvent(kind="low", limit=to_decimal(event.limit, scale), percent=event.percent or None, **common)
        case Alerted(kind="budget_reached"):
            return PoolEvent(
                kind="budget_reached",
                budget=event.budget,
                value=decode_value(event.value) if event.value else None,
                amount=to_decimal(event.amount, scale),
                limit=to_decimal(event.limit, scale),
                percent=event.percent,
                **common,
            )
        case Alerted(kind="expiring_soon"):
            return PoolEvent(
                kind="expiring_soon",
                grant=f"g{event.about}",
                amount=to_decimal(event.amount, scale),
                expires_at=None if event.moment is None else to_datetime(event.moment),
                **common,
            )
        case Alerted(kind="hold_expired"):
            return PoolEvent(
                kind="hold_expired", hold=f"h{event.about}", amount=to_decimal(event.amount, scale), **common
            )
        case Alerted():
            return PoolEvent(kind="depleted", **common)
    assert_never(event)


def budgets_of(pool: Pool, name: str, at: int) -> BudgetList:
    """The budgets of ``pool``, with what is used in their windows at ``at``."""
    return BudgetList(name, pool.version, tuple(_budget_view(each, pool.scale, at) for each in pool.budgets.values()))


def _budget_view(budget: Budget, scale: int, at: int) -> BudgetView:
    terms = budget.terms
    start, end = window_of(at, terms.window, terms.zone)
    used = budget.used if budget.window_start == start else {}
    values = sorted({*used, *budget.open_holds}, key=lambda value: (-used.get(value, 0), value))
    return BudgetView(
        name=terms.name,
        amount=to_decimal(terms.amount, scale),
        window=terms.window,
        time_zone=terms.zone,
        match=dict(terms.match),
        each=terms.each,
        mode=terms.mode,
        holds_max=terms.holds_max,
        resets_at=None if terms.window == "total" else to_datetime(end),
        counts=tuple(
            BudgetCount(
                value=None if terms.each is None else decode_value(value),
                used=to_decimal(used.get(value, 0), scale),
                open_holds=budget.open_holds.get(value, 0),
            )
            for value in values[:BUDGET_COUNTS_MAX]
        ),
    )


def cards_of(book: RateBook) -> CardList:
    """The rate cards of ``book``, in the order in which they were set."""
    return CardList(
        tuple(
            CardView(
                number=version.number,
                currency=version.card.currency,
                effective_at=to_datetime(version.effective_at_us),
                rates=tuple(map(rate_view, version.card.rates)),
            )
            for version in book.versions
        )
    )


def rate_view(rate: Rate) -> RateView:
    """One rate."""
    return RateView(metric=rate.metric, match=dict(rate.match), credits=rate.credits, per=rate.per)


def unchanged(pool: Pool) -> Receipt:
    """The answer to a setting that stands already."""
    return Receipt("", pool.version, True, pool.scale, 0, pool.available, pool.clock)


def receipt_of(event: Keyed | Setting, version: int, scale: int, *, replayed: bool) -> Receipt:
    """The receipt of a command. The event holds all of it, so any later time gives the same one."""
    if isinstance(event, Debited) and not event.warned and not event.card and not event.covers:
        return Receipt(f"d{version}", version, replayed, scale, event.amount, event.balance, event.at, event.parts)
    letter, amount, balance, parts, details = _receipt_parts(event)
    return Receipt(f"{letter}{version}", version, replayed, scale, amount, balance, event.at, parts, details)


def _receipt_parts(
    event: Keyed | Setting,
) -> tuple[str, int, int, Parts, Details]:
    """Letter of the id, amount, balance after it and all that followed from it, parts, details."""
    match event:
        case Granted():
            return "g", event.amount, event.balance, (), NO_DETAILS
        case Held():
            details = Details(expires_at_us=event.expires_at, warnings=event.warned, covers_units=_covers(event.covers))
            return "h", event.amount, event.balance, event.parts, details
        case Debited():
            details = Details(warnings=event.warned, card=event.card or None, covers_units=_covers(event.covers))
            return "d", event.amount, event.balance, event.parts, details
        case MovedOut():
            return "t", event.amount, event.balance, event.parts, NO_DETAILS
        case RatesSet():
            return "c", 0, 0, (), NO_DETAILS
        case BudgetSet() | BudgetRemoved():
            return "b", 0, event.balance, (), NO_DETAILS
        case Captured():
            details = Details(
                hold=event.hold,
                returned_units=sum(part for _, part in event.returned),
                lapsed_units=event.lapsed,
                uncovered_units=event.uncovered,
                warnings=event.warned,
                covers_units=_covers(event.covers),
            )
            return "d", event.amount, event.balance - event.lapsed, merged(event.paid), details
        case Released():
            details = Details(hold=event.hold, returned_units=event.amount, lapsed_units=event.lapsed)
            return "r", event.amount, event.balance - event.lapsed, event.parts, details
        case Reversed():
            details = Details(
                debit=event.debit,
                returned_units=event.amount,
                lapsed_units=event.lapsed,
                covers_units=_covers(event.covers),
            )
            return "r", event.amount, event.balance - event.lapsed, merged(event.parts), details
        case Updated():
            return "u", 0, event.balance, (), NO_DETAILS
        case Voided():
            return "v", event.amount, event.balance, (), NO_DETAILS
        case RechargeClosed():
            return "r", event.amount, event.balance, (), NO_DETAILS
        case AllowanceSet() | AllowanceRemoved():
            return "f", 0, event.balance, (), NO_DETAILS
        case RecurringSet() | RecurringEnded():
            return "p", 0, event.balance, (), NO_DETAILS
        case AlertsSet():
            return "n", 0, event.balance, (), NO_DETAILS
        case Opened():
            return "o", 0, 0, (), NO_DETAILS
        case OutboxMoved():
            return "x", 0, 0, (), NO_DETAILS
    assert_never(event)


def _covers(covers: Covers) -> tuple[tuple[str, int], ...]:
    """(allowance, units), each allowance named once."""
    sums: dict[str, int] = {}
    for covered in covers:
        sums[covered.name] = sums.get(covered.name, 0) + covered.units
    return tuple(sums.items())


def _coverages(covers: Covers, scale: int) -> tuple[Coverage, ...]:
    return tuple(Coverage(name, to_decimal(units, scale)) for name, units in _covers(covers))


def merged(parts: Parts) -> Parts:
    """``parts`` with each grant named once."""
    sums: dict[int, int] = {}
    for grant, part in parts:
        sums[grant] = sums.get(grant, 0) + part
    return tuple(sums.items())


def _allocations(parts: Parts, scale: int) -> tuple[Allocation, ...]:
    return tuple(Allocation(f"g{grant}", to_decimal(part, scale)) for grant, part in parts)


def entry_of(event: Event, version: int, scale: int) -> LedgerEntry:
    """The ledger's line for the event that made ``version``."""

    def entry(kind: EntryKind, letter: str, amount: int, change: int, **rest: Any) -> LedgerEntry:
        at = to_datetime(event.at)
        return LedgerEntry(
            version=version,
            kind=kind,
            id=f"{letter}{version}",
            amount=to_decimal(amount, scale),
            change=to_decimal(change, scale),
            balance=to_decimal(0 if isinstance(event, Opened) else event.balance, scale),
            recorded_at=at,
            **{"occurred_at": at, **rest},
        )

    def usage(event: Debited | Captured) -> dict[str, Any]:
        return {
            "occurred_at": to_datetime(event.at if event.occurred_at is None else event.occurred_at),
            "allocations": _allocations(merged(event.paid), scale),
            "metric": event.metric,
            "quantity": None if event.quantity is None else Decimal(event.quantity),
            "dimensions": decode_dimensions(event.dimensions),
            "card": event.card or None if isinstance(event, Debited) else None,
            "covered": _coverages(event.covers, scale),
        }

    match event:
        case Debited():
            return entry("debit", "d", event.amount, -event.amount, key=event.key, **usage(event))
        case Granted():
            starts = event.at if event.effective_at is None else event.effective_at
            change = event.amount if starts <= event.at else 0
            return entry(
                "grant", "g", event.amount, change, key=event.key, dimensions=decode_dimensions(event.metadata)
            )
        case Activated():
            due_at = to_datetime(event.due_at)
            return entry("activation", "a", event.amount, event.amount, occurred_at=due_at, about=f"g{event.grant}")
        case Expired():
            due_at = to_datetime(event.due_at)
            return entry("expiry", "x", event.amount, -event.amount, occurred_at=due_at, about=f"g{event.grant}")
        case Lapsed():
            return entry("lapse", "x", event.amount, -event.amount, about=f"g{event.grant}")
        case Opened():
            return entry("opened", "o", 0, 0)
        case Held():
            return entry(
                "hold",
                "h",
                event.amount,
                -event.amount,
                key=event.key,
                allocations=_allocations(event.parts, scale),
                metric=event.metric,
                dimensions=decode_dimensions(event.dimensions),
                covered=_coverages(event.covers, scale),
            )
        case Captured():
            change = sum(part for _, part in event.returned) - sum(part for _, part in event.extra)
            return entry("capture", "d", event.amount, change, about=f"h{event.hold}", **usage(event))
        case Released():
            return entry(
                "release" if event.due_at is None else "hold_expiry",
                "r",
                event.amount,
                event.amount,
                about=f"h{event.hold}",
                occurred_at=to_datetime(event.at if event.due_at is None else event.due_at),
                allocations=_allocations(event.parts, scale),
                dimensions=decode_dimensions(event.dimensions),
            )
        case Reversed():
            return entry(
                "reversal",
                "r",
                event.amount,
                event.amount,
                key=event.key,
                about=f"d{event.debit}",
                allocations=_allocations(merged(event.parts), scale),
                metric=event.metric,
                dimensions=decode_dimensions(event.dimensions),
                covered=_coverages(event.covers, scale),
            )
        case Updated():
            metadata = decode_dimensions(event.metadata)
            return entry("update", "u", 0, 0, key=event.key, about=f"g{event.grant}", dimensions=metadata)
        case MovedOut():
            parts = _allocations(event.parts, scale)
            about = str(parse_canonical(event.target))
            return entry(
                "transfer_out", "t", event.amount, -event.amount, key=event.key, about=about, allocations=parts
            )
        case MovedIn():
            about = str(parse_canonical(event.source))
            return entry("transfer_in", "g", event.amount, event.amount, about=about)
        case RatesSet():
            return entry("rates_set", "c", 0, 0, occurred_at=to_datetime(event.effective_at))
        case BudgetSet():
            return entry("budget_set", "b", 0, 0, about=event.terms.name)
        case BudgetRemoved():
            return entry("budget_removed", "b", 0, 0, about=event.name)
        case AllowanceSet():
            return entry("allowance_set", "f", 0, 0, about=event.terms.name)
        case AllowanceRemoved():
            return entry("allowance_removed", "f", 0, 0, about=event.name)
        case RecurringSet():
            return entry("recurring_set", "p", 0, 0, about=event.terms.name)
        case RecurringEnded():
            return entry("recurring_ended", "p", 0, 0, about=event.name)
        case Trimmed():
            return entry("roll_over_expiry", "x", event.amount, -event.amount, about=f"g{event.grant}")
        case AlertsSet():
            return entry("alerts_set", "n", 0, 0)
        case Alerted():
            return entry("alert", "n", 0, 0, about=event.kind)
        case RechargeRequested():
            return entry("recharge_requested", "q", event.amount, 0)
        case RechargeClosed():
            kind: EntryKind = "recharge_refused" if event.due_at is None else "recharge_timed_out"
            return entry(kind, "r", event.amount, 0, about=f"q{event.recharge}")
        case OutboxMoved():
            return entry("outbox", "x", 0, 0)
        case Voided():
            return entry("void", "v", event.amount, 0 if event.pending else -event.amount, about=f"g{event.grant}")
    assert_never(event)
