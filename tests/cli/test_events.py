"""Events on the command line: pages of them, and each as it happens; on a journal and on a service."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import Cli, check_named
from .test_alerts import RECHARGE, spend
from .test_service import DEADLINE_S, serving


@contextmanager
def following(*options: str | Path) -> Iterator[subprocess.Popen[str]]:
    """``solvent events --follow``, from the moment on at which it says that it follows."""
    command = [sys.executable, "-m", "solvent", "events", "--follow", *map(str, options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("following ")
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    """The next event: the test's own time limit is the deadline."""
    assert process.stdout is not None
    return process.stdout.readline()


def end(process: subprocess.Popen[str], by: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
    """Interrupt it: its exit code, and what else it said."""
    process.send_signal(by)
    out, err = process.communicate(timeout=DEADLINE_S)
    return process.returncode, out, err


def test_events_are_read_in_pages_oldest_first(cli: Cli) -> None:
    spend(cli, "60", "35")
    cli("grant", "other", "5", "--key", "g")
    cli("set-alerts", "other", "--low", "9")
    page = cli("events", "acme", "--json").json
    assert [(event["kind"], event["available"]) for event in page["events"]] == [
        ("low", "40"), ("low", "5"), ("recharge_requested", "5")
    ]  # fmt: skip
    assert (page["events"][1]["limit"], page["events"][1]["percent"], page["more"]) == ("20", 20, False)
    first = cli("events", "acme", "--limit", "1", "--json").json
    assert (first["events"], first["more"]) == (page["events"][:1], True)
    position = page["events"][0]["position"]
    assert cli("events", "acme", "--after", position, "--json").json["events"] == page["events"][1:]
    assert f"more: --after {first['position']}" in cli("events", "acme", "--limit", "1").out
    shown = cli("events", "acme").out
    for text in ("below 50", "below 20 (20 %)", "asks for 95, until ", position):
        assert text in shown
    assert "more:" not in shown
    assert len(cli("events", "--json").json["events"]) == 4
    assert [event["pool"] for event in cli("events", "--customer", "other", "--json").json["events"]] == ["other"]
    assert cli("events", "--environment", "staging", "--json").json["events"] == []


def test_every_kind_of_event_has_its_line(cli: Cli) -> None:
    cli("grant", "acme", "100", "--key", "g", "--expires-at", "2999-01-01T00:00:00Z")
    cli("set-budget", "acme", "users", "10", "--window", "total", "--each", "user")
    cli("set-alerts", "acme", "--budget-percent", "50", *RECHARGE, "--recharge-grants")
    cli("debit", "acme", "6", "--key", "a", "--dim", "user=[b]ann[/b]")
    cli("debit", "acme", "94", "--key", "b")
    shown = cli("events", "acme").out
    assert "budget users of [b]ann[/b]: 6 of 10 used (50 %)" in shown
    assert "is granted 100 by the pool itself" in shown
    assert "depleted" in shown


def test_a_journal_that_is_followed_says_what_falls_due(cli: Cli, tmp_path: Path) -> None:
    spend(cli, "60")
    held = cli("hold", "acme", "2", "--ttl", "1", "--json").json["id"]
    with following("acme", "--json", "--after", "0.0", "--data-dir", tmp_path / "journal") as process:
        before, due = json.loads(line(process)), json.loads(line(process))
        assert (before["kind"], before["limit"], before["available"]) == ("low", "50", "40")
        assert (due["kind"], due["hold"], due["amount"], due["available"]) == ("hold_expired", held, "2", "40")
        locked = cli("alerts", "acme", "--json")
        assert (locked.code, locked.json["error"]["code"]) == (7, "journal_locked")
        assert end(process) == (0, "", "")
    assert cli("verify", "--json").json["problems"] == []


def test_a_service_is_followed_from_now_on_or_from_a_position(cli: Cli, tmp_path: Path) -> None:
    with serving(tmp_path / "journal", "--nats-port", "0") as (_, url):
        service = ("--nats-url", url)

        def debit(key: str, amount: str) -> None:
            assert cli("debit", "acme", amount, "--key", key, *service).code == 0

        cli("grant", "acme", "100", "--key", "g", *service)
        cli("set-alerts", "acme", "--low", "80", "--low", "50", "--low", "20", *service)
        debit("a", "30")
        assert cli("alerts", "acme", *service, "--json").json["low"] == ["80", "50", "20"]
        with following("acme", *service) as plain, following("--customer", "other", *service) as other:
            debit("b", "30")
            assert "  acme  low: below 50, 40 available  (" in line(plain)
            debit("c", "30")
            assert "  acme  low: below 20, 10 available  (" in line(plain)
            assert end(plain) == (0, "", "")
            assert end(other) == (0, "", "")
        said = cli("events", "acme", *service, "--json").json["events"]
        assert [event["limit"] for event in said] == ["80", "50", "20"]
        with following("--json", "--after", said[0]["position"], *service) as again:
            assert [json.loads(line(again)) for _ in range(2)] == said[1:]
            debit("d", "10")
            assert json.loads(line(again))["kind"] == "depleted"
            assert end(again, signal.SIGTERM) == (0, "", "")


def test_nobody_to_follow_is_unavailable(cli: Cli) -> None:
    answer = cli("events", "--follow", "--nats-url", "nats://127.0.0.1:1", "--json")
    assert (answer.code, answer.json["error"]["code"]) == (6, "nats_server_unavailable")


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ("events acme --limit 0", "limit"),
        ("events acme --after yesterday", "after"),
        ("events acme --after yesterday --follow", "after"),
        ("events a/b/c --follow", "pool"),
        ("events acme --customer acme", "--customer"),
        ("events acme --environment default", "--environment"),
    ],
)
def test_what_is_wrong_is_named_and_writes_nothing(cli: Cli, words: str, field: str) -> None:
    cli("grant", "acme", "100", "--key", "g")
    check_named(cli, words, field)
    assert cli("balance", "acme", "--json").json["version"] == 2


@pytest.mark.parametrize("words", ["events", "events --follow"])
def test_where_there_is_no_journal_none_is_made(cli: Cli, tmp_path: Path, words: str) -> None:
    answer = cli(*words.split(), "--json")
    assert (answer.code, answer.json["error"]["what"]) == (4, "journal")
    assert not (tmp_path / "journal").exists()
