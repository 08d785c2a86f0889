"""The one gate for everything that comes from outside, embedded or over a wire: what is asked, checked.

What the ``*_command`` functions return is valid, what is not raises ``InvalidRequest`` naming the field. Amounts become
units, times become microseconds, dimensions become canonical bytes, so that the pool compares requests byte by byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from solvent.engine.values.amounts import AmountLike, parse_amount, shown
from solvent.engine.values.dimensions import NO_DIMENSIONS, Dimensions, decode_dimensions, encode_dimensions
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.matching import Match
from solvent.engine.values.pool_id import PoolId, check_id
from solvent.engine.values.quantities import check_quantity
from solvent.engine.values.recurrence import EVERY_MAX, RECURRENCE_PERIODS, RecurrencePeriod
from solvent.engine.values.terms import KEEP, PRIORITY_DEFAULT, PRIORITY_MAX, Category, CostBasis, Keep
from solvent.engine.values.times import DAY_US, SECOND_US, TimeLike, parse_time
from solvent.engine.values.windows import check_period, check_zone

from .alerts import BUDGET_PERCENTS_MAX, LOW_MAX, AlertTerms, RechargeTerms, Threshold
from .allowances import (
    ALLOWANCE_PERIODS,
    QUOTA_PLACES,
    ROLLING_MAX_S,
    ROLLING_MIN_S,
    ROLLING_STEPS,
    AllowanceTerms,
)
from .budgets import BUDGET_PERIODS, BudgetTerms, Mode
from .commands import (
    CancelRecurring,
    Capture,
    Check,
    Command,
    Debit,
    Grant,
    GrantRecharge,
    Hold,
    OpenPool,
    RefuseRecharge,
    Release,
    RemoveAllowance,
    RemoveBudget,
    Report,
    Reverse,
    SetAlerts,
    SetAllowance,
    SetBudget,
    SetRates,
    SetRecurring,
    Transfer,
    UpdateGrant,
    VoidGrant,
)
from .rates import parse_card
from .recurring import NO_ROLL_OVER, RecurringTerms

KEY_CHARS_MAX: Final = 256
NAME_CHARS_MAX: Final = 256
COMMENT_CHARS_MAX: Final = 1_024
HOLD_TTL_MAX_US: Final = DAY_US
HOLDS_MAX_MAX: Final = 1_000_000
COST_PLACES_MAX: Final = 12

EXPIRING_MAX_S: Final = 366 * 86_400
RECHARGE_TIMEOUT_DEFAULT_S: Final = 86_400
RECHARGE_TIMEOUT_MAX_S: Final = 31 * 86_400

_PERCENT: Final = re.compile(r"([0-9]{1,3})%", re.ASCII)
_RECHARGE_FIELDS: Final = {
    "below", "target", "monthly_max", "time_zone", "grants", "timeout_s", "category", "cost_basis"
}  # fmt: skip
_COST: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?", re.ASCII)
_MONEY: Final = re.compile(r"[A-Z]{3,8}", re.ASCII)

_NUMBER: Final = re.compile(r"([a-z])([1-9][0-9]{0,17})", re.ASCII)


def grant_command(
    *,
    scale: int,
    amount: AmountLike,
    key: str,
    category: str = "paid",
    priority: int = PRIORITY_DEFAULT,
    effective_at: TimeLike | None = None,
    expires_at: TimeLike | None = None,
    cost_basis: CostBasis | tuple[str, str] | Mapping[str, str] | None = None,
    name: str | None = None,
    comment: str | None = None,
    metadata: Dimensions | None = None,
) -> Grant:
    """Check the parts of a grant. Raises ``InvalidRequest`` naming the first that is wrong."""
    _check_priority(priority)
    starts = None if effective_at is None else parse_time(effective_at, "effective_at")
    ends = None if expires_at is None else parse_time(expires_at, "expires_at")
    if starts is not None and ends is not None and ends <= starts:
        raise InvalidRequest("expires_at", "a time after effective_at")
    return Grant(
        key=check_id(key, "key", chars_max=KEY_CHARS_MAX),
        amount=parse_amount(amount, scale),
        category=_check_category(category),
        priority=priority,
        effective_at=starts,
        expires_at=ends,
        cost_basis=None if cost_basis is None else _check_cost_basis(cost_basis),
        name=None if name is None else check_id(name, "name", chars_max=NAME_CHARS_MAX),
        comment=None if comment is None else _check_text(comment, "comment", COMMENT_CHARS_MAX),
        metadata=NO_DIMENSIONS if metadata is None else encode_dimensions(metadata, "metadata"),
    )


def debit_command(
    *,
    scale: int,
    amount: AmountLike,
    key: str,
    partial: bool = False,
    occurred_at: TimeLike | None = None,
    metric: str | None = None,
    quantity: AmountLike | None = None,
    dimensions: Dimensions | None = None,
    backfill: bool = False,
) -> Debit:
    """Check the parts of a debit. Raises ``InvalidRequest`` naming the first that is wrong.

    Whether ``occurred_at`` is near enough to now is judged by the pool, on its own clock.
    """
    if type(partial) is not bool:
        raise InvalidRequest("partial", "true or false", got=shown(partial))
    if type(backfill) is not bool:
        raise InvalidRequest("backfill", "true or false", got=shown(backfill))
    # Positional, in the order of the fields: this is the hot path.
    return Debit(
        check_id(key, "key", chars_max=KEY_CHARS_MAX),
        parse_amount(amount, scale),
        partial,
        None if occurred_at is None else parse_time(occurred_at, "occurred_at"),
        None if metric is None else check_id(metric, "metric"),
        None if quantity is None else check_quantity(quantity),
        NO_DIMENSIONS if dimensions is None else encode_dimensions(dimensions, "dimensions"),
        backfill,
    )


def check_question(
    *,
    scale: int,
    amount: AmountLike,
    dimensions: Dimensions | None = None,
    metric: str | None = None,
    quantity: AmountLike | None = None,
) -> Check:
    """Check the parts of a question. Raises ``InvalidRequest`` naming the first that is wrong."""
    return Check(
        parse_amount(amount, scale),
        NO_DIMENSIONS if dimensions is None else encode_dimensions(dimensions, "dimensions"),
        None if metric is None else check_id(metric, "metric"),
        None if quantity is None else check_quantity(quantity),
    )


def hold_command(
    *,
    scale: int,
    amount: AmountLike,
    key: str,
    ttl_s: float | Decimal = 3_600,
    metric: str | None = None,
    dimensions: Dimensions | None = None,
) -> Hold:
    """Check the parts of a hold: ``ttl_s`` seconds, 1 to 86,400. Raises ``InvalidRequest`` naming what is wrong."""
    return Hold(
        check_id(key, "key", chars_max=KEY_CHARS_MAX),
        parse_amount(amount, scale),
        check_ttl(ttl_s),
        None if metric is None else check_id(metric, "metric"),
        NO_DIMENSIONS if dimensions is None else encode_dimensions(dimensions, "dimensions"),
    )


def capture_command(
    *,
    scale: int,
    hold: str,
    amount: AmountLike,
    occurred_at: TimeLike | None = None,
    metric: str | None = None,
    quantity: AmountLike | None = None,
) -> Capture:
    """Check the parts of a capture. Raises ``InvalidRequest`` naming the first that is wrong."""
    return Capture(
        parse_entry_id(hold, "hold", "h"),
        parse_amount(amount, scale),
        None if occurred_at is None else parse_time(occurred_at, "occurred_at"),
        None if metric is None else check_id(metric, "metric"),
        None if quantity is None else check_quantity(quantity),
    )


def release_command(*, scale: int, hold: str) -> Release:
    """Check the parts of a release. Raises ``InvalidRequest``."""
    return Release(parse_entry_id(hold, "hold", "h"))


def reverse_command(*, scale: int, debit: str, key: str, amount: AmountLike | None = None) -> Reverse:
    """Check the parts of a reversal; without ``amount``, all that is left of the debit. Raises ``InvalidRequest``."""
    return Reverse(
        check_id(key, "key", chars_max=KEY_CHARS_MAX),
        parse_entry_id(debit, "debit", "d"),
        None if amount is None else parse_amount(amount, scale),
    )


def update_grant_command(
    *,
    scale: int,
    grant: str,
    key: str,
    priority: int | Keep = KEEP,
    expires_at: TimeLike | Keep | None = KEEP,
    metadata: Dimensions | Keep = KEEP,
) -> UpdateGrant:
    """Check new terms of a grant; ``expires_at=None`` is never. Raises ``InvalidRequest``."""
    if priority is KEEP and expires_at is KEEP and metadata is KEEP:
        raise InvalidRequest("priority", "something to change: priority, expires_at or metadata")
    ends: int | Keep | None = KEEP
    if not isinstance(expires_at, Keep):
        ends = None if expires_at is None else parse_time(expires_at, "expires_at")
    return UpdateGrant(
        check_id(key, "key", chars_max=KEY_CHARS_MAX),
        parse_entry_id(grant, "grant", "g"),
        priority if isinstance(priority, Keep) else _check_priority(priority),
        ends,
        metadata if isinstance(metadata, Keep) else encode_dimensions(metadata, "metadata"),
    )


def void_grant_command(*, scale: int, grant: str) -> VoidGrant:
    """Check the parts of a void. Raises ``InvalidRequest``."""
    return VoidGrant(parse_entry_id(grant, "grant", "g"))


def report_command(
    *,
    scale: int,
    metric: str,
    quantity: AmountLike,
    key: str,
    partial: bool = False,
    occurred_at: TimeLike | None = None,
    dimensions: Dimensions | None = None,
    backfill: bool = False,
) -> Report:
    """Check the parts of a metered usage event. Raises ``InvalidRequest`` naming the first that is wrong."""
    if type(partial) is not bool:
        raise InvalidRequest("partial", "true or false", got=shown(partial))
    if type(backfill) is not bool:
        raise InvalidRequest("backfill", "true or false", got=shown(backfill))
    return Report(
        check_id(key, "key", chars_max=KEY_CHARS_MAX),
        check_id(metric, "metric"),
        check_quantity(quantity),
        partial,
        None if occurred_at is None else parse_time(occurred_at, "occurred_at"),
        NO_DIMENSIONS if dimensions is None else encode_dimensions(dimensions, "dimensions"),
        backfill,
    )


def transfer_command(*, scale: int, source: PoolId, target: PoolId, amount: AmountLike, key: str) -> Transfer:
    """Check the parts of a transfer. Raises ``InvalidRequest`` naming the first that is wrong."""
    check_transfer(source, target)
    return Transfer(check_id(key, "key", chars_max=KEY_CHARS_MAX), parse_amount(amount, scale), target.canonical)


def check_transfer(source: PoolId, target: PoolId) -> None:
    """Raise ``InvalidRequest`` unless credits of ``source`` can become credits of ``target``."""
    for part in ("environment", "customer", "currency"):
        if getattr(source, part) != getattr(target, part):
            raise InvalidRequest("target", f"a pool of the same {part} as {source}", got=str(target)[:60])
    if source == target:
        raise InvalidRequest("target", "another pool", got=str(target)[:60])


def set_rates_command(*, currency: str, rates: object, effective_at: TimeLike | None = None) -> SetRates:
    """Check a rate card. Raises ``InvalidRequest`` naming the place, such as ``rates[2].match.model``."""
    starts = None if effective_at is None else parse_time(effective_at, "effective_at")
    return SetRates(parse_card(rates, currency=currency), starts)


def set_budget_command(
    *,
    scale: int,
    name: str,
    amount: AmountLike,
    window: str,
    time_zone: str = "UTC",
    match: Dimensions | None = None,
    each: str | None = None,
    mode: str = "block",
    holds_max: int | None = None,
) -> SetBudget:
    """Check the terms of a budget. Raises ``InvalidRequest`` naming the first that is wrong."""
    if holds_max is not None:
        _check_whole(holds_max, "holds_max", 0, HOLDS_MAX_MAX)
    return SetBudget(
        BudgetTerms(
            check_id(name, "name"),
            parse_amount(amount, scale),
            check_period(window, "window", BUDGET_PERIODS),
            check_zone(time_zone, "time_zone"),
            _check_match(match),
            None if each is None else check_id(each, "each"),
            _check_mode(mode),
            holds_max,
        )
    )


def remove_budget_command(*, scale: int, name: str) -> RemoveBudget:
    """Check the name of a budget. Raises ``InvalidRequest``."""
    return RemoveBudget(check_id(name, "name"))


def open_pool_command(*, scale: int) -> OpenPool:
    """There is nothing to check."""
    return OpenPool()


def set_allowance_command(
    *,
    scale: int,
    name: str,
    amount: AmountLike,
    window: str | None = None,
    rolling_s: int | None = None,
    time_zone: str = "UTC",
    match: Dimensions | None = None,
    each: str | None = None,
    metric: str | None = None,
) -> SetAllowance:
    """Check the terms of an allowance: either a window or ``rolling_s``, 60 seconds to 31 days.

    Raises ``InvalidRequest`` naming the first that is wrong.
    """
    if (window is None) == (rolling_s is None):
        raise InvalidRequest("window", f"either one of {', '.join(ALLOWANCE_PERIODS)}, or rolling_s")
    if rolling_s is not None:
        _check_whole(rolling_s, "rolling_s", ROLLING_MIN_S, ROLLING_MAX_S)
        if rolling_s % ROLLING_STEPS:
            raise InvalidRequest("rolling_s", f"a multiple of {ROLLING_STEPS}", got=shown(rolling_s))
    return SetAllowance(
        AllowanceTerms(
            check_id(name, "name"),
            parse_amount(amount, scale if metric is None else QUOTA_PLACES),
            None if window is None else check_period(window, "window", ALLOWANCE_PERIODS),
            0 if rolling_s is None else rolling_s * SECOND_US,
            check_zone(time_zone, "time_zone"),
            _check_match(match),
            None if each is None else check_id(each, "each"),
            None if metric is None else check_id(metric, "metric"),
        )
    )


def remove_allowance_command(*, scale: int, name: str) -> RemoveAllowance:
    """Check the name of an allowance. Raises ``InvalidRequest``."""
    return RemoveAllowance(check_id(name, "name"))


def set_recurring_command(
    *,
    scale: int,
    name: str,
    amount: AmountLike,
    period: str,
    every: int = 1,
    anchor: TimeLike | None = None,
    starts_at: TimeLike | None = None,
    ends_at: TimeLike | None = None,
    time_zone: str = "UTC",
    category: str = "paid",
    priority: int = PRIORITY_DEFAULT,
    cost_basis: CostBasis | tuple[str, str] | Mapping[str, str] | None = None,
    roll_over: AmountLike = "none",
    prorate: bool = False,
) -> SetRecurring:
    """Check the terms of a recurring grant; ``roll_over`` is "none", "all", or the most that may roll over.

    Raises ``InvalidRequest`` naming the first that is wrong.
    """
    if type(prorate) is not bool:
        raise InvalidRequest("prorate", "true or false", got=shown(prorate))
    starts = None if starts_at is None else parse_time(starts_at, "starts_at")
    ends = None if ends_at is None else parse_time(ends_at, "ends_at")
    if starts is not None and ends is not None and ends <= starts:
        raise InvalidRequest("ends_at", "a time after starts_at")
    return SetRecurring(
        RecurringTerms(
            check_id(name, "name"),
            parse_amount(amount, scale),
            _check_recurrence(period),
            _check_whole(every, "every", 1, EVERY_MAX),
            None if anchor is None else parse_time(anchor, "anchor"),
            starts,
            ends,
            check_zone(time_zone, "time_zone"),
            _check_category(category),
            _check_priority(priority),
            None if cost_basis is None else _check_cost_basis(cost_basis),
            _check_roll_over(roll_over, scale),
            prorate,
        )
    )


def cancel_recurring_command(*, scale: int, name: str, at_once: bool = False) -> CancelRecurring:
    """Check the parts of a cancellation. Raises ``InvalidRequest``."""
    if type(at_once) is not bool:
        raise InvalidRequest("at_once", "true or false", got=shown(at_once))
    return CancelRecurring(check_id(name, "name"), at_once)


def set_alerts_command(
    *,
    scale: int,
    low: Sequence[AmountLike] = (),
    expiring_within_s: int | None = None,
    budget_percents: Sequence[int] = (),
    recharge: Mapping[str, Any] | None = None,
) -> SetAlerts:
    """Check the alerts of a pool; ``low`` has amounts and percentages such as "20%".

    Raises ``InvalidRequest`` naming the first that is wrong.
    """
    if not isinstance(low, (list, tuple)) or len(low) > LOW_MAX:
        raise InvalidRequest("low", f'at most {LOW_MAX} amounts or percentages, such as ["100", "20%"]')
    if not isinstance(budget_percents, (list, tuple)) or len(budget_percents) > BUDGET_PERCENTS_MAX:
        raise InvalidRequest("budget_percents", f"at most {BUDGET_PERCENTS_MAX} whole numbers from 1 to 100")
    if expiring_within_s is not None:
        _check_whole(expiring_within_s, "expiring_within_s", 1, EXPIRING_MAX_S)
    percents = {_check_whole(each, "budget_percents", 1, 100) for each in budget_percents}
    return SetAlerts(
        AlertTerms(
            tuple([_check_threshold(each, scale) for each in low]),
            None if expiring_within_s is None else expiring_within_s * SECOND_US,
            tuple(sorted(percents)),
            None if recharge is None else _check_recharge(recharge, scale),
        )
    )


def grant_recharge_command(
    *,
    scale: int,
    recharge: str,
    amount: AmountLike | None = None,
    cost_basis: CostBasis | tuple[str, str] | Mapping[str, str] | None = None,
    expires_at: TimeLike | None = None,
    comment: str | None = None,
) -> GrantRecharge:
    """Check the parts of what answers a recharge request. Raises ``InvalidRequest``."""
    return GrantRecharge(
        parse_entry_id(recharge, "recharge", "q"),
        None if amount is None else parse_amount(amount, scale),
        None if cost_basis is None else _check_cost_basis(cost_basis),
        None if expires_at is None else parse_time(expires_at, "expires_at"),
        None if comment is None else _check_text(comment, "comment", COMMENT_CHARS_MAX),
    )


def refuse_recharge_command(*, scale: int, recharge: str) -> RefuseRecharge:
    """Check the parts of a refusal. Raises ``InvalidRequest``."""
    return RefuseRecharge(parse_entry_id(recharge, "recharge", "q"))


COMMANDS: Final[Mapping[str, Callable[..., Command]]] = {
    "grant": grant_command,
    "grant.update": update_grant_command,
    "grant.void": void_grant_command,
    "debit": debit_command,
    "hold": hold_command,
    "hold.capture": capture_command,
    "hold.release": release_command,
    "reverse": reverse_command,
    "report": report_command,
    "budget.set": set_budget_command,
    "budget.remove": remove_budget_command,
    "pool.open": open_pool_command,
    "allowance.set": set_allowance_command,
    "allowance.remove": remove_allowance_command,
    "recurring.set": set_recurring_command,
    "recurring.cancel": cancel_recurring_command,
    "alerts.set": set_alerts_command,
    "recharge.grant": grant_recharge_command,
    "recharge.refuse": refuse_recharge_command,
}
"""How the parts of each operation are checked, by its name on the wire."""


def parse_entry_id(value: object, field: str, letter: str) -> int:
    """The version that an id such as ``g1`` stands for. Raises ``InvalidRequest``."""
    match = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[1] != letter:
        raise InvalidRequest(field, f'the id of a {field}, such as "{letter}7"', got=shown(value))
    return int(match[2])


def _check_whole(value: object, field: str, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise InvalidRequest(field, f"a whole number from {least} to {most}", got=shown(value))
    return value


def _check_priority(value: object) -> int:
    return _check_whole(value, "priority", 0, PRIORITY_MAX)


def _check_match(match: Dimensions | None) -> Match:
    return () if match is None else tuple(sorted(decode_dimensions(encode_dimensions(match, "match")).items()))


def _check_recurrence(value: object) -> RecurrencePeriod:
    for period in RECURRENCE_PERIODS:
        if period == value:
            return period
    raise InvalidRequest("period", f"one of {', '.join(RECURRENCE_PERIODS)}", got=shown(value))


def _check_roll_over(value: AmountLike, scale: int) -> int | None:
    if value == "none":
        return NO_ROLL_OVER
    if value == "all":
        return None
    try:
        return parse_amount(value, scale, "roll_over")
    except InvalidRequest:
        raise InvalidRequest("roll_over", '"none", "all", or an amount above zero', got=shown(value)) from None


def _check_threshold(value: AmountLike, scale: int) -> Threshold:
    if isinstance(value, str) and (match := _PERCENT.fullmatch(value)):
        return Threshold(0, _check_whole(int(match[1]), "low", 1, 100))
    return Threshold(parse_amount(value, scale, "low"))


def _check_recharge(rule: object, scale: int) -> RechargeTerms:
    if not isinstance(rule, Mapping) or not {"below", "target"} <= set(rule) <= _RECHARGE_FIELDS:
        wanted = ", ".join(sorted(_RECHARGE_FIELDS - {"below", "target"}))
        raise InvalidRequest("recharge", f"an object with below and target, and perhaps {wanted}")
    below = parse_amount(rule["below"], scale, "recharge.below")
    target = parse_amount(rule["target"], scale, "recharge.target")
    if target < below:
        raise InvalidRequest("recharge.target", "at least recharge.below")
    monthly_max, cost_basis = rule.get("monthly_max"), rule.get("cost_basis")
    grants = rule.get("grants", False)
    if type(grants) is not bool:
        raise InvalidRequest("recharge.grants", "true or false", got=shown(grants))
    timeout_s = rule.get("timeout_s", RECHARGE_TIMEOUT_DEFAULT_S)
    return RechargeTerms(
        below,
        target,
        None if monthly_max is None else parse_amount(monthly_max, scale, "recharge.monthly_max"),
        check_zone(rule.get("time_zone", "UTC"), "recharge.time_zone"),
        grants,
        _check_whole(timeout_s, "recharge.timeout_s", 60, RECHARGE_TIMEOUT_MAX_S) * SECOND_US,
        _check_category(rule.get("category", "paid")),
        None if cost_basis is None else _check_cost_basis(cost_basis),
    )


def check_ttl(value: object) -> int:
    """Seconds, to the microsecond, as microseconds. A time span is no amount: a float will do."""
    seconds: Decimal | None = None
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        seconds = Decimal(str(value)) if isinstance(value, float) else Decimal(value)
    if seconds is None or not seconds.is_finite() or not 1 <= seconds <= HOLD_TTL_MAX_US // SECOND_US:
        longest = HOLD_TTL_MAX_US // SECOND_US
        raise InvalidRequest("ttl_s", f"a number of seconds from 1 to {longest}", got=shown(value))
    return int(seconds * SECOND_US)


def _check_mode(value: object) -> Mode:
    match value:
        case "block":
            return "block"
        case "warn":
            return "warn"
    raise InvalidRequest("mode", '"block" or "warn"', got=shown(value))


def _check_category(value: object) -> Category:
    match value:
        case "paid":
            return "paid"
        case "promotional":
            return "promotional"
    raise InvalidRequest("category", '"paid" or "promotional"', got=shown(value))


def _check_cost_basis(cost: object) -> CostBasis:
    if isinstance(cost, CostBasis):
        per_credit, currency = cost.per_credit, cost.currency
    elif isinstance(cost, Mapping) and set(cost) == {"per_credit", "currency"}:
        per_credit, currency = cost["per_credit"], cost["currency"]
    elif isinstance(cost, (tuple, list)) and len(cost) == 2:
        per_credit, currency = cost
    else:
        raise InvalidRequest("cost_basis", 'a price per credit and a currency, such as ("0.0125", "USD")')
    if not isinstance(per_credit, str) or not _COST.fullmatch(per_credit):
        raise InvalidRequest(
            "cost_basis.per_credit",
            f"decimal text with at most {COST_PLACES_MAX} places",
            got=shown(per_credit),
        )
    if not isinstance(currency, str) or not _MONEY.fullmatch(currency):
        raise InvalidRequest("cost_basis.currency", "a code of 3 to 8 capital letters", got=shown(currency))
    return CostBasis(per_credit, currency)


def _check_text(value: object, field: str, chars_max: int) -> str:
    if isinstance(value, str) and 0 < len(value) <= chars_max:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidRequest(field, "text without lone surrogates") from None
        return value
    raise InvalidRequest(field, f"a text of 1 to {chars_max} characters")
