"""Credits that move between pools, on the command line."""

from __future__ import annotations

from .conftest import Cli


def test_credits_are_moved_between_the_pools_of_a_customer(cli: Cli) -> None:
    cli("grant", "acme", "10", "--key", "g")
    moved = cli("transfer", "acme", "acme/web", "4", "--key", "t", "--open-pool", "--json")
    assert (moved.code, moved.json["balance"], moved.json["id"]) == (0, "6", "t3")
    assert cli("balance", "acme/web", "--json").json["available"] == "4"
    assert "of acme/web" in cli("ledger", "acme").out
    assert cli("transfer", "acme", "other", "4", "--json").json["error"]["field"] == "target"
    assert cli("verify", "--json").json["problems"] == []
