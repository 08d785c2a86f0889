"""Usage answers as an oracle does: one that keeps a list of facts, loops over it, and shares no code with the store."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from fractions import Fraction
from itertools import pairwise
from math import floor
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import pytest

from solvent.engine.api.usage_answers import Usage, UsageLines, UsageQuestion, plain_lines
from solvent.engine.api.usage_table import UsageGroup, UsageRow, UsageTable
from solvent.engine.journal.frames import NO_HEAD, FrameBuilder, Head, Section, decode_section, split_frame
from solvent.engine.pools.refusals import Refused
from solvent.engine.rules.events import Captured, Debited, Event, Expired, Granted, Held, MovedIn, Opened, Reversed
from solvent.engine.usage import messages as usage_messages
from solvent.engine.usage.messages import TableEnd, TablePart, framed, length_of, parts_of, replies, table_from
from solvent.engine.usage.query import (
    UsageQuery,
    UsageScope,
    customer_scope,
    environment_scope,
    pool_scope,
    usage_cell,
    usage_query,
)
from solvent.engine.usage.worker import catalog as usage_catalog
from solvent.engine.usage.worker import plan as usage_plan
from solvent.engine.usage.worker import store as usage_store
from solvent.engine.usage.worker.rows import UsageRows
from solvent.engine.usage.worker.store import UsageStore
from solvent.engine.values.dimensions import encode_dimensions
from solvent.engine.values.errors import TooLarge
from solvent.engine.values.pool_id import PoolId, pool_id
from solvent.engine.values.terms import CostBasis

SECOND = 1_000_000
DAY = 86_400 * SECOND
AMOUNT_MAX = 2**63 - 1

HOSTILE = [
    *("amount", "select", "usage", "c1", "seq", "u.c4", "metric", "customer", "$metric", "$", "$$", "name", "NULL"),
    *('"; drop table usage; --', "' or 1=1 --", "a'b\"c", "$p0", "?", "{}", "%", "_", "\\", "\n\t"),
    *("nul\0inside", "\0", " ", "🏴‍☠️ é ﷽", "\N{COMBINING ACUTE ACCENT}", "x" * 128, "🙂" * 128),
]
NAMES = [*HOSTILE, "model", "user", "region", *(f"plain-{number}" for number in range(20))]
VALUES: list[Any] = [
    *HOSTILE,
    *("gpt-4", "gpt-4o", "gpt", "", "1", "1.0", "true", "True", "i1", "s", "b1", "f1.0", "x" * 1_024, "🙂" * 1_024),
    *(1, 1.0, True, 0, 0.0, -0.0, False, -1, 2, 10, 2.5, 1e300, 5e-324, 2**63, -(2**63), 2**64 - 1, 2**53 + 1),
]
ZONES = [
    *("UTC", "Europe/Paris", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Sao_Paulo"),
    "Pacific/Apia",
]
MOMENTS = [  # Around changes of clocks, and the day that Apia did not have.
    *("2024-03-31T00:30", "2024-10-27T00:10", "2024-11-03T05:00", "2024-04-06T14:40", "2018-11-04T02:30"),
    *("2011-12-30T09:00", "2024-02-29T12:00", "2024-12-31T23:30"),
]
WINDOWS = [None, None, "minute", "hour", "day", "week", "month", "quarter", "year", "total"]


class Fact(NamedTuple):
    """A part of an entry: what the ledger says, in the oracle's words."""

    pool: PoolId
    version: int
    at: int
    grant: int | None
    debited: int
    reversed: int
    counted: int
    """1 for a part of a debit or a capture, -1 for one of a reversal."""
    quantity: int
    """The part's share of it."""
    metric: str | None
    dimensions: dict[str, Any]
    refused: int = 0
    """Of what was refused, which is no entry: it has no version."""


