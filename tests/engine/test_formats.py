"""The numbers of the formats: a newer one is refused by name and left alone, an older cache is rebuilt."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import duckdb
import msgspec
import pytest
from msgspec import inspect

from solvent import Engine, InsufficientCredits, NewerFormat, Usage
from solvent.engine.audit.export import export_journal
from solvent.engine.audit.verify import verify_journal
from solvent.engine.journal.sqlite import journal as sqlite_journal
from solvent.engine.journal.sqlite.journal import SqliteJournal
from solvent.engine.pools import refusal_log
from solvent.engine.projections import index_file, segments, snapshots
from solvent.engine.rules.events import Event
from solvent.engine.runtime import files
from solvent.engine.runtime.files import (
    INDEX_FORMAT,
    INDEX_NAME,
    JOURNAL_FORMAT,
    JOURNAL_NAME,
    REFUSALS_FORMAT,
    REFUSALS_NAME,
    SNAPSHOTS_FORMAT,
    SNAPSHOTS_NAME,
    USAGE_FORMAT,
    USAGE_NAME,
)
from solvent.engine.usage.worker import store
from solvent.engine.values.errors import error_from_wire, error_to_wire

DOCS: Final = Path(__file__).parents[2] / "docs" / "formats.md"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file in it, closed in order."""
    folder = tmp_path_factory.mktemp("formats") / "sound"
    asyncio.run(fill(folder))
    return folder


async def fill(folder: Path) -> None:
    async with Engine.open(folder) as engine:
        for pool in ("acme", "acme/web", "other"):
            await engine.grant(pool, 100, key="g")
            await engine.debit(pool, 3, key="d", dimensions={"user": "u1"})
        with pytest.raises(InsufficientCredits):
            await engine.debit("acme", 1_000, key="refused", dimensions={"user": "u1"})
        await asked(engine)


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(sound, tmp_path / "journal"))


async def asked(engine: Engine) -> Usage:
    return await engine.usage(customer="acme", period="today", consistent=True)


async def check(engine: Engine) -> None:
    """Whether everything is as it was, and a key of then is known."""
    for pool in ("acme", "acme/web", "other"):
        assert (await engine.balance(pool)).available == 97
        assert (await engine.debit(pool, 3, key="d", dimensions={"user": "u1"})).replayed
    usage = await asked(engine)
    assert (usage.total.credits, usage.total.refused) == (6, 1)


def contents(folder: Path) -> dict[str, str]:
    """What is in the files of a folder, but for what a look at them makes: empty logs, and memory that is shared."""
    kept = (path for path in folder.iterdir() if not path.name.endswith("-shm") and path.stat().st_size)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in kept if path.name != "lock"}


# -- Files with other numbers, as another version writes them


def set_journal(folder: Path, number: int) -> None:
    """As a newer version leaves it whose last frame has its number, too."""
    connection = sqlite3.connect(folder / JOURNAL_NAME)
    connection.execute(f"pragma user_version = {number}")
    ((last, at),) = connection.execute("select number, at from frame order by number desc limit 1").fetchall()
    trailer = msgspec.msgpack.encode([number, []])
    body = trailer + len(trailer).to_bytes(4)
    crc = crc32(body, crc32((last + 1).to_bytes(8, signed=True) + at.to_bytes(8, signed=True)))
    connection.execute("insert into frame values (?, ?, ?, ?)", (last + 1, at, crc, body))
    connection.commit()
    connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()


def set_index(folder: Path, number: int) -> None:
    """Sealed, as it is written."""
    connection = sqlite3.connect(folder / INDEX_NAME)
    connection.execute("update setting set value = ? where name = 'schema'", (number,))
    text, _ = connection.execute(index_file.SEALED).fetchone()
    connection.execute("update setting set value = ? where name = 'seal'", (crc32(text.encode()),))
    connection.commit()
    connection.close()


