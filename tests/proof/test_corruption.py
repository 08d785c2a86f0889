"""Damaged files: whatever byte changes, what is served is true, or the damage is named. Nothing in between."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, TypeVar

import pytest

from solvent import DebitRequest, Engine, Receipt, SolventError
from solvent.engine.audit.export import export_journal
from solvent.engine.audit.losses import accept_loss
from solvent.engine.audit.salvage import Salvage
from solvent.engine.audit.verify import verify_journal
from solvent.engine.journal.sqlite.reader import SqliteReader
from solvent.engine.journal.sqlite.wal import read_log
from solvent.engine.runtime.files import INDEX_NAME, JOURNAL_NAME, REFUSALS_NAME, SNAPSHOTS_NAME, USAGE_NAME
from solvent.engine.values.errors import JournalCorrupt, JournalError, JournalShorter, Unavailable

POOLS = [f"customer-{number}" for number in range(6)]
FLIPS = 20
TRUNCATIONS = 5
WAL_NAME = f"{JOURNAL_NAME}-wal"
PATIENCE_S = 10.0

T = TypeVar("T")


class Truth(NamedTuple):
    """What an undamaged journal says."""

    balances: dict[str, Any]
    ledgers: dict[str, Any]
    receipts: dict[tuple[str, str], Receipt]
    entries: int


async def make_journal(directory: Path, copy: Path) -> Truth:
    """Some hundred frames with index, snapshots, usage and refusals beside them; and a copy made before the journal's
    WAL was written back, as a crash leaves it."""
    receipts: dict[tuple[str, str], Receipt] = {}
    async with Engine.open(directory) as engine:
        for pool in POOLS:
            await engine.grant(pool, "100", key="g", expires_at="2100-01-01T00:00:00Z")
            await engine.hold(pool, "1", key="h")
        for turn in range(60):
            pool = POOLS[turn % len(POOLS)]
            key = f"k{turn}"
            receipts[pool, key] = await engine.debit(pool, "0.25", key=key, dimensions={"turn": turn})
            others = [DebitRequest(pool=each, amount="0.5", key=f"b{turn}") for each in POOLS[: turn % 4]]
            await engine.batch(others)
        with pytest.raises(SolventError):
            await engine.debit(POOLS[0], "1000", key="refused")
        await engine.usage("customer-0", consistent=True)
        await asyncio.sleep(1.2)  # The projector has been here, and snapshots are saved.
        shutil.copytree(directory, copy)
        truth = await truth_of(engine, receipts)
    connection = sqlite3.connect(directory / JOURNAL_NAME)
    connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    return truth


async def truth_of(engine: Engine, receipts: dict[tuple[str, str], Receipt]) -> Truth:
    balances = {pool: (await engine.balance(pool)).available for pool in POOLS}
    ledgers = {pool: (await engine.ledger(pool, limit=1000)).entries for pool in POOLS}
    return Truth(balances, ledgers, receipts, sum(map(len, ledgers.values())))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Truth]:
    """A folder closed in order, one as a crash leaves it, and what both say."""
    folder = tmp_path_factory.mktemp("sound")
    truth = asyncio.run(make_journal(folder / "closed", folder / "crashed"))
    return folder / "closed", folder / "crashed", truth


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until there is an answer: what is found damaged of an index is made anew while callers wait."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await ask()
            except Unavailable:
                await asyncio.sleep(0.02)


async def outcome_of(directory: Path, truth: Truth) -> str:
    """ "true" if everything that is served is so; "named", with an error that names the file or the frame."""
    said: set[str] = set()

    def named(error: JournalError) -> None:
        if isinstance(error, JournalCorrupt):
            # Of a damaged log there is no frame of ours to name, but the file.
            where = error.frame is not None or error.pool is not None or JOURNAL_NAME in str(error)
            assert where, f"nothing is named: {error}"
        said.add("named")

    try:
        async with Engine.open(directory) as engine:
            for pool in POOLS:
                try:
                    balance = await patiently(partial(engine.balance, pool))
                    assert balance.available == truth.balances[pool], "an untrue balance"
                    ledger = await patiently(partial(engine.ledger, pool, limit=1000))
                    assert ledger.entries == truth.ledgers[pool], "an untrue ledger"
                except JournalError as error:
                    named(error)
            try:
                listed = (await patiently(partial(engine.pools, limit=1000))).pools
                assert [each.pool for each in listed] == POOLS, "an untrue list of pools"
            except JournalError as error:
                named(error)
            for (pool, key), first in truth.receipts.items():
                debit = partial(engine.debit, pool, "0.25", key=key, dimensions={"turn": int(key[1:])})
                try:
                    again = await patiently(debit)
                except JournalError as error:
                    named(error)
                    continue
                assert again.replayed, f"{key} was charged a second time"
                assert (again.version, again.amount, again.balance) == (first.version, first.amount, first.balance)
    except JournalError as error:
        named(error)
    return "named" if said else "true"


def flipped(path: Path, at: int, bit: int) -> None:
    body = bytearray(path.read_bytes())
    body[at] ^= 1 << bit
    path.write_bytes(body)


def cut(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])


def damages(path: Path, size: int, dice: Random, effort: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """A bit somewhere in each stretch of the file, and cuts."""
    flips, cuts = FLIPS * effort, TRUNCATIONS * effort
    for turn in range(flips):
        at, bit = dice.randrange(size * turn // flips, size * (turn + 1) // flips), dice.randrange(8)
        yield f"bit {bit} of byte {at}", partial(flipped, path, at, bit)
    for length in (0, *(dice.randrange(size) for _ in range(cuts - 1))):
        yield f"cut to {length}", partial(cut, path, length)


def verified(directory: Path) -> list[str]:
    """What verify has to say, by problems or by an error."""
    try:
        return verify_journal(directory).problems
    except JournalError as error:
        return [str(error)]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "state"),
    [
        *((name, state) for name in (JOURNAL_NAME, INDEX_NAME, SNAPSHOTS_NAME) for state in ("closed", "crashed")),
        (WAL_NAME, "crashed"),
    ],
)
async def test_what_is_served_of_damaged_files_is_true(
    sound: tuple[Path, Path, Truth], tmp_path: Path, name: str, state: str, effort: int
) -> None:
    closed, crashed, truth = sound
    source = closed if state == "closed" else crashed
    dice, outcomes, exported = Random(f"{name} {state}"), Counter[str](), Counter[str]()
    directory = tmp_path / "journal"
    for what, damage in damages(directory / name, (source / name).stat().st_size, dice, effort):
        shutil.copytree(source, directory)
        before = (directory / name).read_bytes()
        damage()
        assert (directory / name).read_bytes() != before
        problems = verified(directory)
        if name.startswith(JOURNAL_NAME):
            found = export_journal(directory, tmp_path / "export", force=True)
            exported["whole" if found.entries == truth.entries else "in part"] += 1
            assert found.entries == truth.entries or problems, f"{what}: verify does not see what cannot be exported"
        try:
            outcome = await outcome_of(directory, truth)
        except BaseException as error:
            error.add_note(f"{name}, {state}, {what}; verify says {problems[:3]}")
            raise
        assert problems or outcome == "true", f"{what}: verify does not see what is served no more"
        if problems:
            assert all(each.startswith(tuple(FILES)) for each in problems), problems
        outcomes[f"{outcome}, verify {'names it' if problems else 'proves it'}"] += 1
        shutil.rmtree(directory)
    print(f"{name}, {state}: {sum(outcomes.values())} damages: {dict(outcomes)} exports {dict(exported)}")
    assert sum(outcomes.values()) == (FLIPS + TRUNCATIONS) * effort
    assert any("names it" in outcome for outcome in outcomes), "no damage was any"
    if name in (INDEX_NAME, SNAPSHOTS_NAME):
        assert not any(outcome.startswith("named") for outcome in outcomes), "a cache kept somebody from an answer"


FILES = (JOURNAL_NAME, WAL_NAME, INDEX_NAME, SNAPSHOTS_NAME, USAGE_NAME)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [USAGE_NAME, REFUSALS_NAME])
async def test_a_damaged_projection_is_made_again_or_refused(
    sound: tuple[Path, Path, Truth], tmp_path: Path, name: str, effort: int
) -> None:
    closed, _, truth = sound
    dice, outcomes, directory = Random(name), Counter[str](), tmp_path / "journal"
    count = (12 if name == USAGE_NAME else 4) * effort
    for number in range(count):
        shutil.copytree(closed, directory)
        path = directory / name
        body = bytearray(path.read_bytes())
        at = dice.randrange(len(body) * number // count, len(body) * (number + 1) // count)
        if number % 4 == 3:
            del body[at:]
        elif number % 4 == 2:
            body[at : at + 4096] = dice.randbytes(len(body[at : at + 4096]))
        else:
            body[at] ^= 1 << dice.randrange(8)
        path.write_bytes(body)
        problems = verified(directory)
        assert all(problem.startswith(name) for problem in problems), problems
        async with Engine.open(directory) as engine:
            assert (await truth_of(engine, {}))[:2] == truth[:2], "debits were disturbed"
            try:
                for pool in POOLS if name == USAGE_NAME else POOLS[:1]:
                    usage = await engine.usage(pool, period="last 30 days", group_by=["turn"], consistent=True)
                    assert usage.total.credits == (await engine.balance(pool)).spent, "an untrue sum"
                    assert sum(line.credits for line in usage.lines) == usage.total.credits
                outcomes["right"] += 1
            except Unavailable:
                outcomes["refused"] += 1
        outcomes["named by verify"] += bool(problems)
        shutil.rmtree(directory)
    print(f"{name}: {count} damages: {dict(outcomes)}")
    assert outcomes["right"] + outcomes["refused"] == count
    if name == USAGE_NAME:
        assert outcomes["named by verify"]
        assert not outcomes["refused"], "it was not made again"


async def test_frames_that_were_acknowledged_and_are_gone_are_missed(
    sound: tuple[Path, Path, Truth], tmp_path: Path
) -> None:
    closed, _, _ = sound
    shutil.copytree(closed, tmp_path / "journal")
    with sqlite3.connect(tmp_path / "journal" / JOURNAL_NAME) as connection:
        connection.execute("delete from frame where number > (select max(number) - 3 from frame)")
    connection.close()
    with pytest.raises(JournalShorter, match="were acknowledged") as refused:
        async with Engine.open(tmp_path / "journal"):
            pass
    assert verify_journal(tmp_path / "journal").problems
    # Said to be accepted, what is there is served.
    accept_loss(tmp_path / "journal", last_frame=refused.value.last)
    async with Engine.open(tmp_path / "journal") as engine:
        assert (await engine.balance(POOLS[0])).available != 0


async def test_a_journal_that_is_gone_is_not_begun_anew(sound: tuple[Path, Path, Truth], tmp_path: Path) -> None:
    closed, _, _ = sound
    for number, lost in enumerate(("empty", "deleted")):
        directory = tmp_path / str(number)
        shutil.copytree(closed, directory)
        (directory / JOURNAL_NAME).write_bytes(b"") if lost == "empty" else (directory / JOURNAL_NAME).unlink()
        with pytest.raises(JournalCorrupt, match="were acknowledged"):
            async with Engine.open(directory):
                pass


async def test_pools_beside_the_damage_are_served(sound: tuple[Path, Path, Truth], tmp_path: Path) -> None:
    closed, _, truth = sound
    shutil.copytree(closed, tmp_path / "journal")
    with sqlite3.connect(tmp_path / "journal" / JOURNAL_NAME) as connection:
        # The second frame holds nothing but the hold of the first pool.
        (body,) = connection.execute("select body from frame where number = 2").fetchone()
        connection.execute("update frame set body = ? where number = 2", (body[:-9] + bytes(9),))
    connection.close()
    problems = verify_journal(tmp_path / "journal").problems
    assert problems[0].startswith(f"{JOURNAL_NAME}, frame 2:")
    assert any(f"pool default@{POOLS[0]}:credits" in problem for problem in problems)
    (left_out, *_) = export_journal(tmp_path / "journal", tmp_path / "export").left_out
    assert f"{JOURNAL_NAME}: frame 2" in left_out
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "solvent", "export", str(tmp_path / "by-hand"), "--data-dir", str(tmp_path / "journal")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 8, done
    assert "frame 2" in done.stdout
    async with Engine.open(tmp_path / "journal") as engine:
        for pool in POOLS[1:]:
            assert (await engine.balance(pool)).available == truth.balances[pool]
            assert (await engine.ledger(pool, limit=1000)).entries == truth.ledgers[pool]
        with pytest.raises(JournalCorrupt) as caught:
            await engine.ledger(POOLS[0], limit=1000)
        assert caught.value.frame == 2


@pytest.mark.parametrize("page", ["the first", "above the rows", "of rows"])
def test_frames_are_read_past_a_page_that_is_gone(sound: tuple[Path, Path, Truth], tmp_path: Path, page: str) -> None:
    """SQLite finds nothing without its first page, and little without those above the rows."""
    closed, _, truth = sound
    directory = tmp_path / "journal"
    shutil.copytree(closed, directory)
    body = bytearray((directory / JOURNAL_NAME).read_bytes())
    kinds = {number: body[number * 4096] for number in range(1, len(body) // 4096)}
    places = {
        "the first": 0,
        "above the rows": next(number for number, kind in kinds.items() if kind == 5),
        "of rows": max(number for number, kind in kinds.items() if kind == 13),
    }
    place = places[page]
    body[place * 4096 : (place + 1) * 4096] = bytes(4096)
    (directory / JOURNAL_NAME).write_bytes(body)
    problems = verified(directory)
    assert problems
    assert problems[0].startswith(JOURNAL_NAME), problems
    found = export_journal(directory, tmp_path / "export")
    print(
        f"page {place} of {len(kinds) + 1}: {found.entries} of {truth.entries} entries are read, {found.left_out[:2]}"
    )
    if page == "of rows":
        assert 0 < found.entries < truth.entries
        assert found.left_out
    else:
        assert found.entries == truth.entries


@contextmanager
def salvaged(path: Path) -> Iterator[Salvage]:
    """What can be had of the journal's file at ``path``."""
    reader = SqliteReader(path)
    salvage = Salvage(reader)
    yield salvage
    salvage.close()
    reader.close()