class Journal:
    """Frames that a random engine might have written, and the facts that are in them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.facts: list[Fact] = []
        self.sections: list[list[Section]] = []
        """Of each frame."""
        self.refused: list[tuple[int, list[Refused]]] = []
        self.terms: dict[tuple[str, int], tuple[str, str | None]] = {}
        self.frames = 0
        self.heads: dict[str, Head] = {}
        self.grants: dict[str, list[int]] = {}
        resources = [None, "website-1", *self.random.sample([name for name in HOSTILE if name.isprintable()], 2)]
        self.pools = [
            pool_id(environment, customer, resource, currency)
            for environment in ("default", "e' --")
            for customer in ("acme", 'a/b:c@d%"')
            for currency in ("credits", "gold")
            for resource in self.random.sample(resources, 2)
        ]
        self.names = self.random.sample(NAMES, self.random.choice([4, 45]))
        self.values = self.random.sample(VALUES, self.random.choice([3, 12, len(VALUES)]))
        self.base = int(datetime.fromisoformat(f"{self.random.choice(MOMENTS)}+00:00").timestamp()) * SECOND
        self.spread = self.random.choice([3_600 * SECOND, 3 * DAY, 400 * DAY])
        self.large = self.random.random() < 0.3

    def frame(self) -> list[Section]:
        """The next frame, written and read again as the journal does it."""
        self.frames += 1
        builder = FrameBuilder(self.frames)
        for pool in self.random.sample(self.pools, self.random.randrange(1, 5)):
            head = self.heads.get(pool.canonical, NO_HEAD)
            events = list(self.events(pool, head.version))
            self.heads[pool.canonical] = builder.add(pool.canonical, head, events)
        self.sections.append(
            [decode_section(body, frame=self.frames) for _, body in split_frame(builder.seal(self.base))]
        )
        return self.sections[-1]

    def events(self, pool: PoolId, version: int) -> Iterator[Event]:
        if version == 0:
            yield Opened(self.at(), 6)
            version += 1
        for _ in range(self.random.randrange(1, 12)):
            version += 1
            yield self.event(pool, version)

    def event(self, pool: PoolId, version: int) -> Event:
        grants = self.grants.setdefault(pool.canonical, [])
        kind = self.random.choices(range(6), [2 if grants else 9, 12, 3, 3, 1, 1])[0]
        if kind == 0:
            grants.append(version)
            return self.grant(pool, version)
        if kind == 4:
            return Held(self.at(), "k", 5, 0, ((1, 5),), self.at(), "m", self.dimensions()[1])
        if kind == 5:
            return Expired(self.at(), 1, 5, 0, self.at())
        chosen = self.random.sample(grants, self.random.randrange(min(len(grants), 3) + 1))
        parts = tuple((grant, self.amount()) for grant in chosen)
        if sum(units for _, units in parts) > AMOUNT_MAX:
            parts = parts[:1]
        amount = sum(units for _, units in parts)
        at, metric = self.at(), self.random.choice([None, "tokens", "' ; --", "images"])
        dimensions, raw = self.dimensions()
        if kind == 3:
            self.book(pool, version, at, parts, -1, None, metric, dimensions)
            return Reversed(at, "k", 1, amount, 0, parts, 0, None, raw, metric=metric)
        occurred_at = self.random.choice([None, self.at()])
        quantity = self.random.choice([None, "0", "7", "0.000000001", "12.5", "999999999999999999.999999999"])
        self.book(pool, version, at if occurred_at is None else occurred_at, parts, 1, quantity, metric, dimensions)
        if kind == 1:
            return Debited(at, "k", amount, 0, parts, amount, False, occurred_at, metric, quantity, raw)
        cut = self.random.randrange(len(parts) + 1)
        held, extra = parts[:cut], parts[cut:]
        if held and self.random.random() < 0.5 and held[-1][1] > 1:
            # The last grant of the hold pays more, too.
            grant, units = held[-1]
            held, extra = (*held[:-1], (grant, units - 1)), ((grant, 1), *extra)
        return Captured(at, 1, amount, 0, held, extra, (), 0, 0, occurred_at, metric, quantity, raw)

    def grant(self, pool: PoolId, version: int) -> Event:
        category = self.random.choice(["paid", "promotional"])
        cost = self.random.choice([None, CostBasis("0.01", "USD"), CostBasis("0.010", "EUR")])
        basis = None if cost is None else f"{cost.per_credit} {cost.currency}"
        self.terms[pool.canonical, version] = category, basis
        at = self.at()
        if self.random.random() < 0.5:
            return Granted(at, "k", 9, 9, category, 50, None, None, cost)  # type: ignore[arg-type]
        raw = encode_dimensions({}, "metadata")
        return MovedIn(at, "s", 1, "k", 9, 9, category, 50, at, at, None, cost, None, None, raw)  # type: ignore[arg-type]

    def book(
        self,
        pool: PoolId,
        version: int,
        at: int,
        parts: tuple[tuple[int, int], ...],
        sign: int,
        quantity: str | None,
        metric: str | None,
        dimensions: dict[str, Any],
    ) -> None:
        whole, _, places = (quantity or "0").partition(".")
        billionths = int(whole) * 10**9 + int(places.ljust(9, "0"))
        total, so_far = Fraction(sum(units for _, units in parts) or 1), 0
        for grant, units in parts or ((None, 0),):
            share = floor(billionths * (so_far + units) / total) - floor(billionths * so_far / total)
            so_far += units
            self.facts.append(
                Fact(
                    pool,
                    version,
                    at,
                    grant,
                    units if sign > 0 else 0,
                    units if sign < 0 else 0,
                    sign,
                    share if parts else billionths,
                    metric,
                    dimensions,
                )
            )

    def refusals(self) -> list[Refused]:
        """What was refused since the last frames, with their number."""
        self.refused.append((self.frames, list(self._refusals())))
        return self.refused[-1][1]

    def _refusals(self) -> Iterator[Refused]:
        for _ in range(self.random.randrange(3)):
            pool, at, metric = self.random.choice(self.pools), self.at(), self.random.choice([None, "tokens"])
            dimensions, raw = self.dimensions()
            count = self.random.choice([1, 7, 10**6])
            self.facts.append(Fact(pool, 0, at, None, 0, 0, -1, 0, metric, dimensions, count))
            yield Refused(pool.canonical, at, metric, bytes(raw), count)

    def at(self) -> int:
        return self.base + self.random.randrange(self.spread)

    def amount(self) -> int:
        return AMOUNT_MAX if self.large and self.random.random() < 0.2 else self.random.choice([1, 2, 10, 999])

    def dimensions(self) -> tuple[dict[str, Any], msgspec.Raw]:
        chosen = self.random.sample(self.names, self.random.randrange(min(len(self.names), 9)))
        dimensions = {name: self.random.choice(self.values) for name in chosen}
        if len(repr(dimensions).encode()) > 7_000:
            dimensions = {name: value for name, value in dimensions.items() if len(repr(value)) < 999}
        if self.random.random() < 0.5:
            # As older versions stored them: whole numbers as they were written.
            return dimensions, msgspec.Raw(msgspec.msgpack.encode(dimensions))
        return dimensions, encode_dimensions(dimensions, "dimensions")


# -- The oracle


def value_in(fact: Fact, field: str, journal: Journal, scope: UsageScope) -> Any:
    if not field.startswith("$"):
        return fact.dimensions.get(field)
    if field.startswith("$$"):
        return fact.dimensions.get(field[1:])
    terms = journal.terms.get((fact.pool.canonical, fact.grant or 0), (None, None))
    grant = None if fact.grant is None else f"g{fact.grant}"
    if grant is not None and scope.pool is None:
        grant = f"{fact.pool.canonical}#{grant}"
    return {
        "$metric": fact.metric,
        "$customer": fact.pool.customer,
        "$resource": fact.pool.resource,
        "$currency": fact.pool.currency,
        "$grant": grant,
        "$category": terms[0],
        "$cost_basis": terms[1],
    }[field]


def exact(value: Any) -> tuple[str, Any]:
    """Tells apart what Python calls equal, except equal numbers."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "number", Fraction(value)
    return type(value).__name__, repr(value)


