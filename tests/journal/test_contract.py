"""What every journal keeps: one suite for all stores of frames, then what only a file can do."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from solvent.engine.journal.frames import NO_HEAD, Frame, FrameBuilder, Head, Pointer, Section, split_frame
from solvent.engine.journal.memory import MemoryJournal
from solvent.engine.journal.protocol import HISTORY_SECTIONS_MAX, Journal, WrongFrame
from solvent.engine.journal.sqlite.journal import _INSERT, APPLICATION_ID, SqliteJournal
from solvent.engine.rules.events import Debited, Event, Opened
from solvent.engine.values.errors import JournalCorrupt, JournalError, JournalLocked

A, B = "default@a:credits", "default@b/w:credits"


@pytest.fixture(params=["memory", "sqlite"])
async def journal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Journal]:
    opened: Journal = MemoryJournal() if request.param == "memory" else await SqliteJournal.open(tmp_path / "j.db")
    yield opened
    await opened.aclose()


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    opened = await SqliteJournal.open(tmp_path / "j.db")
    yield opened
    await opened.aclose()


def event(at: int) -> Event:
    return Opened(at, 6) if at == 1 else Debited(at, f"k{at}", 1, 100, ((2, 1),), 1, False)


def happened(section: Section) -> list[int]:
    """When the events of a section happened: in these tests that is the pool's version."""
    return [event.at for event in section.events]


class Chains:
    """Makes the frames that a writer would make, and remembers every head there ever was."""

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.heads: dict[str, list[Head]] = {}

    def frame(self, **events: int) -> Frame:
        self.number += 1
        builder = FrameBuilder(self.number)
        for pool, count in events.items():
            heads = self.heads.setdefault(pool, [NO_HEAD])
            first = heads[-1].version + 1
            heads.append(builder.add(pool, heads[-1], [event(at) for at in range(first, first + count)]))
        return builder.seal(1_000 + self.number)

    def __getitem__(self, pool: str) -> Head:
        return self.heads[pool][-1]


async def test_an_empty_journal_has_nothing(journal: Journal) -> None:
    assert await journal.last_number() == 0
    assert list(await journal.read(0, 10)) == []
    assert list(await journal.read(5, 10)) == []
    assert list(await journal.history(A, NO_HEAD, down_to=1)) == []
    assert list(await journal.sections([])) == []
    with pytest.raises(JournalCorrupt):
        await journal.sections([Pointer(1, 0, 10)])


async def test_frames_come_back_as_they_were_in_order_and_in_pages(journal: Journal) -> None:
    chains = Chains()
    frames = [chains.frame(a=1 + number % 3, b=1) for number in range(10)]
    for number, frame in enumerate(frames, 1):
        await journal.append(frame)
        assert await journal.last_number() == number
    assert list(await journal.read(0, 100)) == frames
    assert all(frame.is_intact() for frame in await journal.read(0, 100))
    for after in range(12):
        for limit in (1, 3, 10):
            assert list(await journal.read(after, limit)) == frames[after : after + limit]
    assert list(await journal.read(0, 0)) == []


async def test_an_empty_frame_is_kept_too(journal: Journal) -> None:
    await journal.append(FrameBuilder(1).seal(5))
    (frame,) = await journal.read(0, 5)
    assert list(split_frame(frame)) == []


async def test_an_append_that_does_not_follow_the_last_frame_is_refused_and_changes_nothing(journal: Journal) -> None:
    chains = Chains()
    first, second, third = chains.frame(a=1), chains.frame(a=1), chains.frame(a=1)
    for early in (second, third, FrameBuilder(0).seal(1)):
        with pytest.raises(WrongFrame) as wrong:
            await journal.append(early)
        assert (wrong.value.expected, wrong.value.found) == (early.number - 1, 0)
    await journal.append(first)
    for frame in (first, Chains().frame(b=1), third):
        with pytest.raises(WrongFrame) as wrong:
            await journal.append(frame)
        assert (wrong.value.expected, wrong.value.found) == (frame.number - 1, 1)
    assert list(await journal.read(0, 10)) == [first]
    await journal.append(second)
    await journal.append(third)
    assert list(await journal.read(0, 10)) == [first, second, third]


