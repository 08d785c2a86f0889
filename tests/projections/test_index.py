"""The rows of keys: each part has a checksum, and what was changed on the disk is found there, merged or not."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from solvent.engine.journal.frames import NO_DIGEST, CommittedSection, Head, Pointer
from solvent.engine.projections.index import Index, damage_of
from solvent.engine.projections.index_file import IndexDamaged
from solvent.engine.projections.projection import Projection
from solvent.engine.projections.segments import MERGE_FANOUT, PARTS
from solvent.engine.values.errors import Unavailable

PART = (1 << 64) // PARTS
ENDS = [end for part in range(PARTS) for end in (part * PART, (part + 1) * PART - 1)]
"""The first and the last hash of each part."""
INSIDE = [part * PART + (part + 1) * 0x9E3779B97F4A7C % PART for part in range(PARTS)]
KEYS = ENDS + INSIDE
SIGNED = 1 << 63
CHANGES = [
    "update {} set hash = hash + 1 where hash = ?",
    "update {} set hash = hash + (1 << 62) where hash = ?",
    "update {} set frame = frame + 1 where hash = ?",
    "update {} set offset = offset + 1 where hash = ?",
    "update {} set length = length + 1 where hash = ?",
    "delete from {} where hash = ?",
]


async def opened(path: Path) -> Index:
    return await Index.open(path, journal_identity="journal", seed=7)


async def add(index: Index, hashes: Sequence[int]) -> None:
    """Index a frame that has these keys."""
    number = index.position + 1
    projection = Projection(index.seed)
    head = Head(number + 1, Pointer(number, 5, 10), NO_DIGEST)
    section = CommittedSection("acme", number + 1, head, hashes, None, has_notices=False, scale=None)
    projection.add(number, [section])
    await index.project(projection)


def change(path: Path, statement: str, key_hash: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        tables = [f"keys_{number}" for (number,) in connection.execute("select number from segment").fetchall()]
        changed = sum(connection.execute(statement.format(table), (key_hash - SIGNED,)).rowcount for table in tables)
    assert changed == 1


def problems(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [problem for problem in damage_of(connection)[0] if "segment" in problem]


async def test_every_part_is_as_it_was_written_and_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    index = await opened(path)
    await add(index, ENDS)
    assert problems(path) == []
    statements: list[str] = []
    index._file.reader.set_trace_callback(statements.append)
    await index.segments.assure(ENDS[:4])
    assert sum("keys_1" in statement for statement in statements) == 2
    await index.segments.assure(ENDS)
    assert sum("keys_1" in statement for statement in statements) == PARTS
    await index.segments.assure(ENDS)
    assert sum("keys_1" in statement for statement in statements) == PARTS
    await index.aclose()


@pytest.mark.parametrize("statement", CHANGES)
@pytest.mark.parametrize("part", [0, PARTS // 2 - 1, PARTS // 2, PARTS * 3 // 4 - 1])
async def test_a_changed_row_is_found_by_who_asks_for_its_part(tmp_path: Path, statement: str, part: int) -> None:
    path = tmp_path / "index.db"
    index = await opened(path)
    await add(index, KEYS)
    await index.aclose()
    change(path, statement, INSIDE[part])
    assert len(problems(path)) == 1
    index = await opened(path)
    await index.segments.assure(key for key in KEYS if key // PART not in (part, part + PARTS // 4))
    with pytest.raises(Unavailable):
        await index.segments.assure([INSIDE[part]])
    assert index.damage
    await index.aclose()
    assert not path.exists(), "it is made anew"


@pytest.mark.parametrize("statement", CHANGES)
async def test_a_merge_does_not_hide_what_has_changed(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "index.db"
    index = await opened(path)
    for place in range(MERGE_FANOUT - 1):
        await add(index, KEYS[place::MERGE_FANOUT])
    await index.aclose()
    change(path, statement, INSIDE[2])
    index = await opened(path)
    await add(index, KEYS[MERGE_FANOUT - 1 :: MERGE_FANOUT])
    assert await index.segments.merge()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select count(*) from segment").fetchone() == (1,)
    assert len(problems(path)) == 1
    with pytest.raises(Unavailable):
        await index.segments.assure([INSIDE[2]])
    await index.aclose()


async def test_sound_segments_are_sound_when_merged(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    index = await opened(path)
    for place in range(MERGE_FANOUT):
        await add(index, KEYS[place::MERGE_FANOUT])
    assert await index.segments.merge()
    assert not await index.segments.merge()
    assert problems(path) == []
    await index.segments.assure(KEYS)
    assert set(await index.segments.find(KEYS)) == set(KEYS)
    await index.aclose()


@pytest.mark.parametrize("sums", ["zeroblob(2048)", "cast(zeroblob(2048) as text)", "x'00'", "1", "null"])
async def test_checksums_that_have_changed_are_not_merged(tmp_path: Path, sums: str) -> None:
    path = tmp_path / "index.db"
    index = await opened(path)
    for place in range(MERGE_FANOUT):
        await add(index, KEYS[place::MERGE_FANOUT])
    await index.aclose()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # As damage does, which knows no types.
        connection.execute("pragma writable_schema = on")
        connection.execute("update sqlite_schema set sql = replace(sql, ' blob not null', '') where name = 'segment'")
        connection.execute("update sqlite_schema set sql = replace(sql, ') strict', ')') where name = 'segment'")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"update segment set sums = {sums} where number = 3")
    assert len(problems(path)) == 1
    index = await opened(path)
    with pytest.raises(IndexDamaged):
        await index.segments.merge()
    assert index.damage
    await index.aclose()
