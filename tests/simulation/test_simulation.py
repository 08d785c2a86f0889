"""The whole engine under simulated time, network and disk; and real callers that race, judged by the same checker."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import get_args

import msgspec
import pytest

from solvent import CardList, LedgerEntry, connect
from solvent.engine.api.ledger import EntryKind
from solvent.engine.audit.verify import verify_journal
from solvent.transports.nats.launcher import nats_server
from tests.nats.conftest import service_process

from .bugs import BUGS
from .checker import Illegal, check
from .history import History
from .players import KINDS, read_ledgers
from .race import POOLS
from .world import CHANCES, Outcome

EFFORT = int(os.environ.get("SOLVENT_EFFORT", "1"))
SEEDS = 200 * EFFORT
SEEDS_TO_FIND_A_BUG = 100
UNSEEN = {"rates_set", "outbox", "extension"}
"""Entries of streams, which no ledger shows; and extensions of holds, which no player asks for yet."""
RACERS = 4
RACE_COMMANDS = 500
KILLS = 3 * EFFORT


def simulated(*words: str) -> list[Outcome]:
    """Run seeds in a process of their own, up to the first that fails. Returns what became of each."""
    ran = subprocess.run(
        (sys.executable, "-m", "tests.simulation", "--json", *words),
        env={**os.environ, "PYTHONHASHSEED": "0"},
        stdout=subprocess.PIPE,
        check=False,
    )
    return [msgspec.json.decode(line, type=Outcome) for line in ran.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(600 * EFFORT)
def test_whatever_goes_wrong_every_history_is_legal() -> None:
    ran = subprocess.run(
        (sys.executable, "-m", "tests.simulation", "--seeds", str(SEEDS)),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    print(ran.stdout)
    assert ran.returncode == 0, ran.stdout
    kinds = {*CHANCES, "crash", "orderly stop", "clock jump ahead", "clock jump back", "full disk", "client killed"}
    kinds |= {"failed flush, but written", "torn write", "write cut off", "write kept", "full disk, cache"}
    kinds |= {"cache lost", "cache fell back", "request overtaken", "reply overtaken"}
    struck = _counted(ran.stdout.partition("Faults:")[2])
    assert {kind for kind in kinds if not struck.get(kind)} == set(), "a kind of fault never struck"
    did = _counted(ran.stdout.partition("Entries:")[2].partition("Faults:")[0])
    assert {kind for kind in get_args(EntryKind) if not did.get(kind)} == UNSEEN, "a kind of entry was never made"


def _counted(lines: str) -> dict[str, int]:
    return {" ".join(words): int(count.replace(",", "")) for *words, count in map(str.split, lines.splitlines()[1:])}


def test_a_seed_says_it_all() -> None:
    first = simulated("--first", "7", "--seeds", "3")
    again = simulated("--first", "7", "--seeds", "3")
    assert [outcome.trace for outcome in first] == [outcome.trace for outcome in again]
    assert len({outcome.trace for outcome in first}) == 3
    assert sum(outcome.requests for outcome in first) > 500


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str) -> None:
    last = simulated("--seeds", str(SEEDS_TO_FIND_A_BUG), "--bug", bug)[-1]
    print(f"{bug}: found by seed {last.seed}: {last.failure}")
    # A service that cannot be settled with, because it never answers again, is found as well.
    assert last.failure.startswith(("Illegal", "Livelock")), f"{SEEDS_TO_FIND_A_BUG} seeds did not find {bug}"


@pytest.mark.slow
@pytest.mark.timeout(180 * EFFORT)
async def test_processes_that_race_over_nats_see_a_legal_history(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    journal, dice = tmp_path / "journal", Random(20_261_124)
    async with nats_server() as url, service_process(journal, url) as service:
        files = [tmp_path / f"racer-{number}.json" for number in range(RACERS)]
        racers = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.simulation.race", url, f"r{number}", str(number)),
                *(str(RACE_COMMANDS * EFFORT), str(file)),
            )
            for number, file in enumerate(files)
        ]
        for _ in range(KILLS):
            await asyncio.sleep(1 + dice.random())
            assert any(racer.returncode is None for racer in racers), "the race was over before the service was killed"
            await service.kill()
            await service.start()
        assert [await racer.wait() for racer in racers] == [0] * RACERS
        async with connect(url) as client:
            ledgers, cards = await read_ledgers(client, POOLS), await client.rates()
    history = History()
    for file in files:
        seen = msgspec.json.decode(file.read_bytes(), type=History)
        history.commands += seen.commands
        history.reads += seen.reads
    record_property("requests", history.requests)
    entries = sum(map(len, ledgers.values()))
    print(f"{RACERS} processes, {history.requests} requests, {entries} ledger entries, {KILLS} kills")
    # A racer that settles may have asked again over a connection that was made anew: copies may be under way.
    check(history, ledgers, cards, is_quiet=False)
    assert verify_journal(journal).problems == []
    assert entries > RACERS * RACE_COMMANDS / 2
    done = Counter(each.kind for each in history.commands if each.receipt is not None)
    print(f"done: {dict(done)}")
    assert done.keys() == set(KINDS), f"never done: {set(KINDS) - done.keys()}"
    done_together = {each.group for each in history.commands if each.group and each.receipt is not None}
    assert done_together, "no atomic batch was done"
    record_property("atomic batches", len(done_together))
    _lies_are_noticed(history, ledgers, cards)


def _lies_are_noticed(history: History, ledgers: dict[str, list[LedgerEntry]], cards: CardList) -> None:
    """The same history with one thing changed is not legal: so the check above could have failed."""
    pool = max(ledgers, key=lambda name: len(ledgers[name]))
    debit = next(entry for entry in ledgers[pool] if entry.kind == "debit")
    without = [entry for entry in ledgers[pool] if entry is not debit]
    with pytest.raises(Illegal):
        check(history, {**ledgers, pool: without}, cards, is_quiet=False)
    command = next(each for each in history.commands if each.receipt is not None and each.kind == "debit")
    attempt = next(each for each in command.attempts if each.receipt is not None)
    assert attempt.receipt is not None
    attempt.receipt = msgspec.structs.replace(attempt.receipt, amount_units=attempt.receipt.amount_units + 1)
    with pytest.raises(Illegal):
        check(history, ledgers, cards, is_quiet=False)
