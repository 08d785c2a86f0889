"""Whatever text others have sent, by every verb it is shown so that it does nothing but be read."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import signal
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
import rich.progress
import rich.text
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table

from solvent import Engine
from solvent.transports.cli.main import app
from solvent.transports.cli.render.visible import visible
from solvent.transports.cli.terminal import Console, Label, Text, escape_logs, json_text

from .conftest import Cli, run_cli

CONTROLS = "\x1b]0;title\x07\x1b[2J\r\n\t\x08\x7f\x85\x9b2J\u2028"
BIDI = "\u202e\u2066\u200f\u061c"
HIDDEN = "\u200b\u200d\ufeff\u00ad\u034f\u3164\ufe0f\u2800\U000e0041"
HOSTILE = f"a{CONTROLS}b{BIDI}c{HIDDEN}d"
"""As a value of a dimension, of metadata, or a comment can be."""
PRINTABLE = "[red]x[/red] [link=http://e]y :smile: \u3164\u034f\ufe0f"
"""As an id can be: it is printable, as Unicode has it."""
SGR = re.compile(r"\x1b\[[0-9;]*m")


def raw(text: str) -> str:
    """What of a text a terminal would act upon, or would not show."""
    return "".join(each for each in text if each != "\n" and visible(f"x{each}") != f"x{each}")


@given(st.text())
def test_visible_text_has_nothing_hidden_and_is_not_changed_again(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    assert visible(shown) == shown
    assert not shown or unicodedata.category(shown[0]) not in ("Mn", "Me", "Mc")
    if text.isascii() and text.isprintable():
        assert shown == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢字 🜁", "plain é 漢字 🜁"),
        ("e\u0301", "e\u0301"),
        ("\u0301e", "\\u0301e"),
        ("\x1b[31m", "\\u001b[31m"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x9b\x7f", "\\u009b\\u007f"),
        ("\u202eabc", "\\u202eabc"),
        ("a\u200bb", "a\\u200bb"),
        ("\ud800", "\\ud800"),
        ("a\u3164", "a\\u3164"),
    ],
)
def test_each_character_is_shown_or_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


def drawn(renderable: RenderableType, *, terminal: bool = False) -> str:
    file = io.StringIO()
    console = Console(file, width=400)
    if terminal:
        console._force_terminal = True
    console.print(renderable)
    return SGR.sub("", file.getvalue())


def hostile_table() -> Table:
    table = Table(title=HOSTILE, caption=HOSTILE)
    table.add_column(HOSTILE, footer=HOSTILE)
    table.add_column(Text(HOSTILE))
    table.add_row(HOSTILE, Text(HOSTILE))
    table.add_row(rich.text.Text(HOSTILE), Text("x") + HOSTILE)
    return table


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize(
    "renderable",
    [
        HOSTILE,
        Text(HOSTILE),
        Text("x").append(HOSTILE, "bold"),
        Text.assemble(HOSTILE, (HOSTILE, "red")),
        rich.text.Text(HOSTILE),
        rich.text.Text("x").append(HOSTILE),
        Group(HOSTILE, Text(HOSTILE)),
        Panel(HOSTILE, title=rich.text.Text(HOSTILE)),
        Padding(rich.text.Text(HOSTILE), 1),
        hostile_table(),
    ],
    ids=lambda each: type(each).__name__,
)
def test_nothing_comes_to_a_console_raw(renderable: RenderableType, terminal: bool) -> None:
    assert raw(drawn(renderable, terminal=terminal)) == ""


def test_a_console_shows_text_whole_and_in_one_line() -> None:
    table = Table()
    table.add_column("x")
    table.add_row(Text(HOSTILE))
    table.add_row(PRINTABLE)
    lines = drawn(table).splitlines()
    assert len(lines) == 6
    assert visible(HOSTILE) in lines[3]
    assert visible(PRINTABLE) in lines[4], "neither markup nor an emoji"


def test_a_progress_bar_is_about_what_it_says() -> None:
    file = io.StringIO()
    console = Console(file, width=900)
    console._force_terminal = True
    with rich.progress.Progress(Label(), Label("rate"), console=console, auto_refresh=False) as progress:
        progress.add_task(f"[bold]{HOSTILE}", rate=HOSTILE)
        progress.refresh()
    said = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue()).replace("\r", "")
    assert raw(said) == ""
    assert visible(f"[bold]{HOSTILE}") in said
    file = io.StringIO()
    with Live(rich.text.Text(HOSTILE), console=Console(file, width=300), auto_refresh=False):
        pass
    assert raw(file.getvalue()) == ""


def test_json_is_escaped_and_the_same() -> None:
    for text in (HOSTILE, PRINTABLE, "é 漢字"):
        shown = visible(json_text({"x": text}))
        assert raw(shown) == ""
        assert json.loads(shown) == {"x": text}
    assert json.loads(json_text({"x": "\ud800"})) == {"x": "\ud800"}


def test_logs_are_escaped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    escape_logs()
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logging.getLogger("solvent.test").warning("of %s", HOSTILE, exc_info=True)
    said = capsys.readouterr().err
    assert said.splitlines()[0] == f"of {visible(HOSTILE)}"
    assert raw(said) == ""


# Every verb

CUSTOMER = "[red]acme[b]\u3164"
POOL = CUSTOMER
WEB = f"{CUSTOMER}/[i]web:smile:\u034f".replace(":smile:", "%3Asmile%3A")
META = {f"n{HOSTILE}": HOSTILE}


async def fill(folder: Path) -> None:
    """Something hostile in everything that any verb shows."""
    dims: dict[str, str | int | float | bool] = {f"d{HOSTILE}": HOSTILE, "plain": f"[bold]{HOSTILE}", "n": 5}
    async with Engine.open(folder) as engine:
        await engine.grant(
            POOL, 1_000, key=PRINTABLE, name=PRINTABLE, comment=f"c{HOSTILE}", metadata=META, cost_basis=("0.01", "USD")
        )
        await engine.grant(WEB, 5, key="g")
        await engine.set_rates([{"metric": PRINTABLE, "credits": "0.5", "match": {"plain": f"[bold]{HOSTILE}"}}])
        await engine.report(POOL, PRINTABLE, 3, key=f"r{PRINTABLE}", dimensions=dims)
        await engine.debit(POOL, 2, key=f"d{PRINTABLE}", metric=PRINTABLE, quantity=1, dimensions=dims)
        await engine.hold(POOL, 3, key=f"h{PRINTABLE}", metric=PRINTABLE, dimensions=dims)
        name = f"d{HOSTILE}"
        await engine.set_budget(POOL, PRINTABLE, 100, window="day", match={name: HOSTILE}, each="plain", mode="warn")
        await engine.set_budget(POOL, "each", 5, window="total", each="plain")
        await engine.set_allowance(POOL, PRINTABLE, 10, window="day", match={name: HOSTILE}, each="plain")
        await engine.set_recurring(POOL, PRINTABLE, 10, period="month", cost_basis=("0.01", "USD"))
        await engine.set_alerts(
            POOL, low=["999"], budget_percents=[1], recharge={"below": "990", "target": "1000", "timeout_s": 3600}
        )
        await engine.debit(POOL, "4.5", key="again", dimensions={**dims, "other": HOSTILE})


BAD_POOL = f"x{HOSTILE}"
DIM = f"d{HOSTILE}={HOSTILE}"
VERBS: dict[str, list[list[str]]] = {
    "demo": [["--data", HOSTILE]],
    "serve": [],
    "replay": [["nothing" + HOSTILE, "--pool", POOL, "--source", "s", "--amount-column", "n"]],
    "grant": [[POOL, "1", "--key", f"k{PRINTABLE}", "--name", PRINTABLE, "--comment", HOSTILE, "--meta", DIM]],
    "update-grant": [[POOL, "g1", "--key", f"u{PRINTABLE}", "--meta", DIM], [POOL, HOSTILE, "--priority", "1"]],
    "void-grant": [[POOL, HOSTILE]],
    "debit": [
        [POOL, "1", "--key", f"e{PRINTABLE}", "--dim", DIM, "--metric", PRINTABLE],
        [POOL, HOSTILE],
        [POOL, "9999"],
    ],
    "report": [[POOL, PRINTABLE, "1", "--dim", f"plain=[bold]{HOSTILE}"], [POOL, f"m{HOSTILE}", "1"]],
    "estimate": [[POOL, PRINTABLE, "1", "--dim", f"plain=[bold]{HOSTILE}", "--dim", DIM]],
    "check": [[POOL, "1", "--dim", DIM], [POOL, "2000", "--dim", f"plain=[bold]{HOSTILE}", "--dim", DIM]],
    "hold": [[POOL, "1", "--key", f"hh{PRINTABLE}", "--dim", DIM], [POOL, "1", "--key", HOSTILE]],
    "capture": [[POOL, HOSTILE, "1"]],
    "extend": [[POOL, HOSTILE, "--ttl", "60"]],
    "release": [[POOL, HOSTILE]],
    "reverse": [[POOL, HOSTILE, "1"]],
    "transfer": [[POOL, WEB, "1"], [POOL, BAD_POOL, "1"]],
    "balance": [[POOL], [BAD_POOL]],
    "grants": [[POOL]],
    "holds": [[POOL]],
    "set-budget": [
        [POOL, f"b{PRINTABLE}", "5", "--window", "day", "--match", DIM],
        [POOL, "b", "5", "--window", HOSTILE],
    ],
    "remove-budget": [[POOL, HOSTILE]],
    "budgets": [[POOL]],
    "open-pool": [[f"{POOL}/new"]],
    "set-allowance": [[POOL, f"a{PRINTABLE}", "5", "--window", "day", "--each", f"d{PRINTABLE}"]],
    "remove-allowance": [[POOL, HOSTILE]],
    "allowances": [[POOL]],
    "set-recurring": [[POOL, f"r{PRINTABLE}", "5", "--period", "day"], [POOL, "r", "5", "--period", HOSTILE]],
    "cancel-recurring": [[POOL, HOSTILE]],
    "recurring": [[POOL]],
    "set-alerts": [[POOL, "--low", HOSTILE]],
    "alerts": [[POOL]],
    "grant-recharge": [[POOL, HOSTILE]],
    "refuse-recharge": [[POOL, HOSTILE]],
    "events": [[POOL], ["--after", HOSTILE], ["--customer", HOSTILE]],
    "set-rates": [["nothing" + HOSTILE]],
    "rates": [[]],
    "pools": [[], [HOSTILE]],
    "totals": [[CUSTOMER], [HOSTILE]],
    "ledger": [[POOL], [POOL, "--oldest-first"], [POOL, "--cursor", HOSTILE]],
    "costs": [[POOL]],
    "usage": [
        [POOL],
        [POOL, "--by", f"d{HOSTILE}", "--by", "plain", "--by", "$metric"],
        [POOL, "--by", "plain", "--window", "hour"],
        [POOL, "--by", f"d{HOSTILE}", "--compare", "previous"],
        [POOL, "--by", f"d{HOSTILE}", "--window", "hour", "--spikes"],
        [POOL, "--entries"],
        [POOL, "--forecast"],
        [POOL, "--by", f"d{HOSTILE}", "--csv"],
        [POOL, "--where", DIM, "--by", "nothing\x1b"],
        [POOL, "--period", HOSTILE],
    ],
    "budget-counts": [[POOL, HOSTILE]],
    "allowance-counts": [[POOL, HOSTILE]],
    "clock": [[], ["confirm"], [HOSTILE]],
    "accept-loss": [[]],
    "rebuild": [[]],
    "verify": [[], ["--against", f"nothing{HOSTILE}"]],
    "export": [[f"folder{HOSTILE.replace('/', '')}"]],
}


def test_no_verb_is_forgotten() -> None:
    known = {
        command.name or getattr(command.callback, "__name__", "").replace("_", "-")
        for command in app.registered_commands
    }
    assert known == set(VERBS)


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / f"j{CONTROLS}[red]x"
    asyncio.run(fill(folder))
    return folder


@pytest.mark.parametrize("colour", [False, True], ids=["plain", "colour"])
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "serve"])
def test_no_verb_shows_text_of_others_raw(
    journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, colour: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    if colour:
        monkeypatch.setenv("FORCE_COLOR", "1")
    where = [] if verb == "demo" else ["--data-dir", str(journal)]
    for words in VERBS[verb]:
        forms = [[]] if colour or verb == "demo" or "--csv" in words else [[], ["--json"]]
        for form in forms:
            answer = run_cli(verb, *words, *where, *form)
            assert answer.out or answer.err
            assert raw(SGR.sub("", answer.out + answer.err)) == "", words
            if form and answer.out:
                json.loads(answer.out)


def test_what_is_typed_wrong_is_not_shown_raw() -> None:
    for words in ([HOSTILE], [f"--{HOSTILE}"], ["balance", "x", f"--{HOSTILE}"], ["balance", "x", HOSTILE, HOSTILE],
                  ["ledger", "x", "--limit", HOSTILE], ["replay", "x", "--format", HOSTILE]):  # fmt: skip
        answer = run_cli(*words)
        assert answer.code == 2
        assert raw(answer.out + answer.err) == "", words


def test_values_are_shown_whole(journal: Path) -> None:
    where = ("--data-dir", journal)
    shown = "".join(run_cli("ledger", POOL, *where).out.split())
    assert "".join(visible(f"d{HOSTILE}={HOSTILE}").split()) in shown
    assert visible(PRINTABLE).replace(" ", "") in shown
    assert visible(POOL) in run_cli("pools", *where).out
    # In JSON it is escaped, and read back it is what was sent.
    entries = run_cli("ledger", POOL, *where, "--json").json["entries"]
    assert any(entry["dimensions"].get(f"d{HOSTILE}") == HOSTILE for entry in entries)


def test_a_service_and_a_follower_say_nothing_raw(tmp_path: Path, journal: Path) -> None:
    """Those that go on until they are told to stop, in processes of their own."""
    command = [sys.executable, "-m", "solvent"]
    for words in (
        ["serve", "--data-dir", str(tmp_path / f"j{CONTROLS}"), "--nats-port", "0"],
        ["events", "--follow", "--after", "0.0", "--data-dir", str(journal)],
        ["events", "--follow", "--after", "0.0", "--data-dir", str(journal), "--json"],
    ):
        with subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
            assert run.stdout is not None
            first = run.stdout.readline()
            second = run.stdout.readline() if words[0] == "events" else b""
            run.send_signal(signal.SIGTERM)
            rest, _ = run.communicate(timeout=60)
        assert raw((first + second + rest).decode()) == ""


def test_replay_says_nothing_raw(cli: Cli, tmp_path: Path) -> None:
    cli("grant", POOL, "10", "--key", "g")
    path = tmp_path / f"usage{CONTROLS.replace('/', '')}[red].jsonl"
    rows = [
        {"id": HOSTILE, "customer": POOL, "amount": 1},
        {"id": "a", "customer": HOSTILE, "amount": 1},
        {"id": "b", "customer": POOL, "amount": HOSTILE},
        {"id": "c", "customer": POOL, "amount": 1, "dimensions": {HOSTILE: [HOSTILE]}},
        {"id": "d", "customer": POOL, "amount": 1, "dimensions": {HOSTILE: HOSTILE}},
        {"id": "e", "customer": POOL, "metric": HOSTILE, "quantity": 1},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept = tmp_path / "errors.tsv"
    for words in (["--errors", str(kept)], ["--dry-run"], ["--strict"], ["--metric", f"{PRINTABLE}={HOSTILE}"]):
        for form in ([], ["--json"]):
            answer = cli("replay", path, *words, *form)
            assert raw(answer.out + answer.err) == "", words
    lines = kept.read_text().split("\n")
    assert [line.split("\t")[0] for line in lines] == ["1", "2", "3", "4", "6", ""]
    assert all(raw(line.replace("\t", "")) == "" for line in lines)