def in_scope(fact: Fact, scope: UsageScope) -> bool:
    pool = fact.pool
    if scope.pool is not None:
        return pool.canonical == scope.pool
    if scope.customer is not None and pool.customer != scope.customer:
        return False
    return (pool.environment, pool.currency) == (scope.environment, scope.currency)


def passes(value: Any, op: str, values: tuple[Any, ...]) -> bool:
    if op == "missing":
        return value is None
    if op == "prefix":
        return isinstance(value, str) and value[: len(values[0])] == values[0]
    found = exact(value) in [exact(each) for each in values]
    return not found if op == "not in" else found


def label(at: int, window: str | None, zone: str) -> tuple[Any, ...]:
    """What is the same for two moments exactly if they are in one window."""
    if window in (None, "total"):
        return ()
    local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)).astimezone(ZoneInfo(zone))
    year, week, _ = local.isocalendar()
    return {
        "minute": (local.date(), local.hour, local.minute, local.utcoffset()),
        "hour": (local.date(), local.hour, local.utcoffset()),
        "day": (local.date(),),
        "week": (year, week),
        "month": (local.year, local.month),
        "quarter": (local.year, (local.month + 2) // 3),
        "year": (local.year,),
    }[str(window)]


def by_name(values: tuple[Any, ...], fields: tuple[str, ...]) -> list[Any]:
    """A key that sorts groups by name."""
    found: list[Any] = []
    for value, field in zip(values, fields, strict=True):
        if value is None:
            found.append((3,))
        elif field == "$grant":
            pool, _, number = value.rpartition("g")
            found.append((2, int(number), pool))
        elif isinstance(value, bool):
            found.append((0, value))
        elif isinstance(value, str):
            found.append((2, value))
        else:
            found.append((1, float(value), Fraction(value)))
    return found


Cells = dict[tuple[Any, ...], list[Fact]]


class Sums(NamedTuple):
    debited: int
    reversed: int
    events: int
    refused: int
    quantities: dict[str, int]
    first_at: int | None
    last_at: int | None


def sums(facts: list[Fact]) -> Sums:
    moments = [fact.at for fact in facts if fact.counted == 1]
    quantities: dict[str, int] = {}
    for fact in facts:
        if fact.quantity:
            quantities[fact.metric or ""] = quantities.get(fact.metric or "", 0) + fact.quantity
    return Sums(
        sum(fact.debited for fact in facts),
        sum(fact.reversed for fact in facts),
        len({(fact.pool, fact.version) for fact in facts if fact.counted == 1}),
        sum(fact.refused for fact in facts),
        quantities,
        min(moments, default=None),
        max(moments, default=None),
    )


def matching(journal: Journal, query: UsageQuery) -> list[Fact]:
    return [
        fact
        for fact in journal.facts
        if in_scope(fact, query.scope)
        and query.start <= fact.at < query.end
        and all(passes(value_in(fact, f.field, journal, query.scope), f.op, f.values) for f in query.filters)
    ]


def ranked(journal: Journal, query: UsageQuery) -> list[tuple[tuple[Any, ...], list[Fact]]]:
    """Groups with their facts, as the query orders them; beyond the top, one group under no values."""
    groups: dict[Any, tuple[tuple[Any, ...], list[Fact]]] = {}
    for fact in matching(journal, query):
        values = tuple(value_in(fact, field, journal, query.scope) for field in query.group_by)
        groups.setdefault(tuple(map(exact, values)), (values, []))[1].append(fact)
    found = sorted(groups.values(), key=lambda group: by_name(group[0], query.group_by))
    if query.order == "name":
        found = found[::-1] if query.descending else found
    else:
        measure: Callable[[Sums], int] = {
            "credits": lambda each: each.debited - each.reversed,
            "events": lambda each: each.events,
            "refused": lambda each: each.refused,
            "quantity": lambda each: sum(each.quantities.values()),
        }[query.order]
        found = sorted(found, key=lambda group: measure(sums(group[1])) * (-1 if query.descending else 1))
    if query.top is not None and len(found) > query.top:
        rest = [fact for _, facts in found[query.top :] for fact in facts]
        found = [*found[: query.top], (("the others",), rest)]
    return found


def check(journal: Journal, store: UsageStore, query: UsageQuery) -> list[UsageRow]:
    """Ask the store, and the oracle. Returns the store's rows."""
    table = sent(store.query(query), query)
    assert table.columns == query.group_by
    assert table.position == store.position
    check_lines(table, query)
    expected = ranked(journal, query)
    # Every row is where it belongs, the buckets are windows, and no cell of the oracle is missing.
    cells: Cells = {}
    for place, (_, facts) in enumerate(expected):
        for fact in facts:
            cells.setdefault((label(fact.at, query.window, query.zone), place), []).append(fact)
    places = {tuple(map(exact, values)): place for place, (values, _) in enumerate(expected)}
    others = tuple(map(exact, ("the others",)))
    seen: list[tuple[int, int]] = []
    for row in table.rows:
        if query.window is None:
            assert (row.start, row.end) == (query.start, query.end)
        else:
            bucket = label(row.start, query.window, query.zone)
            assert label(row.end - 1, query.window, query.zone) == bucket
            assert bucket not in (
                label(row.end, query.window, query.zone),
                label(row.start - 1, query.window, query.zone),
            )
        if row.other:
            assert row.values == (None,) * len(query.group_by)
        place = places.get(others if row.other else tuple(map(exact, row.values)), 0)
        seen.append((row.start, place))
        bucket = label(max(row.start, query.start), query.window, query.zone)
        facts = cells.pop((bucket, place), [])
        assert facts or query.fill_empty or not (query.group_by or query.window)
        got = (row.debited, row.reversed, row.events, row.refused, row.quantities, row.first_at, row.last_at)
        assert got == sums(facts), (query, row)
    assert not cells
    assert seen == sorted(seen)
    assert len(set(seen)) == len(seen)
    if query.fill_empty:
        starts = sorted({(row.start, row.end) for row in table.rows})
        assert [end for _, end in starts[:-1]] == [start for start, _ in starts[1:]]
        if starts:
            assert starts[0][0] <= query.start
            assert starts[-1][1] >= query.end
        assert len(seen) == len(starts) * len({place for _, place in seen})
    # The ledger's total, to the last unit.
    total = sums(matching(journal, query))
    told = UsageLines(whole_of(table, query), 6)[0]
    assert [units(told.debited, 6), units(told.reversed, 6), told.events, told.refused] == list(total[:4])
    assert {name: units(quantity, 9) for name, quantity in told.quantities.items()} == total.quantities
    assert (told.first_at, told.last_at) == tuple(map(moment, total[5:]))
    assert sum(row.credits for row in table.rows) == total.debited - total.reversed
    if {"$grant", "$category", "$cost_basis"}.isdisjoint(query.group_by):
        assert sum(row.events for row in table.rows) == total.events
    else:
        # An event counts in every line in which it has a part.
        assert sum(row.events for row in table.rows) >= total.events
    check_outside(journal, store, query, [row.values for row in table.rows if not row.other])
    return table.rows


def check_outside(journal: Journal, store: UsageStore, query: UsageQuery, named: list[tuple[Any, ...]]) -> None:
    """What is outside some groups, as where two periods are compared, has each of its events once."""
    some = journal.random.sample(named, journal.random.randrange(len(named) + 1))
    found = store.events_outside(msgspec.structs.replace(query, top=None), some)
    kept = {tuple(map(exact, values)) for values in some}
    rest = [
        fact
        for fact in matching(journal, query)
        if tuple(exact(value_in(fact, field, journal, query.scope)) for field in query.group_by) not in kept
    ]
    several = {"$grant", "$category", "$cost_basis"} & set(query.group_by) and store._has_parts
    assert found == (sums(rest).events if several else None)


def sent(table: UsageTable, query: UsageQuery) -> UsageTable:
    """The table as the engine has it from the usage process."""
    messages: list[Any] = []
    for each in parts_of(7, table):
        frame = framed(each)
        assert length_of(frame[:4]) == len(frame) - 4
        messages.append(replies.decode(frame[4:]))
    *parts, end = messages
    assert all(isinstance(part, TablePart) for part in parts)
    assert isinstance(end, TableEnd)
    found = table_from(query, parts, end)
    assert found.rows == table.rows
    return found


def whole_of(table: UsageTable, query: UsageQuery) -> UsageTable:
    bucket, group = (query.start, query.end), UsageGroup((None,) * len(query.group_by))
    return msgspec.structs.replace(table, buckets=[bucket], groups=[group], cells=table.total)


def units(amount: Decimal, places: int) -> int:
    return int(amount.scaleb(places, Context(prec=60)))


def moment(at: int | None) -> datetime | None:
    return None if at is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)


