"""A journal that reads shorter than it was: no start serves an older balance, and the way out is recorded."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from solvent import Engine
from solvent.engine.audit.export import export_journal
from solvent.engine.audit.losses import accept_loss, find_loss
from solvent.engine.audit.verify import verify_journal
from solvent.engine.journal.sqlite.end import LINE_BYTES, end_of, read_ends
from solvent.engine.runtime.files import (
    ACCEPTED_NAME,
    END_NAME,
    INDEX_NAME,
    JOURNAL_NAME,
    SNAPSHOTS_NAME,
    USAGE_NAME,
)
from solvent.engine.values.errors import (
    InvalidRequest,
    JournalError,
    JournalShorter,
    StateConflict,
    error_from_wire,
    error_to_wire,
)

DEBITS = 24
LAST = DEBITS + 1
GRANTED = 1_000
WAL_NAME = f"{JOURNAL_NAME}-wal"
PAGE_BYTES = 4_096
DIMENSIONS: dict[str, str | int | float | bool] = {"x": "y" * 400}
"""So large that the frames take several pages, with one above them."""


async def fill(engine: Engine) -> None:
    await engine.grant("acme", GRANTED, key="g")
    for number in range(DEBITS):
        await engine.debit("acme", 1, key=f"k{number}", dimensions=DIMENSIONS)


async def make(closed: Path, killed: Path) -> None:
    async with Engine.open(closed) as engine:
        await fill(engine)
        await engine.usage("acme", period="today", consistent=True)
        await asyncio.sleep(1.2)  # Index and snapshots have it all.
        shutil.copytree(closed, killed)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder closed in order, and one as a kill leaves it: all of its frames are in the log."""
    folder = tmp_path_factory.mktemp("lost")
    asyncio.run(make(folder / "closed", folder / "killed"))
    return folder / "closed", folder / "killed"


def copied(source: Path, target: Path, *names: str) -> Path:
    """Only these files of a folder."""
    target.mkdir()
    for name in names:
        shutil.copy(source / name, target)
    return target


async def check(folder: Path, *, lost: int = 0) -> None:
    """Whether what is served is true, but for so many debits that somebody accepted to be lost."""
    async with Engine.open(folder) as engine:
        assert (await engine.balance("acme")).available == GRANTED - DEBITS + lost
        for number in range(DEBITS - lost):
            assert (await engine.debit("acme", 1, key=f"k{number}", dimensions=DIMENSIONS)).replayed


async def refusal_of(folder: Path) -> JournalShorter:
    with pytest.raises(JournalShorter) as refused:
        async with Engine.open(folder):
            pass
    error = refused.value
    assert f"solvent accept-loss --data-dir {folder} --last-frame {error.last}" in error.message
    assert f"frames up to {error.acknowledged} were acknowledged" in error.message
    again = error_from_wire(error_to_wire(error))
    assert isinstance(again, JournalShorter)
    assert again.details() == error.details()
    return error


