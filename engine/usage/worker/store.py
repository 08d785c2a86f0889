"""Usage in a DuckDB file: batches of rows from the journal go in, answers to queries come out.

This is a projection: it can be rebuilt from the journal, and a file that is missing, damaged or made for another
journal is replaced. Batches and the number of the last frame they cover are committed together, so each frame is in the
file once or not at all, whatever stops the process. Uncommitted batches are visible only to the store; after a crash,
they are read from the journal again. Few commits mean few writes. A batch that is committed alone goes into DuckDB's
log, at 250 bytes a row, and the flushes of the journal wait for that; a whole row group goes straight into the file,
packed.

All calls block: the store belongs in a separate process, and to one thread at a time. Sums have 128 bits and are exact.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec
import nanoarrow

from solvent.engine.api.usage_table import UsageTable, Value
from solvent.engine.runtime.files import USAGE_FORMAT
from solvent.engine.usage.analysis import exact
from solvent.engine.usage.query import ENTRIES_PAGE_DEFAULT, ROWS_MAX, UsageCell, UsageEntries, UsageEntry, UsageQuery
from solvent.engine.values.errors import NewerFormat, TooLarge

from .answer import answer_of, too_many_rows
from .arrow import from_arrow, to_arrow
from .batch import UsageBatch
from .catalog import COLUMNS_END, DIMENSIONS_FROM, MISSING, Catalog, PoolNumbers
from .entries import by_entry, digest_of, read_cursor, write_cursor
from .failures import UsageDamaged, UsageUnavailable, failures
from .fields import Key, Statement
from .plan import MEASURES_COUNT, Plan
from .rows import NO_EVENT

MEMORY_DEFAULT: Final = "1GB"
CHECKPOINT_AT: Final = "256MB"
"""The size of DuckDB's log at which it is folded into the file: about 5 million rows."""
COMMIT_ROWS: Final = 2 * 122_880
"""The rows of batches that are committed together: two of DuckDB's row groups."""
COMMIT_INTERVAL_S: Final = 30.0
"""The longest time between commits: after a crash, that much is read from the journal again."""
LEADER_BITS: Final = 18
"""The most bits in a group's keys for ranking in an array instead of by hashes, as for one dimension. With 100,000
groups that is four times as fast, and takes 6 MB in each thread."""

_HEADERS_BYTES: Final = 3 * 4_096
_SCHEMA: Final = """
create table setting (name varchar, value varchar);
create table realm (number integer, environment varchar, currency varchar);
create table pool (number integer, canonical varchar, realm integer, customer integer, resource integer);
create table dimension (number integer, name varchar);
create table closed (dimension integer);
create table value (dimension integer, code integer, text varchar);
create table terms (pool integer, grant_number bigint, category varchar, cost_basis varchar);
create table extra (seq bigint, dimension integer, text varchar);
create table usage (
    seq bigint, realm integer, pool integer, version bigint, moment bigint, grant_number bigint,
    debited bigint, reversed bigint, events tinyint, refused bigint, quantity bigint, quantity_nano integer,
    part integer, frame bigint, c1 integer, c2 integer, c3 integer
);
"""


