"""The verbs that change what a plain grant or debit made."""

from __future__ import annotations

from .conftest import Cli


def test_a_hold_is_captured_and_the_capture_reversed(cli: Cli) -> None:
    cli("grant", "acme", "10", "--key", "g")
    held = cli("hold", "acme", "4", "--key", "h", "--ttl", "60", "--dim", "user=u1", "--metric", "tokens", "--json")
    assert (held.code, held.json["balance"], held.json["key"]) == (0, "6", "h")
    (listed,) = cli("holds", "acme", "--json").json["holds"]
    assert (listed["id"], listed["amount"], listed["dimensions"]) == (held.json["id"], "4", {"user": "u1"})
    assert "tokens user=u1" in cli("holds", "acme").out
    refused = cli("check", "acme", "7", "--json")
    assert (refused.code, refused.json["allowed"], refused.json["top_up"]) == (0, False, "1")
    assert "may not be spent" in cli("check", "acme", "7").out
    assert "may be spent" in cli("check", "acme", "6").out

    captured = cli("capture", "acme", held.json["id"], "3", "--quantity", "900", "--json")
    assert (captured.json["amount"], captured.json["returned"], captured.json["balance"]) == ("3", "1", "7")
    assert "of hold" in cli("capture", "acme", held.json["id"], "3").out
    late = cli("release", "acme", held.json["id"], "--json")
    assert (late.code, late.json["error"]["reason"]) == (5, "hold_captured")
    undone = cli("reverse", "acme", captured.json["id"], "2", "--key", "r", "--json")
    assert (undone.json["balance"], undone.json["debit"]) == ("9", captured.json["id"])
    assert cli("reverse", "acme", captured.json["id"], "--json").json["amount"] == "1"
    assert cli("reverse", "acme", "d99", "--json").code == 4
    assert "of h3" in cli("ledger", "acme").out
    assert cli("verify", "--json").json["problems"] == []


def test_a_hold_is_released(cli: Cli) -> None:
    cli("grant", "acme", "10", "--key", "g")
    held = cli("hold", "acme", "4", "--json").json["id"]
    assert "release recorded" in cli("release", "acme", held).out
    assert cli("balance", "acme", "--json").json["available"] == "10"
    assert cli("holds", "acme", "--json").json["holds"] == []


def test_the_terms_of_a_grant_are_changed_and_it_is_voided(cli: Cli) -> None:
    grant = cli("grant", "acme", "10", "--expires-at", "2999-01-01T00:00:00Z", "--json").json["id"]
    assert cli("update-grant", "acme", grant, "--priority", "7", "--meta", "plan=pro", "--json").code == 0
    (changed,) = cli("grants", "acme", "--json").json["grants"]
    assert (changed["priority"], changed["metadata"], changed["expires_at"][:4]) == (7, {"plan": "pro"}, "2999")
    assert cli("update-grant", "acme", grant, "--expires-at", "never").code == 0
    assert cli("grants", "acme", "--json").json["grants"][0]["expires_at"] is None
    assert cli("update-grant", "acme", grant).code == 2
    before = cli("balance", "acme", "--json").json["as_of"]
    assert cli("void-grant", "acme", grant, "--json").json["amount"] == "10"
    assert cli("balance", "acme", "--json").json["voided"] == "10"
    assert cli("balance", "acme", "--as-of", before, "--json").json["available"] == "10"
    assert cli("grants", "acme", "--as-of", before, "--json").json["grants"][0]["state"] == "active"


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


def test_credits_are_moved_between_the_pools_of_a_customer(cli: Cli) -> None:
    cli("grant", "acme", "10", "--key", "g")
    moved = cli("transfer", "acme", "acme/web", "4", "--key", "t", "--json")
    assert (moved.code, moved.json["balance"], moved.json["id"]) == (0, "6", "t3")
    assert cli("balance", "acme/web", "--json").json["available"] == "4"
    assert "of acme/web" in cli("ledger", "acme").out
    assert cli("transfer", "acme", "other", "4", "--json").json["error"]["field"] == "target"
    assert cli("verify", "--json").json["problems"] == []