def damages(body: bytes) -> Iterator[tuple[int, int]]:
    """Each bit (byte, bit) of the headers and cell pointers of all pages of rows, and of the pages above them."""
    for number in range(len(body) // PAGE_BYTES):
        start = number * PAGE_BYTES + (100 if number == 0 else 0)
        if body[start] in (5, 13):
            cells = int.from_bytes(body[start + 3 : start + 5])
            end = start + (12 if body[start] == 5 else 8) + 2 * cells
            yield from ((at, bit) for at in range(start, end) for bit in range(8))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kept", [(), (END_NAME,)])
async def test_without_caches_a_damaged_page_never_makes_an_older_balance(
    folders: tuple[Path, Path], tmp_path: Path, kept: tuple[str, ...], effort: int
) -> None:
    closed, _ = folders
    body = (closed / JOURNAL_NAME).read_bytes()
    all_bits = list(damages(body))
    counts = [each for each in all_bits if each[0] % PAGE_BYTES in (3, 4)]
    """The counts of rows: they are what reads like another end."""
    dice, outcomes = Random(18), Counter[str]()
    for at, bit in [*dice.sample(counts, min(len(counts), 8 * effort)), *dice.sample(all_bits, 8 * effort)]:
        folder = copied(closed, tmp_path / "folder", JOURNAL_NAME, *kept)
        damaged = bytearray(body)
        damaged[at] ^= 1 << bit
        (folder / JOURNAL_NAME).write_bytes(damaged)
        where = f"bit {bit} of byte {at % PAGE_BYTES} of page {at // PAGE_BYTES + 1}"
        try:
            await check(folder)
            outcomes["true"] += 1
        except JournalError as error:
            assert JOURNAL_NAME in error.message, where
            assert "solvent accept-loss" in error.message, f"{where}: {error}"
            outcomes["refused"] += 1
            found = find_loss(folder)
            assert found is not None, where
            accept_loss(folder, last_frame=found.last_frame)
            await check(folder, lost=LAST - found.last_frame)
            outcomes["nothing lost" if found.last_frame == LAST else "frames lost"] += 1
        except BaseException as error:
            error.add_note(where)
            raise
        shutil.rmtree(folder)
    print(f"with {kept}: {dict(outcomes)}")
    assert outcomes["refused"]
    assert outcomes["nothing lost"] == outcomes["refused"], "the rows are all there"


async def test_the_end_is_noted_behind_each_frame(tmp_path: Path) -> None:
    async with Engine.open(tmp_path) as engine:
        await engine.grant("acme", 10, key="g")
        for number in range(5):
            await engine.debit("acme", 1, key=f"k{number}")
    with sqlite3.connect(tmp_path / JOURNAL_NAME) as connection:
        rows = connection.execute("select number, at, crc from frame order by number desc").fetchall()
        (identity,) = connection.execute("select value from identity").fetchone()
    connection.close()
    assert [each[1:] for each in read_ends(tmp_path)] == rows[:2]
    assert {each.identity for each in read_ends(tmp_path)} == {identity}


def test_a_damaged_note_says_nothing(folders: tuple[Path, Path], tmp_path: Path) -> None:
    closed, _ = folders
    folder = copied(closed, tmp_path / "folder", END_NAME)
    body = (folder / END_NAME).read_bytes()
    sound = read_ends(folder)
    (identity,) = {each.identity for each in sound}
    assert end_of(folder, identity) == sound[0]
    for at in range(len(body.rstrip())):
        damaged = bytearray(body)
        damaged[at] ^= 1 << at % 8
        (folder / END_NAME).write_bytes(damaged)
        assert set(read_ends(folder)) < set(sound) or bytes(damaged).split() == body.split(), at
    for length in range(0, len(body), 7):
        (folder / END_NAME).write_bytes(body[:length])
        assert set(read_ends(folder)) <= set(sound)
        assert len(read_ends(folder)) >= length // LINE_BYTES


async def test_a_note_that_is_gone_or_damaged_keeps_nobody_from_starting(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    closed, killed = folders
    for number, source in enumerate((closed, killed)):
        for turn, note in enumerate((None, b"", b"\xff" * 512)):
            folder = Path(shutil.copytree(source, tmp_path / f"{number}-{turn}"))
            (folder / END_NAME).unlink() if note is None else (folder / END_NAME).write_bytes(note)
            await check(folder)
            assert read_ends(folder)[0].number == LAST, "it is written again"


@pytest.mark.parametrize(
    ("beside", "known_by"),
    [
        ((END_NAME,), END_NAME),
        ((INDEX_NAME, f"{INDEX_NAME}-wal"), INDEX_NAME),
        ((SNAPSHOTS_NAME, f"{SNAPSHOTS_NAME}-wal"), SNAPSHOTS_NAME),
        ((USAGE_NAME,), USAGE_NAME),
    ],
)
async def test_a_journal_without_its_log_is_missed_by_any_file_beside_it(
    folders: tuple[Path, Path], tmp_path: Path, beside: tuple[str, ...], known_by: str
) -> None:
    closed, killed = folders
    assert (killed / WAL_NAME).stat().st_size > LAST * 400
    source = closed if known_by == USAGE_NAME else killed
    folder = copied(source, tmp_path / "folder", *beside)
    shutil.copy(killed / JOURNAL_NAME, folder)
    error = await refusal_of(folder)
    assert (error.last, error.acknowledged, error.known_by) == (0, LAST, known_by)
    assert any("were acknowledged" in problem for problem in verify_journal(folder).problems)
    found = find_loss(folder)
    assert found is not None
    assert (found.last_frame, found.acknowledged, found.known_by, found.damage) == (0, LAST, [known_by], [])
    # With its log it is whole.
    shutil.copy(killed / WAL_NAME, folder)
    await check(folder)
    assert find_loss(folder) is None


async def test_usage_that_is_ahead_of_an_indexed_journal_is_refused_by_name(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    closed, _ = folders
    folder = Path(shutil.copytree(closed, tmp_path / "folder"))
    with sqlite3.connect(folder / JOURNAL_NAME) as connection:
        connection.execute("delete from frame where number > 5")
    connection.close()
    for name in (INDEX_NAME, SNAPSHOTS_NAME, END_NAME):
        (folder / name).unlink()
    (folder / USAGE_NAME).rename(folder / "aside")
    async with Engine.open(folder):
        pass  # From here on an index says that this is all.
    (folder / "aside").rename(folder / USAGE_NAME)
    async with Engine.open(folder) as engine:
        assert (await engine.balance("acme")).available == GRANTED - 4
        for _ in range(2):
            with pytest.raises(JournalShorter) as refused:
                await engine.usage("acme", period="today", consistent=True)
            assert (refused.value.last, refused.value.acknowledged) == (5, LAST)
            assert refused.value.known_by == USAGE_NAME
    assert (folder / USAGE_NAME).is_file(), "what it knows is kept"


async def test_a_loss_is_accepted_by_its_number_recorded_and_named_ever_after(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    closed, _ = folders
    folder = Path(shutil.copytree(closed, tmp_path / "folder"))
    with sqlite3.connect(folder / JOURNAL_NAME) as connection:
        connection.execute("delete from frame where number > 20")
    connection.close()

    async def solvent(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "solvent", *arguments, "--data-dir", str(folder)]
        return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)

    refused = await solvent("balance", "acme")
    assert refused.returncode == 7
    assert "accept-loss" in refused.stderr
    shown = await solvent("accept-loss")
    assert shown.returncode == 8, shown
    assert "frames 21 to 25 are lost" in shown.stdout
    assert "--last-frame 20" in shown.stdout
    with pytest.raises(InvalidRequest, match="20, the last frame"):
        accept_loss(folder, last_frame=19)
    assert not (folder / ACCEPTED_NAME).exists()
    accepted = await solvent("accept-loss", "--last-frame", "20")
    assert accepted.returncode == 0, accepted
    await check(folder, lost=LAST - 20)
    with pytest.raises(StateConflict) as again:
        accept_loss(folder, last_frame=20)
    assert again.value.reason == "nothing_lost"

    proof = verify_journal(folder)
    assert proof.problems == []
    assert [(each.last_frame, each.acknowledged) for each in proof.losses] == [(20, 25)]
    assert set(proof.losses[0].known_by) == {END_NAME, INDEX_NAME, SNAPSHOTS_NAME, USAGE_NAME}
    told = await solvent("verify")
    assert told.returncode == 0, told
    assert "frames 21 to 25 are lost" in told.stdout
    assert export_journal(folder, tmp_path / "export").losses == proof.losses
    # The record is damaged: that is named.
    (folder / ACCEPTED_NAME).write_bytes((folder / ACCEPTED_NAME).read_bytes().replace(b"{", b"(", 1))
    assert verify_journal(folder).problems[0].startswith(f"{ACCEPTED_NAME}: line 1")


@pytest.mark.parametrize("gone", ["deleted", "empty", "begun anew"])
async def test_a_journal_that_is_gone_is_not_begun_anew_by_itself(
    folders: tuple[Path, Path], tmp_path: Path, gone: str
) -> None:
    closed, _ = folders
    folder = copied(closed, tmp_path / "folder", END_NAME)
    if gone == "empty":
        (folder / JOURNAL_NAME).touch()
    elif gone == "begun anew":
        async with Engine.open(tmp_path / "other"):
            pass
        shutil.copy(tmp_path / "other" / JOURNAL_NAME, folder)
    error = await refusal_of(folder)
    assert (error.last, error.acknowledged, error.known_by) == (0, LAST, END_NAME)
    accept_loss(folder, last_frame=0)
    async with Engine.open(folder) as engine:
        assert (await engine.pools()).pools == ()
    assert [each.frames for each in verify_journal(folder).losses] == [LAST]


async def test_another_history_in_place_of_what_was_acknowledged_is_refused(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """Two folders with the same beginning went on apart, and their files were mixed up."""
    closed, _ = folders
    one, two = (Path(shutil.copytree(closed, tmp_path / name)) for name in ("one", "two"))
    for folder, turns in ((one, 1), (two, 3)):
        async with Engine.open(folder) as engine:
            for turn in range(turns):
                await engine.debit("acme", 2, key=f"{folder.name}-{turn}")
    mixed = copied(two, tmp_path / "mixed", JOURNAL_NAME)
    shutil.copy(one / END_NAME, mixed)
    with pytest.raises(JournalError, match="another history") as refused:
        async with Engine.open(mixed):
            pass
    assert "solvent accept-loss" in refused.value.message
    assert any("not the frame that was acknowledged" in each for each in verify_journal(mixed).problems)
    accept_loss(mixed, last_frame=LAST + 3)
    async with Engine.open(mixed) as engine:
        assert (await engine.balance("acme")).available == GRANTED - DEBITS - 6


async def test_a_backup_of_a_stopped_folder_is_restored_into_an_empty_one(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """As docs/guarantees.md says to do."""
    _, killed = folders
    backup = Path(shutil.copytree(killed, tmp_path / "backup"))
    live = Path(shutil.copytree(killed, tmp_path / "live"))
    async with Engine.open(live) as engine:
        await engine.debit("acme", 1, key="later")
    shutil.rmtree(live)
    shutil.copytree(backup, live)
    await check(live)
    assert verify_journal(live).problems == []


@pytest.mark.slow
async def test_no_kill_makes_a_sound_journal_look_short(tmp_path: Path, effort: int) -> None:
    """Engine and process that writes are struck together, with the caches deleted or not."""
    script = (
        "import asyncio, sys\n"
        "from solvent import Engine\n"
        "async def main():\n"
        "    async with Engine.open(sys.argv[1]) as engine:\n"
        "        await engine.grant('acme', 1_000_000, key='g')\n"
        "        number = 0\n"
        "        while True:\n"
        "            await engine.debit('acme', 1, key=f'{sys.argv[2]}-{number}')\n"
        "            number += 1\n"
        "            print(number, flush=True)\n"
        "asyncio.run(main())\n"
    )
    dice, spent, exact = Random(5), 0, 0
    for turn in range(6 * effort):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, str(tmp_path), str(turn), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        wanted = dice.randrange(1, 60)
        for _ in range(wanted):
            assert await process.stdout.readline()
        writer = _child_of(process.pid)
        for pid in dice.sample((process.pid, writer), 2):
            os.kill(pid, signal.SIGKILL)
        acknowledged = wanted + (await process.stdout.read()).count(b"\n")
        await process.wait()
        if turn % 2:
            for path in (*tmp_path.glob(f"{INDEX_NAME}*"), *tmp_path.glob(f"{SNAPSHOTS_NAME}*")):
                path.unlink()
        noted = read_ends(tmp_path)[0].number
        async with Engine.open(tmp_path) as engine:
            last = engine.live.services.partition.writer.last_number
            now = int((await engine.balance("acme")).spent)
        assert noted <= last <= noted + 1, "it lags by more than the frame under way"
        exact += noted == last
        assert acknowledged <= now - spent <= acknowledged + 1
        spent = now
    print(f"{exact} of {6 * effort} notes were exact")
    assert exact
    assert verify_journal(tmp_path).problems == []


def _child_of(pid: int) -> int:
    found = subprocess.run(["pgrep", "-P", str(pid), "-f", "worker.py"], capture_output=True, text=True, check=True)
    return int(found.stdout.split()[0])