class UsageStore:
    """The open usage file. If it is not closed, the next open must fold the log into the file."""

    def __init__(self, path: Path, *, journal_identity: str, threads: int = 1, memory: str = MEMORY_DEFAULT) -> None:
        """Open or create the file at ``path``.

        ``threads`` and ``memory``, such as "512MB", are DuckDB's limits. Raises ``UsageDamaged`` if the file cannot be
        read or belongs to another journal or an older version, ``NewerFormat`` if it is of a newer Solvent,
        ``UsageUnavailable`` if it is open in another process.
        """
        self._path = path
        self._journal_identity = journal_identity
        with failures(opening=True):
            self._db = duckdb.connect(
                str(path),
                config={
                    "threads": threads,
                    "memory_limit": memory,
                    "checkpoint_threshold": CHECKPOINT_AT,
                    "autoinstall_known_extensions": False,
                    "autoload_known_extensions": False,
                },
            )
        try:
            with failures(opening=True):
                self._create_if_new()
                self._check_size(path)
                self._load()
        except BaseException:
            self._db.close()
            raise
        self._uncommitted = 0
        """The rows in batches that are not committed yet."""
        self._began_at: float | None = None
        """The time of the first uncommitted batch."""
        self._was_undone = False
        """Whether a failure has undone batches since the last commit. Then the next batch is committed alone. Otherwise
        repeated failures, as of too large a question, would undo the same batches for ever."""

    def close(self) -> None:
        """Commit and close the file, even if it cannot be written. Nothing is lost if this is not called."""
        with suppress(UsageDamaged, UsageUnavailable, TooLarge):
            self.commit()
        self._db.close()

    def _create_if_new(self) -> None:
        if self._db.execute("select count(*) from duckdb_tables()").fetchone() != (0,):
            return
        self._db.execute("begin")
        self._db.execute(_SCHEMA)
        settings = {
            "schema": USAGE_FORMAT,
            "journal": self._journal_identity,
            "position": 0,
            "refusals": 0,
            "rows": 0,
        }
        for name, value in settings.items():
            self._db.execute("insert into setting values (?, ?)", (name, str(value)))
        self._db.execute("commit")

    def _check_size(self, path: Path) -> None:
        """Check now that no blocks are cut off. DuckDB would notice only when it reads them.

        Free blocks at the end may be missing legitimately, so a small cut is found only by a read.
        """
        row = self._db.execute("select block_size * used_blocks from pragma_database_size()").fetchone()
        if row is None or path.stat().st_size < row[0] + _HEADERS_BYTES:
            raise UsageDamaged("the file is shorter than it says")

    def _load(self) -> None:
        """Load the state from the file: when it is opened, and after a batch that could not be committed."""
        settings = dict(self._rows("select name, value from setting"))
        found = str(settings.get("schema"))
        if found.isdecimal() and int(found) > USAGE_FORMAT:
            raise NewerFormat(str(self._path), found=int(found), known=USAGE_FORMAT, cache=True)
        if found != str(USAGE_FORMAT) or settings.get("journal") != self._journal_identity:
            raise UsageDamaged("it belongs to another journal or version")
        self.position = int(settings["position"])
        """The number of the last frame covered; 0 before the first."""
        self.refusals = int(settings["refusals"])
        """The number of the last refusal covered."""
        self._next_seq = int(settings["rows"])
        catalog = self._catalog = Catalog()
        for environment, currency in self._rows("select environment, currency from realm order by number"):
            catalog.realms[environment, currency] = len(catalog.realms) + 1
        statement = "select canonical, number, realm, customer, resource from pool order by number"
        for canonical, *numbers in self._rows(statement):
            catalog.add_pool(canonical, PoolNumbers(*numbers))
        for (name,) in self._rows("select name from dimension order by number"):
            catalog.dimension(name)
        for number, column in catalog.columns.items():
            texts = self._rows(f"select text from value where dimension = {number} order by code")
            column.load(text for (text,) in texts)
        for (number,) in self._rows("select dimension from closed"):
            catalog.columns[number].closed = True
        catalog.unsaved()
        # Rare kinds of rows need not be added up if there are none.
        ((self._has_rest,),) = self._rows("select exists(select 1 from usage where events is null)")
        ((self._has_nanos,),) = self._rows("select exists(select 1 from usage where quantity_nano <> 0)")
        ((self._has_parts,),) = self._rows("select exists(select 1 from usage where part > 0)")

    def _rows(self, statement: str) -> list[Any]:
        return self._db.execute(statement).fetchall()

    # -- In: batches of rows

    @contextmanager
    def batch(self) -> Iterator[UsageBatch]:
        """Yield a batch to which to add what follows ``position`` and ``refusals``.

        After the block, the batch is in the answers. If an exception leaves the block, this batch and earlier
        uncommitted ones are not.

        Raises ``UsageUnavailable`` or ``UsageDamaged``. If the commit fails in a way that DuckDB does not survive,
        every later call raises ``UsageUnavailable``: close the store and open it again.
        """
        batch = UsageBatch(self._catalog, frame=self.position, refusal=self.refusals)
        with self._or_undone():
            yield batch
            if batch.frame > self.position or batch.refusal > self.refusals:
                self._add(batch)
        if self._is_commit_due():
            self.commit()

    def dimensions_by_use(self) -> list[str]:
        """Return the names of the dimensions, those that most rows have first. Raises the errors of ``batch``."""
        columns = [number for number in self._catalog.columns if number >= DIMENSIONS_FROM]
        counted = ", ".join(f"count(*) filter (c{number} > {MISSING})" for number in columns)
        with self._or_undone():
            counts = dict(self._rows("select dimension, count(*) from extra group by dimension"))
            if columns:
                (found,) = self._rows(f"select {counted} from usage")
                for number, count in zip(columns, found, strict=True):
                    counts[number] = counts.get(number, 0) + count
        numbers = self._catalog.dimensions
        return sorted(numbers, key=lambda name: -counts.get(numbers[name], 0))

    def reserve(self, names: Iterable[str]) -> None:
        """Number dimensions before rows have them, since the first ones get columns. Raises the errors of ``batch``."""
        with self._or_undone():
            for name in names:
                self._catalog.dimension(name)
            self._begin()
            self._add_names(self._catalog)
        self.commit()

    def _add(self, batch: UsageBatch) -> None:
        self._begin()
        self._add_names(batch.catalog)
        self._add_terms(batch)
        if batch.count:
            self._add_rows(batch)
        self._set("position", batch.frame)
        self._set("refusals", batch.refusal)
        self._set("rows", self._next_seq + batch.count)
        self.position, self.refusals = batch.frame, batch.refusal
        self._next_seq += batch.count
        self._uncommitted += batch.count
        self._has_rest = self._has_rest or batch.has_rest
        self._has_nanos = self._has_nanos or batch.has_nanos
        self._has_parts = self._has_parts or batch.has_parts

    def _begin(self) -> None:
        if self._began_at is None:
            self._db.execute("begin")
            self._began_at = time.monotonic()

    def _is_commit_due(self) -> bool:
        if self._began_at is None:
            return False
        is_old = time.monotonic() - self._began_at >= COMMIT_INTERVAL_S
        return self._was_undone or is_old or self._uncommitted >= COMMIT_ROWS

    def commit(self) -> None:
        """Commit all open batches. If that fails, they are not added. Raises the errors of ``batch``."""
        if self._began_at is None:
            return
        with self._or_undone():
            self._db.execute("commit")
            self._began_at, self._uncommitted, self._was_undone = None, 0, False

    @contextmanager
    def _or_undone(self) -> Iterator[None]:
        """Roll back to the last commit if the block fails."""
        with failures():
            try:
                yield
            except BaseException:
                with suppress(duckdb.TransactionException):  # None was begun, or a failed commit rolled it back.
                    self._db.execute("rollback")
                self._was_undone = self._was_undone or self._uncommitted > 0
                self._began_at, self._uncommitted = None, 0
                self._load()
                raise

    def _set(self, name: str, value: int) -> None:
        self._db.execute("update setting set value = ? where name = ?", (str(value), name))

    def _add_names(self, catalog: Catalog) -> None:
        """Store everything that the catalog has numbered since the last call."""
        new = catalog.unsaved()
        for number, environment, currency in new.realms:
            self._db.execute("insert into realm values (?, ?, ?)", (number, environment, currency))
        for number, name in new.dimensions:
            self._db.execute("insert into dimension values (?, ?)", (number, name))
            if number < COLUMNS_END:
                self._db.execute(f"alter table usage add column c{number} integer default 0")
        for number in new.closed:
            self._db.execute("insert into closed values (?)", (number,))
        if new.pools:
            names, pools = zip(*new.pools, strict=True)
            self._insert(
                "pool",
                {
                    "number": array("i", [each.pool for each in pools]),
                    "canonical": list(names),
                    "realm": array("i", [each.realm for each in pools]),
                    "customer": array("i", [each.customer for each in pools]),
                    "resource": array("i", [each.resource for each in pools]),
                },
            )
        if new.values:
            dimensions, codes, texts = zip(*new.values, strict=True)
            self._insert("value", {"dimension": array("i", dimensions), "code": array("i", codes), "text": list(texts)})

    def _add_terms(self, batch: UsageBatch) -> None:
        if batch.terms:
            pools, terms = zip(*batch.terms, strict=True)
            self._insert(
                "terms",
                {
                    "pool": array("i", pools),
                    "grant_number": array("q", [each.grant for each in terms]),
                    "category": [each.category for each in terms],
                    "cost_basis": [each.cost_basis for each in terms],
                },
            )

    def _add_rows(self, batch: UsageBatch) -> None:
        first = self._next_seq
        columns: dict[str, Any] = {"seq": array("q", range(first, first + batch.count)), **batch.numbers}
        columns |= {batch.catalog.columns[number].name: codes for number, codes in batch.filled_codes()}
        self._insert("usage", columns, events=f"nullif(events, {NO_EVENT})")
        if batch.extra:
            rows, numbers, texts = zip(*batch.extra, strict=True)
            self._insert(
                "extra",
                {
                    "seq": array("q", [first + row for row in rows]),
                    "dimension": array("i", numbers),
                    "text": list(texts),
                },
            )

    def _insert(self, table: str, columns: dict[str, Any], **expressions: str) -> None:
        """Add rows, given as arrays of numbers and lists of text, through Arrow: nothing else is nearly as fast."""
        names = ", ".join(columns)
        selected = ", ".join(expressions.get(name, name) for name in columns)
        self._db.register("batch", to_arrow(columns))
        try:
            self._db.execute(f"insert into {table} ({names}) select {selected} from batch")
        finally:
            self._db.unregister("batch")

    # -- Out: answers

    def query(self, query: UsageQuery) -> UsageTable:
        """Answer ``query`` from the covered part of the journal. Raises ``TooLarge`` for an answer of too many rows."""
        plan = Plan(query, self._catalog, has_parts=self._has_parts)
        with self._or_undone():
            top = self._top(plan)
            columns = self._cells(plan, top, of_events=True)
            if self._has_rest:
                rest = self._cells(plan, top, of_events=False)
                columns = [[*some, *others] for some, others in zip(columns, rest, strict=True)]
            events = self._events(plan) if plan.is_divided else None
        if len(columns[0]) > ROWS_MAX:
            raise too_many_rows()
        groups, metrics, rows = answer_of(plan, columns)
        total = rows.sum()
        if events is not None:
            total = msgspec.structs.replace(total, events=(events,))
        return UsageTable(query.group_by, plan.buckets, groups, metrics, rows, total, self.position, self._next_seq)

    def events_outside(self, query: UsageQuery, groups: Collection[tuple[Value, ...]]) -> int | None:
        """Return how many events have a part outside ``groups``; ``None`` if that is what the other groups add up to.

        ``groups`` are groups of the answer to ``query`` without a top.
        """
        plan = Plan(query, self._catalog, has_parts=self._has_parts)
        if not plan.is_divided:
            return None
        named = set(map(exact, groups))
        with self._or_undone():
            keys = [key for key in self._run(plan.keys()) if exact(plan.group(key)[0]) in named]
            if not keys:
                return self._events(plan)
            columns = self._cells(plan, keys, of_events=True)
        place = plan.place_of("events")
        events: int = sum(events for key, events in zip(columns[1], columns[place], strict=True) if key is None)
        return events

    def _events(self, plan: Plan) -> int:
        """Return the number of events in all groups together."""
        ((events,),) = self._run(plan.events())
        return int(events)

    def _top(self, plan: Plan) -> list[tuple[Key, ...]] | None:
        """Return the keys of the top groups; ``None`` if all groups should be read."""
        top = plan.query.top
        if top is None or plan.is_small:
            return None
        if plan.query.order != "name":
            leaders = self._leaders(plan)
            if len(leaders) <= top:
                return None
            if leaders[top - 1][-1] != leaders[top][-1]:
                return [leader[:-1] for leader in leaders[:top]]
        # Some groups have equal measures, so names decide.
        return self._run(plan.top())

    def _leaders(self, plan: Plan) -> list[tuple[Any, ...]]:
        """Return the rows of ``Plan.leaders``."""
        self._db.execute(f"set perfect_ht_threshold = {LEADER_BITS}")
        try:
            return self._run(plan.leaders(rest=self._has_rest))
        finally:
            self._db.execute("reset perfect_ht_threshold")

    def _cells(self, plan: Plan, top: list[tuple[Key, ...]] | None, *, of_events: bool) -> list[Sequence[Any]]:
        """Return the cells of an answer by columns, with sums of any size as integers."""

        def statement(*, wide: bool) -> Statement:
            return plan.table(ROWS_MAX, of_events=of_events, nanos=self._has_nanos, wide=wide, top=top)

        if top == []:
            return [()] * plan.width
        first = plan.width - MEASURES_COUNT - 2
        columns = self._columns(statement(wide=False))
        if all(isinstance(sums, array) or None not in sums for sums in columns[first:-2]):
            return columns
        # A sum exceeds 64 bits. For such sums, text is the fastest way out of DuckDB; for others it is twice as slow.
        columns = self._columns(statement(wide=True))
        return [*columns[:first], *(list(map(int, sums)) for sums in columns[first:-2]), *columns[-2:]]

    def entries(
        self,
        query: UsageQuery,
        cell: UsageCell,
        *,
        as_of: int | None = None,
        cursor: str | None = None,
        limit: int = ENTRIES_PAGE_DEFAULT,
    ) -> UsageEntries:
        """Return a page of the entries that count in ``cell`` of the answer to ``query``, by time, pool and version.

        ``as_of`` comes from the answer; without it, the current entries count. ``cursor`` comes from the page before.
        Raises ``InvalidRequest`` for a cursor of another query.
        """
        after = None
        if cursor is not None:
            as_of, after = read_cursor(cursor, digest_of(query, cell))
        elif as_of is None:
            as_of = self._next_seq
        plan = Plan(query, self._catalog, has_parts=self._has_parts)
        rows_max = limit + 1
        with self._or_undone():
            rows = self._run(plan.entries(cell, as_of, after, rows_max))
            found = by_entry(rows)
            # An entry may be several rows, and the last may be cut off, so read until one more than asked for is seen.
            while len(rows) == rows_max and len(found) <= limit:
                rows_max *= 2
                rows = self._run(plan.entries(cell, as_of, after, rows_max))
                found = by_entry(rows)
        names = self._catalog.canonical
        page = [
            UsageEntry(names[pool], version, moment, units, frame)
            for (moment, pool, version), (units, frame) in found[:limit]
        ]
        more = len(found) > limit
        last = found[limit - 1][0] if more else None
        following = None if last is None else write_cursor(digest_of(query, cell), as_of, last)
        return UsageEntries(page, following, as_of)

    def _run(self, statement: Statement) -> list[tuple[Any, ...]]:
        return self._db.execute(statement.text, statement.parameters).fetchall()

    def _columns(self, statement: Statement) -> list[Sequence[Any]]:
        """Return an answer by columns, through Arrow: numbers stay numbers, and no row becomes an object."""
        relation = self._db.sql(statement.text, params=statement.parameters)
        chunks = list(nanoarrow.c_array_stream(relation))
        return [from_arrow(chunks, place) for place in range(len(relation.columns))]