def check_lines(table: UsageTable, query: UsageQuery) -> None:
    """Lines are what the rows say, whether they are made one by one, by columns, or on the wire."""
    rows, lines = table.rows, UsageLines(table, 6)
    assert len(lines) == len(rows)
    for row, line in zip(rows, lines, strict=True):
        assert (line.start, line.end) == (moment(row.start), moment(row.end))
        assert (line.other, line.events, line.refused) == (row.other, row.events, row.refused)
        assert [repr(line.group[name]) for name in query.group_by] == list(map(repr, row.values))
        assert (units(line.debited, 6), units(line.reversed, 6)) == (row.debited, row.reversed)
        assert units(line.credits, 6) == row.credits
        assert {name: units(quantity, 9) for name, quantity in line.quantities.items()} == row.quantities
        assert (line.first_at, line.last_at) == (moment(row.first_at), moment(row.last_at))
    if 0 < len(rows) <= 200:
        question, nothing = UsageQuestion(group_by=query.group_by), lines[0].start
        lazy = Usage(question=question, start=nothing, end=nothing, lines=lines, total=lines[0], position=1, as_of=1)
        wire = msgspec.json.decode(msgspec.json.encode(lazy, enc_hook=plain_lines), type=Usage)
        assert isinstance(wire.lines, tuple)
        made = msgspec.structs.replace(lazy, lines=tuple(lines))
        assert list(map(repr, made.columns().items())) == list(map(repr, lazy.columns().items()))
        assert wire.lines[-1].credits == lazy.lines[-1].credits
        assert lines == list(lines)
        assert lines != list(lines)[1:]
        assert lines[1:3] == tuple(lines)[1:3]


