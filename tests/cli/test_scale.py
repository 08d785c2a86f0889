"""Verbs on a journal whose currency keeps other decimal places, without ``--currency`` to say so."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import Cli
from .test_service import serving

TOLD = ("--currency", "usd=2")


def write_journal(cli: Cli) -> None:
    """A pool of 5 that uses 1.25, and says that it is low."""
    cli("grant", "acme:usd", "5", "--key", "g", *TOLD)
    cli("set-alerts", "acme:usd", "--low", "4.5", *TOLD)
    assert cli("debit", "acme:usd", "1.25", "--key", "d", *TOLD).code == 0


def read(cli: Cli, *at: str | Path) -> None:
    (event,) = cli("events", "acme:usd", "--json", *at).json["events"]
    assert (event["kind"], event["limit"], event["available"]) == ("low", "4.5", "3.75")
    for scope in (("acme:usd",), ("--customer", "acme", "--in", "usd")):
        usage = cli("usage", *scope, "--json", *at).json
        assert usage["total"]["credits"] == "1.25"
    (total,) = cli("totals", "acme", "--json", *at).json["totals"]
    assert (total["currency"], total["available"], total["spent"]) == ("usd", "3.75", "1.25")
    assert cli("debit", "acme:usd", "0.25", "--key", "again", "--json", *at).json["amount"] == "0.25"
    assert "at most 2 decimal places" in cli("debit", "acme:usd", "0.001", "--key", "finer", *at).err


def test_amounts_are_those_of_the_journal(cli: Cli) -> None:
    write_journal(cli)
    read(cli)


def test_amounts_are_those_of_the_journal_of_a_service(cli: Cli, tmp_path: Path) -> None:
    write_journal(cli)
    with serving(tmp_path / "journal", "--nats-port", "0") as (_, url):
        read(cli, "--nats-url", url)


def test_verify_and_export_read_them_too(cli: Cli, tmp_path: Path) -> None:
    write_journal(cli)
    proof = cli("verify", "--json")
    assert proof.code == 0
    assert proof.json["spent"] == {"usd": "1.25"}
    assert cli("export", tmp_path / "export").code == 0
    lines = [json.loads(line) for line in (tmp_path / "export" / "ledger.jsonl").read_text().splitlines()]
    assert [line["amount"] for line in lines if line["kind"] == "debit"] == ["1.25"]


def test_another_number_of_places_is_refused_by_name(cli: Cli) -> None:
    write_journal(cli)
    for pool in ("acme:usd", "globex:usd"):
        refused = cli("grant", pool, "1", "--key", "k", "--currency", "usd=6", "--json")
        assert refused.json["error"]["code"] == "state_conflict"
        assert refused.json["error"]["reason"] == "currency_scale"
        assert "2 decimal places of usd" in refused.json["error"]["message"]
