"""Budgets on the command line."""

from __future__ import annotations

from .conftest import Cli


def test_a_budget_is_set_shown_used_up_and_removed(cli: Cli) -> None:
    cli("grant", "acme", "100", "--key", "g")
    assert cli("set-budget", "acme", "bots", "10", "--window", "total", "--match", "user=bot", "--json").code == 0
    assert cli("set-budget", "acme", "bots", "10", "--window", "total", "--match", "user=bot", "--json").json[
        "replayed"
    ]
    assert (
        "nothing was to change"
        in cli("set-budget", "acme", "bots", "10", "--window", "total", "--match", "user=bot").out
    )
    cli("set-budget", "acme", "people", "1", "--window", "day", "--time-zone", "Asia/Tokyo", "--each", "user", "--warn")
    warned = cli("debit", "acme", "8", "--key", "a", "--dim", "user=bot", "--json")
    assert (warned.code, warned.json["warnings"]) == (0, ["people"])
    stopped = cli("debit", "acme", "3", "--key", "b", "--dim", "user=bot", "--json")
    assert (stopped.code, stopped.json["error"]["code"], stopped.json["error"]["used"]) == (3, "budget_exceeded", "8")
    assert "stopped by" in cli("check", "acme", "3", "--dim", "user=bot").out
    shown = cli("budgets", "acme").out
    assert "user=bot" in shown
    assert "people (warns)" in shown
    assert "Asia/Tokyo" in shown
    (first, second) = cli("budgets", "acme", "--json").json["budgets"]
    assert (first["counts"], second["counts"][0]["value"]) == ([{"value": None, "used": "8", "open_holds": 0}], "bot")
    assert cli("remove-budget", "acme", "bots").code == 0
    assert cli("debit", "acme", "3", "--key", "b", "--dim", "user=bot").code == 0
    assert cli("set-budget", "acme", "x", "10", "--window", "year", "--json").json["error"]["field"] == "window"
    assert cli("verify", "--json").json["problems"] == []