def random_query(journal: Journal) -> UsageQuery:
    chance = journal.random
    pool = chance.choice(journal.pools)
    scope = chance.choice(
        [
            pool_scope(pool),
            customer_scope(pool.environment, pool.customer, pool.currency),
            environment_scope(pool.environment, pool.currency),
        ]
    )
    fields = [
        *("$metric", "$customer", "$resource", "$grant", "$category", "$cost_basis", "$currency", "nobody has this"),
        *(f"${name}" if name.startswith("$") else name for name in chance.sample(journal.names, 4)),
    ]
    group_by = chance.sample(fields, chance.choice([0, 1, 1, 1, 2, 3]))
    filters = [random_filter(journal, field, scope) for field in chance.sample(fields, chance.choice([0, 0, 1, 2]))]
    start, end = journal.base - chance.randrange(DAY), journal.base + journal.spread + 1
    if chance.random() < 0.3:
        start, end = sorted((journal.at(), journal.at() + 1))
    window = chance.choice(WINDOWS)
    if window == "minute" and end - start > DAY:
        start = end - DAY
    return usage_query(
        scope,
        start=start,
        end=end,
        window=window,
        zone=chance.choice(ZONES),
        group_by=group_by,
        filters=filters,
        top=chance.choice([None, 1, 2, 5]) if group_by else None,
        order=chance.choice(["credits", "events", "refused", "quantity", "name"]),
        descending=chance.choice([None, True, False]),
        fill_empty=chance.random() < 0.3 and (window != "minute" or end - start < 3_600 * SECOND or not group_by),
    )


