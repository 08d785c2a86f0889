"""The one check of commands from callers, embedded or over a wire: it turns requests into valid commands.

Amounts become units, times become microseconds, dimensions become canonical bytes, so that the pool compares requests
byte by byte. An invalid request raises ``InvalidRequest`` naming the field. Reads are checked where they are answered.
"""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

from solvent.engine.api.requests import (
    CancelRecurringRequest,
    CaptureRequest,
    CheckRequest,
    CommandRequest,
    DebitRequest,
    ExtendRequest,
    GrantRechargeRequest,
    GrantRequest,
    HoldRequest,
    OpenPoolRequest,
    RefuseRechargeRequest,
    ReleaseRequest,
    RemoveAllowanceRequest,
    RemoveBudgetRequest,
    ReportRequest,
    ReverseRequest,
    SetAlertsRequest,
    SetAllowanceRequest,
    SetBudgetRequest,
    SetRatesRequest,
    SetRecurringRequest,
    TransferRequest,
    UpdateGrantRequest,
    VoidGrantRequest,
)
from solvent.engine.values.amounts import AmountLike, parse_amount, shown
from solvent.engine.values.dimensions import NO_DIMENSIONS, Dimensions, encode_dimensions
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.pool_id import PoolId, check_id, parse_pool
from solvent.engine.values.quantities import QuantityLike, check_quantity
from solvent.engine.values.recurrence import EVERY_MAX, RECURRENCE_PERIODS
from solvent.engine.values.terms import KEEP, BudgetMode, Keep, Missing
from solvent.engine.values.times import SECOND_US, TimeLike, parse_time
from solvent.engine.values.windows import ALLOWANCE_WINDOWS, BUDGET_WINDOWS, check_zone
from solvent.engine.values.words import check_word

