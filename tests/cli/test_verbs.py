"""The verbs on a journal: answers, refusals, exit codes and their JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from solvent.engine.runtime.files import JOURNAL_NAME

from .conftest import Cli, run_cli


def test_a_grant_a_debit_and_what_can_be_read_of_them(cli: Cli) -> None:
    granted = cli("grant", "acme/web", "100.50", "--key", "order-1", "--name", "first", "--json")
    assert granted.code == 0
    assert granted.json["amount"] == "100.5"
    assert granted.json["balance"] == "100.5"
    assert granted.json["key"] == "order-1"

    debited = cli("debit", "acme/web", "0.25", "--key", "r1", "--dim", "model=gpt", "--dim", "n:=5", "--json")
    assert debited.code == 0
    assert debited.json["balance"] == "100.25"
    assert debited.json["allocations"] == [{"grant": granted.json["id"], "amount": "0.25"}]
    assert debited.json["replayed"] is False
    assert cli("debit", "acme/web", "0.25", "--key", "r1", "--dim", "model=gpt", "--dim", "n:=5", "--json").json == {
        **debited.json,
        "replayed": True,
    }

    balance = cli("balance", "acme/web", "--json").json
    assert (balance["available"], balance["spent"], balance["granted"]) == ("100.25", "0.25", "100.5")
    (grant,) = cli("grants", "acme/web", "--json").json["grants"]
    assert (grant["name"], grant["spent"], grant["state"]) == ("first", "0.25", "active")
    newest = cli("ledger", "acme/web", "--limit", "1", "--json").json
    assert newest["entries"][0]["dimensions"] == {"model": "gpt", "n": 5}
    assert cli("ledger", "acme/web", "--cursor", newest["next_cursor"], "--json").json["entries"][0]["kind"] == "grant"
    oldest = cli("ledger", "acme/web", "--oldest-first", "--json").json["entries"]
    assert [entry["version"] for entry in oldest] == sorted(entry["version"] for entry in oldest)
    assert [pool["available"] for pool in cli("pools", "--json").json["pools"]] == ["100.25"]
    assert cli("pools", "nobody", "--json").json["pools"] == []
    (total,) = cli("totals", "acme", "--json").json["totals"]
    assert (total["currency"], total["pools"], total["available"]) == ("credits", 1, "100.25")
    assert "100.25" in cli("totals", "acme").out
    verified = cli("verify", "--json")
    assert verified.code == 0
    assert (verified.json["debits"], verified.json["problems"]) == (1, [])


def test_costs_say_what_became_of_credits(cli: Cli) -> None:
    cli("grant", "acme", "10", "--cost-basis", "USD=0.0125")
    cli("debit", "acme", "4", "--key", "r1")
    (line,) = cli("costs", "acme", "--json").json["lines"]
    assert (line["burned"], line["value"], line["cost_basis"]["currency"]) == ("4", "0.05", "USD")
    assert "0.05 USD" in cli("costs", "acme").out
    assert cli("costs", "acme", "--end", "2020-01-01T00:00:00Z", "--json").json["lines"] == []


def test_people_see_tables_and_bars(cli: Cli) -> None:
    granted = cli("grant", "acme", "10", "--name", "[red]not markup[/red]")
    assert granted.code == 0
    assert "cli-" in granted.out, "a random key is shown"
    cli("debit", "acme", "4", "--key", "r1", "--dim", "model=[b]m[/b]", "--metric", "tokens", "--quantity", "7")
    balance = cli("balance", "acme")
    assert "█" in balance.out
    assert "40.0 %" in balance.out
    assert "[red]not markup[/red]" in cli("grants", "acme").out
    assert "7 tokens model=[b]m[/b]" in cli("ledger", "acme").out
    assert "acme" in cli("pools").out
    assert "proven" in cli("verify").out


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (("debit", "acme", "11", "--key", "k"), 3, "insufficient_credits"),
        (("debit", "acme", "0", "--key", "k"), 2, "invalid_request"),
        (("debit", "acme", "1e", "--key", "k"), 2, "invalid_request"),
        (("debit", "acme", "1", "--dim", "x"), 2, "invalid_request"),
        (("debit", "a/b/c", "1"), 2, "invalid_request"),
        (("debit", "nobody", "1", "--key", "k"), 4, "not_found"),
        (("balance", "nobody"), 4, "not_found"),
        (("debit", "acme", "2", "--key", "used"), 5, "idempotency_conflict"),
        (("grant", "acme", "2", "--priority", "101"), 2, "invalid_request"),
        (("grant", "acme", "2", "--expires-at", "2030-01-01"), 2, "invalid_request"),
        (("ledger", "acme", "--limit", "0"), 2, "invalid_request"),
        (("ledger", "acme", "--cursor", "nonsense"), 2, "invalid_request"),
        (("balance", "acme", "-d", "x", "--nats-url", "nats://localhost"), 2, "invalid_request"),
    ],
)
def test_every_no_has_its_exit_code(cli: Cli, words: tuple[str, ...], code: int, error: str) -> None:
    cli("grant", "acme", "10", "--key", "order")
    cli("debit", "acme", "1", "--key", "used")
    for_programs = cli(*words, "--json")
    assert (for_programs.code, for_programs.json["error"]["code"], for_programs.err) == (code, error, "")
    for_people = cli(*words)
    assert (for_people.code, for_people.out) == (code, "")
    assert for_people.err == f"error: {for_programs.json['error']['message']}\n"


@pytest.mark.parametrize("words", [("debit", "acme"), ("nonsense",), ("balance", "acme", "--nonsense")])
def test_wrong_usage_is_2(cli: Cli, words: tuple[str, ...]) -> None:
    assert cli(*words).code == 2


@pytest.mark.parametrize("verb", ["balance acme", "grants acme", "ledger acme", "pools", "debit acme 1", "verify"])
def test_a_folder_without_a_journal_stays_without_one(cli: Cli, tmp_path: Path, verb: str) -> None:
    answer = cli(*verb.split(), "--json", "--data-dir", tmp_path / "elsewhere")
    assert (answer.code, answer.json["error"]["code"], answer.json["error"]["what"]) == (4, "not_found", "journal")
    assert not (tmp_path / "elsewhere").exists()


def test_a_changed_byte_is_a_difference(cli: Cli, tmp_path: Path) -> None:
    for number in range(3):
        cli("grant", "acme", "123.456789", "--key", f"order-{number}", "--comment", "findme-findme")
    path = tmp_path / "journal" / JOURNAL_NAME
    content = path.read_bytes()
    assert b"findme-findme" in content
    path.write_bytes(content.replace(b"findme-findme", b"findme-foundm", 1))
    answer = cli("verify", "--json")
    assert answer.code == 8
    assert answer.json["problems"]
    assert cli("verify").code == 8


def test_a_currency_keeps_its_own_places(cli: Cli) -> None:
    assert cli("grant", "acme:tokens", "10", "--currency", "tokens=0").code == 0
    assert cli("debit", "acme:tokens", "0.5", "--currency", "tokens=0").code == 2
    assert cli("debit", "acme:tokens", "3", "--currency", "tokens=0", "--json").json["balance"] == "7"


def test_version_and_help_say_what_the_codes_mean() -> None:
    assert run_cli("--version").out.startswith("solvent ")
    for words in (("--help",), ("debit", "--help"), ("replay", "--help")):
        text = " ".join(run_cli(*words).out.split())
        assert "3 refused" in text
        assert "8 a verification" in text