def random_filter(journal: Journal, field: str, scope: UsageScope) -> dict[str, Any]:
    chance = journal.random
    known = [value_in(fact, field, journal, scope) for fact in chance.sample(journal.facts, 4)]
    if field.startswith("$") and not field.startswith("$$"):
        values = [*known, "unknown", "' or 1=1 --"]
    else:
        values = [*known, *chance.sample(VALUES, 3)]
    op = chance.choice(["=", "in", "not in", "missing", "prefix"])
    texts = [value[: chance.randrange(4)] for value in values if isinstance(value, str)]
    if op == "prefix" and texts and field != "$grant":
        return {"field": field, "op": "prefix", "value": chance.choice(texts)}
    if op == "missing":
        return {"field": field, "op": "missing"}
    if op in ("in", "not in"):
        return {"field": field, "op": op, "values": chance.sample(values, 3)}
    return {"field": field, "value": chance.choice(values)}


def feed(journal: Journal, store: UsageStore, frames: int) -> None:
    with store.batch() as batch:
        rows = UsageRows()
        for _ in range(frames):
            rows.add(journal.frame(), journal.frames)
            if journal.random.random() < 0.5:
                batch.add(rows, through_frame=journal.frames)
                rows = UsageRows()
        rows.add_refused(journal.refusals())
        batch.add(rows, through_frame=journal.frames, through_refusal=journal.frames)