async def test_a_history_is_found_from_every_head_down_to_every_version(journal: Journal) -> None:
    chains = Chains()
    for number in range(12):
        # Pool a is in every second frame with up to three events, b beside it, and c twice in the history.
        await journal.append(chains.frame(**{"b": 1} | ({"a": 1 + number % 3} if number % 2 else {})))
    for pool in ("a", "b"):
        for head in chains.heads[pool]:
            for down_to in range(-1, head.version + 3):
                sections = await journal.history(pool, head, down_to=down_to)
                versions = [at for section in sections for at in happened(section)]
                if down_to > head.version:
                    assert versions == []
                    continue
                assert versions == list(range(versions[0], head.version + 1)) if versions else head.version == 0
                if versions:
                    first = sections[0]
                    assert first.first_version == versions[0] <= max(down_to, 1) <= first.last_version
                    assert all(section.pool == pool for section in sections)


async def test_a_long_history_comes_in_bounded_parts_that_say_where_to_go_on(journal: Journal) -> None:
    builder, heads, number = FrameBuilder(1), [NO_HEAD], HISTORY_SECTIONS_MAX * 2 + 10
    for at in range(1, number + 1):
        heads.append(builder.add(A, heads[-1], [event(at)]))
    await journal.append(builder.seal(1))
    head, versions = heads[-1], list[int]()
    sizes = []
    while head.version:
        part = await journal.history(A, head, down_to=1)
        sizes.append(len(part))
        versions[:0] = [at for section in part for at in happened(section)]
        head = Head(part[0].first_version - 1, part[0].previous, part[0].previous_digest)
        assert head == heads[head.version]
    assert versions == list(range(1, number + 1))
    assert sizes == [HISTORY_SECTIONS_MAX, HISTORY_SECTIONS_MAX, 10]


async def test_sections_are_found_by_their_pointers_in_the_order_asked(journal: Journal) -> None:
    chains = Chains()
    for _ in range(5):
        await journal.append(chains.frame(a=2, b=1))
    asked = [chains.heads["a"][3], chains.heads["b"][1], chains.heads["a"][5], chains.heads["a"][3]]
    found = await journal.sections([head.pointer for head in asked])
    assert [section.last_version for section in found] == [head.version for head in asked]
    assert [section.pool for section in found] == ["a", "b", "a", "a"]


@pytest.mark.parametrize(
    "pointer",
    [Pointer(0, 0, 0), Pointer(3, 0, 10), Pointer(2**62, 0, 10), Pointer(1, 10_000, 10), Pointer(1, 0, 5)],
)
async def test_a_pointer_to_no_section_is_journal_corrupt_naming_the_frame(journal: Journal, pointer: Pointer) -> None:
    chains = Chains()
    await journal.append(chains.frame(a=2, b=1))
    await journal.append(chains.frame(a=2, b=1))
    with pytest.raises(JournalCorrupt) as corrupt:
        await journal.sections([pointer])
    assert corrupt.value.frame == pointer.frame
    with pytest.raises(JournalCorrupt) as corrupt:
        await journal.history("a", Head(4, pointer, chains["a"].digest), down_to=1)
    assert (corrupt.value.frame, corrupt.value.pool) == (pointer.frame, "a")


async def test_a_head_that_does_not_fit_is_journal_corrupt_naming_frame_and_pool(journal: Journal) -> None:
    chains = Chains()
    for _ in range(3):
        await journal.append(chains.frame(a=2, b=2))
    a, b = chains["a"], chains["b"]
    wrong = [
        ("a", Head(a.version + 1, a.pointer, a.digest)),
        ("a", Head(a.version - 1, a.pointer, a.digest)),
        ("a", Head(a.version, a.pointer, b.digest)),
        ("a", Head(a.version, b.pointer, a.digest)),
        ("b", a),
        ("a", Head(a.version, chains.heads["a"][1].pointer, a.digest)),
    ]
    for pool, head in wrong:
        with pytest.raises(JournalCorrupt) as corrupt:
            await journal.history(pool, head, down_to=1)
        assert (corrupt.value.frame, corrupt.value.pool) == (head.pointer.frame, pool)