def test_damage_in_the_log_is_told_from_the_end_that_a_crash_leaves(
    sound: tuple[Path, Path, Truth], tmp_path: Path, effort: int
) -> None:
    """Without an index beside it, which would miss the frames as well."""
    _, crashed, _ = sound
    for name in (JOURNAL_NAME, WAL_NAME):
        shutil.copy(crashed / name, tmp_path / name)
    path, log = tmp_path / WAL_NAME, tmp_path / JOURNAL_NAME
    body, dice, struck = path.read_bytes(), Random(7), 0
    with salvaged(log) as salvage:
        last = salvage.last
    for turn in range(100 * effort):
        at = dice.randrange(len(body))
        flipped(path, at, dice.randrange(8))
        seen = read_log(log)
        if not seen.damage:
            with salvaged(log) as salvage:
                # What was flipped is of the last commit, or behind it: that may have been cut off by a crash.
                assert salvage.last >= last - 1, f"turn {turn}: frames are gone behind byte {at}, and nobody says so"
        else:
            struck += 1
            with salvaged(log) as salvage:
                lost = sum(isinstance(frame, JournalCorrupt) for frame in salvage.frames())
                assert lost <= 2, f"{lost} frames cannot be read for one flipped bit"
                assert salvage.last >= last - 1
        path.write_bytes(body)
    for turn in range(100 * effort):
        cut(path, dice.randrange(len(body)))
        assert not read_log(log).damage, f"turn {turn}: what a crash leaves is taken for damage"
        path.write_bytes(body)
    print(f"{struck} of {100 * effort} flipped bits were found in the log of the journal")
    assert struck


