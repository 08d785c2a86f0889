"""Filters of keys are saved one at a time; whatever was saved when, no indexed key is ever taken for new."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from solvent.engine.journal.frames import NO_DIGEST, CommittedSection, Head, Pointer
from solvent.engine.projections import filter_table
from solvent.engine.projections import key_filters as seen_module
from solvent.engine.projections.index import Index
from solvent.engine.projections.key_filters import SavedFilter, SeenKeys, are_whole
from solvent.engine.projections.projection import Projection
from solvent.engine.projections.segments import MERGE_FANOUT
from solvent.engine.projections.statements import ROWS_PER_STATEMENT

FILTER_CAPACITY = 32
SAVE_EVERY = 40


@pytest.fixture
def small_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers of 64, 256, 512, 512... keys, in filters of 32."""
    monkeypatch.setattr(seen_module, "FILTER_CAPACITY", FILTER_CAPACITY)
    monkeypatch.setattr(seen_module, "CAPACITY_FIRST", 2 * FILTER_CAPACITY)
    monkeypatch.setattr(seen_module, "CAPACITY_MAX", 16 * FILTER_CAPACITY)
    monkeypatch.setattr(filter_table, "FILTER_SAVE_EVERY", SAVE_EVERY)


class Indexed:
    """An index, its filters, and a plain set of what is in them. ``crash`` loses what was not saved."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._random = random.Random(7)
        self._frame = 0
        self.keys: set[int] = set()

    async def open(self) -> None:
        self.index = await Index.open(self._path, journal_identity="journal", seed=7)
        self.seen = await self.index.filters.load()

    async def add(self, count: int, *, step: int = ROWS_PER_STATEMENT) -> None:
        hashes = [self._random.getrandbits(64) for _ in range(count)]
        self._frame += 1
        projection = Projection(self.index.seed)
        head = Head(2 * self._frame + 1, Pointer(self._frame, 0, 10), NO_DIGEST)
        projection.add(
            self._frame, [CommittedSection("acme", 2 * self._frame, head, hashes, None, has_notices=False, scale=None)]
        )
        await self.index.project(projection, step=step)
        self.seen.add(projection.hashes)
        self.keys.update(hashes)
        await self.index.segments.merge(step=step)

    async def save(self, *, now: bool) -> None:
        await self.index.filters.save(self.seen, now=now)

    async def crash(self) -> None:
        await self.index.aclose()
        await self.open()

    def forgotten(self) -> int:
        return sum(key not in self.seen for key in self.keys)

    async def not_found(self) -> set[int]:
        return self.keys - set(await self.index.segments.find(list(self.keys)))

    def copy(self, path: Path) -> Indexed:
        """One with a copy of the file, which is closed."""
        shutil.copy(self._path, path)
        made = Indexed(path)
        made._frame, made.keys = self._frame, set(self.keys)
        return made

    def tables(self) -> tuple[set[int], set[int]]:
        """The numbers of the segments, and those of the tables of keys."""
        with closing(sqlite3.connect(self._path)) as reader:
            names = [str(name) for (name,) in reader.execute("select name from sqlite_master where type = 'table'")]
            segments = {int(number) for (number,) in reader.execute("select number from segment")}
        return segments, {int(name[5:]) for name in names if name.startswith("keys_")}


STEPS = st.lists(
    st.one_of(
        st.integers(1, 150).map(lambda count: ("add", count)),
        st.sampled_from([("save", False), ("save", False), ("save", True), ("crash", 0)]),
    ),
    max_size=30,
)


@pytest.mark.usefixtures("small_filters")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
@example(steps=[("add", 70), ("save", False), ("add", 20), ("save", False)])  # Some of a layer were saved.
@example(steps=[("add", 64), ("save", True), ("add", 10), ("save", False)])  # All of a full layer, none of the next.
def test_no_key_is_forgotten_wherever_it_stops(steps: list[tuple[str, int]]) -> None:
    async def live(path: Path) -> None:
        indexed = Indexed(path)
        await indexed.open()
        for verb, value in [*steps, ("crash", 0)]:
            match verb:
                case "add":
                    await indexed.add(value)
                case "save":
                    await indexed.save(now=bool(value))
                case _:
                    await indexed.crash()
                    assert indexed.forgotten() == 0
                    room = indexed.seen.filters * FILTER_CAPACITY
                    assert room <= max(2 * FILTER_CAPACITY, 6 * len(indexed.keys)), "keys were counted twice"
        await indexed.index.aclose()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(live(Path(folder) / "index.db"))


class Cut(Exception):
    """The process ends here."""


def cut_after(index: Index, statements: int) -> None:
    """End it before a statement: what was not committed by then is lost."""
    execute = index._file.writer.execute
    left = statements

    def execute_or_end(statement: str, parameters: Iterable[Any] | None = None) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise Cut
        return execute(statement, parameters)

    index._file.writer.execute = execute_or_end  # type: ignore[method-assign]


@pytest.mark.usefixtures("small_filters")
@pytest.mark.parametrize("step", [10, 1_000])
async def test_wherever_a_round_is_cut_short_no_key_is_forgotten_and_no_table_is_left(
    tmp_path: Path, step: int
) -> None:
    """A segment that is added, a merge, and filters that are saved: cut before each of their statements in turn."""
    first = Indexed(tmp_path / "first.db")
    await first.open()
    for _ in range(MERGE_FANOUT - 1):
        await first.add(30)
    await first.save(now=True)
    await first.index.aclose()
    tables_left = set[int]()
    for statements in count():
        indexed = first.copy(tmp_path / f"{statements}.db")
        await indexed.open()
        cut_after(indexed.index, statements)
        was_cut = False
        try:
            await indexed.add(30, step=step)
            await indexed.save(now=True)
        except Cut:
            was_cut = True
        await indexed.index.aclose()
        segments, tables = indexed.tables()
        assert segments <= tables
        tables_left.add(len(tables - segments))
        await indexed.open()
        segments, tables = indexed.tables()
        assert segments == tables
        assert indexed.forgotten() == 0
        assert await indexed.not_found() == set()
        # And it goes on.
        await indexed.add(30)
        await indexed.save(now=False)
        assert len(indexed.tables()[0]) <= 2, "the merge that was due was not made"
        await indexed.crash()
        assert indexed.forgotten() == 0
        assert await indexed.not_found() == set()
        await indexed.index.aclose()
        if not was_cut:
            break
    assert tables_left == set(range(MERGE_FANOUT + 1)), "no cut left the table of a merge, or some of those it merged"


@pytest.mark.usefixtures("small_filters")
async def test_filters_are_saved_a_few_at_a_time(tmp_path: Path) -> None:
    indexed = Indexed(tmp_path / "index.db")
    await indexed.open()
    await indexed.add(70)
    await indexed.save(now=False)
    reader = sqlite3.connect(tmp_path / "index.db")
    saved = "select last_frame, count(*) from filter group by 1 order by 1"
    assert reader.execute(saved).fetchall() == [(1, 10)], "a new layer was not saved whole"
    await indexed.add(SAVE_EVERY // 4)
    await indexed.save(now=False)
    assert reader.execute(saved).fetchall() == [(1, 8), (2, 2)]
    await indexed.add(SAVE_EVERY // 2)
    await indexed.save(now=False)
    assert reader.execute(saved).fetchall() == [(1, 4), (2, 2), (3, 4)]
    await indexed.save(now=True)
    assert reader.execute(saved).fetchall() == [(1, 2), (3, 8)], "of a full layer, nothing is saved again"
    reader.close()
    await indexed.index.aclose()


@pytest.mark.usefixtures("small_filters")
def test_only_whole_and_sound_layers_are_believed() -> None:
    seen = SeenKeys()
    seen.add(range(70))
    saved = [seen.save(number) for number in range(seen.filters)]
    assert are_whole(saved)
    assert are_whole(saved[:2])
    assert are_whole([])
    assert not are_whole(saved[:1])
    assert not are_whole(saved[:-1])
    assert not are_whole(saved[1:])
    saved[1] = SavedFilter(saved[1].capacity, saved[1].count, bytes(len(saved[1].body)), saved[1].crc)
    assert not are_whole(saved)


def test_a_full_layer_errs_as_rarely_as_it_should() -> None:
    keys = random.Random(1)
    seen = SeenKeys()
    for _ in range(seen_module.CAPACITY_FIRST // 1_024):
        seen.add([keys.getrandbits(64) for _ in range(1_024)])
    assert seen.filters == seen_module.CAPACITY_FIRST // seen_module.FILTER_CAPACITY
    wrong = sum(keys.getrandbits(64) in seen for _ in range(200_000))
    assert wrong <= 12, "2 are expected"
