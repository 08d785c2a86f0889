"""Grants on the command line: new terms, and what is left taken away."""

from __future__ import annotations

from .conftest import Cli


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
