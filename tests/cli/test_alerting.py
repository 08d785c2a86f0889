"""Alerts, requests for credits and events on the command line, on a journal and on a service."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import Cli
from .test_service import DEADLINE_S, serving

RECHARGE = ("--recharge-below", "10", "--recharge-target", "100")


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


def spend(cli: Cli, *amounts: str) -> None:
    """A pool of 100 credits that says below 50 and 20 %, and asks for more below 10, and what is spent of it."""
    cli("grant", "acme", "100", "--key", "g")
    cli("set-alerts", "acme", "--low", "50", "--low", "20%", *RECHARGE)
    for number, amount in enumerate(amounts):
        assert cli("debit", "acme", amount, "--key", f"k{number}").code == 0


def test_alerts_are_set_shown_and_taken_away(cli: Cli) -> None:
    cli("grant", "acme", "100", "--key", "g")
    words = (
        *("set-alerts", "acme", "--low", "50", "--low", "20%", "--expiring-within", "604800"),
        *("--budget-percent", "100", "--budget-percent", "80", "--recharge-below", "10", "--recharge-target", "1000"),
        *("--recharge-monthly-max", "5000", "--recharge-time-zone", "Europe/Paris", "--recharge-timeout", "3600"),
        *("--recharge-category", "promotional", "--recharge-cost-basis", "USD=0.01", "--recharge-grants"),
    )
    set_ = cli(*words, "--json")
    assert (set_.code, set_.json["id"], set_.json["replayed"]) == (0, "n3", False)
    assert "nothing was to change" in cli(*words).out
    terms = cli("alerts", "acme", "--json").json
    assert (terms["low"], terms["expiring_within_s"], terms["budget_percents"]) == (["50", "20%"], 604_800, [80, 100])
    assert terms["recharge"] == {
        "below": "10",
        "target": "1000",
        "monthly_max": "5000",
        "time_zone": "Europe/Paris",
        "grants": True,
        "timeout_s": 3_600,
        "category": "promotional",
        "cost_basis": {"per_credit": "0.01", "currency": "USD"},
    }
    shown = cli("alerts", "acme").out
    for text in (
        "below 50, below 20%",
        "7 d before a grant expires",
        "at 80 %, 100 %",
        "below 10, up to 1,000, at most 5,000 a month of Europe/Paris",
        "promotional at 0.01 USD a credit, granted by the pool itself",
    ):
        assert text in shown
    assert "alerts recorded" in cli("set-alerts", "acme").out
    assert cli("alerts", "acme", "--json").json["low"] == []
    assert cli("alerts", "acme").out.count("not said") == 3


def test_a_request_for_credits_is_granted(cli: Cli) -> None:
    spend(cli, "95")
    asked = cli("alerts", "acme", "--json").json["open_recharge"]
    assert asked["amount"] == "95"
    assert f"{asked['id']} asks for 95" in cli("alerts", "acme").out
    granted = cli("grant-recharge", "acme", asked["id"], "--cost-basis", "USD=0.02", "--comment", "card 1", "--json")
    assert (granted.code, granted.json["amount"], granted.json["balance"]) == (0, "95", "100")
    assert "already" in cli("grant-recharge", "acme", asked["id"]).out
    grant = next(each for each in cli("grants", "acme", "--json").json["grants"] if each["id"] == granted.json["id"])
    assert (grant["cost_basis"]["per_credit"], grant["comment"]) == ("0.02", "card 1")
    late = cli("refuse-recharge", "acme", asked["id"], "--json")
    assert (late.code, late.json["error"]["reason"]) == (5, "recharge_granted")
    assert cli("grant-recharge", "acme", "q99", "--json").code == 4
    assert cli("verify", "--json").json["problems"] == []


def test_a_request_is_granted_in_part_or_refused(cli: Cli) -> None:
    spend(cli, "95")
    first = cli("alerts", "acme", "--json").json["open_recharge"]["id"]
    part = cli("grant-recharge", "acme", first, "40", "--expires-at", "2999-01-01T00:00:00Z")
    assert "grant recorded" in part.out
    cli("debit", "acme", "40", "--key", "more")
    second = cli("alerts", "acme", "--json").json["open_recharge"]
    assert second["amount"] == "95"
    assert "refusal recorded" in cli("refuse-recharge", "acme", second["id"]).out
    assert cli("refuse-recharge", "acme", second["id"], "--json").json["replayed"]
    assert cli("grant-recharge", "acme", second["id"], "--json").json["error"]["reason"] == "recharge_refused"
    assert cli("balance", "acme", "--json").json["available"] == "5"
    assert f"{second['id']} had asked for 95" in cli("events", "acme").out


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


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ("set-alerts acme --low 101%", "low"),
        ("set-alerts acme --expiring-within 0", "expiring_within_s"),
        ("set-alerts acme --budget-percent 0", "budget_percents"),
        ("set-alerts acme --recharge-below 5", "--recharge-target"),
        ("set-alerts acme --recharge-grants", "--recharge-below"),
        ("set-alerts acme --recharge-below 5 --recharge-target 4", "recharge.target"),
        ("set-alerts acme --recharge-below 5 --recharge-target 9 --recharge-timeout 1", "recharge.timeout_s"),
        ("set-alerts acme --recharge-below 5 --recharge-target 9 --recharge-cost-basis x", "--recharge-cost-basis"),
        ("grant-recharge acme g1", "recharge"),
        ("grant-recharge acme q1 --cost-basis x", "--cost-basis"),
        ("refuse-recharge acme 7", "recharge"),
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
    for_programs = cli(*words.split(), "--json")
    assert (for_programs.code, for_programs.json["error"]["field"]) == (2, field)
    for_people = cli(*words.split())
    assert (for_people.code, for_people.out) == (2, "")
    assert for_people.err.startswith(f"error: {field}: expected")
    assert cli("balance", "acme", "--json").json["version"] == 2


@pytest.mark.parametrize(
    "words", ["set-alerts acme", "alerts acme", "events", "events --follow", "refuse-recharge acme q1"]
)
def test_where_there_is_no_journal_none_is_made(cli: Cli, tmp_path: Path, words: str) -> None:
    answer = cli(*words.split(), "--json")
    assert (answer.code, answer.json["error"]["what"]) == (4, "journal")
    assert not (tmp_path / "journal").exists()


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
