"""Damage where SQLite keeps its own things: headers of files, pages and records, pointers, the schema, the freelist.

A random bit of a file is nearly always one of a value, which a checksum covers. These are not: one of them turns the
bytes of a frame into text, a number into nothing, or a row into none.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

from solvent.engine.audit.export import export_journal
from solvent.engine.audit.losses import find_loss
from solvent.engine.pools.refusal_log import read_refused
from solvent.engine.runtime.files import INDEX_NAME, JOURNAL_NAME, REFUSALS_NAME, SNAPSHOTS_NAME
from solvent.engine.values.errors import JournalError
from solvent.transports.cli.exits import Exit
from solvent.transports.cli.main import app

from .test_corruption import FILES, POOLS, Truth, make_journal, outcome_of, verified

PAGE_BYTES = 4_096
KINDS = ("file header", "schema", "page header", "pointer", "record header")
FLIPS = 2
"""Of each kind, in each file."""
RECORD_HEADER_BYTES_MAX = 40

POOL = POOLS[0]
VERBS = (
    ("balance", POOL),
    ("grants", POOL),
    ("holds", POOL),
    ("budgets", POOL),
    ("allowances", POOL),
    ("recurring", POOL),
    ("alerts", POOL),
    ("events", POOL),
    ("ledger", POOL),
    ("costs", POOL),
    ("check", POOL, "1"),
    ("debit", POOL, "1", "--key", "new"),
    ("pools",),
    ("totals", POOL),
    ("rates",),
    ("usage", POOL),
    ("rebuild",),
    ("verify",),
    ("export", "{folder}-export", "--force"),
    ("accept-loss",),
)
SAID = {Exit.OK, Exit.NOT_FOUND, Exit.UNAVAILABLE, Exit.JOURNAL, Exit.DIFFERENCE}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    folder = tmp_path_factory.mktemp("structure")
    truth = asyncio.run(make_journal(folder / "closed", folder / "crashed"))
    for name in (INDEX_NAME, SNAPSHOTS_NAME):
        connection = sqlite3.connect(folder / "closed" / name)
        connection.execute("pragma wal_checkpoint(truncate)")
        connection.close()
    return folder / "closed", truth


def places(body: bytes) -> Iterator[tuple[str, int]]:
    """The bytes of a file that are SQLite's own, each with its kind.

    The format is described in SQLite's documentation, "Database File Format", sections 1.3, 1.6 and 2.1.
    """
    yield from (("file header", at) for at in range(16, 96))
    for number in range(len(body) // PAGE_BYTES):
        start = number * PAGE_BYTES + (100 if number == 0 else 0)
        kind = body[start]
        if kind not in (2, 5, 10, 13):
            continue
        header = 12 if kind in (2, 5) else 8
        cells = int.from_bytes(body[start + 3 : start + 5])
        yield from (("page header", at) for at in range(start, start + header))
        for cell in range(cells):
            pointer = start + header + 2 * cell
            yield from (("pointer", at) for at in (pointer, pointer + 1))
            if kind in (10, 13):
                yield from (("record header", at) for at in record_header(body, number, pointer, has_rowid=kind == 13))
    content = int.from_bytes(body[105:107])
    yield from (("schema", at) for at in range(content, PAGE_BYTES))


def record_header(body: bytes, page: int, pointer: int, *, has_rowid: bool) -> range:
    """The bytes of a row before its values: its length, its number, and the types of the values."""
    start = at = page * PAGE_BYTES + int.from_bytes(body[pointer : pointer + 2])
    for _ in range(2 if has_rowid else 1):
        while body[at] & 0x80:
            at += 1
        at += 1
    return range(start, min(at + body[at], start + RECORD_HEADER_BYTES_MAX))


def flips(path: Path, dice: Random, count: int) -> Iterator[tuple[str, int, int]]:
    """So many bits of each kind: (kind, byte, bit)."""
    found: dict[str, list[int]] = {kind: [] for kind in KINDS}
    for kind, at in places(path.read_bytes()):
        found[kind].append(at)
    for kind, all_of_them in found.items():
        assert all_of_them, kind
        yield from ((kind, dice.choice(all_of_them), dice.randrange(8)) for _ in range(count))


def flip(path: Path, at: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [JOURNAL_NAME, INDEX_NAME, SNAPSHOTS_NAME])
async def test_what_is_served_is_true_or_named_wherever_the_structure_is_damaged(
    sound: tuple[Path, Truth], tmp_path: Path, name: str, effort: int
) -> None:
    closed, truth = sound
    dice, outcomes, directory = Random(name), Counter[str](), tmp_path / "journal"
    for kind, at, bit in flips(closed / name, dice, FLIPS * effort):
        shutil.copytree(closed, directory)
        flip(directory / name, at, bit)
        problems = verified(directory)
        try:
            outcome = await outcome_of(directory, truth)
        except BaseException as error:
            error.add_note(f"{name}, {kind}: bit {bit} of byte {at}; verify says {problems[:3]}")
            raise
        outcomes[f"{kind}: {outcome}"] += 1
        if name != JOURNAL_NAME:
            assert outcome == "true" or "newer" in str(problems), f"{kind}, bit {bit} of byte {at}: {problems}"
        shutil.rmtree(directory)
    print(f"{name}: {dict(outcomes)}")
    assert sum(outcomes.values()) == len(KINDS) * FLIPS * effort


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_verify_export_and_salvage_name_what_is_damaged_and_what_is_sound_is_exported(
    sound: tuple[Path, Truth], tmp_path: Path, effort: int
) -> None:
    closed, truth = sound
    dice, outcomes = Random(21), Counter[str]()
    directory = Path(shutil.copytree(closed, tmp_path / "journal"))
    body = (closed / JOURNAL_NAME).read_bytes()
    for kind, at, bit in flips(closed / JOURNAL_NAME, dice, 3 * FLIPS * effort):
        (directory / JOURNAL_NAME).write_bytes(body)
        flip(directory / JOURNAL_NAME, at, bit)
        try:
            problems = verified(directory)
            found = export_journal(directory, tmp_path / "export", force=True)
            loss = find_loss(directory)
        except JournalError as error:
            assert JOURNAL_NAME in error.message, f"{kind}, bit {bit} of byte {at}: {error}"
            outcomes[f"{kind}: refused"] += 1
            continue
        except BaseException as error:
            error.add_note(f"{kind}: bit {bit} of byte {at}")
            raise
        assert all(each.startswith(FILES) for each in problems), problems
        assert found.entries == truth.entries or problems, f"{kind}, bit {bit} of byte {at}: nobody says so"
        assert loss is None or problems
        outcomes[f"{kind}: {'whole' if found.entries == truth.entries else 'in part'}"] += 1
    print(dict(outcomes))
    assert sum(outcomes.values()) == len(KINDS) * 3 * FLIPS * effort


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_verb_ends_in_a_traceback(sound: tuple[Path, Truth], tmp_path: Path, effort: int) -> None:
    closed, _ = sound
    dice, outcomes = Random(22), Counter[str]()
    verbs = list(VERBS)
    runner = CliRunner()
    damaged = [(JOURNAL_NAME, *each) for each in flips(closed / JOURNAL_NAME, dice, FLIPS * effort)]
    # The first ones of all: they turn the bytes of a frame into text, and the schema into no UTF-8.
    body = (closed / JOURNAL_NAME).read_bytes()
    text = next(at for kind, at in places(body) if kind == "record header" and at > PAGE_BYTES)
    damaged[:0] = [
        (JOURNAL_NAME, "record header", text, 0),
        (JOURNAL_NAME, "schema", body.index(b"CREATE") + 2, 7),
    ]
    for turn, (name, kind, at, bit) in enumerate(damaged):
        directory = Path(shutil.copytree(closed, tmp_path / f"journal-{turn}"))
        flip(directory / name, at, bit)
        for verb, *arguments in (verbs[(turn * 3 + each) % len(verbs)] for each in range(3)):
            given = [each.format(folder=directory) for each in arguments]
            result = runner.invoke(app, [verb, *given, "--data-dir", str(directory)])
            where = f"{verb}, {kind}: bit {bit} of byte {at}"
            assert result.exception is None or isinstance(result.exception, SystemExit), (where, result.exception)
            assert result.exit_code in SAID, (where, result.output)
            outcomes[Exit(result.exit_code).name] += 1
        shutil.rmtree(directory)
    print(dict(outcomes))
    assert outcomes["JOURNAL"] or outcomes["DIFFERENCE"]


async def test_a_row_of_another_type_is_named_by_every_reader(sound: tuple[Path, Truth], tmp_path: Path) -> None:
    """Without "strict", as a damaged record header makes it: text, a number or nothing in place of bytes."""
    closed, truth = sound
    for number, value in enumerate(("cast(body as text)", "null", "7", "1.5")):
        directory = Path(shutil.copytree(closed, tmp_path / str(number)))
        with sqlite3.connect(directory / JOURNAL_NAME) as connection:
            connection.execute("pragma writable_schema = on")
            connection.execute("update sqlite_schema set sql = replace(replace(sql, ' strict', ''), ' not null', '')")
        connection.close()
        with sqlite3.connect(directory / JOURNAL_NAME) as connection:
            connection.execute(f"update frame set body = {value} where number = 20")
        connection.close()
        left_out = export_journal(directory, tmp_path / f"export-{number}").left_out
        if "text" in value:
            # The bytes are those that were written, whatever they are called.
            assert verified(directory) == left_out == []
            assert await outcome_of(directory, truth) == "true"
        else:
            assert any("frame 20" in problem for problem in verified(directory))
            assert any("frame 20" in each for each in left_out)
            assert await outcome_of(directory, truth) == "named"


def test_a_damaged_count_of_refusals_is_left_out(sound: tuple[Path, Truth], tmp_path: Path) -> None:
    closed, _ = sound
    path = tmp_path / REFUSALS_NAME
    shutil.copy(closed / REFUSALS_NAME, path)
    ((number, refused),) = read_refused(path, 0, 10)
    assert refused is not None
    for value in ("pool = 'no pool at all/'", "dimensions = x'ff01'", "dimensions = x'81a161c0'"):
        with sqlite3.connect(path) as connection:
            connection.execute(f"update refused set {value}")
        connection.close()
        assert read_refused(path, 0, 10) == [(number, None)]