def set_snapshots(folder: Path, number: int) -> None:
    """Each of them, with its checksum."""
    connection = sqlite3.connect(folder / SNAPSHOTS_NAME)
    (identity,) = connection.execute("select value from setting where name = 'journal'").fetchone()
    connection.execute("update setting set value = ? where name = 'journal'", (f"{identity.split()[0]} {number}",))
    for pool, version, body in connection.execute("select pool, version, body from snapshot").fetchall():
        state = [number, *msgspec.msgpack.decode(body)[1:]]
        other = msgspec.msgpack.encode(state)
        crc = snapshots.crc_of(pool, version, other)
        connection.execute("update snapshot set crc = ?, body = ? where pool = ?", (crc, other, pool))
    connection.commit()
    connection.close()


def set_usage(folder: Path, number: int) -> None:
    with duckdb.connect(str(folder / USAGE_NAME)) as database:
        database.execute("update setting set value = ? where name = 'schema'", [str(number)])


def set_refusals(folder: Path, number: int) -> None:
    connection = sqlite3.connect(folder / REFUSALS_NAME)
    connection.execute(f"pragma user_version = {number}")
    connection.close()


SETS: Final[dict[str, tuple[Callable[[Path, int], None], int]]] = {
    JOURNAL_NAME: (set_journal, JOURNAL_FORMAT),
    INDEX_NAME: (set_index, INDEX_FORMAT),
    SNAPSHOTS_NAME: (set_snapshots, SNAPSHOTS_FORMAT),
    USAGE_NAME: (set_usage, USAGE_FORMAT),
    REFUSALS_NAME: (set_refusals, REFUSALS_FORMAT),
}


def number_of(folder: Path, name: str) -> int:
    """The number that a file says it has."""
    if name == USAGE_NAME:
        with duckdb.connect(str(folder / name), read_only=True) as database:
            (found,) = database.execute("select value from setting where name = 'schema'").fetchall()
            return int(found[0])
    connection = sqlite3.connect(folder / name)
    try:
        if name in (JOURNAL_NAME, REFUSALS_NAME):
            return int(connection.execute("pragma user_version").fetchone()[0])
        row = "schema" if name == INDEX_NAME else "journal"
        (value,) = connection.execute("select value from setting where name = ?", (row,)).fetchone()
        return int(str(value).split()[-1])
    finally:
        connection.close()


# -- Newer ones


@pytest.mark.parametrize("name", [JOURNAL_NAME, INDEX_NAME, SNAPSHOTS_NAME])
@pytest.mark.parametrize("ahead", [1, 100])
async def test_a_newer_file_is_refused_by_name_and_left_as_it_is(folder: Path, name: str, ahead: int) -> None:
    set_number, known = SETS[name]
    set_number(folder, known + ahead)
    before = contents(folder)
    with pytest.raises(NewerFormat) as refused:
        async with Engine.open(folder):
            pass
    newer = refused.value
    assert (newer.file, newer.found, newer.known) == (str(folder / name), known + ahead, known)
    assert str(folder / name) in newer.message
    assert f"format {known + ahead}, and this version knows {known}" in newer.message
    assert "written by a newer Solvent" in newer.message
    assert ("delete the file" in newer.message) is (name != JOURNAL_NAME)
    assert contents(folder) == before
    if name != JOURNAL_NAME:
        # What the message says to do.
        for path in folder.glob(f"{name}*"):
            path.unlink()
        async with Engine.open(folder) as engine:
            await check(engine)


async def test_a_newer_journal_that_was_killed_keeps_its_log(folder: Path, tmp_path: Path) -> None:
    """SQLite would write a log back when a file is opened and closed."""
    set_journal(folder, JOURNAL_FORMAT + 1)
    connection = sqlite3.connect(folder / JOURNAL_NAME)
    connection.execute("update frame set at = at + 1")
    connection.commit()
    killed = Path(shutil.copytree(folder, tmp_path / "killed"))
    connection.close()
    assert (killed / f"{JOURNAL_NAME}-wal").stat().st_size
    before = contents(killed)
    with pytest.raises(NewerFormat):
        async with Engine.open(killed):
            pass
    assert contents(killed) == before


async def test_a_newer_number_that_only_the_log_has_is_seen(folder: Path, tmp_path: Path) -> None:
    connection = sqlite3.connect(folder / JOURNAL_NAME)
    connection.execute(f"pragma user_version = {JOURNAL_FORMAT + 1}")
    killed = Path(shutil.copytree(folder, tmp_path / "killed"))
    connection.close()
    assert (killed / JOURNAL_NAME).read_bytes()[60:64] == JOURNAL_FORMAT.to_bytes(4)
    with pytest.raises(NewerFormat) as refused:
        async with Engine.open(killed):
            pass
    assert refused.value.found == JOURNAL_FORMAT + 1


