"""Errors speak the caller's units and names, name the pool, and are the same embedded and over every transport."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from decimal import Decimal

import pytest

from solvent import (
    BudgetExceeded,
    Credits,
    IdempotencyConflict,
    InsufficientCredits,
    InvalidRequest,
    NotFound,
    Receipt,
    StateConflict,
)
from solvent.engine.api.answers import to_wire
from solvent.engine.values.errors import error_from_wire, error_to_wire
from solvent.transports.wire.answers import encode_answer

POOL = "acme/web"
TOKENS = "acme:tokens"


async def test_what_is_left_of_a_debit_is_said_in_credits(credits: Credits) -> None:
    await credits.grant(POOL, "10", key="g")
    debit = await credits.debit(POOL, "1.239", key="d")
    with pytest.raises(InvalidRequest) as refused:
        await credits.reverse(POOL, debit.id, key="r", amount="1.2391")
    assert refused.value.expected == f"at most 1.239, what is left of debit {debit.id} (pool acme/web)"


async def test_room_for_grants_is_said_in_credits(credits: Credits) -> None:
    await credits.grant(POOL, "9223372036854.775", key="g")
    with pytest.raises(InvalidRequest, match=r"at most 0\.000807 more.*\(pool acme/web\)"):
        await credits.grant(POOL, 1, key="h2")
    # A currency without decimal places has whole units.
    await credits.grant(TOKENS, 2**63 - 8, key="g")
    with pytest.raises(InvalidRequest, match="at most 7 more"):
        await credits.grant(TOKENS, 8, key="h")


async def test_a_transfer_that_does_not_fit_says_how_much_would(credits: Credits) -> None:
    await credits.grant("acme", 9_000_000_000_000, key="g")
    await credits.grant(POOL, 9_000_000_000_000, key="g")
    with pytest.raises(InvalidRequest, match=r"at most 223372036854\.775807: the pool that gets them"):
        await credits.transfer("acme", POOL, 300_000_000_000, key="t")


@pytest.mark.parametrize(("what", "id"), [("recharge", "q99"), ("hold", "h99"), ("debit", "d99"), ("grant", "g99")])
async def test_what_is_not_found_has_the_id_that_was_given(credits: Credits, what: str, id: str) -> None:
    await credits.grant(POOL, 1, key="g")
    ask: dict[str, Callable[[], Awaitable[Receipt]]] = {
        "recharge": lambda: credits.grant_recharge(POOL, id),
        "hold": lambda: credits.capture(POOL, id, 1),
        "debit": lambda: credits.reverse(POOL, id, key="r"),
        "grant": lambda: credits.void_grant(POOL, id),
    }
    with pytest.raises(NotFound) as missing:
        await ask[what]()
    assert (missing.value.what, missing.value.id) == (what, f"{id} of acme/web")


async def test_a_budget_says_how_much_was_requested(credits: Credits) -> None:
    await credits.grant(POOL, 100, key="g")
    await credits.set_budget(POOL, "bots", 10, window="day", each="user", holds_max=1)
    await credits.debit(POOL, "8.5", key="d", dimensions={"user": "u7"})
    with pytest.raises(BudgetExceeded) as stopped:
        await credits.debit(POOL, "2.25", key="e", dimensions={"user": "u7"})
    error = stopped.value
    assert (error.requested, error.pool, error.used) == (Decimal("2.25"), POOL, Decimal("8.5"))
    assert error.message.startswith(
        "budget bots of 'u7' in acme/web exceeded: 8.5 of 10 credits used, 2.25 requested; "
    )
    assert error.message.endswith("T00:00:00Z")
    await credits.hold(POOL, 1, key="h", dimensions={"user": "u7"})
    with pytest.raises(BudgetExceeded) as holds:
        await credits.hold(POOL, "0.1", key="i", dimensions={"user": "u7"})
    assert "1 of 1 holds used, 1 requested" in holds.value.message


async def test_what_an_allowance_covers_is_not_requested_of_a_budget(credits: Credits) -> None:
    await credits.grant(POOL, 100, key="g")
    await credits.set_allowance(POOL, "free", 3, window="day")
    await credits.set_budget(POOL, "b", 1, window="day")
    with pytest.raises(BudgetExceeded) as stopped:
        await credits.debit(POOL, 5, key="d")
    assert (stopped.value.requested, stopped.value.used, stopped.value.limit) == (2, 0, 1)


async def test_refusals_name_their_pool(credits: Credits) -> None:
    await credits.grant(POOL, 1, key="g")
    with pytest.raises(InsufficientCredits, match="insufficient credits in acme/web: 2 requested") as poor:
        await credits.debit(POOL, 2, key="d")
    assert poor.value.pool == POOL
    with pytest.raises(IdempotencyConflict, match="entry 2 of acme/web") as taken:
        await credits.grant(POOL, 2, key="g")
    assert taken.value.pool == POOL
    hold = await credits.hold(POOL, 1, key="h")
    await hold.release()
    with pytest.raises(StateConflict, match=r"\(pool acme/web\)"):
        await credits.capture(POOL, hold.id, 1)


async def test_errors_have_their_fields_at_both_ends(credits: Credits) -> None:
    await credits.grant(POOL, 100, key="g")
    await credits.set_budget(POOL, "b", 10, window="day")
    await credits.debit(POOL, 8, key="d")
    with pytest.raises(BudgetExceeded) as stopped:
        await credits.debit(POOL, 5, key="e")
    wire = error_to_wire(stopped.value)
    assert (wire["requested"], wire["pool"]) == ("5", POOL)
    assert str(wire["resets_at"]).endswith("Z")
    again = error_from_wire(wire)
    assert error_to_wire(again) == wire


async def test_json_has_one_form_of_time(credits: Credits) -> None:
    await credits.grant(POOL, 10, key="g")
    hold = await credits.hold(POOL, 1, key="h")
    receipt = hold.receipt
    shown, sent = to_wire(receipt), json.loads(encode_answer(receipt))
    for field in ("recorded_at", "expires_at"):
        assert shown[field] == sent[field]
        assert shown[field].endswith("Z")
    usage = await credits.usage(POOL, period="today", consistent=True)
    written = json.dumps(to_wire(await credits.balance(POOL))) + str(usage.question.start) + str(usage.question.end)
    assert "+00:00" not in written
