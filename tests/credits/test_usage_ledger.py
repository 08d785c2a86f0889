"""Usage against the ledger: whatever was done to pools, every breakdown is what their ledgers add up to."""

from __future__ import annotations

import csv
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest

from solvent import Engine, ReportRequest, SolventError
from solvent.engine.settings import Settings
from solvent.engine.values.windows import Period
from tests.ledgers import whole_ledger

TRACES = Path(__file__).parents[3] / "shared" / "data"
POOLS = ("acme", "acme/website-1", "acme/website-2", "globex", "acme:tokens", "staging@acme")
ZONES = ("UTC", "Europe/Paris", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe")
START = datetime(2026, 10, 23, tzinfo=UTC)
"""Clocks change in Paris two days later, and in New York after nine."""


class Clock:
    def __init__(self, now: datetime) -> None:
        self.now = now

    def now_us(self) -> int:
        return (self.now - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


class Fact(NamedTuple):
    """What one grant paid of an entry, or got back."""

    pool: str
    entry: str
    at: datetime
    grant: str | None
    credits: Decimal
    is_event: bool
    metric: str | None
    quantity: Decimal
    dimensions: dict[str, Any]


async def facts_of(engine: Engine, pool: str) -> list[Fact]:
    """The usage that a ledger tells of."""
    facts: list[Fact] = []
    entries = {entry.id: entry for entry in await whole_ledger(engine, pool)}
    for entry in entries.values():
        sign, at, about = 1, entry.occurred_at, entry
        if entry.kind == "reversal":
            assert entry.about is not None
            sign, at, about = -1, entry.recorded_at, entries[entry.about]
        elif entry.kind not in ("debit", "capture"):
            continue
        paid: dict[str | None, Decimal] = {} if entry.allocations else {None: Decimal(0)}
        for part in entry.allocations:
            paid[part.grant] = paid.get(part.grant, Decimal(0)) + part.amount
        shares = shares_of(about.quantity if sign > 0 and about.quantity is not None else Decimal(0), [*paid.values()])
        for (grant, amount), quantity in zip(paid.items(), shares, strict=True):
            facts.append(
                Fact(
                    pool,
                    entry.id,
                    at,
                    grant,
                    sign * amount,
                    sign > 0,
                    about.metric,
                    quantity,
                    about.dimensions,
                )
            )
    return facts


def shares_of(quantity: Decimal, amounts: list[Decimal]) -> list[Decimal]:
    """Divide a quantity in proportion to amounts, to the billionth; the parts add up to it."""
    if len(amounts) == 1:
        return [quantity]
    ends = [
        int(Fraction(quantity * 10**9) * Fraction(so_far) / Fraction(sum(amounts))) for so_far in accumulate(amounts)
    ]
    return [Decimal(end - before).scaleb(-9) for before, end in pairwise([0, *ends])]


async def live(engine: Engine, dice: random.Random, clock: Clock, number: int) -> None:
    """Do something to some pool."""
    pool, key = dice.choice(POOLS), f"k{number}"
    dimensions: dict[str, Any] = {
        name: dice.choice(values)
        for name, values in (("user", ["ann", "bob", 1, 1.0, True, "1"]), ("team", ["a", "b"]), ("é 🙂", ["x"]))
        if dice.random() < 0.7
    }
    late = None if dice.random() < 0.6 else clock.now - timedelta(minutes=dice.randrange(60 * 24 * 8))
    metric = dice.choice([None, "tokens", "images"])
    quantity = None if metric is None else Decimal(dice.randrange(1, 10_000)).scaleb(-dice.randrange(4))
    match dice.randrange(10):
        case 0 | 1:
            await engine.grant(
                pool,
                dice.randrange(1, 60),
                key=key,
                category=dice.choice(["paid", "promotional"]),
                priority=dice.randrange(3),
                expires_at=dice.choice([None, clock.now + timedelta(days=2)]),
            )
        case 2:
            reversible = [entry.id for entry in await whole_ledger(engine, pool) if entry.kind in ("debit", "capture")]
            if reversible:
                await engine.reverse(pool, dice.choice(reversible), key=key, amount=dice.choice([None, 1]))
        case 3 | 4:
            hold = await engine.hold(pool, dice.randrange(1, 9), key=key, metric=metric, dimensions=dimensions)
            clock.now += timedelta(minutes=dice.randrange(90))
            await hold.capture(dice.randrange(1, 14), occurred_at=late, quantity=quantity)
        case 5:
            await engine.transfer("acme", dice.choice(POOLS[1:3]), 3, key=key, open_pool=True)
        case _:
            amount = dice.randrange(1, 12)
            await engine.debit(
                pool,
                amount,
                key=key,
                partial=dice.random() < 0.2,
                occurred_at=late,
                metric=metric,
                quantity=quantity,
                dimensions=dimensions,
            )


def label(at: datetime, window: str | None, zone: str) -> object:
    local = at.astimezone(ZoneInfo(zone))
    match window:
        case None:
            return None
        case "hour":
            return local.date(), local.hour, local.utcoffset()
        case "day":
            return local.date()
        case "week":
            return local.isocalendar()[:2]
        case _:
            return local.year, local.month


def exact(value: object) -> tuple[str, str]:
    return type(value).__name__, repr(value)


def check_one(facts: list[Fact], usage: Any, group_by: list[str], window: str | None, zone: str) -> None:
    expected: defaultdict[Any, Decimal] = defaultdict(Decimal)
    events: defaultdict[Any, set[Any]] = defaultdict(set)
    quantities: defaultdict[Any, Decimal] = defaultdict(Decimal)
    for fact in facts:
        own = {"$grant": fact.grant, "$metric": fact.metric}
        group = tuple(exact(own[name] if name in own else fact.dimensions.get(name)) for name in group_by)
        cell = label(fact.at, window, zone), group
        expected[cell] += fact.credits
        if fact.is_event:
            events[cell].add((fact.pool, fact.entry))
        if fact.quantity:
            quantities[*cell, fact.metric] += fact.quantity
    found = {}
    for line in usage.lines:
        middle = line.first_at or line.start
        group = tuple(exact(value) for value in line.group.values())
        found[label(max(middle, usage.start), window, zone), group] = line
    if not facts:
        assert [line.credits for line in usage.lines] in ([], [0])
        return
    assert {cell: line.credits for cell, line in found.items()} == expected
    assert {cell: line.events for cell, line in found.items()} == {cell: len(events[cell]) for cell in expected}
    assert usage.total.events == len({(fact.pool, fact.entry) for fact in facts if fact.is_event})
    told = {(*cell, metric): amount for cell, line in found.items() for metric, amount in line.quantities.items()}
    assert told == quantities


@pytest.mark.parametrize("seed", range(5))
async def test_every_breakdown_is_what_the_ledgers_add_up_to(seed: int, tmp_path: Path) -> None:
    dice, clock = random.Random(seed), Clock(START)
    done = Counter[str]()
    facts: dict[str, list[Fact]] = {}
    async with Engine.open(tmp_path, currencies={"tokens": 0}, now_us=clock.now_us) as engine:
        for pool in POOLS:
            await engine.grant(pool, 100, key="first")
        for number in range(250):
            with suppress(SolventError):
                await live(engine, dice, clock, number)
            clock.now += timedelta(minutes=dice.randrange(120))
            if number % 50 == 49:
                facts = {pool: await facts_of(engine, pool) for pool in POOLS}
                for _ in range(6):
                    await ask(engine, dice, facts, clock)
    for pool, each in facts.items():
        done.update(fact.entry[0] for fact in each)
        assert each, pool
    assert done["d"] > 100
    assert done["r"] > 5


async def ask(engine: Engine, dice: random.Random, facts: dict[str, list[Fact]], clock: Clock) -> None:
    pool = dice.choice(POOLS)
    start = START - timedelta(days=9) + timedelta(minutes=dice.randrange(60 * 24 * 12))
    end = start + timedelta(minutes=dice.randrange(1, 60 * 24 * 25))
    windows: list[Period | None] = [None, "hour", "day", "week", "month"]
    window, zone = dice.choice(windows), dice.choice(ZONES)
    group_by = dice.sample(["user", "team", "é 🙂", "$grant", "$metric", "nobody"], dice.randrange(3))
    team = dice.choice(["a", None, ...])
    usage = await engine.usage(
        pool,
        start=start,
        end=end,
        window=window,
        time_zone=zone,
        group_by=group_by,
        filters={} if team is ... else {"team": team},
        consistent=True,
    )
    wanted = [
        fact for fact in facts[pool] if start <= fact.at < end and (team is ... or fact.dimensions.get("team") == team)
    ]
    check_one(wanted, usage, group_by, window, zone)
    whole = await engine.usage(pool, start="1970-01-01T00:00:00Z", end=clock.now + timedelta(days=1), consistent=True)
    assert whole.total.credits == (await engine.balance(pool)).spent
    customer = await engine.usage(customer="acme", start=start, end=end, group_by=["$resource"], consistent=True)
    by_resource: defaultdict[str | None, Decimal] = defaultdict(Decimal)
    for name in POOLS[:3]:
        for fact in facts[name]:
            if start <= fact.at < end:
                by_resource[name.partition("/")[2] or None] += fact.credits
    assert {line.group["$resource"]: line.credits for line in customer.lines} == by_resource


# -- The real traces

PRICES = {"input_tokens": Decimal("0.00003"), "output_tokens": Decimal("0.00006")}
COLUMNS = {"input_tokens": "ContextTokens", "output_tokens": "GeneratedTokens"}


def rows_of(path: Path) -> Iterator[tuple[datetime, dict[str, int]]]:
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            at = datetime.fromisoformat(row["TIMESTAMP"][:26]).replace(tzinfo=UTC)
            yield at, {metric: int(row[column]) for metric, column in COLUMNS.items()}


@asynccontextmanager
async def traced(directory: Path, files: list[Path]) -> AsyncIterator[Engine]:
    """The traces as metered events, priced by a rate card of that day."""
    clock = Clock(datetime(2023, 11, 16, tzinfo=UTC))
    settings = Settings(mailbox_max=20_000)
    async with Engine.open(directory, now_us=clock.now_us, settings=settings) as engine:
        await engine.set_rates(
            [{"metric": metric, "credits": str(price * 10**6), "per": "1000000"} for metric, price in PRICES.items()]
        )
        await engine.grant("azure", 1_000_000, key="g")
        clock.now += timedelta(days=1)
        for path in files:
            feature = path.stem.rpartition("_")[2]
            requests = [
                ReportRequest(
                    pool="azure",
                    metric=metric,
                    quantity=quantity,
                    key=f"{path.stem}-{number}-{metric}",
                    occurred_at=at,
                    dimensions={"feature": feature},
                )
                for number, (at, quantities) in enumerate(rows_of(path))
                for metric, quantity in quantities.items()
            ]
            for first in range(0, len(requests), 5_000):
                answers = await engine.batch(requests[first : first + 5_000])
                assert not [answer for answer in answers if isinstance(answer, SolventError)]
        yield engine


@pytest.mark.slow
async def test_the_real_traces_add_up_by_feature_and_by_minute(tmp_path: Path) -> None:
    files = [TRACES / f"azure_llm_2023_{feature}.csv" for feature in ("code", "conversation")]
    for path in files:
        if not path.exists():
            pytest.skip(f"the trace {path.name} is not beside this checkout")
    by_feature: defaultdict[str, Decimal] = defaultdict(Decimal)
    by_minute: defaultdict[datetime, Decimal] = defaultdict(Decimal)
    tokens: Counter[tuple[str, str]] = Counter()
    events: Counter[str] = Counter()
    for path in files:
        feature = path.stem.rpartition("_")[2]
        for at, quantities in rows_of(path):
            for metric, quantity in quantities.items():
                cost = (quantity * PRICES[metric]).quantize(Decimal("0.000001"), ROUND_HALF_EVEN)
                by_feature[feature] += cost
                by_minute[at.replace(second=0, microsecond=0)] += cost
                tokens[feature, metric] += quantity
                events[feature] += 1
    async with traced(tmp_path, files) as engine:
        day: dict[str, Any] = {"start": "2023-11-16T00:00:00Z", "end": "2023-11-17T00:00:00Z", "consistent": True}
        features = await engine.usage("azure", group_by=["feature"], **day)
        assert {line.group["feature"]: line.credits for line in features.lines} == by_feature
        assert {line.group["feature"]: line.events for line in features.lines} == events
        for line in features.lines:
            for metric, amount in line.quantities.items():
                assert amount == tokens[str(line.group["feature"]), metric]
        minutes = await engine.usage("azure", window="minute", **day)
        assert {line.start: line.credits for line in minutes.lines} == dict(by_minute)
        assert minutes.total.credits == (await engine.balance("azure")).spent
        assert len(minutes.lines) > 30
