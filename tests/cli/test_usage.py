"""Usage on the command line: every mode for people and for programs, files, a service, and hostile values."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import pty
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from rich.console import Console

from solvent import Engine, InsufficientCredits
from solvent.engine.api.usage_answers import Usage, UsageLine, UsageQuestion, UsageSpike, UsageSpikes
from solvent.transports.cli.render.usage import columns as render_columns
from solvent.transports.cli.render.usage import files as usage_files
from solvent.transports.cli.render.usage import tables as render_tables
from solvent.transports.cli.render.usage.findings import entries_command, spikes
from solvent.transports.cli.usage import following

from .conftest import Answer, Cli, run_cli
from .test_service import DEADLINE_S, serving

NOW = datetime(2024, 5, 10, 12, tzinfo=UTC)
"""When the journal was written. What is asked is asked today."""
FIRST = datetime(2024, 5, 8, tzinfo=UTC)
DAYS = ("--period", "2024-05-08..2024-05-10")
VALUES = (
    *(1, 1.5, True, "1", "true", "x\x1b[31mred\x07", "[b]m[/b]", "(none)", "(other)", "=1+1", ""),
    *("\u202eevil", "line\nbreak", "a,b", 'say "hi"', "é", " edge ", "-7", -7, "NaN", "\x9b2J"),
    *(0.25, -0.25),
)
"""Each is used with one credit more than the one before it; what follows them is an event without a value."""

Ask = Callable[..., Answer]


async def write_journal(directory: Path) -> None:
    """1,597 credits are used in "acme": 240 of ann, 144 of bob, 1,200 of a script, 7 of nobody, 6 of cy."""
    async with Engine.open(directory, currencies={"tokens": 0}, now_us=lambda: int(NOW.timestamp()) * 10**6) as credits:
        for pool in ("acme", "acme/web", "globex", "evil", "acme:tokens", "staging@acme"):
            await credits.grant(pool, 2_000, key="g")
        for hour in range(48):
            at = FIRST + timedelta(hours=hour, minutes=5)
            for user, amount in (("ann", 5), ("bob", 3)):
                dimensions: dict[str, str | int] = {"user": user, "day": at.day}
                await credits.debit(
                    "acme",
                    amount,
                    key=f"{user}{hour}",
                    occurred_at=at,
                    metric="calls",
                    quantity=1,
                    dimensions=dimensions,
                )
        night = datetime(2024, 5, 9, 3, tzinfo=UTC)
        for minute in range(30):
            at = night + timedelta(minutes=minute)
            await credits.debit(
                "acme",
                40,
                key=f"s{minute}",
                occurred_at=at,
                metric="tokens",
                quantity="12.5",
                dimensions={"user": "script"},
            )
        await credits.debit("acme", 7, key="nobody", occurred_at="2024-05-09T20:00:00Z")
        late = await credits.debit("acme", 10, key="cy", occurred_at="2024-05-09T21:00:00Z", dimensions={"user": "cy"})
        await credits.reverse("acme", late.id, key="back", amount=4)
        with suppress(InsufficientCredits):
            await credits.debit("acme", 5_000, key="no", dimensions={"user": "ann"})
        await credits.debit("acme/web", 11, key="w", dimensions={"user": "ann"})
        await credits.debit("acme:tokens", 300, key="t")
        await credits.debit("staging@acme", 9, key="t")
        await credits.debit("globex", "50.25", key="z", dimensions={"user": "zoe"})
        for number, value in enumerate((*VALUES, None)):
            named = {} if value is None else {"v": value}
            await credits.debit("evil", number + 1, key=f"v{number}", dimensions=named)


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests here: they only read."""
    directory = tmp_path_factory.mktemp("usage") / "journal"
    asyncio.run(write_journal(directory))
    return directory


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, journal: Path) -> Ask:
    """``solvent usage`` on that journal."""
    monkeypatch.delenv("SOLVENT_NATS_URL", raising=False)
    monkeypatch.setenv("SOLVENT_DATA_DIR", str(journal))
    return lambda *words: run_cli("usage", *words)


