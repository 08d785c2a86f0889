"""A partial debit that a used-up window stops says what stopped it, and when there is room again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from solvent import BudgetExceeded, Credits, DebitRequest, InsufficientCredits, Receipt

from .conftest import Clock

NOON = datetime(2030, 5, 6, 12, 30, tzinfo=UTC)
HOUR_ENDS, DAY_ENDS = NOON + timedelta(minutes=30), NOON + timedelta(hours=11, minutes=30)


async def test_a_budget_that_is_used_up_says_when_it_resets(credits: Credits, clock: Clock) -> None:
    clock.advance_to(NOON)
    await credits.grant("acme", "100", key="g")
    await credits.set_budget("acme", "daily", "10", window="day")
    whole = await credits.debit("acme", "4", key="whole", partial=True)
    assert (whole.amount, whole.stopped_by, whole.resets_at) == (4, None, None)
    part = await credits.debit("acme", "50", key="part", partial=True)
    assert (part.amount, part.stopped_by, part.resets_at) == (6, "budget daily", DAY_ENDS)
    again = await credits.debit("acme", "50", key="part", partial=True)
    assert (again.replayed, again.stopped_by, again.resets_at) == (True, "budget daily", DAY_ENDS)
    (batched,) = await credits.batch([DebitRequest(pool="acme", amount="50", key="part", partial=True)])
    assert isinstance(batched, Receipt)
    assert batched == again
    # Nothing of it fits now, although it never fits as a whole.
    with pytest.raises(BudgetExceeded) as exceeded:
        await credits.debit("acme", "50", key="none", partial=True)
    assert (exceeded.value.budget, exceeded.value.resets_at) == ("daily", DAY_ENDS)
    with pytest.raises(BudgetExceeded) as exceeded:
        await credits.debit("acme", "50", key="none")
    assert exceeded.value.resets_at is None, "waiting does not help"


async def test_of_several_budgets_the_tightest_is_named_and_of_those_the_one_that_lasts(
    credits: Credits, clock: Clock
) -> None:
    clock.advance_to(NOON)
    await credits.grant("acme", "100", key="g")
    await credits.set_budget("acme", "daily", "8", window="day")
    await credits.set_budget("acme", "hourly", "5", window="hour")
    part = await credits.debit("acme", "9", key="a", partial=True)
    assert (part.amount, part.stopped_by, part.resets_at) == (5, "budget hourly", HOUR_ENDS)
    clock.advance(hours=1)
    part = await credits.debit("acme", "9", key="b", partial=True)
    assert (part.amount, part.stopped_by, part.resets_at) == (3, "budget daily", DAY_ENDS)
    await credits.set_budget("acme", "daily", "10", window="day")
    part = await credits.debit("acme", "9", key="c", partial=True)
    assert (part.amount, part.stopped_by, part.resets_at) == (2, "budget daily", DAY_ENDS)
    await credits.set_budget("acme", "ever", "1", window="total")
    await credits.set_budget("acme", "daily", "11", window="day")
    await credits.set_budget("acme", "hourly", "6", window="hour")
    part = await credits.debit("acme", "9", key="d", partial=True)
    assert (part.amount, part.stopped_by, part.resets_at) == (1, "budget ever", None)


async def test_an_allowance_that_is_used_up_says_when_it_has_room_again(credits: Credits, clock: Clock) -> None:
    clock.advance_to(NOON)
    await credits.set_allowance("acme", "free", "5", window="day")
    part = await credits.debit("acme", "7", key="a", partial=True)
    assert (part.amount, part.covered, part.stopped_by, part.resets_at) == (0, 5, "allowance free", DAY_ENDS)
    with pytest.raises(InsufficientCredits) as refused:
        await credits.debit("acme", "7", key="b", partial=True)
    assert (refused.value.allowance, refused.value.resets_at) == ("free", DAY_ENDS)
    await credits.grant("acme", "1", key="g")
    part = await credits.debit("acme", "7", key="b", partial=True)
    assert (part.amount, part.stopped_by, part.resets_at) == (1, "allowance free", DAY_ENDS)
    await credits.set_allowance("acme", "burst", "2", rolling_s=600)
    part = await credits.debit("acme", "7", key="c", partial=True)
    assert part.stopped_by == "allowance burst"
    assert part.resets_at is not None
    assert timedelta(seconds=600) <= part.resets_at - part.recorded_at <= timedelta(seconds=610)


async def test_credits_that_run_out_without_a_window_have_nothing_that_resets(credits: Credits) -> None:
    await credits.grant("acme", "2.5", key="g")
    part = await credits.debit("acme", "7", key="a", partial=True)
    assert (part.amount, part.stopped_by, part.resets_at) == (Decimal("2.5"), None, None)


async def test_a_priced_report_says_it_too(credits: Credits, clock: Clock) -> None:
    clock.advance_to(NOON)
    await credits.grant("acme", "100", key="g")
    await credits.set_rates([{"metric": "tokens", "credits": "1"}])
    await credits.set_budget("acme", "users", "3", window="hour", each="user")
    part = await credits.report("acme", "tokens", 9, key="r", partial=True, dimensions={"user": "u1"})
    assert (part.amount, part.card, part.stopped_by, part.resets_at) == (3, 1, "budget users", HOUR_ENDS)
