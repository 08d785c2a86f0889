"""The command line on a running service: real processes, a real nats-server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .conftest import Cli

Write = Callable[[str, str], Path]
DEADLINE_S = 30.0
REPLAY = ("--pool", "acme", "--id-column", "id", "--amount-column", "amount")


@contextmanager
def serving(journal: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``solvent serve`` and the URL that it says it is ready at."""
    process = start("serve", "--data-dir", str(journal), "--json", *options)
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())["ready"]
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_S)


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "solvent", *words], stdout=subprocess.PIPE, text=True)


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def many_events(count: int) -> str:
    return "id,amount\n" + "".join(f"e{number},0.5\n" for number in range(count))


def test_the_same_verbs_work_on_a_service(cli: Cli, tmp_path: Path, rows: Write) -> None:
    with serving(tmp_path / "journal", "--nats-port", "0") as (process, url):
        on_service = ("--nats-url", url, "--json")
        assert cli("grant", "acme/web", "10", "--key", "order", *on_service).json["balance"] == "10"
        assert cli("debit", "acme/web", "4", "--key", "r1", "--dim", "n:=5", *on_service).json["balance"] == "6"
        refused = cli("debit", "acme/web", "7", "--key", "r2", *on_service)
        assert refused.code == 3
        assert refused.json["error"]["available"] == "6"
        assert cli("balance", "acme/web", *on_service).json["spent"] == "4"
        assert cli("balance", "nobody", *on_service).code == 4
        assert cli("grants", "acme/web", *on_service).json["grants"][0]["spent"] == "4"
        assert cli("ledger", "acme/web", *on_service).json["entries"][0]["dimensions"] == {"n": 5}
        assert len(cli("pools", "acme", *on_service).json["pools"]) == 1
        path = rows("usage.jsonl", '{"id": "e1", "pool": "acme/web", "amount": "0.5"}\n' * 2)
        replayed = cli("replay", path, *on_service)
        assert (replayed.code, replayed.json["booked"], replayed.json["already_there"]) == (0, 1, 1)

        locked = cli("balance", "acme/web", "--json")
        assert (locked.code, locked.json["error"]["code"]) == (7, "journal_locked")
        assert cli("verify", "--json").json["debits"] == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
    assert cli("balance", "acme/web", "--json").json["spent"] == "4.5"


def test_nobody_there_is_unavailable_and_the_key_is_told(cli: Cli) -> None:
    answer = cli("debit", "acme", "1", "--key", "k", "--nats-url", "nats://127.0.0.1:1")
    assert answer.code == 6
    assert "--key k" in answer.err


def test_a_replay_that_is_interrupted_goes_on_where_it_ended(cli: Cli, tmp_path: Path, rows: Write) -> None:
    path = rows("usage.csv", many_events(60_000))
    with serving(tmp_path / "journal", "--nats-port", "0") as (_, url):
        cli("grant", "acme", "100000", "--key", "order", "--nats-url", url)
        replay = start("replay", str(path), *REPLAY, "--nats-url", url, "--json")
        wait_until(lambda: cli("balance", "acme", "--nats-url", url, "--json").json["spent"] != "0")
        replay.send_signal(signal.SIGINT)
        said, _ = replay.communicate(timeout=DEADLINE_S)
        assert replay.returncode == 130
        first = json.loads(said)
        assert first["complete"] is False
        assert cli("balance", "acme", "--nats-url", url, "--json").json["spent"] == first["amount_booked"]
        second = cli("replay", path, *REPLAY, "--nats-url", url, "--json")
        assert second.code == 0
        assert second.json["already_there"] == first["booked"]
        assert first["booked"] + second.json["booked"] == 60_000
        assert cli("balance", "acme", "--nats-url", url, "--json").json["spent"] == "30000"