def feed_again(journal: Journal, store: UsageStore) -> None:
    """What the store does not cover, in batches of other sizes."""
    while (frame := store.position) < journal.frames or store.refusals < journal.frames:
        through = min(frame + journal.random.randrange(1, 9), journal.frames)
        with store.batch() as batch:
            rows = UsageRows()
            for number, sections in enumerate(journal.sections[frame:through], frame + 1):
                rows.add(sections, number)
            batch.add(rows, through_frame=through)
            rows = UsageRows()
            for number, refused in journal.refused:
                if store.refusals < number <= through:
                    rows.add_refused(refused)
            batch.add(rows, through_refusal=max(store.refusals, through))


def entries_of(journal: Journal, query: UsageQuery, row: UsageRow) -> list[tuple[str, int, int, int]]:
    """(pool, version, moment, units) of the entries behind a cell."""
    place = {tuple(map(exact, values)): facts for values, facts in ranked(journal, query)}
    facts = place.get(tuple(map(exact, ("the others",) if row.other else row.values)), [])
    found: dict[tuple[str, int, int], int] = {}
    for fact in facts:
        if not fact.refused and (query.window is None or row.start <= fact.at < row.end):
            name = fact.pool.canonical, fact.version, fact.at
            found[name] = found.get(name, 0) + fact.debited - fact.reversed
    return [(*name, units) for name, units in found.items()]