async def test_a_key_whose_row_was_damaged_is_not_taken_for_new(tmp_path: Path) -> None:
    """The damage that matters most: an old key that the index has lost would be charged again."""
    async with Engine.open(tmp_path) as engine:
        await engine.grant("acme", "100", key="g")
        for number in range(40):
            await engine.debit("acme", "1", key=f"k{number}")
    with sqlite3.connect(tmp_path / INDEX_NAME) as connection:
        tables = [row[0] for row in connection.execute("select name from sqlite_schema where name like 'keys_%'")]
        struck = sum(connection.execute(f"update {table} set hash = hash + 1").rowcount for table in tables)
    connection.close()
    assert struck >= 40
    assert any("segment" in problem for problem in verify_journal(tmp_path).problems)
    refused = 0
    async with Engine.open(tmp_path) as engine:
        for number in range(40):
            while True:
                try:
                    assert (await engine.debit("acme", "1", key=f"k{number}")).replayed
                    break
                except Unavailable:
                    refused += 1
                    await asyncio.sleep(0.05)
        assert (await engine.balance("acme")).spent == 40
    print(f"{struck} rows damaged, refused {refused} times until the index was made anew")
    assert refused
    assert verify_journal(tmp_path).problems == []


@pytest.mark.parametrize(
    "damage",
    [
        "delete from head where pool like '%customer-3%'",
        "update head set pool = replace(pool, 'customer-3', 'customer-9')",
        "update head set version = version - 1",
        "update head set frame = frame - 1",
        "update setting set value = value + 1 where name = 'seed'",
        "update setting set value = value - 1 where name = 'position'",
        "delete from segment where number = (select min(number) from segment)",
        "update filter set last_frame = last_frame - 1",
        "delete from notice",
    ],
)
async def test_an_index_that_lost_a_row_is_made_anew(
    sound: tuple[Path, Path, Truth], tmp_path: Path, damage: str
) -> None:
    """Each of these would make a pool empty, a key new or an event unheard of."""
    closed, _, truth = sound
    directory = tmp_path / "journal"
    shutil.copytree(closed, directory)
    async with Engine.open(directory) as engine:
        await engine.set_alerts("customer-5", low=["1000"])
        await engine.debit("customer-5", "0.25", key="alarmed")
        # The filters do not cover what comes last before a crash.
        await engine.balance("customer-5")
    with sqlite3.connect(directory / INDEX_NAME) as connection:
        struck = connection.execute(damage).rowcount
    connection.close()
    assert struck > 0
    assert any(problem.startswith(INDEX_NAME) for problem in verified(directory))
    async with Engine.open(directory) as engine:
        listed = await patiently(partial(engine.pools, limit=1000))
        assert [each.pool for each in listed.pools] == POOLS
        for pool in POOLS[:5]:
            assert (await patiently(partial(engine.balance, pool))).available == truth.balances[pool]
            again = await patiently(partial(engine.grant, pool, "100", key="g", expires_at="2100-01-01T00:00:00Z"))
            assert again.replayed
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    async for event in engine.events("customer-5", after="0.0"):
                        assert event.kind == "low"
                        break
                    break
                except Unavailable:
                    await asyncio.sleep(0.02)
    assert verify_journal(directory).problems == []