@pytest.fixture(scope="module")
def served(journal: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy for ``service``."""
    return shutil.copytree(journal, tmp_path_factory.mktemp("served") / "journal")


@pytest.fixture(scope="module")
def service(served: Path) -> Iterator[str]:
    """The URL of one that serves it: it answers at once, while a folder takes a second to open."""
    with serving(served, "--nats-port", "0", "--currency", "tokens=0") as (_, url):
        yield url


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, service: str) -> Ask:
    """``solvent usage`` on that service."""
    monkeypatch.delenv("SOLVENT_DATA_DIR", raising=False)
    monkeypatch.setenv("SOLVENT_NATS_URL", service)
    return lambda *words: run_cli("usage", *words)


def cells(answer: Answer, first: str) -> list[str]:
    """The cells of the line of a table that begins with ``first``."""
    assert answer.code == 0, answer.err
    (line,) = (line for line in answer.out.splitlines() if line.strip().startswith(f"{first} "))
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def words_after(answer: Answer, label: str) -> list[str]:
    """The command line at the end of an answer, as a shell reads it."""
    return shlex.split(answer.out.partition(label)[2].replace("\\\n", " "))


def credits_by_group(lines: list[dict[str, Any]]) -> dict[Any, str]:
    return {
        "other" if line.get("other") else tuple(line["group"].values()): line["credits"].rstrip("0").rstrip(".")
        if "." in line["credits"]
        else line["credits"]
        for line in lines
    }


# -- The table


def test_groups_are_a_table_with_shares_and_bars(ask: Ask) -> None:
    told = ask("acme", "--by", "user", *DAYS, "--json").json
    assert credits_by_group(told["lines"]) == {
        ("script",): "1200",
        ("ann",): "240",
        ("bob",): "144",
        (None,): "7",
        ("cy",): "6",
    }
    total = told["total"]
    assert (total["credits"], total["debited"], total["reversed"]) == ("1597", "1601", "4")
    assert (total["events"], total["refused"], total["quantities"]) == (128, 1, {"calls": "96", "tokens": "375"})
    assert (told["start"], told["end"]) == ("2024-05-08T00:00:00Z", "2024-05-11T00:00:00Z")
    shown = ask("acme", "--by", "user", *DAYS)
    assert shown.out.startswith("Usage of acme, 2024-05-08 00:00:00 up to 2024-05-11 00:00:00 (UTC)\n")
    assert cells(shown, "user") == ["user", "credits", "share", "events", "reversed", "refused", "calls", "tokens"]
    assert cells(shown, "script") == ["script", "1,200", "75.1 %", "30", "375", "█" * 24]
    assert cells(shown, "ann") == ["ann", "240", "15.0 %", "48", "1", "48", "█" * 4]
    assert cells(shown, "(none)") == ["(none)", "7", "0.4 %", "1", "█"]
    assert cells(shown, "cy") == ["cy", "6", "0.4 %", "1", "4", "█"]
    assert cells(shown, "total") == ["total", "1,597", "128", "4", "1", "96", "375"]


def test_what_is_nought_everywhere_has_no_column(ask: Ask) -> None:
    assert cells(ask("globex", "--by", "user", *DAYS), "user") == ["user", "credits", "share", "events"]
    assert cells(ask("globex", "--by", "user", *DAYS), "zoe") == ["zoe", "50.25", "100.0 %", "1", "█" * 24]


def test_one_sum_is_named_rows(ask: Ask) -> None:
    shown = ask("acme", *DAYS)
    assert cells(shown, "credits") == ["credits", "1,597"]
    assert cells(shown, "events") == ["events", "128"]
    assert cells(shown, "first") == ["first", "2024-05-08 00:05:00"]
    assert "nothing was used" in ask("acme", "--by", "user", "--period", "2023").out


def test_buckets_are_lines_in_the_time_zone(ask: Ask) -> None:
    words = ("acme", "--window", "day", "--time-zone", "Europe/Paris", *DAYS)
    told = ask(*words, "--json").json
    assert [(line["start"], line["credits"]) for line in told["lines"]] == [
        ("2024-05-07T22:00:00Z", "176"),
        ("2024-05-08T22:00:00Z", "1409"),
        ("2024-05-09T22:00:00Z", "12"),
    ]
    shown = ask(*words)
    assert "2024-05-08 00:00:00 up to 2024-05-11 00:00:00 (Europe/Paris)" in shown.out
    assert "day (Europe/Paris)" in shown.out
    assert cells(shown, "2024-05-09")[:3] == ["2024-05-09", "1,409", "80"]
    hours = ask("acme", "--window", "hour", "--time-zone", "Europe/Paris", "--period", "2024-05-09")
    assert cells(hours, "2024-05-09 05:00+02:00")[1:3] == ["1,208", "32"]
    filled = ask("globex", "--window", "hour", "--fill", "--period", "2024-05-10", "--json").json["lines"]
    assert ([line["credits"] for line in filled].count("0"), len(filled)) == (23, 24)


def test_groups_with_a_window_have_a_course(ask: Ask) -> None:
    shown = ask("acme", "--by", "user", "--window", "day", *DAYS)
    assert "by day, 2024-05-08 to 2024-05-10" in shown.out
    assert cells(shown, "script") == ["script", "1,200", "75.1 %", "30", "▁█▁"]
    assert cells(shown, "ann") == ["ann", "240", "15.0 %", "48", "1", "██▁"]
    assert cells(shown, "cy") == ["cy", "6", "0.4 %", "1", "▁█▁"]
    assert cells(shown, "total") == ["total", "1,597", "128", "1", "▂█▁"]
    rows = [line.split()[0] for line in shown.out.splitlines() if " %" in line]
    assert rows == ["script", "ann", "bob", "(none)", "cy"]
    hours = ask("acme", "--by", "user", "--window", "hour", *DAYS)
    assert "by hour, 2024-05-08 00:00 to 2024-05-10 23:00" in hours.out
    assert len(cells(hours, "script")[-1]) == render_columns.SPARKLINE_CHARS_MAX


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ((), ["script", "ann", "bob", "(none)", "cy"]),
        (("--ascending",), ["cy", "(none)", "bob", "ann", "script"]),
        (("--order", "name"), ["ann", "bob", "cy", "script", "(none)"]),
        (("--order", "quantity", "--top", "1"), ["script", "(other)"]),
        (("--order", "events", "--top", "2"), ["ann", "bob", "(other)"]),
    ],
)
def test_groups_have_one_order_with_and_without_a_window(asked: Ask, words: tuple[str, ...], names: list[str]) -> None:
    for window in ((), ("--window", "day")):
        shown = asked("acme", "--by", "user", *DAYS, *words, *window).out
        assert [line.split()[0] for line in shown.splitlines() if " %" in line] == names


def test_pools_customers_environments_and_currencies(ask: Ask) -> None:
    def total(*words: str) -> str:
        told: str = ask(*words, *DAYS, "--json").json["total"]["credits"]
        return told

    assert total("acme/web") == "11"
    assert total("--customer", "acme") == "1608"
    assert total("--environment", "staging") == "9"
    assert total("--in", "tokens", "--customer", "acme", "--currency", "tokens=0") == "300"
    assert total("acme", "--no-consistent") == "1597"
    told = ask("--by", "$customer", "--by", "$resource", *DAYS, "--where-not", "$customer=evil", "--json").json
    assert credits_by_group(told["lines"]) == {
        ("acme", None): "1597",
        ("globex", None): "50.25",
        ("acme", "web"): "11",
    }
    shown = ask("--customer", "acme", "--environment", "staging", *DAYS).out
    assert shown.startswith("Usage of all pools of acme of staging, ")
    exact = ask("acme", "--start", "2024-05-09T20:00:00Z", "--end", "2024-05-09T20:00:00.000001Z", "--json")
    assert exact.json["total"]["credits"] == "7"


@pytest.mark.parametrize(
    ("words", "total"),
    [
        (["--where", "user=ann"], "240"),
        (["--where", "user=ann", "--where", "user=bob"], "384"),
        (["--where", "user=ann", "--missing", "user"], "247"),
        (["--missing", "user"], "7"),
        (["--where-not", "user=ann", "--where-not", "user=script"], "157"),
        (["--prefix", "user=sc"], "1200"),
        (["--where", "day:=9"], "192"),
        (["--where", "day=9"], "0"),
        (["--where", "day:=9", "--where", "user=bob"], "72"),
        (["--where", "$metric=tokens"], "1200"),
        (["--where", "user="], "0"),
    ],
)
def test_filters(asked: Ask, words: list[str], total: str) -> None:
    assert asked("acme", *DAYS, *words, "--json").json["total"]["credits"] == total


def test_a_long_table_is_cut_and_says_so(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render_columns, "LINES_SHOWN_MAX", 2)
    monkeypatch.setattr(render_tables, "METRICS_SHOWN_MAX", 1)
    shown = ask("acme", "--by", "user", *DAYS)
    assert "and 3 more groups: --top shows fewer" in shown.out
    assert "and 1 more metrics" in shown.out
    assert "bob" not in shown.out
    assert cells(shown, "total")[1] == "1,597"


# -- Comparisons, spikes, forecasts, entries


def test_a_period_against_another(ask: Ask) -> None:
    words = ("acme", "--by", "user", "--period", "2024-05-09", "--compare", "previous")
    told = ask(*words, "--json").json
    assert (told["before_start"], told["before_end"]) == ("2024-05-08T00:00:00Z", "2024-05-09T00:00:00Z")
    assert [(each["group"]["user"], each["before"], each["credits"], each["relative"]) for each in told["changes"]] == [
        ("script", "0", "1200", None),
        ("cy", "0", "10", None),
        (None, "0", "7", None),
        ("ann", "120", "120", "0"),
        ("bob", "72", "72", "0"),
    ]
    assert (told["total"]["change"], told["total"]["relative"]) == ("1217", "6.3385")
    shown = ask(*words)
    assert cells(shown, "script") == ["script", "0", "1,200", "+1,200", "new"]
    assert cells(shown, "ann") == ["ann", "120", "120", "0", "+0.0 %"]
    assert cells(shown, "total") == ["total", "192", "1,409", "+1,217", "+633.9 %"]
    assert "against 2024-05-08 00:00:00 up to 2024-05-09 00:00:00 (UTC)" in shown.out
    back = ask("acme", "--period", "2024-05-08", "--compare", "2024-05-09", "--json").json
    assert (back["total"]["change"], back["total"]["relative"]) == ("-1217", "-0.8637")
    assert cells(ask("acme", "--period", "2024-05-08", "--compare", "2024-05-09"), "1,409")[1:] == [
        "192",
        "-1,217",
        "-86.4 %",
    ]
    top = ask(*words, "--order", "credits", "--top", "1", "--json").json["changes"]
    assert [(each["group"]["user"], each["other"], each["credits"]) for each in top] == [
        ("script", False, "1200"),
        (None, True, "209"),
    ]
    assert ask(*words[:-1], "year before", "--json").json["before_start"] == "2023-05-09T00:00:00Z"


def test_spikes_lead_to_their_entries(ask: Ask) -> None:
    words = ("acme", "--by", "user", "--window", "hour", "--spikes", *DAYS)
    spike = ask(*words, "--json").json["spikes"][0]
    assert (spike["line"]["group"], spike["line"]["credits"], spike["expected"]) == ({"user": "script"}, "1200", "0")
    shown = ask(*words)
    assert cells(shown, "2024-05-09 03:00")[:4] == ["2024-05-09 03:00", "script", "1,200", "0"]
    command = words_after(shown, "entries behind it:")
    assert command[:2] == ["solvent", "usage"]
    page = run_cli(*command[1:], "--json").json
    assert (len(page["entries"]), {entry["credits"] for entry in page["entries"]}) == (30, {"40"})
    assert len(ask(*words, "--sensitivity", "3.5", "--limit", "1", "--json").json["spikes"]) == 1
    assert "nothing stands out" in ask(*words, "--sensitivity", "1e9").out


def test_a_forecast_is_named_rows(ask: Ask) -> None:
    words = ("acme", "--forecast", "--start", "2024-05-08T00:00:00Z", "--end", "2024-05-10T00:00:00Z")
    told = ask(*words, "--json").json
    assert (told["pool"], told["available"], told["per_day"], told["expiring"]) == ("acme", "403", "800.5", "0")
    shown = ask(*words, "--time-zone", "Europe/Paris")
    assert cells(shown, "available") == ["available", "403"]
    assert cells(shown, "used per day") == ["used per day", "800.5"]
    assert cells(shown, "at the rate of")[1] == "2024-05-08 02:00:00 up to 2024-05-10 02:00:00 (Europe/Paris)"
    assert "(Europe/Paris)" in cells(shown, "runs dry")[1]
    idle = ask("acme", "--forecast", "--period", "2023")
    assert cells(idle, "runs dry")[1] == "nothing is being used"
    assert ask("nobody", "--forecast", "--json").code == 4


def test_entries_are_read_in_pages(ask: Ask) -> None:
    words = ("acme", "--entries", "--by", "user", "--where", "user=script", "--where", "user=cy")
    whole = ask(*words, *DAYS, "--json").json
    assert (len(whole["entries"]), whole["next_cursor"]) == (32, None)
    assert whole["entries"][-1] == {**whole["entries"][-1], "pool": "acme", "credits": "-4"}
    first = ask(*words, *DAYS, "--limit", "20", "--json").json
    following = ("--start", first["start"], "--end", first["end"], "--cursor", first["next_cursor"])
    second = ask(*words, *following, "--json").json
    assert first["entries"] + second["entries"] == whole["entries"]
    shown = ask(*words, *DAYS, "--limit", "1")
    assert cells(shown, "2024-05-09 03:00:00")[2:] == ["40", "s0", "12.5 tokens user=script"]
    assert len(ask(*words, *words_after(shown, "more:"), "--json").json["entries"]) == 31
    of_all = ask("--customer", "acme", "--entries", "--where", "user=ann", "--limit", "1000", *DAYS)
    assert sum("acme/web" in line for line in of_all.out.splitlines()) == 1
    wrong = ask("acme", "--entries", *following, "--json")
    assert (wrong.code, wrong.json["error"]["field"]) == (2, "--cursor")


# -- Files


def read_value(text: str | None) -> Any:
    """A value of a dimension out of a file, by the rule that --help tells."""
    if text is None or text == "":
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def test_csv_says_what_the_answer_says(ask: Ask, tmp_path: Path) -> None:
    words = ("acme", "--by", "user", "--by", "day", "--window", "day", "--top", "3", *DAYS)
    told = ask(*words, "--json").json["lines"]
    printed = ask(*words, "--csv")
    read = list(csv.DictReader(io.StringIO(printed.out)))
    assert list(read[0]) == [
        *("start", "end", "user", "day", "other", "credits", "debited", "reversed", "events", "refused"),
        *("quantity.calls", "quantity.tokens", "first_at", "last_at"),
    ]
    assert len(read) == len(told) > 5
    for row, line in zip(read, told, strict=True):
        assert {name: read_value(row[name]) for name in ("user", "day")} == line["group"]
        assert {name: row[f"quantity.{name}"] for name in ("calls", "tokens") if row[f"quantity.{name}"]} == (
            line["quantities"]
        )
        for name in ("start", "end", "credits", "debited", "reversed"):
            assert row[name] == line[name]
        assert (row["other"], int(row["events"])) == (json.dumps(line["other"]), line["events"])
        assert (row["first_at"] or None, row["last_at"] or None) == (line["first_at"], line["last_at"])
    path = tmp_path / "usage.csv"
    said = ask(*words, "--csv", "--output", path)
    assert (said.code, said.out) == (0, f"{len(told)} lines written to {path}\n")
    assert path.read_text() == printed.out
    assert ask(*words, "--csv", "--output", path, "--json").json == {"file": str(path), "lines": len(told)}


def test_parquet_says_what_the_answer_says(ask: Ask, tmp_path: Path) -> None:
    words = ("acme", "--by", "user", "--window", "day", *DAYS)
    told = ask(*words, "--json").json["lines"]
    path = tmp_path / "it's.parquet"
    assert ask(*words, "--parquet", path, "--json").json == {"file": str(path), "lines": len(told)}
    with duckdb.connect() as db:
        table = db.read_parquet(str(path))
        types = dict(zip(table.columns, map(str, table.types), strict=True))
        assert {types["start"], types["last_at"]} == {"TIMESTAMP WITH TIME ZONE"}
        assert {types["credits"], types["quantity.tokens"]} == {"DECIMAL(38,9)"}
        assert (types["events"], types["other"], types["user"]) == ("BIGINT", "BOOLEAN", "VARCHAR")
    read = rows_of(
        path, 'epoch_us("start"), "user", other, credits, reversed, events, "quantity.calls", epoch_us(first_at)'
    )
    assert [
        (
            micros(line["start"]),
            line["group"]["user"],
            line["other"],
            line["credits"],
            line["reversed"],
            line["events"],
            line["quantities"].get("calls"),
            micros(line["first_at"]),
        )
        for line in told
    ] == [
        (start, read_value(user), other, f"{credits:f}".rstrip("0").rstrip("."), *rest)
        for start, user, other, credits, *rest in (
            (*row[:4], shortest(row[4]), row[5], shortest(row[6]), row[7]) for row in read
        )
    ]


def rows_of(path: Path, columns: str) -> list[Any]:
    with duckdb.connect() as db:
        return db.execute(f"select {columns} from read_parquet(?)", [str(path)]).fetchall()


def micros(moment: str | None) -> int | None:
    if moment is None:
        return None
    return (datetime.fromisoformat(moment) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def shortest(value: Any) -> str | None:
    if value is None:
        return None
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def test_no_value_is_lost_in_a_file_nor_worked_out_by_a_spreadsheet(ask: Ask, tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(ask("evil", "--by", "v", *DAYS, "--csv").out)))
    wanted = {number + 1: value for number, value in enumerate((*VALUES, None))}
    for row in rows:
        value, expected = read_value(row["v"]), wanted.pop(int(row["credits"]))
        assert repr(value) == repr(expected)
        assert row["v"].isprintable()
        assert row["v"] in ("-7", "-0.25") or not row["v"].startswith(("=", "-", "+", "@"))
    assert not wanted
    path = tmp_path / "evil.parquet"
    assert ask("evil", "--by", "v", *DAYS, "--parquet", path).code == 0
    found = sorted(rows_of(path, "credits, v"))
    read = [read_value(text) for _, text in found]
    assert list(map(repr, read)) == list(map(repr, (*VALUES, None)))


def test_columns_of_a_file_are_never_called_the_same(tmp_path: Path) -> None:
    fields = ("credits", "dimension.credits", "quantity.calls", "user")
    line = UsageLine(
        start=FIRST,
        end=NOW,
        group=dict.fromkeys(fields, "x"),
        credits=Decimal(1),
        debited=Decimal(1),
        reversed=Decimal(0),
        events=1,
        refused=0,
        quantities={"calls": Decimal(2), 'a"b': Decimal("0.000000001")},
        first_at=NOW,
        last_at=NOW,
    )
    answer = Usage(
        question=UsageQuestion(group_by=fields), start=FIRST, end=NOW, lines=(line,), total=line, position=1, as_of=1
    )
    names = [column.name for column in usage_files.columns(answer)]
    assert names[2:6] == ["dimension.credits", "dimension.dimension.credits", "dimension.quantity.calls", "user"]
    assert len(set(names)) == len(names)
    usage_files.write_parquet(answer, tmp_path / "x.parquet", "--parquet")
    with duckdb.connect() as db:
        assert db.read_parquet(str(tmp_path / "x.parquet")).columns == names
    assert rows_of(tmp_path / "x.parquet", '"quantity.a""b"') == [(Decimal("0.000000001"),)]


# -- Hostile values, pipes and terminals


@pytest.mark.parametrize("words", [(), ("--window", "day"), ("--compare", "previous"), ("--entries",)])
def test_no_value_moves_the_cursor_or_passes_for_another(ask: Ask, words: tuple[str, ...]) -> None:
    shown = ask("evil", "--by", "v", "--by", "none\x1b[2J", *DAYS, *words)
    assert shown.code == 0
    assert all(each.isprintable() or each == "\n" for each in shown.out)
    for text in ("\\u001b[31mred\\u0007", "[b]m[/b]", "\\u202eevil", "line\\nbreak", "\\u009b2J"):
        assert text in shown.out
    if "--entries" not in words:
        assert '"none\\u001b[2J"' in shown.out
        firsts = [line.split("  ")[0].strip() for line in shown.out.splitlines()]
        for text in ("1", '"1"', "1.5", "true", '"true"', '"(none)"', "(none)", '"(other)"', '""', "0.25", "-0.25"):
            assert firsts.count(text) == 1


def spikes_of(value: str | int | None, name: str = "user", **question: Any) -> UsageSpikes:
    line = UsageLine(
        start=FIRST,
        end=FIRST + timedelta(hours=1),
        group={name: value},
        credits=Decimal(9),
        debited=Decimal(9),
        reversed=Decimal(0),
        events=1,
        refused=0,
        quantities={},
        first_at=FIRST,
        last_at=FIRST,
    )
    asked = UsageQuestion(window="hour", group_by=(name,), **question)
    # The range begins inside the first bucket.
    start = FIRST + timedelta(minutes=30)
    usage = Usage(question=asked, start=start, end=NOW, lines=(line,), total=line, position=1, as_of=1)
    return UsageSpikes(
        start=start, usage=usage, spikes=(UsageSpike(line=line, expected=Decimal(1), score=9.5),), method=""
    )


def test_the_command_behind_a_spike_asks_for_no_more_and_no_less() -> None:
    filters = (
        {"field": "user", "op": "in", "values": ["a b", "c"]},
        {"field": "model", "op": "in", "values": ["x", None]},
        {"field": "n", "op": "not in", "values": [5, True]},
        {"field": "user", "op": "prefix", "values": ["a"]},
    )
    answer = spikes_of("a b", customer="acme", environment="staging", currency="tokens", filters=filters)
    assert entries_command(answer, answer.spikes[0]) == [
        *("solvent", "usage", "--entries", "--customer", "acme", "--environment", "staging", "--in", "tokens"),
        *("--start", "2024-05-08T00:30:00Z", "--end", "2024-05-08T01:00:00Z"),
        *("--where", "user=a b", "--where", "model=x", "--missing", "model"),
        *("--where-not", "n:=5", "--where-not", "n:=true", "--prefix", "user=a"),
    ]
    console = Console(width=60, file=io.StringIO())
    console.print(spikes(answer))
    assert isinstance(console.file, io.StringIO)
    shown = Answer(0, console.file.getvalue(), "")
    assert max(map(len, shown.out.splitlines())) <= 60
    assert words_after(shown, "entries behind it:") == entries_command(answer, answer.spikes[0])
    missing = spikes_of(None)
    assert (entries_command(missing, missing.spikes[0]) or [])[-2:] == ["--missing", "user"]
    for value, name in (("\x1b", "user"), ("a", "x=y"), ("a", "x:")):
        hostile = spikes_of(value, name)
        assert entries_command(hostile, hostile.spikes[0]) is None


def test_a_pipe_has_no_colours_and_no_progress(ask: Ask, journal: Path) -> None:
    shown = ask("acme", "--by", "user", *DAYS)
    assert shown.err == ""
    assert "\x1b" not in shown.out


def test_a_terminal_sees_the_progress_on_stderr(journal: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(journal, tmp_path / "copy")
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "solvent", "rebuild", "--json", "--data-dir", str(copy)]
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=end, text=True, env=environment) as process:
        os.close(end)
        out, _ = process.communicate(timeout=DEADLINE_S)
    assert json.loads(out)["rebuilt"] is None
    assert b"rebuild" in os.read(terminal, 100_000)
    os.close(terminal)


# -- Rebuilding, services, and what is wrong


def test_a_file_that_was_made_again_says_the_same(journal: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(journal, tmp_path / "copy")
    words = ("usage", "acme", "--by", "user", *DAYS, "--data-dir", copy, "--json")
    before = run_cli(*words).json
    status = run_cli("rebuild", "--data-dir", copy, "--json").json
    assert status == {"position": before["position"], "journal": before["position"], "rebuilt": None, "failure": None}
    assert run_cli(*words).json["lines"] == before["lines"]
    assert "✓ usage was made again" in run_cli("rebuild", "--data-dir", copy).out
    (copy / "usage.db").unlink()
    assert run_cli(*words).json["lines"] == before["lines"]


def test_a_service_answers_the_same(ask: Ask, service: str) -> None:
    words = ("acme", "--by", "user", "--window", "day", *DAYS)
    lines = ask(*words, "--json").json["lines"]
    on_service = ("--nats-url", service)
    assert ask(*words, *on_service, "--json").json["lines"] == lines
    assert cells(ask(*words, *on_service), "script") == ["script", "1,200", "75.1 %", "30", "▁█▁"]
    compared = ask("acme", "--period", "2024-05-09", "--compare", "previous", *on_service, "--json")
    assert compared.json["total"]["change"] == "1217"
    spikes = ask(*words[:3], "--window", "hour", "--spikes", *DAYS, *on_service, "--json").json["spikes"]
    assert spikes[0]["line"]["credits"] == "1200"
    page = ask("acme", "--entries", "--where", "user=cy", *DAYS, *on_service, "--json").json
    assert [entry["credits"] for entry in page["entries"]] == ["10", "-4"]
    assert ask("acme", "--forecast", *DAYS, *on_service, "--json").json["available"] == "403"
    status = run_cli("rebuild", *on_service, "--json").json
    assert (status["rebuilt"], status["position"]) == (None, status["journal"])
    assert ask(*words, *on_service, "--json").json["lines"] == lines
    wrong = ask("acme", "--where", "$amount=5", *on_service, "--json")
    assert (wrong.code, wrong.json["error"]["field"]) == (2, "--where")
    gone = run_cli("rebuild", "--nats-url", "nats://127.0.0.1:1", "--json")
    assert (gone.code, gone.json["error"]["code"]) == (6, "nats_server_unavailable")


def test_a_journal_that_is_served_is_locked(service: str, served: Path) -> None:
    for verb in ("usage", "rebuild"):
        locked = run_cli(verb, "--data-dir", served, "--json")
        assert (locked.code, locked.json["error"]["code"]) == (7, "journal_locked")


@pytest.mark.slow
def test_a_file_that_stands_still_is_not_waited_for(
    journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(journal, tmp_path / "copy")
    monkeypatch.setattr(following, "STILL_MAX_S", 1.5)
    (copy / "usage.db").unlink(missing_ok=True)
    with duckdb.connect(str(copy / "usage.db")):  # another process has it open
        answer = run_cli("usage", "acme", "--data-dir", copy, "--json")
    assert (answer.code, answer.json["error"]["code"]) == (6, "unavailable")


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ("acme --compare previous --spikes", "--spikes"),
        ("acme --entries --forecast", "--entries"),
        ("acme --limit 5", "--limit"),
        ("acme --cursor x", "--cursor"),
        ("acme --sensitivity 3", "--sensitivity"),
        ("acme --compare previous --window day", "--window"),
        ("acme --forecast --by user", "--by"),
        ("--forecast", "--forecast"),
        ("acme --customer acme", "--customer"),
        ("acme --environment default", "--environment"),
        ("acme --in tokens", "--in"),
        ("acme --output x", "--output"),
        ("acme --csv --parquet x", "--parquet"),
        ("acme --csv --json", "--csv"),
        ("acme --entries --csv --output x", "--csv"),
        ("acme --where user", "--where"),
        ("acme --where day:=x", "--where day"),
        ("acme --where-not =5", "--where-not"),
        ("acme --prefix user=", "--prefix"),
        ("acme --prefix user=a --where $amount=5", "--where"),
        ("acme --prefix $grant=g", "--prefix"),
        ("acme --missing $nothing", "--missing"),
        ("acme --by $amount", "--by"),
        ("acme --by user --by user", "--by"),
        ("acme --period sometime", "--period"),
        ("acme --forecast --period sometime", "--period"),
        ("acme --forecast --period 2024 --start 2024-01-01T00:00:00Z", "--period"),
        ("acme --start yesterday", "--start"),
        ("acme --start 2024-01-02T00:00:00Z --end 2024-01-01T00:00:00Z", "--end"),
        ("acme --window fortnight", "--window"),
        ("acme --window minute --period 2020", "--window"),
        ("acme --spikes", "--window"),
        ("acme --time-zone Mars/Olympus", "--time-zone"),
        ("acme --top 3", "--top"),
        ("acme --by user --order amount", "--order"),
        ("acme --by user --compare previous --order events", "--order"),
        ("acme --compare whenever", "--compare"),
        ("acme --entries --limit 0", "--limit"),
        ("acme --spikes --window hour --sensitivity 0", "--sensitivity"),
        ("--customer a\x1bb", "--customer"),
        ("a/b/c", "pool"),
        ("acme --csv --output /nowhere/at/all", "--output"),
        ("acme --parquet /nowhere/at/all", "--parquet"),
    ],
)
def test_what_is_wrong_is_named_as_it_was_typed(ask: Ask, words: str, field: str) -> None:
    for_people = ask(*words.split())
    if words == "acme --csv --json":
        for_people = Answer(for_people.code, "", f"error: {for_people.json['error']['message']}")
    assert (for_people.code, for_people.out) == (2, "")
    assert for_people.err.startswith(f"error: {field}: expected")
    assert for_people.err.count(": expected") == 1


@pytest.mark.parametrize("words", ["usage acme", "usage --csv", "rebuild"])
def test_where_there_is_no_journal_none_is_made(cli: Cli, tmp_path: Path, words: str) -> None:
    answer = cli(*words.split())
    assert (answer.code, answer.out) == (4, "")
    assert not (tmp_path / "journal").exists()
