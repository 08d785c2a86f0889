"""Rate cards, reports and estimates on the command line."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import Cli


def test_a_card_prices_reports(cli: Cli, tmp_path: Path) -> None:
    card = tmp_path / "card.json"
    rates = [
        {"metric": "tokens", "credits": "10", "per": 1_000_000},
        {"metric": "tokens", "match": {"model": "gpt-4"}, "credits": "30", "per": 1_000_000},
    ]
    card.write_text(json.dumps(rates))
    assert cli("set-rates", card, "--json").code == 0
    assert "nothing was to change" in cli("set-rates", card).out
    cli("grant", "acme", "10", "--key", "g")
    reported = cli("report", "acme", "tokens", "200000", "--key", "r", "--dim", "model=gpt-4", "--json")
    assert (reported.code, reported.json["amount"], reported.json["card"]) == (0, "6", 1)
    estimate = cli("estimate", "acme", "tokens", "500000", "--json").json
    assert (estimate["amount"], estimate["verdict"]["allowed"]) == ("5", False)
    shown = cli("estimate", "acme", "tokens", "500000", "--dim", "model=gpt-4").out
    assert "30 per 1,000,000 tokens where model=gpt-4" in shown
    assert "may not be spent" in shown
    assert cli("report", "acme", "tokens", "500000", "--json").code == 3
    assert cli("report", "acme", "images", "1", "--json").code == 4
    assert "gpt-4" in cli("rates").out
    assert cli("rates", "--json").json["cards"][0]["rates"][0]["credits"] == "10"
    card.write_text(json.dumps([{"metric": "tokens", "credits": 1.5}]))
    assert cli("set-rates", card, "--json").json["error"]["field"] == "rates[0].credits"
    card.write_text("{")
    assert cli("set-rates", card).code == 2
    assert cli("verify", "--json").json["problems"] == []
