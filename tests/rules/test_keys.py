"""A key answers for exactly one request: the same one is answered as the first time, another is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from solvent.engine.rules.commands import Debit, Grant
from solvent.engine.rules.decide import decide
from solvent.engine.rules.events import Debited, Granted
from solvent.engine.rules.limits import Limits
from solvent.engine.rules.outcomes import KeyTaken, Repeat
from solvent.engine.rules.pool import Pool
from solvent.engine.values.dimensions import encode_dimensions

from .conftest import accepted

FIRST_GRANT = Grant("k", 5, "paid", 50, 100, 900, None, "name", "comment", encode_dimensions({"a": 1}, "m"))
FIRST_DEBIT = Debit("k", 5, False, 100, "tokens", "1.5", encode_dimensions({"a": 1}, "d"))


@pytest.mark.parametrize(
    ("first", "changed"),
    [
        (FIRST_GRANT, {"amount": 6}),
        (FIRST_GRANT, {"category": "promotional"}),
        (FIRST_GRANT, {"priority": 51}),
        (FIRST_GRANT, {"effective_at": None}),
        (FIRST_GRANT, {"effective_at": 101}),
        (FIRST_GRANT, {"expires_at": None}),
        (FIRST_GRANT, {"expires_at": 901}),
        (FIRST_GRANT, {"cost_basis": ("1", "USD")}),
        (FIRST_GRANT, {"name": None}),
        (FIRST_GRANT, {"comment": "other"}),
        (FIRST_GRANT, {"metadata": encode_dimensions({"a": True}, "m")}),
        (FIRST_DEBIT, {"amount": 4}),
        (FIRST_DEBIT, {"partial": True}),
        (FIRST_DEBIT, {"occurred_at": None}),
        (FIRST_DEBIT, {"occurred_at": 101}),
        (FIRST_DEBIT, {"metric": None}),
        (FIRST_DEBIT, {"quantity": "1.6"}),
        (FIRST_DEBIT, {"dimensions": encode_dimensions({"a": "1"}, "d")}),
        (FIRST_DEBIT, {"dimensions": encode_dimensions({"a": 1.5}, "d")}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else type(value).__name__,
)
def test_a_key_answers_for_exactly_one_request(first: Grant | Debit, changed: dict[str, Any]) -> None:
    pool = Pool()
    accepted(pool, Grant("enough", 100), 100, Granted)
    is_grant = isinstance(first, Grant)
    event = accepted(pool, first, 100, Granted) if is_grant else accepted(pool, first, 100, Debited)
    prior = (event, pool.version)
    copy = msgspec.structs.replace(first)
    assert decide(pool, copy, 5_000, prior=prior) == Repeat(event, pool.version)
    other = msgspec.structs.replace(first, **changed)
    assert decide(pool, other, 100, prior=prior) == KeyTaken("k", pool.version)
    swapped = Grant("k", first.amount) if isinstance(first, Debit) else Debit("k", first.amount)
    assert decide(pool, swapped, 100, prior=prior) == KeyTaken("k", pool.version)


@pytest.mark.parametrize("field", ["dimensions", "metadata"])
@pytest.mark.parametrize(
    ("stored", "given"), [(1.0, 1), (1, 1.0), (-0.0, 0), (0.1, 0.1), (float(2**60), 2**60 + 1), (1e22, 10**22)]
)
def test_a_key_knows_its_request_whichever_way_its_numbers_are_written(field: str, stored: float, given: float) -> None:
    """``stored`` as an older version kept it: as it was given."""
    command: Any = FIRST_DEBIT if field == "dimensions" else FIRST_GRANT
    of_then = msgspec.Raw(msgspec.msgpack.encode({"a": stored, "b": True}))
    pool = Pool()
    accepted(pool, Grant("enough", 100), 100, Granted)
    first = msgspec.structs.replace(command, **{field: of_then})
    event: Any = accepted(pool, first, 100, Debited if field == "dimensions" else Granted)
    prior = (event, pool.version)
    again = msgspec.structs.replace(command, **{field: encode_dimensions({"b": True, "a": given}, field)})
    assert decide(pool, again, 200, prior=prior) == Repeat(event, pool.version)
    other = msgspec.structs.replace(command, **{field: encode_dimensions({"b": 1, "a": given}, field)})
    assert decide(pool, other, 200, prior=prior) == KeyTaken("k", pool.version)


def test_a_partial_debit_repeated_after_a_top_up_answers_as_the_first_time() -> None:
    pool = Pool()
    accepted(pool, Grant("g", 5), 100, Granted)
    request = Debit("d", 8, True)
    prior = (accepted(pool, request, 100, Debited), pool.version)
    accepted(pool, Grant("top-up", 100), 200, Granted)
    assert decide(pool, request, 300, prior=prior) == Repeat(prior[0], 3)


def test_a_backfilled_debit_is_the_same_request_without_the_flag() -> None:
    pool = Pool()
    accepted(pool, Grant("g", 100), 10**9, Granted)
    old = Debit("d", 1, occurred_at=0, backfill=True)
    prior = (accepted(pool, old, 10**9, Debited), 3)
    tight = Limits(occurred_back_max_us=10, occurred_ahead_max_us=10)
    plain = msgspec.structs.replace(old, backfill=False)
    assert decide(pool, plain, 10**9, prior=prior, limits=tight) == Repeat(prior[0], 3)