@pytest.mark.parametrize("other", ["drop table filter", "drop table segment"])
async def test_a_newer_index_with_other_tables_is_refused_all_the_same(folder: Path, other: str) -> None:
    connection = sqlite3.connect(folder / INDEX_NAME)
    connection.execute("update setting set value = 9 where name = 'schema'")
    connection.execute(other)
    connection.commit()
    connection.close()
    with pytest.raises(NewerFormat):
        async with Engine.open(folder):
            pass


async def test_of_a_newer_usage_file_nothing_is_answered_and_debits_go_on(folder: Path) -> None:
    set_usage(folder, USAGE_FORMAT + 1)
    before = contents(folder)[USAGE_NAME]
    async with Engine.open(folder) as engine:
        for ask in (lambda: asked(engine), engine.usage_status):
            with pytest.raises(NewerFormat) as refused:
                await ask()
            newer = refused.value
            assert (newer.file, newer.found, newer.known) == (str(folder / USAGE_NAME), USAGE_FORMAT + 1, USAGE_FORMAT)
            assert "delete the file" in newer.message
        assert (await engine.debit("acme", 3, key="d", dimensions={"user": "u1"})).replayed
        assert (await engine.debit("other", 1, key="new")).balance == 96
        assert contents(folder)[USAGE_NAME] == before
        (folder / USAGE_NAME).unlink()
        while True:
            # It is looked for twice a second.
            try:
                assert (await asked(engine)).total.refused == 1
            except NewerFormat:
                continue
            break
    assert number_of(folder, USAGE_NAME) == USAGE_FORMAT


async def test_a_newer_usage_file_is_replaced_by_one_that_is_asked_for(folder: Path) -> None:
    set_usage(folder, USAGE_FORMAT + 1)
    async with Engine.open(folder) as engine:
        with pytest.raises(NewerFormat):
            await asked(engine)
        status = await engine.rebuild_usage()
        while status.rebuilt is not None:
            status = await engine.usage_status()
        await check(engine)
    assert number_of(folder, USAGE_NAME) == USAGE_FORMAT