@pytest.mark.parametrize("seed", range(40))
def test_answers_are_those_of_the_oracle(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Late events, reversals, captures, hostile names: and what is asked while the journal goes on."""
    journal = Journal(seed)
    if seed % 3 == 0:  # Dimensions get closed early, some of them at once.
        monkeypatch.setattr(usage_catalog, "VALUES_PER_DIMENSION_MAX", journal.random.choice([0, 2, 5]))
    if seed % 5 == 0:
        monkeypatch.setattr(usage_catalog, "VALUES_MAX", 20)
    monkeypatch.setattr(usage_messages, "ROWS_PER_PART", (1, 3, 5_000)[seed % 3])
    monkeypatch.setattr(usage_messages, "GROUPS_PER_PART", (1, 4, 500)[seed % 3])
    monkeypatch.setattr(usage_store, "COMMIT_ROWS", (1, 60, 10**6)[seed // 3 % 3])
    if seed % 2 == 0:  # The top is looked for first, as where there are many groups.
        monkeypatch.setattr(usage_plan, "SMALL_CELLS_MAX", 0)
    store = UsageStore(tmp_path / "usage", journal_identity="j")
    if seed % 4 == 1:  # As in a file that is made again: known before a row has them, and some that none ever has.
        store.reserve([*journal.names[-3:], "nobody has this either"])
    for _ in range(3):
        feed(journal, store, journal.random.randrange(1, 12))
        for _ in range(6):
            query = random_query(journal)
            rows = check(journal, store, query)
            if rows:
                check_entries(journal, store, query, journal.random.choice(rows))
        if journal.random.random() < 0.5:
            store.close()
            store = UsageStore(tmp_path / "usage", journal_identity="j")
            assert store.position == store.refusals == journal.frames
        elif journal.random.random() < 0.5:
            store = after_a_crash(store, tmp_path / "usage")
            feed_again(journal, store)
            check(journal, store, random_query(journal))
    used: dict[str, int] = {}
    for fact in journal.facts:
        for name in fact.dimensions:
            used[name] = used.get(name, 0) + 1
    ranked_names = store.dimensions_by_use()
    assert set(ranked_names) >= set(used)
    counts = [used.get(name, 0) for name in ranked_names]
    assert counts == sorted(counts, reverse=True)
    store.close()


def after_a_crash(store: UsageStore, path: Path) -> UsageStore:
    """The store without what was not committed."""
    store._db.close()
    return UsageStore(path, journal_identity="j")


@pytest.mark.parametrize(("rows", "interval_s"), [(1, 1e9), (10**9, 0.0), (300, 1e9), (10**9, 1e9)])
def test_batches_are_committed_when_there_are_enough_or_it_is_time(
    rows: int, interval_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_store, "COMMIT_ROWS", rows)
    monkeypatch.setattr(usage_store, "COMMIT_INTERVAL_S", interval_s)
    journal = Journal(1)
    store = UsageStore(tmp_path / "usage", journal_identity="j")
    committed = []
    for _ in range(20):
        feed(journal, store, 3)
        assert store.position == store.refusals == journal.frames
        check(journal, store, random_query(journal))
        if store._began_at is None:
            committed.append(store.position)
    store = after_a_crash(store, tmp_path / "usage")
    assert store.position == store.refusals == (committed[-1] if committed else 0)
    if rows == 1 or interval_s == 0:
        assert len(committed) == 20
    else:
        assert (2 <= len(committed) <= 10) == (rows == 300)
    store.close()


def test_a_question_that_fails_again_and_again_does_not_hold_up_what_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It undoes what was not committed, which is then read from the journal again."""
    journal = Journal(2)
    store = UsageStore(tmp_path / "usage", journal_identity="j", memory="50MB")
    kept = []
    for _ in range(5):
        feed(journal, store, 5)
        query = random_query(journal)
        with monkeypatch.context() as patch:
            patch.setattr(store, "_columns", lambda _: store._db.execute("select list(range) from range(20_000_000)"))
            with pytest.raises(TooLarge):
                store.query(query)
        kept.append(store.position)
        feed_again(journal, store)
        check(journal, store, random_query(journal))
    assert kept[0] == 0
    assert all(one < next_one for one, next_one in pairwise(kept))
    store.close()


def check_entries(journal: Journal, store: UsageStore, query: UsageQuery, row: UsageRow) -> None:
    """The entries behind a cell, a page at a time, while more is appended."""
    expected = entries_of(journal, query, row)
    start = None if query.window is None else row.start
    cell = usage_cell(query, start=start, values=() if row.other else row.values, other=row.other)
    found: list[tuple[str, int, int, int]] = []
    page = store.entries(query, cell, limit=journal.random.choice([1, 3, 100]))
    while True:
        found += [(entry.pool, entry.version, entry.occurred_at, entry.credits) for entry in page.entries]
        if page.cursor is None:
            break
        if journal.random.random() < 0.2 and len(journal.facts) < 1_500:
            feed(journal, store, 1)
        page = store.entries(query, cell, cursor=page.cursor, limit=journal.random.choice([1, 3, 100]))
    assert len(found) == len(set(found))
    assert sorted(found) == sorted(expected)
    assert [each[2] for each in found] == sorted(each[2] for each in found)
