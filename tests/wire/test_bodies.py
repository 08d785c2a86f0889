"""Bodies are requests: whatever a request holds comes back from its JSON, and an address cannot be contradicted."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from solvent.engine.api import requests as ask
from solvent.engine.api.requests import Request
from solvent.engine.rules.checking import check
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.pool_id import parse_pool
from solvent.engine.values.terms import CostBasis
from solvent.transports.wire.bodies import (
    BODIES,
    Address,
    body_of,
    decode_body,
    decoder_of_body,
    encode_body,
    request_of,
)
from solvent.transports.wire.operations import COMMANDS, READS

POOL = "staging@acme/web:usd"
REQUESTS: list[Request[Any]] = [
    ask.GrantRequest(
        pool=POOL,
        amount=Decimal("12.50"),
        key="k",
        category="promotional",
        priority=0,
        expires_at="2030-01-01T00:00:00Z",
        cost_basis=CostBasis("0.0125", "USD"),
        metadata={"a": 1, "b": "x", "c": True},
    ),
    ask.UpdateGrantRequest(pool=POOL, grant="g1", key="k", expires_at=None),
    ask.UpdateGrantRequest(pool=POOL, grant="g1", key="k", priority=3, metadata={}),
    ask.VoidGrantRequest(pool=POOL, grant="g1"),
    ask.DebitRequest(pool=POOL, amount="0.1", key="k", partial=True, quantity=Decimal("1E+3"), dimensions={"m": 1.5}),
    ask.ReportRequest(pool=POOL, metric="tokens", quantity=7, key="k", backfill=True),
    ask.HoldRequest(pool=POOL, amount=3, key="k", ttl_s=Decimal("1.000001")),
    ask.CaptureRequest(pool=POOL, hold="h1", amount="3"),
    ask.HoldRequest(pool=POOL, amount=3, key="k", expires_at="2030-01-01T00:00:00Z"),
    ask.CaptureRequest(pool=POOL, hold="h1", metric="tokens", quantity=12),
    ask.ExtendRequest(pool=POOL, hold="h1", key="k", ttl_s=60.5),
    ask.ExtendRequest(pool=POOL, hold="h1", key="k", expires_at="2030-01-01T00:00:00Z"),
    ask.ReleaseRequest(pool=POOL, hold="h1"),
    ask.ReverseRequest(pool=POOL, debit="d1", key="k", amount="1"),
    ask.SetBudgetRequest(pool=POOL, name="b", amount=5, window="day", match={"m": "x"}, each="user", holds_max=0),
    ask.RemoveBudgetRequest(pool=POOL, name="b"),
    ask.OpenPoolRequest(pool=POOL),
    ask.SetAllowanceRequest(pool=POOL, name="a", amount=5, rolling_s=3600),
    ask.RemoveAllowanceRequest(pool=POOL, name="a"),
    ask.SetRecurringRequest(pool=POOL, name="r", amount=5, period="month", roll_over="all", cost_basis=("1", "USD")),
    ask.CancelRecurringRequest(pool=POOL, name="r", at_once=True),
    ask.SetAlertsRequest(
        pool=POOL,
        low=(Decimal("1.5"), "20%"),
        budget_percents=(50,),
        recharge={"below": Decimal("1"), "target": 3, "cost_basis": ("1", "USD")},
    ),
    ask.SetAlertsRequest(pool=POOL),
    ask.GrantRechargeRequest(pool=POOL, recharge="q7", amount="5"),
    ask.RefuseRechargeRequest(pool=POOL, recharge="q7"),
]


def received(request: Request[Any]) -> Request[Any]:
    address, body = body_of(request)
    return request_of(decode_body(decoder_of_body(type(request)), encode_body(body)), address)


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.operation)
def test_a_command_that_has_travelled_is_checked_into_the_same(request_: Any) -> None:
    arrived: Any = received(request_)
    assert parse_pool(arrived.pool) == parse_pool(POOL)
    assert check(arrived, 6) == check(request_, 6)


def test_there_is_an_example_of_every_command() -> None:
    assert {request.operation for request in REQUESTS} == set(COMMANDS)


@pytest.mark.parametrize(
    "request_",
    [
        ask.BalanceRequest(pool=POOL, as_of="2026-01-01T00:00:00Z"),
        ask.CheckRequest(pool=POOL, amount="3", dimensions={"a": "b"}, metric="m", quantity="2"),
        ask.EstimateRequest(pool=POOL, metric="m", quantity="2"),
        ask.LedgerRequest(pool=POOL, limit=7, cursor="v1", newest_first=False),
        ask.TransferRequest(pool=POOL, target="staging@acme:usd", amount="3", key="k"),
        ask.TransferRequest(pool="acme", target="acme/web", amount="3", key="k"),
        ask.TransferRequest(pool="acme", target="acme/web", amount="3", key="k", open_pool=True),
        ask.PoolsRequest(environment="staging", limit=5),
        ask.PoolsRequest(customer="acme"),
        ask.TotalsRequest(customer="acme", environment="staging"),
        ask.RatesRequest(environment="staging", currency="usd"),
        ask.SetRatesRequest(rates=[{"metric": "m", "credits": "1"}], currency="usd"),
        ask.PastEventsRequest(pool=POOL, after="1.2", limit=3),
        ask.PastEventsRequest(customer="acme", environment="staging"),
        ask.PastEventsRequest(),
        ask.ClockRequest(environment="staging"),
        ask.ConfirmClockRequest(),
    ],
    ids=lambda request: request.operation,
)
def test_a_read_comes_back_as_it_was_sent(request_: Any) -> None:
    arrived, expected = received(request_), msgspec.structs.asdict(request_)
    for name, value in msgspec.structs.asdict(arrived).items():
        if name in ("pool", "target") and value is not None:
            assert parse_pool(value) == parse_pool(expected[name])
        else:
            assert value == expected[name], name


def test_every_operation_but_those_of_usage_has_a_body() -> None:
    names = {kind.operation for kind in BODIES}
    assert names == {name for name in (*COMMANDS, *READS) if not name.startswith("usage")}


@pytest.mark.parametrize(
    ("kind", "payload", "field"),
    [
        (ask.DebitRequest, b'{"customer":"other","amount":1,"key":"k"}', "customer"),
        (ask.DebitRequest, b'{"environment":"other","amount":1,"key":"k"}', "environment"),
        (ask.BalanceRequest, b'{"customer":"other"}', "customer"),
        (ask.PoolsRequest, b'{"customer":"other"}', "customer"),
        (ask.TotalsRequest, b'{"environment":"other"}', "environment"),
        (ask.RatesRequest, b"{}", "customer"),
        (ask.ConfirmClockRequest, b"{}", "customer"),
        (ask.PastEventsRequest, b'{"customer":"other"}', "customer"),
    ],
)
def test_a_body_cannot_contradict_its_address(kind: type[Request[Any]], payload: bytes, field: str) -> None:
    body = decode_body(decoder_of_body(kind), payload)
    with pytest.raises(InvalidRequest) as refused:
        request_of(body, Address("default", "acme"))
    assert refused.value.field == field


@pytest.mark.parametrize("value", [1.5, True, b"1", ["1"]])
def test_what_json_would_change_is_refused_before_it_is_sent(value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        body_of(ask.HoldRequest(pool="acme", amount=value, key="k"))
    assert refused.value.field == "amount"
