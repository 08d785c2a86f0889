"""Alerts and requests for credits on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Cli, check_named

RECHARGE = ("--recharge-below", "10", "--recharge-target", "100")


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
    ],
)
def test_what_is_wrong_is_named_and_writes_nothing(cli: Cli, words: str, field: str) -> None:
    cli("grant", "acme", "100", "--key", "g")
    check_named(cli, words, field)
    assert cli("balance", "acme", "--json").json["version"] == 2


@pytest.mark.parametrize("words", ["set-alerts acme", "alerts acme", "refuse-recharge acme q1"])
def test_where_there_is_no_journal_none_is_made(cli: Cli, tmp_path: Path, words: str) -> None:
    answer = cli(*words.split(), "--json")
    assert (answer.code, answer.json["error"]["what"]) == (4, "journal")
    assert not (tmp_path / "journal").exists()
