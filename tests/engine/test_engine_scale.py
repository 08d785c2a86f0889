"""A journal that is opened with other decimal places for a currency than its pools keep: nothing is ever misread."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from solvent import DebitRequest, Engine, Receipt, StateConflict


@asynccontextmanager
async def opened(tmp_path: Path) -> AsyncIterator[Engine]:
    """A pool with two decimal places, in an engine that gives new pools six."""
    async with Engine.open(tmp_path, currencies={"credits": 2}) as before:
        await before.grant("acme/old", "5", key="g", cost_basis=("0.01", "USD"))
        await before.debit("acme/old", "1.25", key="d")
    async with Engine.open(tmp_path) as engine:
        await engine.grant("acme", "10", key="g")
        yield engine


async def test_a_transfer_between_pools_of_other_decimal_places_moves_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as engine:
        for source, target in (("acme", "acme/old"), ("acme/old", "acme")):
            with pytest.raises(StateConflict) as refused:
                await engine.transfer(source, target, "1", key="t")
            assert refused.value.reason == "currency_scale"
        assert (await engine.balance("acme")).available == 10
        assert str((await engine.balance("acme/old")).available) == "3.75"


QUESTIONS: dict[str, Callable[[Engine], Awaitable[object]]] = {
    "debit": lambda engine: engine.debit("acme/old", "1", key="k"),
    "check": lambda engine: engine.check("acme/old", "1"),
    "set_budget": lambda engine: engine.set_budget("acme/old", "b", "1", window="day"),
}


@pytest.mark.parametrize("question", QUESTIONS)
async def test_an_amount_of_other_decimal_places_is_refused(tmp_path: Path, question: str) -> None:
    async with opened(tmp_path) as engine:
        with pytest.raises(StateConflict) as refused:
            await QUESTIONS[question](engine)
        assert refused.value.reason == "currency_scale"
        assert "2 decimal places" in refused.value.message


async def test_an_atomic_batch_over_both_is_refused_as_a_whole(tmp_path: Path) -> None:
    async with opened(tmp_path) as engine:
        requests = [DebitRequest(pool=pool, amount="1", key="k") for pool in ("acme", "acme/old")]
        answers = await engine.batch(requests, atomic=True)
        assert [getattr(answer, "reason", None) for answer in answers] == ["batch_refused", "currency_scale"]
        assert not any(isinstance(answer, Receipt) for answer in answers)


async def test_what_is_read_has_the_decimal_places_of_its_pool(tmp_path: Path) -> None:
    async with opened(tmp_path) as engine:
        entries = (await engine.ledger("acme/old")).entries
        assert [(entry.kind, str(entry.amount), str(entry.balance)) for entry in entries] == [
            ("debit", "1.25", "3.75"),
            ("grant", "5", "5"),
            ("opened", "0", "0"),
        ]
        (line,) = (await engine.costs("acme/old")).lines
        assert (str(line.burned), str(line.value)) == ("1.25", "0.0125")
        assert str((await engine.balance("acme/old", as_of=entries[0].recorded_at)).spent) == "1.25"
