"""What a struct says of itself, to the letter: the rule, whatever the struct."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import msgspec
import pytest

from solvent.engine.values.pool_id import outbox_stream, parse_pool
from solvent.engine.values.readable import ITEMS_MAX, QUIET, Readable, text_of
from solvent.engine.values.terms import CostBasis


class Meter(Readable, msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A struct with a field of each sort."""

    name: str
    available: Decimal
    spent: Decimal
    seen_at: datetime | None
    priority: int = 50
    labels: dict[str, str] = {}


def meter(*, spent: str = "0", seen_at: datetime | None = None, priority: int = 50, **labels: str) -> Meter:
    return Meter(
        name="a b", available=Decimal(0), spent=Decimal(spent), seen_at=seen_at, priority=priority, labels=labels
    )


def test_none_defaults_and_quiet_zeros_are_left_out_and_other_zeros_shown() -> None:
    assert "spent" in QUIET
    assert repr(meter()) == "Meter(name='a b', available=0, labels={})"
    assert repr(meter(spent="0.25", priority=0)) == "Meter(name='a b', available=0, spent=0.25, priority=0, labels={})"


def test_a_default_is_one_of_the_same_type() -> None:
    assert repr(msgspec.structs.replace(meter(team="x"), priority=50.0)).endswith(
        "priority=50.0, labels={'team': 'x'})"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("0.25"), "0.25"),
        (Decimal("1E+3"), "1000"),
        (Decimal("0.000000001"), "0.000000001"),
        (datetime(2026, 11, 29, 18, 30, tzinfo=UTC), "2026-11-29T18:30:00Z"),
        (datetime(2026, 11, 29, 18, 30, 0, 250, timezone(timedelta(hours=2))), "2026-11-29T16:30:00.000250Z"),
        (datetime(2026, 11, 29, 18, 30), "2026-11-29T18:30:00"),
        ("it's", '"it\'s"'),
        (b"\x01", "b'\\x01'"),
        (0.5, "0.5"),
        (None, "None"),
        (True, "True"),
        ((), "[]"),
        ([Decimal(1), "x"], "[1, 'x']"),
        ({"user": None, "n": Decimal("0.5")}, "{'user': None, 'n': 0.5}"),
    ],
)
def test_a_value_reads_as(value: object, text: str) -> None:
    assert text_of(value) == text


def test_what_has_many_items_is_cut() -> None:
    assert ITEMS_MAX == 10
    assert text_of(range(10)) == "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"
    assert text_of(range(1_000)) == "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... 990 more]"
    assert text_of(dict.fromkeys("abcdefghijkl", 1)).endswith("'j': 1, ... 2 more}")


def test_pools_and_cost_bases_read_as_they_are_written() -> None:
    assert repr(parse_pool("default@acme/web%2F1:credits")) == "PoolId('acme/web%2F1')"
    assert repr(outbox_stream("nats")) == "PoolId('%outbox@nats')"
    assert repr(CostBasis("0.0125", "USD")) == "CostBasis(per_credit='0.0125', currency='USD')"
