"""Every verb builds a request; a request that is sent is answered as its verb."""

from __future__ import annotations

from decimal import Decimal

import pytest

from solvent import Credits, InsufficientCredits, InvalidRequest
from solvent.engine.api.requests import Request
from solvent.requests import BalanceRequest, DebitRequest, GrantRequest, SetBudgetRequest


async def test_a_request_is_answered_as_its_verb(credits: Credits) -> None:
    await credits.send(GrantRequest(pool="acme", amount=3, key="g"))
    receipt = await credits.send(DebitRequest(pool="acme", amount="1", key="d"))
    again = await credits.send(DebitRequest(pool="acme", amount="1", key="d"))
    assert (again.id, again.replayed) == (receipt.id, True)
    assert (await credits.send(BalanceRequest(pool="acme"))) == await credits.balance("acme")
    assert (await credits.debit("acme", "1", key="d")).id == receipt.id
    assert (await credits.balance("acme")).available == Decimal(2)
    with pytest.raises(InsufficientCredits):
        await credits.send(DebitRequest(pool="acme", amount=5, key="e"))
    with pytest.raises(InvalidRequest) as refused:
        await credits.send(SetBudgetRequest(pool="acme", name="b", amount=1, window="year"))  # type: ignore[arg-type]
    assert refused.value.field == "window"


async def test_what_is_no_known_request_is_refused(credits: Credits) -> None:
    class Unknown(Request[None], kw_only=True):
        """A request that nobody answers."""

    with pytest.raises(InvalidRequest) as refused:
        await credits.send(Unknown())
    assert refused.value.field == "request"
