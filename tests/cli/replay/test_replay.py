"""Replay on a real journal: counts, resuming, bad lines, and the sums against exact fractions."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cli.conftest import Cli, run_cli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

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


def test_the_place_in_a_source_is_the_key_where_the_file_has_no_ids(cli: Cli, rows: Write) -> None:
    cli("grant", "acme", "100", "--key", "order")
    path = rows("may.csv", 'amount,note\n1,x\n1,"two\nlines"\n\n1,x\n')
    mapped = ("--pool", "acme", "--amount-column", "amount", "--source", "may")
    assert cli("replay", path, *mapped, "--json").json["booked"] == 3
    keys = [entry["key"] for entry in cli("ledger", "acme", "--oldest-first", "--json").json["entries"]]
    assert keys[-3:] == ["may:1", "may:2", "may:3"]


def test_text_inside_of_a_cell_is_never_a_record(cli: Cli, rows: Write) -> None:
    cli("grant", "acme", "10000", "--key", "order")
    path = rows("usage.csv", 'id,amount,note\n1,5,"first\n666,5000,not a record"\n2,7,ok\n')
    answer = cli("replay", path, "--pool", "acme", "--id-column", "id", "--amount-column", "amount", "--json")
    assert (answer.code, answer.json["booked"], answer.json["amount_booked"]) == (0, 2, "12")


def test_the_files_of_two_months_with_one_name_are_not_one(cli: Cli, tmp_path: Path) -> None:
    cli("grant", "acme", "100", "--key", "order")
    mapped = ("--pool", "acme", "--amount-column", "amount")
    for month in ("jan", "feb"):
        (tmp_path / month).mkdir()
        (tmp_path / month / "usage.csv").write_text("amount\n1\n")
    refused = cli("replay", tmp_path / "jan" / "usage.csv", *mapped, "--json")
    assert (refused.code, refused.json["error"]["field"]) == (2, "--id-column")
    for option in ("--id-column", "--source NAME", "--hash-columns"):
        assert option in refused.json["error"]["message"]
    for month in ("jan", "feb"):
        answer = cli("replay", tmp_path / month / "usage.csv", *mapped, "--source", month, "--json")
        assert answer.json["booked"] == 1
    assert cli("balance", "acme", "--json").json["spent"] == "2"


def test_what_does_not_fit_is_counted_and_the_rest_goes_on(cli: Cli, rows: Write) -> None:
    cli("grant", "acme", "10", "--key", "order")
    answer = cli("replay", rows("usage.csv", events_csv(50)), *MAPPED, "--json")
    assert answer.code == 0
    assert (answer.json["booked"], answer.json["refused"]) == (20, {"insufficient_credits": 30})
    assert cli("balance", "acme", "--json").json["available"] == "0"


def test_bad_records_are_named_counted_and_kept(cli: Cli, rows: Write, tmp_path: Path) -> None:
    cli("grant", "acme", "100", "--key", "order")
    bad = "".join(f"bad{number},m,none\r\n" for number in range(15))
    path = rows("usage.csv", events_csv(5) + bad + "late,m,1\r\n")
    kept = tmp_path / "bad.tsv"
    answer = cli("replay", path, *MAPPED, "--errors", kept)
    assert answer.code == 2
    assert "usage.csv:7: amount: expected a decimal number" in answer.err
    assert "(record 6)" in answer.err
    assert "usage.csv:17:" not in answer.err, "ten are shown"
    assert "✓" not in answer.out
    assert [line.split("\t")[:2] for line in kept.read_text().splitlines()] == [
        [str(number), str(number + 1)] for number in range(6, 21)
    ]
    summary = cli("replay", path, *MAPPED, "--json").json
    assert (summary["bad_lines"], summary["already_there"]) == (15, 6)


def test_strict_ends_at_the_first_bad_record(cli: Cli, rows: Write) -> None:
    cli("grant", "acme", "100", "--key", "order")
    path = rows("usage.csv", events_csv(3) + "bad,m,none\r\n" + "".join(f"late{n},m,1\r\n" for n in range(9)))
    answer = cli("replay", path, *MAPPED, "--strict", "--json")
    assert answer.code == 2
    assert answer.json["gave_up"]["code"] == "invalid_request"
    assert "record 4 (line 5)" in answer.json["gave_up"]["message"]
    assert (answer.json["booked"], answer.json["complete"]) == (3, False)


def test_a_changed_event_is_a_conflict_and_an_unknown_pool_is_named(cli: Cli, rows: Write) -> None:
    cli("grant", "acme", "100", "--key", "order")
    cli("replay", rows("usage.csv", "id,amount\nx,1\n"), *MAPPED)
    conflict = cli("replay", rows("usage.csv", "id,amount\nx,2\n"), *MAPPED)
    assert conflict.code == 5
    assert "usage.csv:2:" in conflict.err
    assert "✓" not in conflict.out
    assert "1 in conflict" in conflict.out
    with_more = rows("usage.csv", "id,amount\nx,2\ny,none\nz,1\n")
    assert cli("replay", with_more, *MAPPED).code == 5, "worse than a bad record"
    assert cli("replay", with_more, *MAPPED, "--strict").code == 5
    assert cli("balance", "acme", "--json").json["spent"] == "2"
    unknown = cli(
        "replay",
        rows("who.csv", "c,amount\nnobody,1\n"),
        "--customer-column",
        "c",
        "--amount-column",
        "amount",
        "--source",
        "who",
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
        (("--pool", "acme", "--amount-column", "amount"), "--id-column"),
        (("--pool", "acme", "--amount-column", "amount", "--source", ""), "--source"),
        (("--pool", "acme", "--amount-column", "amount", "--source", "x", "--id-column", "id"), "--source"),
        (("--pool", "acme", "--amount-column", "amount", "--hash-columns", "id,,amount"), "--hash-columns"),
        (("--pool", "acme", "--amount-column", "amount", "--hash-columns", "id,x"), "--hash-columns"),
        (("--pool", "acme", "--amount-column", "amount", "--id-column", "id?"), "--id-column"),
        (("--pool", "acme", "--metric", "t=amuont", "--price", "t=1", "--source", "x"), "--metric"),
        ((*MAPPED, "--missing", "1"), "--missing"),
        ((*MAPPED, "--round", "down"), "--round"),
        ((*MAPPED, "--not-dims", "x"), "--not-dims"),
        ((*MAPPED, "--only", "x=1"), "--only"),
        ((*MAPPED, "--quote", "--"), "--quote"),
        ((*MAPPED, "--quote", ","), "--quote"),
        ((*MAPPED, "--encoding", "nonsense"), "--encoding"),
        ((*MAPPED, "--time-column", "id", "--time-format", "%H"), "--time-format"),
        ((*MAPPED, "--rates", "nonsense.json"), "--rates"),
        ((*MAPPED, "--rates", "example"), "--rates"),
        ((*MAPPED, "--records", "data[0]"), "--records"),
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


def test_a_typing_mistake_books_nothing(cli: Cli, rows: Write) -> None:
    cli("grant", "acme", "100", "--key", "order")
    priced = ("--price", "tokens=1", "--pool", "acme")
    path = rows("usage.jsonl", '{"id": "a", "prompt_tokens": 5}\n{"id": "b", "prompt_tokens": null}\n')
    mistyped = cli("replay", path, "--metric", "tokens=promt_tokens", *priced, "--json")
    assert (mistyped.code, mistyped.json["booked"], mistyped.json["free"], mistyped.json["bad_lines"]) == (2, 0, 0, 2)
    right = cli("replay", path, "--metric", "tokens=prompt_tokens", *priced, "--json")
    assert (right.code, right.json["booked"], right.json["bad_lines"]) == (2, 1, 1)
    lenient = cli("replay", path, "--metric", "tokens=prompt_tokens", *priced, "--missing", "0", "--json")
    assert (lenient.code, lenient.json["already_there"], lenient.json["free"]) == (0, 1, 1)


def test_amounts_with_more_places_than_the_currency_are_rounded_only_if_asked(cli: Cli, rows: Write) -> None:
    cli("grant", "acme", "100", "--key", "order")
    path = rows("usage.csv", "id,amount\na,1.50000000000\nb,0.00000049\nc,2.9999999\n")
    refused = cli("replay", path, *MAPPED, "--json")
    assert (refused.code, refused.json["booked"], refused.json["amount_booked"]) == (2, 1, "1.5")
    rounded = cli("replay", path, *MAPPED, "--round", "half-even", "--json")
    assert (rounded.code, rounded.json["booked"], rounded.json["free"]) == (0, 1, 1)
    up = cli("replay", path, *MAPPED, "--round", "up", "--json")
    assert (up.code, up.json["amount_booked"]) == (0, "0.000001")
    assert cli("balance", "acme", "--json").json["spent"] == "4.500001"


def test_a_rate_card_prices_by_dimensions(cli: Cli, rows: Write) -> None:
    cli("grant", "acme", "100", "--key", "order")
    card = rows(
        "card.json",
        '[{"metric": "tokens", "credits": 2.5, "per": 1000000},'
        ' {"metric": "tokens", "match": {"model": "big"}, "credits": "30", "per": 1000000}]',
    )
    path = rows("usage.csv", "id,model,n\na,small,3\nb,big,3\nc,other,1\n")
    mapped = ("--pool", "acme", "--id-column", "id", "--metric", "tokens=n", "--dim-column", "model=model")
    answer = cli("replay", path, *mapped, "--rates", card, "--json")
    assert (answer.code, answer.json["booked"]) == (0, 3)
    amounts = [entry["amount"] for entry in cli("ledger", "acme", "--oldest-first", "--json").json["entries"]]
    assert amounts[-3:] == ["0.000008", "0.00009", "0.000002"]


# Every way in which one file can lie about


def packed(path: Path, pack: str) -> Path:
    compress: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "zst": zstd.compress}
    if pack not in compress:
        return path
    packed = path.with_name(f"{path.name}.{pack}")
    packed.write_bytes(compress[pack](path.read_bytes()))
    return packed


def table(rows: list[dict[str, Any]], delimiter: str) -> str:
    written = io.StringIO(newline="")
    writer = csv.DictWriter(written, ["id", "n", "model"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()


FORMS: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "usage.csv": lambda rows: table(rows, ","),
    "usage.tsv": lambda rows: table(rows, "\t"),
    "usage.jsonl": lambda rows: "".join(json.dumps(each) + "\n" for each in rows),
    "usage.json": lambda rows: json.dumps(rows, indent=1),
    "usage.txt": lambda rows: json.dumps({"more": {}, "data": rows}),
}


@pytest.mark.parametrize("pack", ["plain", "gz", "zst", "stdin", "gz stdin", "zst stdin"])
@pytest.mark.parametrize("form", FORMS)
def test_the_same_events_in_any_form_are_the_same_debits(cli: Cli, rows: Write, form: str, pack: str) -> None:
    cli("grant", "acme", "100", "--key", "order")
    events = [{"id": f"e{number}", "n": number, "model": f"m {number % 3}"} for number in range(1, 13)]
    path = packed(rows(form, FORMS[form](events)), pack.split()[0])
    mapped = ("--pool", "acme", "--id-column", "id", "--amount-column", "n", "--dim-column", "model=model", "--json")
    inside = ("--records", "data") if form == "usage.txt" else ()
    if pack.endswith("stdin"):
        answer = run_cli("replay", "-", *mapped, *inside, stdin=path.read_bytes())
        assert answer.json["file"] == "standard input"
    else:
        answer = cli("replay", path, *mapped, *inside)
    assert (answer.code, answer.json["booked"], answer.json["amount_booked"]) == (0, 12, "78")
    entries = cli("ledger", "acme", "--oldest-first", "--json").json["entries"][-12:]
    assert [(entry["key"], entry["dimensions"]) for entry in entries] == [
        (each["id"], {"model": each["model"]}) for each in events
    ]


@pytest.mark.parametrize("pack", ["gz", "zst"])
def test_a_file_that_is_cut_off_keeps_what_was_booked_and_goes_on_when_it_is_whole(
    cli: Cli, rows: Write, pack: str
) -> None:
    cli("grant", "acme", "100000", "--key", "order")
    # Notes that compress badly: of a file that is one block, the half is nothing.
    lines = (f"e{n:x},{n % 7}.25,{hashlib.sha256(bytes(n)).hexdigest()}\n" for n in range(8_000))
    whole = packed(rows("usage.csv", "id,amount,note\n" + "".join(lines)), pack)
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) // 2])
    cut = cli("replay", whole, *MAPPED)
    assert cut.code == 2
    assert "the compressed file ends too early, after" in cut.err
    assert "✓" not in cut.out
    kept = int(re.search(r"record (\d+) \(line \d+\) is the last before it", cut.err)[1])  # type: ignore[index]
    assert kept > 500
    assert Decimal(cli("balance", "acme", "--json").json["spent"]) == sum(Decimal(f"{n % 7}.25") for n in range(kept))
    whole.write_bytes(content)
    again = cli("replay", whole, *MAPPED, "--json")
    assert (again.code, again.json["already_there"], again.json["booked"]) == (0, kept, 8_000 - kept)


def test_behind_a_quote_that_is_never_closed_nothing_is_booked(cli: Cli, rows: Write) -> None:
    cli("grant", "acme", "100", "--key", "order")
    path = rows("usage.csv", 'id,amount,note\n1,5,ok\n2,7,"never closed\n3,50,x\n')
    answer = cli("replay", path, *MAPPED, "--json")
    assert (answer.code, answer.json["booked"], answer.json["complete"]) == (2, 1, False)
    assert "record 2, which begins in line 3" in answer.json["gave_up"]["message"]


def test_a_run_that_waits_for_standard_input_ends_when_it_is_told_to(cli: Cli, tmp_path: Path) -> None:
    cli("grant", "acme", "100", "--key", "order")
    words = ["replay", "-", "--pool", "acme", "--id-column", "id", "--amount-column", "n"]
    command = [sys.executable, "-m", "solvent", *words, "--data-dir", str(tmp_path / "journal")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdin is not None
        assert run.stderr is not None
        run.stdin.write(b"id,n\nbad,bad\n" + b"".join(b"e%d,0.01\n" % number for number in range(600)) + b"e600,9")
        run.stdin.flush()
        assert b"standard input:2:" in run.stderr.readline()  # It reads, and then waits for more.
        run.send_signal(signal.SIGINT)
        said, _ = run.communicate(timeout=60)
    assert run.returncode == 130
    assert b"stopped" in said
    spent = Decimal(cli("balance", "acme", "--json").json["spent"])
    assert 4 < spent <= 6
    whole = b"id,n\n" + b"".join(b"e%d,0.01\n" % number for number in range(601))
    last = run_cli("replay", "-", *words[2:], "--json", stdin=whole)
    assert last.json["booked"] + last.json["already_there"] == 601, "the line that was not finished had not been booked"


@given(data=st.data())
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_runs_that_end_anywhere_book_each_event_once(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Interrupted at random records, cut off at random bytes, in changing forms: in the end each is booked once."""
    folder = tmp_path_factory.mktemp("resume")
    count = data.draw(st.integers(1, 40))
    events = [{"id": f"e{number}", "n": f"{number}.5", "model": "m\nm"} for number in range(count)]
    where = ("--data-dir", folder / "journal")
    run_cli("grant", "acme", "100000", *where)
    mapped = ("--pool", "acme", "--id-column", "id", "--amount-column", "n", *where, "--json")
    for _ in range(data.draw(st.integers(1, 2))):
        path = folder / "usage.jsonl"
        content = FORMS["usage.jsonl"](events).encode()
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        run_cli("replay", path, *mapped)
        packed_csv = gzip.compress(table(events, ",").encode())
        path = folder / "usage.csv.gz"
        path.write_bytes(packed_csv[: data.draw(st.integers(0, len(packed_csv)))])
        run_cli("replay", path, *mapped)
    path = folder / "usage.json"
    path.write_text(FORMS["usage.json"](events))
    last = run_cli("replay", path, *mapped)
    assert (last.code, last.json["booked"] + last.json["already_there"]) == (0, count)
    assert Decimal(run_cli("balance", "acme", *where, "--json").json["spent"]) == sum(
        Decimal(each["n"]) for each in events
    )


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
    answer = cli("replay", path, "--preset", "azure-llm", "--pool", "acme", "--source", feature, "--json")
    assert answer.code == 0
    asked = sum((int(row[name]) > 0) for row in trace for name in ("ContextTokens", "GeneratedTokens"))
    assert (answer.json["lines"], answer.json["booked"]) == (len(trace), asked)
    assert Fraction(Decimal(answer.json["amount_booked"])) == cost
    (newest,) = cli("ledger", "acme", "--limit", "1", "--json").json["entries"]
    assert newest["dimensions"] == {"feature": feature}
    assert newest["occurred_at"].startswith("2023-11-16T19:")
    assert cli("verify").code == 0
