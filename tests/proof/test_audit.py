"""The audit trail in the hands of somebody who does not trust us: every lie about the past is found, and named."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from solvent import Engine, InvalidRequest, SolventError
from solvent.engine.audit.export import JOURNAL_FILE, LEDGER_FILE, MANIFEST_FILE, VERIFIER_FILE, export_journal
from solvent.engine.audit.heads import publish_heads, read_heads
from solvent.engine.audit.verify import verify_journal
from solvent.engine.engine import system_clock_us
from solvent.engine.journal.frames import NO_HEAD, FrameBuilder, Head, decode_section, split_frame
from solvent.engine.journal.opening import open_reader
from solvent.engine.journal.sqlite.journal import SqliteJournal
from solvent.engine.rules.events import (
    Captured,
    Debited,
    Event,
    Expired,
    Granted,
    Held,
    MovedIn,
    Released,
    Reversed,
    Voided,
)
from solvent.engine.runtime.files import JOURNAL_NAME
from tests.simulation.players import Player

POOLS = ("acme", "acme/a", "globex")
LIES_PER_KIND = 4


class Clock:
    def __init__(self) -> None:
        self.ahead_us = 0

    def now_us(self) -> int:
        return system_clock_us() + self.ahead_us

    def today(self) -> datetime:
        return datetime.fromtimestamp(self.now_us() // 1_000_000, UTC)


async def make_journal(directory: Path) -> None:
    """A history in which everything happens, with time passing in between."""
    clock, ticks = Clock(), count()
    players = [
        Player(f"p{number}", POOLS, Random(number), clock=lambda: float(next(ticks)), now=clock.today)
        for number in range(3)
    ]
    async with Engine.open(directory, now_us=clock.now_us) as engine:
        for pool in POOLS:
            await engine.grant(pool, "20", key="first", effective_at=clock.today() + timedelta(seconds=30))
            await engine.set_budget(pool, "all", "100000", window="day")
            await engine.set_allowance(pool, "free", "3", window="hour")
            await engine.set_recurring(pool, "plan", "5", period="day", roll_over="7")
            await engine.set_alerts(pool, low=["4"], recharge={"below": "3", "target": "9", "grants": True})
        await engine.set_rates([{"metric": "tokens", "credits": "1", "per": "1000"}])
        for turn in range(8):
            await asyncio.gather(*(player.play(engine, 12, pause_s=0.0) for player in players))
            # Players change the rate card: a token costs 9 credits at most.
            await engine.grant("acme", "10", key=f"r{turn}", priority=0)
            await engine.report("acme", "tokens", 1, key=f"report-{turn}", dimensions={"who": "ann"})
            grant = await engine.grant("globex", "2", key=f"void-{turn}")
            await engine.void_grant("globex", grant.id)
            await engine.update_grant(
                "acme", (await engine.grant("acme", "1", key=f"u{turn}")).id, key=f"v{turn}", priority=9
            )
            clock.ahead_us += 20_000_000 if turn % 3 else 86_400_000_000
        for pool in POOLS:
            await engine.balance(pool)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("audit") / "journal"
    asyncio.run(make_journal(directory))
    return directory


def sections_of(directory: Path) -> list[dict[str, list[Event]]]:
    """The events of each frame, by pool."""
    reader = open_reader(directory)
    frames = reader.frames(0, 1_000_000)
    reader.close()
    found: list[dict[str, list[Event]]] = []
    for frame in frames:
        sections = [decode_section(body, frame=frame.number) for _, body in split_frame(frame)]
        found.append({section.pool: list(section.events) for section in sections})
    return found


def forge(directory: Path, frames: Sequence[dict[str, list[Event]]]) -> Path:
    """A journal that says so, chained and sealed as it should be: by somebody who has the same code as we."""

    async def write() -> None:
        journal = await SqliteJournal.open(directory / JOURNAL_NAME)
        heads: dict[str, Head] = {}
        for number, sections in enumerate(frames, 1):
            builder = FrameBuilder(number)
            for pool, events in sections.items():
                if events:
                    heads[pool] = builder.add(pool, heads.get(pool, NO_HEAD), events)
            await journal.append(builder.seal(number))
        await journal.aclose()

    directory.mkdir()
    asyncio.run(write())
    return directory


def checked_alone(folder: Path, *heads: Path) -> subprocess.CompletedProcess[str]:
    """What the script says, in a Python that has nothing but its standard library."""
    return subprocess.run(
        (sys.executable, "-I", "-S", str(folder / VERIFIER_FILE), str(folder), *map(str, heads)),
        capture_output=True,
        text=True,
        check=False,
    )


def replace(event: Event, **changes: object) -> Event:
    return msgspec.structs.replace(event, **changes)


def shifted(parts: Any) -> Any:
    (grant, part), *rest = parts
    return ((grant + 1, part), *rest)


LIES: dict[str, tuple[type[Event], Callable[[Any], Any], bool]] = {
    # What is changed, how (None: it cannot be here), and whether the script can see it without knowing the rules.
    "a debit is smaller": (Debited, lambda e: replace(e, amount=e.amount - 1), True),
    "a debit was paid by another grant": (
        Debited,
        lambda e: replace(e, parts=shifted(e.parts)) if e.parts else None,
        False,
    ),
    "a debit has another key": (Debited, lambda e: replace(e, key="first"), True),
    "a debit asked for less": (Debited, lambda e: replace(e, requested=e.amount - 1), False),
    "a balance is off by one": (Debited, lambda e: replace(e, balance=e.balance + 1), True),
    "a debit is dated back": (Debited, lambda e: replace(e, at=1), False),
    "a grant is larger": (Granted, lambda e: replace(e, amount=e.amount + 1), True),
    "a grant is negative": (Granted, lambda e: replace(e, amount=-1), True),
    "a hold is larger": (Held, lambda e: replace(e, amount=e.amount + 1), True),
    "a hold is over at once": (Held, lambda e: replace(e, expires_at=e.at), False),
    "a capture is of another hold": (Captured, lambda e: replace(e, hold=e.hold + 1), True),
    "a capture keeps what it should return": (
        Captured,
        lambda e: replace(e, returned=()) if e.returned else None,
        True,
    ),
    "a release gives back more": (Released, lambda e: replace(e, amount=e.amount + 1), False),
    "an expiry comes early": (Expired, lambda e: replace(e, due_at=e.at + 1), False),
    "an expiry leaves something": (Expired, lambda e: replace(e, amount=e.amount - 1), True),
    "a reversal is of another debit": (Reversed, lambda e: replace(e, debit=1), False),
    "a reversal gives back more": (Reversed, lambda e: replace(e, amount=e.amount + 1), True),
    "a void takes less": (Voided, lambda e: replace(e, amount=e.amount - 1) if e.amount else None, True),
    "a transfer arrives as more": (MovedIn, lambda e: replace(e, amount=e.amount + 1), True),
    "a transfer arrives from elsewhere": (MovedIn, lambda e: replace(e, source_grant=e.source_grant + 1), False),
    "a transfer arrives with other terms": (MovedIn, lambda e: replace(e, priority=e.priority + 1), False),
}


def test_what_happened_is_proven_and_the_script_says_so_too(honest: Path, tmp_path: Path) -> None:
    found = verify_journal(honest)
    assert found.problems == []
    exported = export_journal(honest, tmp_path / "export")
    assert (exported.left_out, exported.frames) == ([], found.frames)
    alone = checked_alone(tmp_path / "export")
    assert alone.returncode == 0, alone.stderr
    kinds = {json.loads(line)["kind"] for line in (tmp_path / "export" / LEDGER_FILE).read_text().splitlines()}
    print(f"{found.entries} entries of {len(kinds)} kinds: {alone.stdout}")
    assert len(kinds) >= 20
    assert f"{found.pools} pools" in alone.stdout


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_found_and_named(honest: Path, tmp_path: Path, lie: str) -> None:
    kind, change, is_seen_alone = LIES[lie]
    frames = sections_of(honest)
    places = [
        (number, pool, place)
        for number, sections in enumerate(frames)
        for pool, events in sections.items()
        for place, event in enumerate(events)
        if isinstance(event, kind) and change(event) is not None
    ]
    planted = Random(lie).sample(places, min(LIES_PER_KIND, len(places)))
    for turn, (number, pool, place) in enumerate(planted):
        told = [{name: list(events) for name, events in sections.items()} for sections in frames]
        told[number][pool][place] = change(told[number][pool][place])
        forged = forge(tmp_path / f"forged-{number}-{place}-{list(frames[number]).index(pool)}", told)
        problems = verify_journal(forged).problems
        assert problems, f"{lie} in frame {number + 1} is not found"
        assert any(f"frame {number + 1}" in problem or pool in problem for problem in problems), problems
        if is_seen_alone:
            export_journal(forged, tmp_path / f"export-{turn}")
            assert checked_alone(tmp_path / f"export-{turn}").returncode == 1, "the script does not see it"
    print(f"{lie}: planted {len(planted)} times")
    assert planted, f"there is no {kind.__name__} to lie about"


def test_what_is_left_out_is_missed(honest: Path, tmp_path: Path) -> None:
    frames = sections_of(honest)
    missing = [{name: list(events) for name, events in sections.items()} for sections in frames]
    number = next(
        n
        for n, sections in enumerate(missing)
        if any(isinstance(e, Debited) for e in sections.get("default@acme:credits", []))
    )
    missing[number]["default@acme:credits"] = []
    assert verify_journal(forge(tmp_path / "forged", missing)).problems


def test_history_that_is_written_anew_is_not_the_one_that_was_published(honest: Path, tmp_path: Path) -> None:
    found = verify_journal(honest)
    (tmp_path / "heads.json").write_bytes(msgspec.json.encode(publish_heads(found.heads, found.frames)))
    published = read_heads(tmp_path / "heads.json")
    assert verify_journal(honest, against=published).problems == []
    frames = sections_of(honest)
    # Consistent in itself: a debit of nobody's is renamed, wherever its key is not needed again.
    number, pool, place, event = next(
        (number, pool, place, event)
        for number, sections in enumerate(frames)
        for pool, events in sections.items()
        for place, event in enumerate(events)
        if isinstance(event, Debited)
    )
    frames[number][pool][place] = replace(event, key="nobody's")
    forged = forge(tmp_path / "forged", frames)
    assert verify_journal(forged).problems == []
    (problem,) = verify_journal(forged, against=published).problems
    assert pool in problem
    assert "rewritten" in problem
    shortened = forge(tmp_path / "shortened", sections_of(honest)[:-2])
    assert any("was published" in problem for problem in verify_journal(shortened, against=published).problems)
    (tmp_path / "heads.json").write_bytes(
        (tmp_path / "heads.json").read_bytes().replace(b'"version":1', b'"version":2', 1)
    )
    with pytest.raises(InvalidRequest):
        read_heads(tmp_path / "heads.json")


CHECKED: Mapping[str, tuple[str, ...]] = {
    JOURNAL_FILE: ("first_version", "entries", "previous_digest", "digest", "section"),
    LEDGER_FILE: ("pool", "version", "amount", "balance", "key"),
    MANIFEST_FILE: ("sections", "version", "digest"),
}
"""Fields that the script compares, of those that have digits. What only the ledger says, and when, it cannot know."""
CHANGES = 10


def checked_digits(body: str, file: str) -> list[int]:
    """Where in ``body`` a digit of a field stands that the script compares."""
    # The first of a name in its line: those further in are of an allocation.
    found = [
        re.finditer(rf'^(?:.*?[{{,])? *"{field}": ?("[^"]*"|[0-9]+)', body, re.MULTILINE) for field in CHECKED[file]
    ]
    return [at for each in found for match in each for at in range(*match.span(1)) if body[at] in "0123456789"]


@pytest.mark.parametrize("file", CHECKED)
def test_an_export_that_was_changed_is_found(honest: Path, tmp_path: Path, file: str) -> None:
    export_journal(honest, tmp_path / "export")
    path, dice = tmp_path / "export" / file, Random(file)
    body = path.read_text(encoding="utf-8")
    for at in dice.sample(checked_digits(body, file), CHANGES):
        # A digit for another: what a forger would change.
        other = dice.choice([digit for digit in "123456789" if digit != body[at]])
        path.write_text(body[:at] + other + body[at + 1 :], encoding="utf-8")
        alone = checked_alone(tmp_path / "export")
        line = body[body.rfind("\n", 0, at) + 1 : at]
        assert alone.returncode == 1, f"character {at} of {file}, behind {line!r}"
        assert alone.stderr.startswith("DIFFERENCE: "), alone.stderr
    print(f"{CHANGES} changes of {file}")


def test_of_a_damaged_journal_the_healthy_part_is_exported(honest: Path, tmp_path: Path) -> None:
    import shutil
    import sqlite3

    shutil.copytree(honest, tmp_path / "damaged")
    with sqlite3.connect(tmp_path / "damaged" / JOURNAL_NAME) as connection:
        (body,) = connection.execute("select body from frame where number = 9").fetchone()
        connection.execute("update frame set body = ? where number = 9", (body[:5] + b"?" + body[6:],))
    connection.close()
    exported = export_journal(tmp_path / "damaged", tmp_path / "export")
    assert len(exported.left_out) == 1
    assert "frame 9" in exported.left_out[0]
    assert exported.frames == verify_journal(honest).frames
    alone = checked_alone(tmp_path / "export")
    assert alone.returncode == 1
    assert "does not follow" in alone.stderr


def test_a_customer_who_kept_the_heads_needs_only_an_export(honest: Path, tmp_path: Path) -> None:
    found, heads = verify_journal(honest), tmp_path / "heads.json"
    heads.write_bytes(msgspec.json.encode(publish_heads(found.heads, found.frames, customer="globex")))
    export_journal(honest, tmp_path / "honest", customer="globex")
    assert checked_alone(tmp_path / "honest", heads).returncode == 0
    frames = sections_of(honest)
    pool = "default@globex:credits"
    number, place, event = next(
        (number, place, event)
        for number, sections in enumerate(frames)
        for place, event in enumerate(sections.get(pool, []))
        if isinstance(event, Debited)
    )
    frames[number][pool][place] = replace(event, key="nobody's")
    export_journal(forge(tmp_path / "forged", frames), tmp_path / "rewritten", customer="globex")
    # Consistent in itself, and not what was published.
    assert checked_alone(tmp_path / "rewritten").returncode == 0
    alone = checked_alone(tmp_path / "rewritten", heads)
    assert alone.returncode == 1
    assert f"of pool {pool}, version" in alone.stderr
    (tmp_path / "none.json").write_text("[]")
    assert checked_alone(tmp_path / "honest", tmp_path / "none.json").stderr.startswith("DIFFERENCE: the heads: ")


def test_an_export_asks_before_it_overwrites(honest: Path, tmp_path: Path) -> None:
    export_journal(honest, tmp_path / "export", customer="globex")
    names = {json.loads(line)["pool"] for line in (tmp_path / "export" / LEDGER_FILE).read_text().splitlines()}
    assert names == {"default@globex:credits"}
    assert checked_alone(tmp_path / "export").returncode == 0
    with pytest.raises(InvalidRequest):
        export_journal(honest, tmp_path / "export")
    export_journal(honest, tmp_path / "export", force=True)
    with pytest.raises(SolventError):
        export_journal(tmp_path, tmp_path / "other")


def test_parquet_holds_the_same(honest: Path, tmp_path: Path) -> None:
    import duckdb

    exported = export_journal(honest, tmp_path / "export", format="parquet")
    with duckdb.connect() as database:
        rows = database.execute(
            f"select count(*), sum(change) from '{tmp_path / 'export' / 'ledger.parquet'}' where pool = ?",
            ["default@acme:credits"],
        ).fetchone()
        sections = database.execute(f"select count(*) from '{tmp_path / 'export' / 'journal.parquet'}'").fetchone()
    assert rows is not None
    assert sections == (exported.sections,)
    assert rows[0] == exported.heads.pools["default@acme:credits"].version
