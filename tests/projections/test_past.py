"""Answers about the past: from snapshots at intervals, what folding the whole history gives."""

from __future__ import annotations

import random
import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest

from solvent import Engine, verify_journal
from solvent.engine.journal.frames import decode_section, split_frame
from solvent.engine.journal.sqlite.reader import SqliteReader
from solvent.engine.projections import history, projection, snapshots
from solvent.engine.projections.snapshots import crc_of, decode_pool, encode_pool
from solvent.engine.rules.due import pass_time
from solvent.engine.rules.events import Captured, Debited, Event, Expired, Granted, Lapsed, Reversed, Trimmed, Voided
from solvent.engine.rules.evolve import apply
from solvent.engine.rules.pool import Pool
from solvent.engine.runtime.files import JOURNAL_NAME, SNAPSHOTS_NAME
from solvent.engine.values.errors import SolventError
from solvent.engine.values.pool_id import parse_pool
from solvent.engine.values.terms import Category
from solvent.engine.values.times import to_datetime

EVERY = 20


async def live(engine: Engine, dice: random.Random, steps: int, first: int) -> None:
    """Do what changes who paid for what, and what came back."""
    debits: list[str] = []
    grants: list[str] = []
    for number in range(first, first + steps):
        key, amount = f"k{number}", str(dice.randint(1, 30))
        try:
            match dice.randrange(8):
                case 0:
                    cost = dice.choice([None, ("0.01", "USD"), ("0.02", "USD")])
                    category: Category = dice.choice(("paid", "promotional"))
                    grants.append((await engine.grant("acme", "90", key=key, category=category, cost_basis=cost)).id)
                case 1 if debits:
                    await engine.reverse("acme", dice.choice(debits), key=key)
                case 2 if grants and dice.random() < 0.4:
                    await engine.void_grant("acme", dice.choice(grants))
                case 3:
                    hold = await engine.hold("acme", amount, key=key)
                    await hold.capture(str(dice.randint(1, 40)))
                case 4:
                    await engine.transfer("acme", "acme/web", amount, key=key)
                case _:
                    debits.append((await engine.debit("acme", amount, key=key)).id)
        except SolventError:
            continue


def events_of(folder: Path) -> list[Event]:
    reader = SqliteReader(folder / JOURNAL_NAME)
    pool = parse_pool("acme").canonical
    try:
        frames = reader.frames(0, 10**6)
        sections = (decode_section(body, frame=frame.number) for frame in frames for _, body in split_frame(frame))
        return [event for section in sections if section.pool == pool for event in section.events]
    finally:
        reader.close()


def counted(events: list[Event], start: int, end: int) -> tuple[dict[tuple[str, str], list[int]], int]:
    """(burned, expired, voided) by cost basis and category, event by event."""
    terms: dict[int, tuple[str, str]] = {}
    voided: set[int] = set()
    sums: dict[tuple[str, str], list[int]] = {}

    def add(grant: int, place: int, units: int) -> None:
        sums.setdefault(terms[grant], [0, 0, 0])[place] += units

    for version, event in enumerate(events, 1):
        if event.at >= end:
            break
        if isinstance(event, Granted):
            terms[version] = repr(event.cost_basis), event.category
        if isinstance(event, Voided):
            voided.add(event.grant)
        if event.at < start:
            continue
        match event:
            case Debited() | Captured():
                for grant, units in event.paid:
                    add(grant, 0, units)
            case Reversed():
                for grant, units in event.parts:
                    add(grant, 0, -units)
            case Expired() | Trimmed():
                add(event.grant, 1, event.amount)
            case Voided():
                add(event.grant, 2, event.amount)
            case Lapsed():
                add(event.grant, 2 if event.grant in voided else 1, event.amount)
    return {key: each for key, each in sums.items() if any(each)}, len(events)


@pytest.mark.parametrize("seed", range(4))
async def test_the_past_is_the_same_from_any_snapshot(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "PAST_EVERY", EVERY)
    monkeypatch.setattr(snapshots, "PAST_BYTES", 10**9)
    monkeypatch.setattr(history, "STEP_VERSIONS", 8)
    monkeypatch.setattr(projection, "MARK_EVERY", 4)
    applied: list[int] = []

    def counting(pool: Pool, event: Event) -> None:
        applied.append(pool.version)
        apply(pool, event)

    monkeypatch.setattr(history, "apply", counting)
    dice = random.Random(seed)
    folder = tmp_path / "journal"
    for turn in range(2):
        async with Engine.open(folder) as engine:
            await live(engine, dice, 120, turn * 1_000)
        if turn == 0 and seed % 2:
            # As in a journal of an older version: nothing of its past was kept.
            for path in folder.glob(f"{SNAPSHOTS_NAME}*"):
                path.unlink()
    events = events_of(folder)
    assert len(events) > 5 * EVERY
    async with Engine.open(folder) as engine:
        for turn in range(2):
            applied.clear()
            for _ in range(15):
                at = dice.choice(events).at + dice.choice([-1, 0, 1])
                expected = Pool()
                for event in events:
                    if event.at <= at:
                        apply(expected, event)
                if not expected.version:
                    continue
                pass_time(expected, at)
                balance = await engine.balance("acme", as_of=to_datetime(at))
                assert (balance.available, balance.spent, balance.version) == (
                    *(Decimal(units).scaleb(-6) for units in (expected.available, expected.spent)),
                    expected.version,
                )
                start, end = sorted((dice.choice(events).at, at))
                report = await engine.costs("acme", start=to_datetime(start), end=to_datetime(end))
                sums, _ = counted(events, start, end)
                found = sorted([int(each * 10**6) for each in (x.burned, x.expired, x.voided)] for x in report.lines)
                assert found == sorted(sums.values())
            if turn:
                assert len(applied) / 45 < 2 * EVERY, "what was kept is not used"
    connection = sqlite3.connect(folder / SNAPSHOTS_NAME)
    kept = [version for (version,) in connection.execute("select version from past order by version")]
    assert len(kept) >= 3
    verified = verify_journal(folder)
    assert verified.problems == []
    # One that says something else than the journal is named.
    ((pool, version, right, body),) = connection.execute("select pool, version, crc, body from past limit 1").fetchall()
    other = decode_pool(body)
    other.clock += 1
    wrong = encode_pool(other)
    change = "update past set crc = ?, body = ? where version = ?"
    connection.execute(change, (crc_of(pool, version, wrong), wrong, version))
    connection.commit()
    (problem,) = verify_journal(folder).problems
    assert f"the snapshot at version {version} is not what" in problem
    connection.execute(change, (right, body, version))
    connection.commit()
    # One that was changed on the disk is not used, and named.
    connection.execute("update past set body = zeroblob(length(body))")
    connection.commit()
    connection.close()
    async with Engine.open(folder) as engine:
        past = Pool()
        for event in (event for event in events if event.at <= events[4 * EVERY].at):
            apply(past, event)
        balance = await engine.balance("acme", as_of=to_datetime(past.clock))
        assert (balance.version, balance.spent * 10**6) == (past.version, past.spent)
    assert any("checksum of the snapshot" in problem for problem in verify_journal(folder).problems)
