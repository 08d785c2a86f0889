"""Replay on a real journal: counts, resuming, bad lines, and the sums against exact fractions."""

from __future__ import annotations

import csv
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

TRACES = Path(__file__).parents[4] / "shared" / "data"
Write = Callable[[str, str], Path]


def events_csv(count: int) -> str:
    return "id,model,amount\r\n" + "".join(f"e{number},m{number % 3},0.5\r\n" for number in range(count))


MAPPED = ("--pool", "acme", "--id-column", "id", "--amount-column", "amount", "--dims-rest")


def test_every_event_is_booked_once_however_often_the_file_is_replayed(cli: Cli, rows: Write) -> None:
    cli("grant", "acme", "10000", "--key", "order")
    path = rows("usage.csv", events_csv(3000))
    first = cli("replay", path, *MAPPED, "--json")
    assert first.code == 0
    assert (first.json["booked"], first.json["already_there"], first.json["amount_booked"]) == (3000, 0, "1500")
    assert first.json["complete"] is True
    again = cli("replay", path, *MAPPED, "--json")
    assert (again.json["booked"], again.json["already_there"]) == (0, 3000)
    assert cli("balance", "acme", "--json").json["spent"] == "1500"


def test_a_longer_file_goes_on_where_the_shorter_ended(cli: Cli, rows: Write) -> None:
    cli("grant", "acme", "10000", "--key", "order")
    cli("replay", rows("usage.csv", events_csv(700)), *MAPPED)
    longer = cli("replay", rows("usage.csv", events_csv(1000)), *MAPPED, "--json")
    assert (longer.json["booked"], longer.json["already_there"]) == (300, 700)


def test_line_numbers_are_keys_where_the_file_has_no_ids(cli: Cli, rows: Write) -> None:
    cli("grant", "acme", "100", "--key", "order")
    path = rows("may.csv", "amount\n1\n1\n\n1\n")
    assert cli("replay", path, "--pool", "acme", "--amount-column", "amount", "--json").json["booked"] == 3
    keys = [entry["key"] for entry in cli("ledger", "acme", "--oldest-first", "--json").json["entries"]]
    assert keys[-3:] == ["may:2", "may:3", "may:5"]


def test_what_does_not_fit_is_counted_and_the_rest_goes_on(cli: Cli, rows: Write) -> None:
    cli("grant", "acme", "10", "--key", "order")
    answer = cli("replay", rows("usage.csv", events_csv(50)), *MAPPED, "--json")
    assert answer.code == 0
    assert (answer.json["booked"], answer.json["refused"]) == (20, {"insufficient_credits": 30})
    assert cli("balance", "acme", "--json").json["available"] == "0"


def test_bad_lines_are_named_counted_and_kept(cli: Cli, rows: Write, tmp_path: Path) -> None:
    cli("grant", "acme", "100", "--key", "order")
    bad = "".join(f"bad{number},m,none\r\n" for number in range(15))
    path = rows("usage.csv", events_csv(5) + bad + "late,m,1\r\n")
    kept = tmp_path / "bad.tsv"
    answer = cli("replay", path, *MAPPED, "--errors", kept)
    assert answer.code == 2
    assert "usage.csv:7: amount: expected a decimal number" in answer.err
    assert "usage.csv:17:" not in answer.err, "ten are shown"
    assert [line.split("\t")[:2] for line in kept.read_text().splitlines()] == [
        [str(number), "invalid_request"] for number in range(7, 22)
    ]
    summary = cli("replay", path, *MAPPED, "--json").json
    assert (summary["bad_lines"], summary["already_there"]) == (15, 6)


def test_strict_ends_at_the_first_bad_line(cli: Cli, rows: Write) -> None:
    cli("grant", "acme", "100", "--key", "order")
    path = rows("usage.csv", events_csv(3) + "bad,m,none\r\n" + "".join(f"late{n},m,1\r\n" for n in range(9)))
    answer = cli("replay", path, *MAPPED, "--strict", "--json")
    assert answer.code == 2
    assert answer.json["gave_up"]["code"] == "invalid_request"
    assert "line 5" in answer.json["gave_up"]["message"]
    assert (answer.json["booked"], answer.json["complete"]) == (3, False)


