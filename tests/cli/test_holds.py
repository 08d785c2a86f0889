"""Holds and reversals on the command line."""

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


def test_a_hold_asked_for_again_shows_what_became_of_it(cli: Cli) -> None:
    cli("grant", "acme", "10", "--key", "g")
    far = cli("hold", "acme", "4", "--key", "h", "--expires-at", "2999-01-01T00:00:00Z", "--json")
    assert (far.code, far.json["error"]["field"]) == (2, "expires_at")
    held = cli("hold", "acme", "4", "--key", "h", "--json").json
    assert held["state"] == "open"
    extended = cli("extend", "acme", held["id"], "--key", "e", "--ttl", "7200", "--json").json
    assert (extended["hold"], extended["expires_at"] > held["expires_at"]) == (held["id"], True)
    assert "extension" in cli("ledger", "acme").out
    captured = cli("capture", "acme", held["id"], "3", "--json").json
    again = cli("hold", "acme", "4", "--key", "h", "--json").json
    assert (again["state"], again.get("returned", "0")) == ("captured", "0")
    assert (again["settlement"]["entry"], again["settlement"]["captured"]) == (captured["id"], "3")
    assert f"captured, by {captured['id']}" in cli("hold", "acme", "4", "--key", "h").out
    other = cli("capture", "acme", held["id"], "2", "--json")
    assert (other.code, other.json["error"]["reason"]) == (5, "hold_captured")
    late = cli("extend", "acme", held["id"], "--ttl", "7200", "--json")
    assert (late.code, late.json["error"]["reason"]) == (5, "hold_captured")
    assert cli("verify", "--json").json["problems"] == []


def test_a_hold_is_released(cli: Cli) -> None:
    cli("grant", "acme", "10", "--key", "g")
    held = cli("hold", "acme", "4", "--json").json["id"]
    assert "release recorded" in cli("release", "acme", held).out
    assert cli("balance", "acme", "--json").json["available"] == "10"
    assert cli("holds", "acme", "--json").json["holds"] == []
