"""What only a journal in a file does, beyond the contract of all journals."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from solvent.engine.journal.contract import event
from solvent.engine.journal.frames import NO_HEAD, FrameBuilder, Head, split_frame
from solvent.engine.journal.sqlite.journal import _INSERT, APPLICATION_ID, SqliteJournal
from solvent.engine.runtime.files import JOURNAL_FORMAT
from solvent.engine.values.errors import JournalCorrupt, JournalError, JournalLocked, NewerFormat
from solvent.testing import Chains, WrongFrame


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    opened = await SqliteJournal.open(tmp_path / "j.db")
    yield opened
    await opened.aclose()


async def test_frames_and_identity_are_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    chains, path = Chains(), tmp_path / "a journal%20with?odd #name.db"
    first = await SqliteJournal.open(path)
    frames = [chains.frame(a=2) for _ in range(4)]
    for frame in frames:
        await first.append(frame)
    await first.aclose()
    again = await SqliteJournal.open(path)
    try:
        assert again.identity == first.identity
        assert await again.last_number() == 4
        assert list(await again.read(0, 10)) == frames
        assert len(await again.history("a", chains["a"], down_to=1)) == 4
        with pytest.raises(WrongFrame):
            await again.append(frames[3])
        await again.append(chains.frame(a=1))
    finally:
        await again.aclose()


async def test_an_acknowledged_frame_is_in_the_file_though_nothing_was_closed(
    file: SqliteJournal, tmp_path: Path
) -> None:
    chains = Chains()
    await file.append(chains.frame(a=1))
    with sqlite3.connect(tmp_path / "j.db") as other:
        assert other.execute("select number from frame").fetchall() == [(1,)]
        assert other.execute("pragma journal_mode").fetchone() == ("wal",)
        assert other.execute("pragma application_id").fetchone() == (APPLICATION_ID,)
    other.close()


async def test_a_second_writer_is_refused(file: SqliteJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solvent.engine.journal.sqlite.process.LOCK_WAIT_S", 0.2)
    with pytest.raises(JournalLocked):
        await SqliteJournal.open(tmp_path / "j.db")
    frame = Chains().frame(a=1)
    await file.append(frame)
    assert list(await file.read(0, 10)) == [frame]


async def test_a_writer_that_knows_of_no_lock_is_fenced_off_by_the_frame_number(
    file: SqliteJournal, tmp_path: Path
) -> None:
    chains, theirs = Chains(), Chains(number=1)
    await file.append(chains.frame(a=1))
    intruder = sqlite3.connect(tmp_path / "j.db", isolation_level=None)
    for frame in (theirs.frame(b=1), theirs.frame(b=1)):
        intruder.execute(_INSERT, (frame.number, frame.at, frame.crc, frame.body))
    intruder.close()
    mine = chains.frame(a=1)
    with pytest.raises(WrongFrame) as wrong:
        await file.append(mine)
    assert (wrong.value.expected, wrong.value.found) == (1, 3)
    assert mine not in await file.read(0, 10)
    assert [frame.number for frame in await file.read(0, 10)] == [1, 2, 3]


@pytest.mark.parametrize(
    "prepare",
    [
        "pragma application_id = 1196444487",
        "create table bookmarks (url text); insert into bookmarks values ('x')",
        "create table frame (something text)",
        "pragma user_version = 7",
    ],
)
async def test_a_sqlite_file_of_another_application_is_refused_and_left_alone(tmp_path: Path, prepare: str) -> None:
    path = tmp_path / "j.db"
    other = sqlite3.connect(path)
    other.executescript(f"{prepare}; create table if not exists theirs (a); vacuum;")
    other.close()
    before = path.read_bytes()
    with pytest.raises(JournalError):
        await SqliteJournal.open(path)
    assert path.read_bytes() == before


async def test_a_journal_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    journal = await SqliteJournal.open(tmp_path / "j.db")
    await journal.aclose()
    newer = sqlite3.connect(tmp_path / "j.db")
    newer.execute(f"pragma user_version = {JOURNAL_FORMAT + 1}")
    newer.close()
    before = (tmp_path / "j.db").read_bytes()
    with pytest.raises(NewerFormat) as refused:
        await SqliteJournal.open(tmp_path / "j.db")
    found = JOURNAL_FORMAT + 1
    assert (refused.value.file, refused.value.found, refused.value.known) == (
        str(tmp_path / "j.db"),
        found,
        JOURNAL_FORMAT,
    )
    assert (tmp_path / "j.db").read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to have a header" * 200, b"SQLite format 3\0" * 300]
)
async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "j.db"
    path.write_bytes(content)
    with pytest.raises(JournalError, match=r"j\.db"):
        await SqliteJournal.open(path)
    assert path.read_bytes() == content


async def test_a_path_that_cannot_be_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    for path in (tmp_path / "directory", tmp_path / "missing" / "j.db"):
        with pytest.raises(JournalError):
            await SqliteJournal.open(path)


@pytest.mark.parametrize("statements", [0, 1, 2])
async def test_a_file_whose_creation_was_cut_short_is_finished(tmp_path: Path, statements: int) -> None:
    path = tmp_path / "j.db"
    complete = await SqliteJournal.open(tmp_path / "complete.db")
    await complete.aclose()
    source = sqlite3.connect(tmp_path / "complete.db")
    tables = [row[0] for row in source.execute("select sql from sqlite_master where type = 'table' order by rowid")]
    source.close()
    assert len(tables) == 2
    cut = sqlite3.connect(path)
    for table in tables[:statements]:
        cut.execute(table)
    cut.close()
    journal = await SqliteJournal.open(path)
    try:
        assert journal.identity
        await journal.append(Chains().frame(a=1))
    finally:
        await journal.aclose()


async def test_a_frame_that_is_missing_from_the_file_is_noticed(file: SqliteJournal, tmp_path: Path) -> None:
    chains = Chains()
    for _ in range(5):
        await file.append(chains.frame(a=1))
    other = sqlite3.connect(tmp_path / "j.db", isolation_level=None)
    other.execute("delete from frame where number = 3")
    other.close()
    with pytest.raises(JournalCorrupt) as corrupt:
        await file.read(0, 10)
    assert corrupt.value.frame == 3
    with pytest.raises(JournalCorrupt) as corrupt:
        await file.read(2, 10)
    assert corrupt.value.frame == 3
    with pytest.raises(JournalCorrupt) as corrupt:
        await file.history("a", chains["a"], down_to=1)
    assert (corrupt.value.frame, corrupt.value.pool) == (3, "a")
    assert [frame.number for frame in await file.read(3, 10)] == [4, 5]


async def test_damage_in_the_middle_of_the_file_is_a_journal_error(tmp_path: Path) -> None:
    chains, path = Chains(), tmp_path / "j.db"
    journal = await SqliteJournal.open(path)
    for _ in range(40):
        await journal.append(chains.frame(a=40))
    await journal.aclose()
    body = bytearray(path.read_bytes())
    assert len(body) > 5 * 4096
    body[3 * 4096 :] = b"\xa5" * (len(body) - 3 * 4096)
    path.write_bytes(body)
    with pytest.raises(JournalError):
        await _read_all(path, chains["a"])


async def _read_all(path: Path, head: Head) -> None:
    journal = await SqliteJournal.open(path)
    try:
        for frame in await journal.read(0, 100):
            list(split_frame(frame))
        await journal.history("a", head, down_to=1)
    finally:
        await journal.aclose()


async def test_a_flipped_byte_in_a_stored_frame_is_found_when_it_is_read(tmp_path: Path) -> None:
    chains, path = Chains(), tmp_path / "j.db"
    journal = await SqliteJournal.open(path)
    for _ in range(3):
        await journal.append(chains.frame(a=1))
    await journal.aclose()
    body = bytearray(path.read_bytes())
    body[body.index(b"k2")] ^= 1
    path.write_bytes(body)
    with pytest.raises(JournalCorrupt) as corrupt:
        await _read_all(path, chains["a"])
    assert corrupt.value.frame == 2


async def test_a_frame_that_cannot_be_written_now_is_a_journal_error_and_can_be_tried_again(
    file: SqliteJournal, tmp_path: Path
) -> None:
    chains = Chains()
    frame = chains.frame(a=1)
    # A full disk, as far as SQLite can tell: no page may be added any more.
    await file._writer.execute("pragma max_page_count = 1")
    big = FrameBuilder(1)
    big.add("a", NO_HEAD, [event(at) for at in range(1, 5_000)])
    with pytest.raises(JournalError, match="frame 1 could not be written"):
        await file.append(big.seal(1))
    assert await file.last_number() == 0
    await file._writer.execute("pragma max_page_count = 1000000")
    await file.append(frame)
    assert list(await file.read(0, 5)) == [frame]