from .alerts import BUDGET_PERCENTS_MAX, LOW_MAX, AlertTerms
from .allowances import QUOTA_PLACES, ROLLING_MAX_S, ROLLING_MIN_S, ROLLING_STEPS, AllowanceTerms
from .budgets import BudgetTerms
from .commands import (
    HOLD_TTL_DEFAULT_US,
    CancelRecurring,
    Capture,
    CaptureReport,
    Check,
    Command,
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
from .fields import (
    CATEGORIES,
    COMMENT_CHARS_MAX,
    KEY_CHARS_MAX,
    NAME_CHARS_MAX,
    amount_or_none,
    check_flag,
    check_key,
    check_match,
    check_priority,
    check_recharge,
    check_roll_over,
    check_threshold,
    check_ttl,
    check_whole,
    cost_or_none,
    dimensions_or_empty,
    id_or_none,
    parse_entry_id,
    quantity_or_none,
    text_or_none,
    time_or_none,
)
from .rates import parse_card
from .recurring import RecurringTerms

HOLDS_MAX_MAX: Final = 1_000_000
EXPIRING_MAX_S: Final = 366 * 86_400
MISSING: Final[tuple[Missing, ...]] = get_args(Missing)
STARTS: Final[tuple[Literal["now"], ...]] = ("now",)
MODES: Final[tuple[BudgetMode, ...]] = get_args(BudgetMode)


def check(request: CommandRequest, scale: int) -> Command:
    """Return the command that ``request`` asks for, in a currency of ``scale`` decimal places.

    Raises ``InvalidRequest`` naming the first field that is wrong, with what was expected. The pool itself checks
    whether ``occurred_at`` is near enough to now, on its own clock.
    """
    match request:
        case DebitRequest():
            return check_debit(request, scale)
        case ReportRequest():
            return _report(request)
        case HoldRequest():
            return _hold(request, scale)
        case CaptureRequest():
            return _capture(request, scale)
        case ExtendRequest():
            return _extend(request)
        case ReleaseRequest():
            return Release(parse_entry_id(request.hold, "hold", "h"))
        case GrantRequest():
            return _grant(request, scale)
        case UpdateGrantRequest():
            return _update_grant(request)
        case VoidGrantRequest():
            return VoidGrant(parse_entry_id(request.grant, "grant", "g"))
        case ReverseRequest():
            return Reverse(
                check_key(request.key),
                parse_entry_id(request.debit, "debit", "d"),
                amount_or_none(request.amount, scale),
            )
        case OpenPoolRequest():
            return OpenPool()
        case SetBudgetRequest():
            return _set_budget(request, scale)
        case RemoveBudgetRequest():
            return RemoveBudget(check_id(request.name, "name"))
        case SetAllowanceRequest():
            return _set_allowance(request, scale)
        case RemoveAllowanceRequest():
            return RemoveAllowance(check_id(request.name, "name"))
        case SetRecurringRequest():
            return _set_recurring(request, scale)
        case CancelRecurringRequest():
            return CancelRecurring(check_id(request.name, "name"), check_flag(request.at_once, "at_once"))
        case SetAlertsRequest():
            return _set_alerts(request, scale)
        case GrantRechargeRequest():
            return _grant_recharge(request, scale)
        case RefuseRechargeRequest():
            return RefuseRecharge(parse_entry_id(request.recharge, "recharge", "q"))
    raise InvalidRequest("request", "a request to change a pool", got=type(request).__name__)


def check_debit(request: DebitRequest, scale: int) -> Debit:
    """Return the command that ``request`` asks for, as ``check`` does. A batch has thousands of them."""
    return debit_command(
        scale=scale,
        amount=request.amount,
        key=request.key,
        partial=request.partial,
        occurred_at=request.occurred_at,
        metric=request.metric,
        quantity=request.quantity,
        dimensions=request.dimensions,
        backfill=request.backfill,
    )


def debit_command(
    *,
    scale: int,
    amount: AmountLike,
    key: str,
    partial: bool = False,
    occurred_at: TimeLike | None = None,
    metric: str | None = None,
    quantity: QuantityLike | None = None,
    dimensions: Dimensions | None = None,
    backfill: bool = False,
) -> Debit:
    """Return the command of a debit whose fields are given one by one, without a request around them.

    Raises ``InvalidRequest`` naming the first that is wrong.
    """
    if type(partial) is not bool:
        raise InvalidRequest("partial", "true or false", got=shown(partial))
    if type(backfill) is not bool:
        raise InvalidRequest("backfill", "true or false", got=shown(backfill))
    # Positional, in the order of the fields, and without helpers between: this is the hot path.
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


def check_question(request: CheckRequest, scale: int) -> Check:
    """Return the question that ``request`` asks. Raises ``InvalidRequest`` naming the first field that is wrong."""
    return Check(
        parse_amount(request.amount, scale),
        dimensions_or_empty(request.dimensions, "dimensions"),
        id_or_none(request.metric, "metric"),
        quantity_or_none(request.quantity),
    )


def check_transfer(request: TransferRequest, scale: int) -> tuple[PoolId, PoolId, Transfer]:
    """Return the source pool, the target pool, and the command. Raises ``InvalidRequest``."""
    source, target = transfer_pools(request)
    amount = parse_amount(request.amount, scale)
    open_pool = check_flag(request.open_pool, "open_pool")
    return source, target, Transfer(check_key(request.key), amount, target.canonical, open_pool)


def transfer_pools(request: TransferRequest) -> tuple[PoolId, PoolId]:
    """Return the pools of a transfer. Raises ``InvalidRequest`` unless credits of one can become those of the other."""
    source, target = parse_pool(request.pool), parse_pool(request.target)
    for part in ("environment", "customer", "currency"):
        if getattr(source, part) != getattr(target, part):
            raise InvalidRequest("target", f"a pool of the same {part} as {source}", got=str(target)[:60])
    if source == target:
        raise InvalidRequest("target", "another pool", got=str(target)[:60])
    return source, target


def check_rates(request: SetRatesRequest) -> SetRates:
    """Return the command that sets a rate card.

    Raises ``InvalidRequest`` naming the place, such as ``rates[2].match.model``.
    """
    starts = time_or_none(request.effective_at, "effective_at")
    return SetRates(parse_card(request.rates, currency=request.currency), starts)


def _grant(request: GrantRequest, scale: int) -> Grant:
    priority = check_priority(request.priority)
    starts = time_or_none(request.effective_at, "effective_at")
    ends = time_or_none(request.expires_at, "expires_at")
    if starts is not None and ends is not None and ends <= starts:
        raise InvalidRequest("expires_at", "a time after effective_at")
    return Grant(
        key=check_key(request.key),
        amount=parse_amount(request.amount, scale),
        category=check_word(request.category, "category", CATEGORIES),
        priority=priority,
        effective_at=starts,
        expires_at=ends,
        cost_basis=cost_or_none(request.cost_basis),
        name=None if request.name is None else check_id(request.name, "name", chars_max=NAME_CHARS_MAX),
        comment=text_or_none(request.comment, "comment", COMMENT_CHARS_MAX),
        metadata=dimensions_or_empty(request.metadata, "metadata"),
    )


def _update_grant(request: UpdateGrantRequest) -> UpdateGrant:
    priority, expires_at, metadata = request.priority, request.expires_at, request.metadata
    if isinstance(priority, Keep) and isinstance(expires_at, Keep) and isinstance(metadata, Keep):
        raise InvalidRequest("priority", "something to change: priority, expires_at or metadata")
    ends = expires_at if isinstance(expires_at, Keep) else time_or_none(expires_at, "expires_at")
    return UpdateGrant(
        check_key(request.key),
        parse_entry_id(request.grant, "grant", "g"),
        priority if isinstance(priority, Keep) else check_priority(priority),
        ends,
        metadata if isinstance(metadata, Keep) else encode_dimensions(metadata, "metadata"),
    )


def _report(request: ReportRequest) -> Report:
    check_flag(request.partial, "partial")
    check_flag(request.backfill, "backfill")
    return Report(
        check_key(request.key),
        check_id(request.metric, "metric"),
        check_quantity(request.quantity),
        request.partial,
        time_or_none(request.occurred_at, "occurred_at"),
        dimensions_or_empty(request.dimensions, "dimensions"),
        request.backfill,
    )


def _hold(request: HoldRequest, scale: int) -> Hold:
    if request.ttl_s is not None and request.expires_at is not None:
        raise InvalidRequest("expires_at", "either ttl_s or expires_at")
    return Hold(
        check_key(request.key),
        parse_amount(request.amount, scale),
        HOLD_TTL_DEFAULT_US if request.ttl_s is None else check_ttl(request.ttl_s),
        id_or_none(request.metric, "metric"),
        dimensions_or_empty(request.dimensions, "dimensions"),
        time_or_none(request.expires_at, "expires_at"),
    )


def _extend(request: ExtendRequest) -> Extend:
    if (request.ttl_s is None) == (request.expires_at is None):
        raise InvalidRequest("ttl_s", "either ttl_s or expires_at")
    return Extend(
        check_key(request.key),
        parse_entry_id(request.hold, "hold", "h"),
        None if request.ttl_s is None else check_ttl(request.ttl_s),
        time_or_none(request.expires_at, "expires_at"),
    )


def _capture(request: CaptureRequest, scale: int) -> Capture | CaptureReport:
    hold = parse_entry_id(request.hold, "hold", "h")
    occurred_at = time_or_none(request.occurred_at, "occurred_at")
    metric = id_or_none(request.metric, "metric")
    quantity = quantity_or_none(request.quantity)
    if request.amount is not None:
        return Capture(hold, parse_amount(request.amount, scale), occurred_at, metric, quantity)
    if quantity is None:
        raise InvalidRequest("amount", "credits, or in place of them a quantity that the rate card prices")
    return CaptureReport(hold, quantity, metric, occurred_at)


def _set_budget(request: SetBudgetRequest, scale: int) -> SetBudget:
    if request.holds_max is not None:
        check_whole(request.holds_max, "holds_max", 0, HOLDS_MAX_MAX)
    return SetBudget(
        BudgetTerms(
            check_id(request.name, "name"),
            parse_amount(request.amount, scale),
            check_word(request.window, "window", BUDGET_WINDOWS),
            check_zone(request.time_zone, "time_zone"),
            check_match(request.match),
            id_or_none(request.each, "each"),
            check_word(request.mode, "mode", MODES),
            request.holds_max,
            _missing(request),
        )
    )


def _set_allowance(request: SetAllowanceRequest, scale: int) -> SetAllowance:
    window, rolling_s = request.window, request.rolling_s
    if (window is None) == (rolling_s is None):
        raise InvalidRequest("window", f"either one of {', '.join(ALLOWANCE_WINDOWS)}, or rolling_s")
    if rolling_s is not None:
        check_whole(rolling_s, "rolling_s", ROLLING_MIN_S, ROLLING_MAX_S)
        if rolling_s % ROLLING_STEPS:
            raise InvalidRequest("rolling_s", f"a multiple of {ROLLING_STEPS}", got=shown(rolling_s))
    return SetAllowance(
        AllowanceTerms(
            check_id(request.name, "name"),
            parse_amount(request.amount, scale if request.metric is None else QUOTA_PLACES),
            None if window is None else check_word(window, "window", ALLOWANCE_WINDOWS),
            0 if rolling_s is None else rolling_s * SECOND_US,
            check_zone(request.time_zone, "time_zone"),
            check_match(request.match),
            id_or_none(request.each, "each"),
            id_or_none(request.metric, "metric"),
            _missing(request),
        )
    )


def _missing(request: SetBudgetRequest | SetAllowanceRequest) -> Missing:
    if request.missing != "pass" and request.each is None:
        raise InvalidRequest("missing", '"pass", or something else together with each')
    return check_word(request.missing, "missing", MISSING)


def _set_recurring(request: SetRecurringRequest, scale: int) -> SetRecurring:
    starts = time_or_none(request.starts_at, "starts_at")
    if request.start is not None:
        check_word(request.start, "start", STARTS)
        if starts is not None:
            raise InvalidRequest("start", "either start or starts_at")
    every, zone, category = request.every, request.time_zone, request.category
    priority, roll_over, prorate = request.priority, request.roll_over, request.prorate
    ends_at, cost = request.ends_at, request.cost_basis
    given: dict[str, Any] = {
        "every": KEEP if isinstance(every, Keep) else check_whole(every, "every", 1, EVERY_MAX),
        "ends_at": KEEP if isinstance(ends_at, Keep) else time_or_none(ends_at, "ends_at"),
        "zone": KEEP if isinstance(zone, Keep) else check_zone(zone, "time_zone"),
        "category": KEEP if isinstance(category, Keep) else check_word(category, "category", CATEGORIES),
        "priority": KEEP if isinstance(priority, Keep) else check_priority(priority),
        "cost_basis": KEEP if isinstance(cost, Keep) else cost_or_none(cost),
        "roll_over": KEEP if isinstance(roll_over, Keep) else check_roll_over(roll_over, scale),
        "prorate": KEEP if isinstance(prorate, Keep) else check_flag(prorate, "prorate"),
    }
    if starts is not None and isinstance(ends := given["ends_at"], int) and ends <= starts:
        raise InvalidRequest("ends_at", "a time after starts_at")
    terms = RecurringTerms(
        name=check_id(request.name, "name"),
        amount=parse_amount(request.amount, scale),
        period=check_word(request.period, "period", RECURRENCE_PERIODS),
        anchor=time_or_none(request.anchor, "anchor"),
        starts_at=starts,
        **{name: value for name, value in given.items() if value is not KEEP},
    )
    return SetRecurring(terms, tuple(name for name, value in given.items() if value is KEEP), request.start)


def _set_alerts(request: SetAlertsRequest, scale: int) -> SetAlerts:
    low, percents, within_s = request.low, request.budget_percents, request.expiring_within_s
    if not isinstance(low, (list, tuple)) or len(low) > LOW_MAX:
        raise InvalidRequest("low", f'at most {LOW_MAX} amounts or percentages, such as ["100", "20%"]')
    if not isinstance(percents, (list, tuple)) or len(percents) > BUDGET_PERCENTS_MAX:
        raise InvalidRequest("budget_percents", f"at most {BUDGET_PERCENTS_MAX} whole numbers from 1 to 100")
    if within_s is not None:
        check_whole(within_s, "expiring_within_s", 1, EXPIRING_MAX_S)
    checked = {check_whole(each, "budget_percents", 1, 100) for each in percents}
    return SetAlerts(
        AlertTerms(
            tuple([check_threshold(each, scale) for each in low]),
            None if within_s is None else within_s * SECOND_US,
            tuple(sorted(checked)),
            None if request.recharge is None else check_recharge(request.recharge, scale),
        )
    )


def _grant_recharge(request: GrantRechargeRequest, scale: int) -> GrantRecharge:
    return GrantRecharge(
        parse_entry_id(request.recharge, "recharge", "q"),
        amount_or_none(request.amount, scale),
        cost_or_none(request.cost_basis),
        time_or_none(request.expires_at, "expires_at"),
        text_or_none(request.comment, "comment", COMMENT_CHARS_MAX),
    )