def forged(frame: Frame, **sections: bytes | None) -> Frame:
    """``frame`` with sections changed (or removed), and a checksum that fits."""
    body = frame.body
    for pointer, section in reversed(list(split_frame(frame))):
        for pool, replacement in sections.items():
            if f"\xa1{pool}".encode("latin-1") in section[:4]:
                new = bytes(len(section)) if replacement is None else replacement
                assert len(new) == len(section), "pointers of other sections must stay right"
                body = body[: pointer.offset] + new + body[pointer.offset + pointer.length :]
    return Frame.seal(frame.number, frame.at, body)


async def test_a_changed_section_is_found_though_all_checksums_fit(journal: Journal) -> None:
    chains = Chains()
    frames = [chains.frame(a=1, b=1) for _ in range(5)]
    section = next(iter(split_frame(frames[2])))[1]
    changed = section.replace(b"k3", b"k9")
    assert changed != section
    frames[2] = forged(frames[2], a=changed)
    assert frames[2].is_intact()
    for frame in frames:
        await journal.append(frame)
    with pytest.raises(JournalCorrupt, match="frame 3, pool a") as corrupt:
        await journal.history("a", chains["a"], down_to=1)
    assert (corrupt.value.frame, corrupt.value.pool) == (3, "a")
    # What lies after the change is sound, and so is every other pool.
    assert [happened(found) for found in await journal.history("a", chains["a"], down_to=4)] == [[4], [5]]
    assert [happened(found) for found in await journal.history("b", chains["b"], down_to=1)] == [
        [n] for n in range(1, 6)
    ]


async def test_a_removed_section_is_found(journal: Journal) -> None:
    chains = Chains()
    frames = [chains.frame(a=1, b=1) for _ in range(5)]
    frames[1] = forged(frames[1], a=None)
    for frame in frames:
        await journal.append(frame)
    with pytest.raises(JournalCorrupt) as corrupt:
        await journal.history("a", chains["a"], down_to=1)
    assert (corrupt.value.frame, corrupt.value.pool) == (2, "a")


async def test_sections_that_changed_places_are_found(journal: Journal) -> None:
    chains = Chains()
    frames = [chains.frame(a=1) for _ in range(5)]
    frames[1], frames[2] = Frame.seal(2, 9, frames[2].body), Frame.seal(3, 9, frames[1].body)
    for frame in frames:
        await journal.append(frame)
    with pytest.raises(JournalCorrupt) as corrupt:
        await journal.history("a", chains["a"], down_to=1)
    assert (corrupt.value.frame, corrupt.value.pool) == (3, "a")


async def test_the_identity_of_a_journal_does_not_change(journal: Journal) -> None:
    before = journal.identity
    assert before
    await journal.append(Chains().frame(a=1))
    assert journal.identity == before


# What only a file can do.


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


async def test_every_journal_has_an_identity_of_its_own(tmp_path: Path) -> None:
    identities = set()
    for number in range(3):
        journal = await SqliteJournal.open(tmp_path / f"{number}.db")
        identities.add(journal.identity)
        await journal.aclose()
    assert len(identities) == 3


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


async def test_reads_see_what_was_appended_by_the_time_they_are_asked(file: SqliteJournal) -> None:
    chains = Chains()
    for number in range(1, 30):
        await file.append(chains.frame(a=1))
        assert (await file.read(number - 1, 5))[0].number == number
        assert (await file.history("a", chains["a"], down_to=number))[-1].last_version == number


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
    newer.execute("pragma user_version = 2")
    newer.close()
    with pytest.raises(JournalError, match="newer version of Solvent"):
        await SqliteJournal.open(tmp_path / "j.db")


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