def test_a_changed_event_is_a_conflict_and_an_unknown_pool_is_named(cli: Cli, rows: Write) -> None:
    cli("grant", "acme", "100", "--key", "order")
    cli("replay", rows("usage.csv", "id,amount\nx,1\n"), *MAPPED)
    conflict = cli("replay", rows("usage.csv", "id,amount\nx,2\n"), *MAPPED)
    assert conflict.code == 5
    assert "usage.csv:2:" in conflict.err
    unknown = cli(
        "replay",
        rows("who.csv", "c,amount\nnobody,1\n"),
        "--customer-column",
        "c",
        "--amount-column",
        "amount",
        "--json",
    )
    assert (unknown.code, unknown.json["refused"]) == (4, {"not_found": 1})


def test_old_events_need_backfill(cli: Cli, rows: Write) -> None:
    cli("grant", "acme", "100", "--key", "order")
    path = rows("old.jsonl", '{"id": "a", "customer": "acme", "amount": 0.1, "time": "2020-01-01T00:00:00Z"}\n')
    assert cli("replay", path, "--json").code == 2
    backfilled = cli("replay", path, "--backfill", "--json")
    assert (backfilled.code, backfilled.json["amount_booked"]) == (0, "0.1")
    assert cli("ledger", "acme", "--json").json["entries"][0]["occurred_at"].startswith("2020-01-01T00:00:00")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (("--amount-column", "amount"), "--pool"),
        (("--pool", "acme"), "--amount-column"),
        (("--pool", "acme", "--amount-column", "nonsense"), "--amount-column"),
        (("--pool", "acme", "--metric", "t=amount"), "--price"),
        (("--pool", "acme", "--metric", "t=amount", "--price", "t=x"), "--price t"),
        (("--preset", "nonsense"), "--preset"),
        (("--pool", "acme", "--preset", "azure-llm"), "--preset"),
        (("--pool", "acme", "--amount-column", "amount", "--time-zone", "Mars/Crater"), "--time-zone"),
        (("--pool", "acme", "--amount-column", "amount", "--delimiter", "::"), "--delimiter"),
    ],
)
def test_a_mapping_that_cannot_be_meant_names_its_option(
    cli: Cli, rows: Write, options: tuple[str, ...], field: str
) -> None:
    cli("grant", "acme", "100", "--key", "order")
    answer = cli("replay", rows("usage.csv", events_csv(1)), *options, "--json")
    assert (answer.code, answer.json["error"]["field"]) == (2, field)


def test_replay_needs_a_file_and_a_journal(cli: Cli, rows: Write, tmp_path: Path) -> None:
    path = rows("usage.csv", events_csv(1))
    assert cli("replay", path, *MAPPED).code == 4
    assert not (tmp_path / "journal").exists()
    assert cli("replay", tmp_path / "nonsense.csv", *MAPPED).code == 2


@pytest.mark.parametrize("feature", ["code", "conversation"])
def test_a_real_trace_costs_what_exact_fractions_say(cli: Cli, feature: str) -> None:
    path = TRACES / f"azure_llm_2023_{feature}.csv"
    if not path.is_file():
        pytest.skip(f"the trace {path.name} is not beside this checkout")
    with path.open(newline="") as file:
        trace = list(csv.DictReader(file))
    cost = sum(Fraction(int(row["ContextTokens"]) * 3 + int(row["GeneratedTokens"]) * 6, 100_000) for row in trace)
    cli("grant", "acme", "100000", "--key", "order")
    answer = cli("replay", path, "--preset", "azure-llm", "--pool", "acme", "--json")
    assert answer.code == 0
    asked = sum((int(row[name]) > 0) for row in trace for name in ("ContextTokens", "GeneratedTokens"))
    assert (answer.json["lines"], answer.json["booked"]) == (len(trace), asked)
    assert Fraction(Decimal(answer.json["amount_booked"])) == cost
    (newest,) = cli("ledger", "acme", "--limit", "1", "--json").json["entries"]
    assert newest["dimensions"] == {"feature": feature}
    assert newest["occurred_at"].startswith("2023-11-16T19:")
    assert cli("verify").code == 0
