"""Currencies that keep other decimal places than the default: what the journal says holds, and nothing is misread."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from solvent import Credits, DebitRequest, Engine, NotFound, Receipt, StateConflict, connect
from solvent.engine.audit.export import export_journal
from solvent.engine.audit.verify import verify_journal
from solvent.engine.engine import system_clock_us
from solvent.engine.journal.frames import NO_HEAD, FrameBuilder
from solvent.engine.journal.sqlite.journal import SqliteJournal
from solvent.engine.rules.events import Opened
from solvent.engine.runtime.files import JOURNAL_NAME
from solvent.transports.nats.launcher import nats_server
from solvent.transports.nats.service import serving

CURRENCIES = {"usd": 2, "tokens": 0}


async def write_journal(directory: Path, pools: tuple[str, ...] = ("acme:usd", "acme/web:usd")) -> None:
    """Each pool is given 5 and uses 1.25, which it says is low."""
    async with Engine.open(directory, currencies=CURRENCIES) as engine:
        for pool in pools:
            await engine.grant(pool, "5", key="g", cost_basis=("0.01", "USD"))
            await engine.set_alerts(pool, low=["4.5"])
            await engine.debit(pool, "1.25", key="d", dimensions={"user": "ann"})


async def begin_pool(directory: Path, pool: str, scale: int) -> None:
    """As an older engine did, which looked at no other pool."""
    journal = await SqliteJournal.open(directory / JOURNAL_NAME)
    builder = FrameBuilder(await journal.last_number() + 1)
    builder.add(pool, NO_HEAD, [Opened(1, scale)])
    await journal.append(builder.seal(system_clock_us()))
    await journal.aclose()


@asynccontextmanager
async def reopened(kind: str, directory: Path) -> AsyncIterator[Credits]:
    """The journal, opened by somebody who does not know its currencies."""
    async with Engine.open(directory) as engine:
        if kind == "embedded":
            yield engine
        else:
            async with nats_server() as url, serving(engine, url), connect(url) as client:
                yield client


Ask = Callable[[Callable[[Credits], Awaitable[None]]], Awaitable[None]]


@pytest.fixture(params=["embedded", "nats"])
async def ask(request: pytest.FixtureRequest, tmp_path: Path) -> Ask:
    await write_journal(tmp_path)

    async def asked(question: Callable[[Credits], Awaitable[None]]) -> None:
        async with reopened(request.param, tmp_path) as credits:
            await question(credits)

    return asked


async def test_events_have_the_decimal_places_of_the_journal(ask: Ask) -> None:
    async def question(credits: Credits) -> None:
        for scope in ({"pool": "acme:usd"}, {"customer": "acme"}, {}):
            page = await credits.past_events(**scope)  # type: ignore[arg-type]
            assert {(event.kind, str(event.limit), str(event.available)) for event in page.events} == {
                ("low", "4.5", "3.75")
            }

    await ask(question)


async def test_events_that_follow_have_them_too(tmp_path: Path) -> None:
    await write_journal(tmp_path)
    async with Engine.open(tmp_path) as engine:
        events = engine.events("acme:usd")
        heard = asyncio.ensure_future(anext(events))
        await engine.grant("acme:usd", "1", key="g2")
        await engine.debit("acme:usd", "0.5", key="d2")
        event = await heard
        assert (event.kind, str(event.available)) == ("low", "4.25")


async def test_usage_has_the_decimal_places_of_the_journal(ask: Ask) -> None:
    async def question(credits: Credits) -> None:
        one = await credits.usage("acme:usd", group_by=["user"], consistent=True)
        assert [(line.group["user"], str(line.credits)) for line in one.lines] == [("ann", "1.25")]
        customer = await credits.usage(customer="acme", currency="usd", consistent=True)
        assert str(customer.total.credits) == "2.5"
        everyone = await credits.usage(currency="usd", consistent=True)
        assert str(everyone.total.credits) == "2.5"
        page = await credits.usage_entries(one)
        assert [(str(each.credits), str(each.entry.balance)) for each in page.entries] == [("1.25", "3.75")]
        compared = await credits.compare_usage(one)
        assert str(compared.total.credits) == "1.25"
        hours = await credits.usage("acme:usd", period="last 2 days", window="hour", consistent=True)
        assert {str(line.credits) for line in hours.lines} == {"1.25"}
        assert str((await credits.usage_spikes(hours)).usage.total.credits) == "1.25"
        forecast = await credits.forecast("acme:usd", period="last 2 days")
        assert str(forecast.available) == "3.75"

    await ask(question)


async def test_totals_have_the_decimal_places_of_the_journal(ask: Ask) -> None:
    async def question(credits: Credits) -> None:
        (line,) = (await credits.totals("acme")).totals
        assert (line.currency, line.pools, str(line.available), str(line.spent)) == ("usd", 2, "7.5", "2.5")

    await ask(question)


async def test_amounts_are_taken_with_the_decimal_places_of_the_journal(ask: Ask) -> None:
    async def question(credits: Credits) -> None:
        receipt = await credits.debit("acme:usd", "0.25", key="more")
        assert (str(receipt.amount), str(receipt.balance)) == ("0.25", "3.5")
        # A pool of the currency that begins now counts as the others do.
        await credits.grant("globex:usd", "1", key="g")
        assert str((await credits.check("globex:usd", "0.01")).available) == "1"
        with pytest.raises(Exception, match="at most 2 decimal places"):
            await credits.grant("globex:usd", "0.001", key="finer")

    await ask(question)


async def test_the_places_are_known_before_the_index_has_them_and_after_it_was_lost(tmp_path: Path) -> None:
    await write_journal(tmp_path)
    for name in ("index.db", "index.db-wal", "index.db-shm", "snapshots.db"):
        (tmp_path / name).unlink(missing_ok=True)
    async with Engine.open(tmp_path) as engine:
        assert engine.scale_of("usd") == 2
        assert engine.scale_of("tokens") == 6
    async with Engine.open(tmp_path, currencies={"tokens": 0}) as engine:
        assert (engine.scale_of("usd"), engine.scale_of("tokens")) == (2, 0)
        await engine.grant("acme:tokens", 7, key="g")
    async with Engine.open(tmp_path) as engine:
        assert (engine.scale_of("usd"), engine.scale_of("tokens"), engine.scale_of("credits")) == (2, 0, 6)


QUESTIONS: dict[str, Callable[[Engine], Awaitable[object]]] = {
    "grant": lambda engine: engine.grant("acme:usd", "1", key="k"),
    "debit": lambda engine: engine.debit("acme:usd", "1", key="k"),
    "check": lambda engine: engine.check("acme:usd", "1"),
    "set_budget": lambda engine: engine.set_budget("acme:usd", "b", "1", window="day"),
    "transfer": lambda engine: engine.transfer("acme:usd", "acme/web:usd", "1", key="t"),
    "a new pool": lambda engine: engine.grant("globex:usd", "1", key="k"),
    "transfer to a new pool": lambda engine: engine.transfer("acme:usd", "acme/new:usd", "1", key="t", open_pool=True),
}


@pytest.mark.parametrize("question", QUESTIONS)
async def test_an_engine_that_was_told_otherwise_takes_no_amounts(tmp_path: Path, question: str) -> None:
    await write_journal(tmp_path)
    async with Engine.open(tmp_path, currencies={"usd": 6}) as engine:
        with pytest.raises(StateConflict) as refused:
            await QUESTIONS[question](engine)
        assert refused.value.reason == "currency_scale"
        assert "2 decimal places of usd" in refused.value.message


async def test_and_reads_what_is_there_as_it_is(tmp_path: Path) -> None:
    await write_journal(tmp_path)
    async with Engine.open(tmp_path, currencies={"usd": 6}) as engine:
        page = await engine.past_events("acme:usd")
        assert [str(event.available) for event in page.events] == ["3.75"]
        assert str((await engine.usage(currency="usd", consistent=True)).total.credits) == "2.5"
        entries = (await engine.ledger("acme:usd")).entries
        assert [(entry.kind, str(entry.amount), str(entry.balance)) for entry in entries[1:]] == [
            ("debit", "1.25", "3.75"),
            ("alerts_set", "0", "5"),
            ("grant", "5", "5"),
            ("opened", "0", "0"),
        ]
        (line,) = (await engine.costs("acme:usd")).lines
        assert (str(line.burned), str(line.value)) == ("1.25", "0.0125")
        assert str((await engine.balance("acme:usd", as_of=entries[0].recorded_at)).spent) == "1.25"
        with pytest.raises(NotFound):
            await engine.balance("globex:usd")


@asynccontextmanager
async def mixed(directory: Path) -> AsyncIterator[Engine]:
    """A journal of an older engine: pools of one currency keep 2 decimal places, and others 6."""
    await write_journal(directory)
    await begin_pool(directory, "default@acme/old:usd", 6)
    async with Engine.open(directory) as engine:
        await engine.grant("acme/old:usd", "10", key="g")
        await engine.set_alerts("acme/old:usd", low=["9.5"])
        await engine.debit("acme/old:usd", "1.125", key="d", dimensions={"user": "bob"})
        yield engine


async def test_pools_of_one_currency_that_differ_are_each_read_as_they_are(tmp_path: Path) -> None:
    async with mixed(tmp_path) as engine:
        page = await engine.past_events(customer="acme")
        assert sorted((event.pool, str(event.available)) for event in page.events) == [
            ("acme/old:usd", "8.875"),
            ("acme/web:usd", "3.75"),
            ("acme:usd", "3.75"),
        ]
        for pool, spent in (("acme:usd", "1.25"), ("acme/old:usd", "1.125"), ("acme/none:usd", "0")):
            assert str((await engine.usage(pool, consistent=True)).total.credits) == spent
        assert str((await engine.forecast("acme:usd", period="last 2 days")).available) == "3.75"
        # Balances are decimals: their sum is right whatever the places.
        (line,) = (await engine.totals("acme")).totals
        assert (line.pools, line.available, line.spent) == (3, Decimal("16.375"), Decimal("3.625"))


async def test_units_that_differ_are_never_summed(tmp_path: Path) -> None:
    async with mixed(tmp_path) as engine:
        hours = await engine.usage("acme:usd", period="last 2 days", window="hour", consistent=True)
        question = msgspec.structs.replace(hours.question, pool=None, customer="acme", currency="usd")
        usage = msgspec.structs.replace(hours, question=question)
        for asked in (
            engine.usage(customer="acme", currency="usd"),
            engine.usage(currency="usd"),
            engine.compare_usage(usage),
            engine.usage_spikes(usage),
        ):
            with pytest.raises(StateConflict, match="pools of usd keep 2 or 6 decimal places") as refused:
                await asked
            assert refused.value.reason == "currency_scale"
        entries = (await engine.usage_entries(usage)).entries
        assert sorted((each.pool, str(each.credits)) for each in entries) == [
            ("acme/old:usd", "1.125"),
            ("acme/web:usd", "1.25"),
            ("acme:usd", "1.25"),
        ]


async def test_a_transfer_between_pools_of_other_decimal_places_moves_nothing(tmp_path: Path) -> None:
    async with mixed(tmp_path) as engine:
        for source, target in (("acme:usd", "acme/old:usd"), ("acme/old:usd", "acme:usd")):
            with pytest.raises(StateConflict) as refused:
                await engine.transfer(source, target, "1", key="t")
            assert refused.value.reason == "currency_scale"
        assert str((await engine.balance("acme:usd")).available) == "3.75"
        assert str((await engine.balance("acme/old:usd")).available) == "8.875"


async def test_an_atomic_batch_over_both_is_refused_as_a_whole(tmp_path: Path) -> None:
    async with mixed(tmp_path) as engine:
        requests = [DebitRequest(pool=pool, amount="1", key="k") for pool in ("acme/old:usd", "acme:usd")]
        answers = await engine.batch(requests, atomic=True)
        assert [getattr(answer, "reason", None) for answer in answers] == ["batch_refused", "currency_scale"]
        assert not any(isinstance(answer, Receipt) for answer in answers)


async def test_whoever_names_the_places_reaches_either_kind(tmp_path: Path) -> None:
    async with mixed(tmp_path):
        pass
    for scale, pool, other in ((2, "acme:usd", "acme/old:usd"), (6, "acme/old:usd", "acme:usd")):
        async with Engine.open(tmp_path, currencies={"usd": scale}) as engine:
            assert str((await engine.debit(pool, "0.5", key="k")).amount) == "0.5"
            with pytest.raises(StateConflict):
                await engine.debit(other, "0.5", key="k2")
            await engine.grant(f"new{scale}:usd", "1", key="g")
    async with Engine.open(tmp_path, currencies={"usd": 4}) as engine:
        with pytest.raises(StateConflict):
            await engine.grant("newer:usd", "1", key="g")
    assert verify_journal(tmp_path).proven


async def test_a_service_that_is_told_otherwise_still_notes_what_it_published(tmp_path: Path) -> None:
    """The streams of an engine hold no amounts: their places do not matter."""
    async with Engine.open(tmp_path, currencies={"credits": 2}) as engine:
        await engine.grant("acme", "1", key="g")
        await engine.feed.note_published("nats", 1)
        await engine.set_rates([{"metric": "calls", "credits": "1"}])
    async with Engine.open(tmp_path, currencies={"credits": 6}) as engine:
        await engine.feed.note_published("nats", 2)
        assert (await engine.feed.published("nats")).frame == 2
        await engine.set_rates([{"metric": "calls", "credits": "2"}])


async def test_verify_and_export_read_them_from_the_journal(tmp_path: Path) -> None:
    journal, folder = tmp_path / "journal", tmp_path / "export"
    await write_journal(journal)
    assert verify_journal(journal).spent == {"usd": Decimal("2.5")}
    export_journal(journal, folder)
    lines = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    assert [line["amount"] for line in lines if line["kind"] == "debit"] == ["1.25", "1.25"]