async def test_newer_counts_of_refusals_are_left_alone_and_debits_go_on(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    set_refusals(folder, REFUSALS_FORMAT + 1)
    (folder / USAGE_NAME).unlink()
    before = contents(folder)[REFUSALS_NAME]
    with caplog.at_level(logging.WARNING):
        async with Engine.open(folder) as engine:
            with pytest.raises(InsufficientCredits):
                await engine.debit("acme", 1_000, key="refused", dimensions={"user": "u1"})
            usage = await asked(engine)
    assert (usage.total.credits, usage.total.refused) == (6, 0)
    assert contents(folder)[REFUSALS_NAME] == before
    assert f"1 refusals are missing in the statistic: {folder / REFUSALS_NAME} was written by a newer" in caplog.text


@pytest.mark.parametrize("name", [INDEX_NAME, SNAPSHOTS_NAME, USAGE_NAME, REFUSALS_NAME])
def test_verify_names_a_newer_file_and_proves_the_journal(folder: Path, tmp_path: Path, name: str) -> None:
    set_number, known = SETS[name]
    whole = verify_journal(folder)
    set_number(folder, known + 1)
    before = contents(folder)
    found = verify_journal(folder)
    (problem,) = found.problems
    assert problem.startswith(f"{name}: it was written by a newer Solvent")
    assert f"it has format {known + 1}, and this version knows {known}" in problem
    assert (found.entries, found.heads) == (whole.entries, whole.heads)
    assert export_journal(folder, tmp_path / "export").left_out == []
    assert contents(folder) == before


def test_verify_and_export_refuse_a_newer_journal_by_name(folder: Path, tmp_path: Path) -> None:
    set_journal(folder, JOURNAL_FORMAT + 1)
    before = contents(folder)
    with pytest.raises(NewerFormat) as refused:
        verify_journal(folder)
    assert refused.value.file == str(folder / JOURNAL_NAME)
    with pytest.raises(NewerFormat):
        export_journal(folder, tmp_path / "export")
    assert not (tmp_path / "export").exists()
    for words in (
        ["verify"],
        ["export", str(tmp_path / "by-hand")],
        ["balance", "acme"],
        ["serve", "--nats-port", "0"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "solvent", *words, "--data-dir", str(folder), "--json"],
            check=False,
            capture_output=True,
            text=True,
        )
        error = json.loads(done.stdout)["error"]
        assert (done.returncode, error["code"]) == (7, "newer_format")
        assert (error["file"], error["found"], error["known"]) == (
            str(folder / JOURNAL_NAME),
            JOURNAL_FORMAT + 1,
            JOURNAL_FORMAT,
        )
    assert contents(folder) == before


def test_the_error_is_the_same_at_the_other_end() -> None:
    error = NewerFormat("index.db", found=9, known=8, cache=True)
    again = error_from_wire(error_to_wire(error))
    assert isinstance(again, NewerFormat)
    assert (again.file, again.found, again.known, again.message) == (error.file, 9, 8, error.message)


# -- Older ones


@pytest.mark.parametrize("name", [INDEX_NAME, SNAPSHOTS_NAME, USAGE_NAME])
async def test_an_older_cache_is_rebuilt(folder: Path, name: str) -> None:
    set_number, known = SETS[name]
    set_number(folder, known - 1)
    journal = contents(folder)[JOURNAL_NAME]
    assert verify_journal(folder).problems == [], "there is nothing in it that this version can judge"
    async with Engine.open(folder) as engine:
        await check(engine)
    assert number_of(folder, name) == known
    assert contents(folder)[JOURNAL_NAME] == journal


async def test_the_first_counts_of_refusals_had_no_number(folder: Path) -> None:
    set_refusals(folder, 0)
    async with Engine.open(folder) as engine:
        await check(engine)
        with pytest.raises(InsufficientCredits):
            await engine.debit("acme", 1_000, key="refused", dimensions={"user": "u1"})
    async with Engine.open(folder) as engine:
        assert (await asked(engine)).total.refused == 2
    assert number_of(folder, REFUSALS_NAME) == REFUSALS_FORMAT


async def test_a_newer_version_goes_on_with_an_older_journal_which_the_older_one_then_refuses(
    folder: Path, tmp_path: Path
) -> None:
    later = JOURNAL_FORMAT + 1
    with pytest.MonkeyPatch.context() as newer:
        for module in ("frames", "sqlite.journal", "sqlite.reader"):
            newer.setattr(f"solvent.engine.journal.{module}.JOURNAL_FORMAT", later)
        async with Engine.open(folder) as engine:
            await check(engine)
            assert (await engine.debit("acme", 1, key="later")).balance == Decimal(96)
        assert verify_journal(folder).problems == []
    assert number_of(folder, JOURNAL_NAME) == later
    with pytest.raises(NewerFormat):
        await SqliteJournal.open(folder / JOURNAL_NAME)
    with pytest.raises(NewerFormat):
        verify_journal(folder)
    with pytest.raises(NewerFormat):
        export_journal(folder, tmp_path / "export")


# -- Numbers that were damaged


def damage_index(folder: Path) -> None:
    connection = sqlite3.connect(folder / INDEX_NAME)
    connection.execute("update setting set value = 9 where name = 'schema'")
    connection.commit()
    connection.close()


def damage_snapshots(folder: Path) -> None:
    connection = sqlite3.connect(folder / SNAPSHOTS_NAME)
    connection.execute("update setting set value = substr(value, 1, length(value) - 1) || '7'")
    connection.commit()
    connection.close()


@pytest.mark.parametrize(("name", "damage"), [(INDEX_NAME, damage_index), (SNAPSHOTS_NAME, damage_snapshots)])
async def test_a_cache_whose_number_was_damaged_is_rebuilt(
    folder: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(folder)
    assert number_of(folder, name) > SETS[name][1]
    async with Engine.open(folder) as engine:
        await check(engine)
    assert number_of(folder, name) == SETS[name][1]


async def test_of_a_journal_whose_number_was_damaged_everything_can_be_read(folder: Path, tmp_path: Path) -> None:
    whole = export_journal(folder, tmp_path / "whole")
    path = folder / JOURNAL_NAME
    body = bytearray(path.read_bytes())
    body[62] ^= 1 << 3
    path.write_bytes(body)
    (problem,) = verify_journal(folder).problems
    assert problem.startswith(f"{JOURNAL_NAME}: it says that it has format {JOURNAL_FORMAT + (1 << 11)}")
    exported = export_journal(folder, tmp_path / "export")
    assert (exported.entries, exported.left_out) == (whole.entries, [])
    with pytest.raises(NewerFormat):
        async with Engine.open(folder):
            pass
    # What docs/formats.md says to do.
    connection = sqlite3.connect(path)
    connection.execute(f"pragma user_version = {JOURNAL_FORMAT}")
    connection.close()
    async with Engine.open(folder) as engine:
        await check(engine)


# -- What the numbers stand for


def test_the_numbers_in_the_documentation_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `([\w.-]+)` \| (\d+) \|", DOCS.read_text(), flags=re.MULTILINE)
    names = {
        name: getattr(files, f"{name}_NAME") for name in ("JOURNAL", "END", "INDEX", "SNAPSHOTS", "USAGE", "REFUSALS")
    }
    numbers = {path: getattr(files, f"{name}_FORMAT") for name, path in names.items()}
    assert {name: int(number) for name, number in rows} == {**numbers, files.REBUILT_NAME: USAGE_FORMAT}
    history = re.findall(r"^\| ?(\w*) \| (\d+) \|", DOCS.read_text(), flags=re.MULTILINE)
    newest: dict[str, int] = {}
    what = ""
    for named, number in history:
        what = named or what
        newest[what] = int(number)
    assert newest == {name.lower(): getattr(files, f"{name}_FORMAT") for name in names if name != "END"}


def shape(value: Any) -> Any:
    """What of a type shows in what is stored. Its name does not, nor those of the fields of an array."""
    if isinstance(value, inspect.StructType):
        names = [None if value.array_like else field.encode_name for field in value.fields]
        return [value.tag, [[name, shape(field.type)] for name, field in zip(names, value.fields, strict=True)]]
    if isinstance(value, inspect.NamedTupleType):
        return [shape(field.type) for field in value.fields]
    if isinstance(value, inspect.UnionType):
        return sorted((shape(each) for each in value.types), key=json.dumps)
    if isinstance(value, inspect.Type):
        parts = [getattr(value, name) for name in value.__struct_fields__]
        return [type(value).__name__, *(shape(part) for part in parts if isinstance(part, (inspect.Type, tuple)))]
    return [shape(each) for each in value] if isinstance(value, tuple) else value


def digest(*parts: Any) -> str:
    texts = [" ".join(part.split()) if isinstance(part, str) else json.dumps(part) for part in parts]
    return blake2b("\n".join(texts).encode(), digest_size=8).hexdigest()


def test_what_a_number_stands_for_does_not_change() -> None:
    """Raise the number in ``files`` if this fails because something else is stored now; see docs/formats.md. Then, or
    if only the way in which it is written down here has changed, correct the digest."""
    assert {
        JOURNAL_NAME: (JOURNAL_FORMAT, digest(sqlite_journal._SCHEMA, shape(inspect.type_info(Event)))),
        INDEX_NAME: (INDEX_FORMAT, digest(index_file.TABLES, segments.KEY_COLUMNS)),
        SNAPSHOTS_NAME: (SNAPSHOTS_FORMAT, digest(snapshots._SCHEMA, shape(inspect.type_info(snapshots._State)))),
        USAGE_NAME: (USAGE_FORMAT, digest(store._SCHEMA)),
        REFUSALS_NAME: (REFUSALS_FORMAT, digest(refusal_log._SCHEMA)),
    } == {
        JOURNAL_NAME: (2, "1dd0b1890acd72e2"),
        INDEX_NAME: (8, "49ab42ecffa9e3b8"),
        SNAPSHOTS_NAME: (6, "b316621a7d49445d"),
        USAGE_NAME: (2, "59c8c283e4cd6a39"),
        REFUSALS_NAME: (1, "c9ac564fb51bc89b"),
    }
