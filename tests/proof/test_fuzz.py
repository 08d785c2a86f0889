"""Everything that takes bytes, given hostile ones: an answer that is true, or an error that names what is wrong.

The wire, frames, amounts and pool names have tests of their own beside what they test.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import io
import json
import runpy
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client as RawNats
from nats.aio.msg import Msg

from solvent import DebitRequest, Engine, InvalidRequest, Receipt, SolventError, Unavailable, connect
from solvent.engine.api.usage_requests import USAGE_REQUESTS, EntriesRequest
from solvent.engine.audit.export import JOURNAL_FILE, LEDGER_FILE, MANIFEST_FILE, VERIFIER_FILE, export_journal
from solvent.engine.audit.heads import publish_heads, read_heads
from solvent.engine.audit.verify import verify_journal
from solvent.engine.usage.worker.entries import digest_of, read_cursor
from solvent.engine.values.cursors import write_cursor
from solvent.engine.values.pool_id import parse_pool
from solvent.transports.cli.replay.events import read_events
from solvent.transports.cli.replay.formats import Format, Shape
from solvent.transports.cli.replay.mapping import ById, BySource, EventMapping, parse_column
from solvent.transports.cli.replay.pricing import Prices
from solvent.transports.cli.replay.records import BadRecord
from solvent.transports.cli.replay.rows import Parsed
from solvent.transports.cli.replay.source import SourceError
from solvent.transports.nats.client import _DECODERS, Client
from solvent.transports.nats.launcher import nats_server
from solvent.transports.wire.answers import decode_answers, decode_error, decode_event, decode_unit_answers
from tests.nats.conftest import DEADLINE_S, raw_connection, served_in

from .fuzzing import mutated, opened, report, texts, tried, twisted

POOL = "acme"


async def fill(engine: Engine) -> None:
    """Something of everything that pages, cursors and usage can be about."""
    await engine.grant(POOL, "100", key="g")
    await engine.set_alerts(POOL, low=["99", "50%"])
    for number in range(12):
        await engine.debit(POOL, "0.5", key=f"d{number}", dimensions={"model": f"m{number % 3}"})
    hold = await engine.hold(POOL, "2", key="h")
    await engine.capture(POOL, hold.id, "1")
    await engine.grant(f"{POOL}/web", "5", key="g")
    await engine.grant("globex", "5", key="g", expires_at="2100-01-01T00:00:00Z")
    await engine.transfer(POOL, f"{POOL}/web", "3", key="t", open_pool=True)


# What is imported

CSV = (
    b"id,time,model,amount\ne1,2026-11-23T10:00:00Z,m,0.25\ne2,2026-11-23 10:00:01.5+02:00,,7\n",
    b'id,time,model,amount\n"e,1",2026-11-23T10:00:00Z,"a ""quoted"" m",1\n\ne2,,m2,1000000\r\n',
)
JSON_LINES = (
    b'{"id":"e1","time":"2026-11-23T10:00:00Z","customer":"acme","amount":"0.25","dimensions":{"model":"m","n":1.5}}\n',
    b'{"id":"e2","pool":"acme/web:credits","metric":"tokens","quantity":12,"dimensions":{"b":true}}\n'
    b'{"id":3,"customer":"acme","resource":"web","amount":0.1}\n',
)


@pytest.mark.parametrize("form", [Format.CSV, Format.JSON_LINES, Format.JSON])
def test_of_hostile_files_each_record_is_events_that_are_taken_or_has_a_reason(tmp_path: Path, form: Format) -> None:
    tally = Counter[str]()
    of_csv = EventMapping(
        identity=ById(parse_column("id", "--id-column")),
        pool=parse_pool(POOL),
        time_column=parse_column("time?", "--time-column"),
        amount_column=parse_column("amount", "--amount-column"),
        dimensions_rest=True,
        backfill=True,
    )
    of_json = EventMapping(
        identity=BySource("f"), prices=Prices({"tokens": Decimal("0.01")}), backfill=True
    ).with_natural_names()

    with opened(Engine.open(tmp_path)) as (run, engine):
        run(engine.grant(POOL, "1000000000", key="g"))
        run(engine.grant(f"{POOL}/web", "1000000000", key="g"))

        @tried(300)
        @given(mutated(CSV) if form is Format.CSV else mutated(JSON_LINES) | twisted(JSON_LINES[:1]))
        def each(content: bytes) -> None:
            found: list[Parsed | BadRecord] = []
            try:
                mapping = of_csv if form is Format.CSV else of_json
                for event in read_events(io.BufferedReader(io.BytesIO(content)), Shape(form), mapping):
                    found.append(event)
            except SourceError as error:
                assert form is not Format.JSON_LINES, "each line is read, whatever is in those before it"
                assert f"record {len(found) + 1}," in error.message
                tally["files that break off"] += 1
            except InvalidRequest as error:
                assert form is Format.CSV, "only a header is refused as a whole"
                assert error.field in ("FILE", "--amount-column", "--id-column", "--time-column", "--dims-rest"), (
                    error.field
                )
                tally["headers refused"] += 1
                return
            assert [event.number for event in found] == list(range(1, len(found) + 1))
            for event in found:
                if isinstance(event, BadRecord):
                    assert event.reason
                    tally["records refused"] += 1
                    continue
                answers = run(engine.batch(list(event.requests))) if event.requests else []
                for request, answer in zip(event.requests, answers, strict=True):
                    assert isinstance(request, DebitRequest)
                    # It passed the gate: only the pool or the journal can say no, never the command's form.
                    assert not isinstance(answer, InvalidRequest), f"{request}: {answer}"
                    tally["taken" if isinstance(answer, Receipt) else "refused by the pool"] += 1

        each()
    assert verify_journal(tmp_path).problems == []
    broken = [] if form is Format.JSON_LINES else ["files that break off"]
    report(form, tally, "records refused", "taken", *broken, *(["headers refused"] if form is Format.CSV else []))


# Cursors and positions


def test_a_hostile_cursor_is_a_page_that_is_true_or_refused(tmp_path: Path) -> None:
    tally = Counter[str]()
    with opened(Engine.open(tmp_path)) as (run, engine):
        run(fill(engine))
        ledger = {entry.version: entry for entry in run(engine.ledger(POOL)).entries}
        heard = run(engine.past_events(limit=100)).events
        pools = run(engine.pools(limit=100)).pools
        usage = run(engine.usage(POOL, period="last 30 days", group_by=["model"], consistent=True))
        behind = run(engine.usage_entries(usage)).entries
        of_usage = run(engine.usage_entries(usage, limit=2)).next_cursor
        of_pools = run(engine.pools(limit=1)).next_cursor
        assert of_usage is not None
        assert of_pools is not None
        query, cell = engine._desk._cell_of(EntriesRequest(question=usage.question, as_of=usage.as_of, limit=2))
        digest = digest_of(query, cell)
        as_of, after = read_cursor(of_usage, digest)
        wild = st.integers(-(1 << 63), (1 << 64) - 1)
        # The digest is no secret: a cursor can be made that fits its list and points anywhere.
        forged = st.builds(
            lambda *numbers: write_cursor(("usage.entries", digest), (numbers[0], numbers[1:])),
            st.just(as_of) | wild,
            *(st.just(part) | wild for part in after),
        )
        of_ledger = run(engine.ledger(POOL, limit=1)).next_cursor

        def asked(ask: Any, truth: Any, found: Callable[[Any], Any]) -> None:
            try:
                page = run(ask)
            except InvalidRequest as error:
                assert error.field in ("cursor", "after", "pool", "customer", "environment", "resource", "currency")
                tally["refused"] += 1
                return
            entries = list(found(page))
            assert all(entry in truth for entry in entries), "a page of what is not there"
            assert len(entries) == len({msgspec.json.encode(entry) for entry in entries}), "an entry twice"
            tally["pages" if entries else "empty pages"] += 1

        about = ("ledger", parse_pool(POOL).canonical)
        ledger_cursors = st.builds(
            lambda version, newest: write_cursor((*about, newest), version), wild | st.integers(1, 99), st.booleans()
        ) | texts([of_ledger, "v7"])

        @tried(150)
        @given(ledger_cursors, st.booleans())
        def each_ledger(cursor: str, newest_first: bool) -> None:
            ask = engine.ledger(POOL, cursor=cursor, newest_first=newest_first, limit=5)
            asked(ask, ledger.values(), lambda page: page.entries)

        @tried(150)
        @given(texts([event.position for event in heard] + ["0.0", "999999999999999.999999999"]))
        def each_position(position: str) -> None:
            asked(engine.past_events(after=position), heard, lambda page: page.events)

        @tried(100)
        @given(texts([of_pools, "default@acme/web:credits"]))
        def each_pool(cursor: str) -> None:
            asked(engine.pools(cursor=cursor), pools, lambda page: page.pools)

        @tried(150)
        @given(texts([of_usage]) | forged)
        def each_usage(cursor: str) -> None:
            asked(engine.usage_entries(usage, cursor=cursor, limit=2), behind, lambda page: page.entries)

        for each in (each_ledger, each_position, each_pool, each_usage):
            before = tally.copy()
            each()
            report(each.__name__, tally - before, "refused", "pages")
        assert {each.version: each for each in run(engine.ledger(POOL)).entries} == ledger


# The wire, towards the service and back


@asynccontextmanager
async def service(directory: Path) -> AsyncIterator[tuple[Engine, RawNats]]:
    async with served_in(directory) as served, raw_connection(served.url) as raw:
        await fill(served.engine)
        yield served.engine, raw


QUESTION = {"pool": POOL, "period": "last 7 days", "group_by": ["model"], "window": "day"}
ASKED: dict[str, dict[str, Any]] = {
    "balance": {},
    "grants": {},
    "ledger": {"limit": 3},
    "pools": {"limit": 2},
    "totals": {},
    "events": {"after": "0.0"},
    "budgets": {},
    "holds": {},
    "allowances": {},
    "recurring": {},
    "alerts": {},
    "costs": {},
    "check": {"amount": "1"},
    "usage": {"question": {**QUESTION, "consistent": True}},
    "usage.entries": {"question": QUESTION, "limit": 2},
    "usage.compare": {"question": QUESTION},
    "usage.spikes": {"question": QUESTION},
    "usage.forecast": {"pool": POOL},
}
"""Requests that only read."""


async def answer_to(raw: RawNats, operation: str, body: bytes) -> Msg:
    return await raw.request(f"solvent.v1.default.{POOL}.{operation}", body, timeout=DEADLINE_S)


def test_a_hostile_question_about_usage_is_answered_or_refused(tmp_path: Path) -> None:
    tally = Counter[str]()
    bodies = {name: msgspec.json.encode(body) for name, body in ASKED.items() if name.startswith("usage")}
    with opened(service(tmp_path)) as (run, (engine, raw)):
        before = run(engine.ledger(POOL))
        for name, body in bodies.items():
            assert not run(answer_to(raw, name, body)).headers, name

        @tried(400)
        @given(st.sampled_from(list(bodies)), mutated(list(bodies.values())), st.data())
        def each(name: str, other: bytes, data: st.DataObject) -> None:
            body = (
                other
                if data.draw(st.integers(0, 9)) == 0
                else data.draw(mutated([bodies[name]]) | twisted([bodies[name]]))
            )
            answer = run(answer_to(raw, name, body))
            said = msgspec.json.decode(answer.data)
            if not answer.headers:
                tally["answered"] += 1
                return
            error = said["error"]
            assert error["code"] in ("invalid_request", "not_found", "too_large"), f"{name} {body!r}: {error}"
            tally["refused"] += 1

        each()
        assert run(engine.ledger(POOL)) == before
    report("questions about usage", tally, "answered", "refused")


async def replies_of(directory: Path) -> dict[str, bytes]:
    """What the service says to each request."""
    async with service(directory) as (engine, raw):
        replies = {name: (await answer_to(raw, name, msgspec.json.encode(body))) for name, body in ASKED.items()}
        assert not any(reply.headers for reply in replies.values())
        said = {name: reply.data for name, reply in replies.items()}
        debit = msgspec.json.encode({"amount": "0.25", "key": "fuzz"})
        said["debit"] = (await answer_to(raw, "debit", debit)).data
        said["error"] = (await answer_to(raw, "debit", debit.replace(b"0.25", b"99999"))).data
        commands = [{"op": "debit", "amount": amount, "key": f"b{amount}"} for amount in ("1", "9999")]
        for name, form in (("batch", "units"), ("batch as text", "text")):
            batch = msgspec.json.encode({"receipts": form, "commands": commands})
            said[name] = (await answer_to(raw, "batch", batch)).data
        event = (await engine.past_events(POOL)).events[0]
        said["event"] = msgspec.json.encode(event)
    return said


@pytest.fixture(scope="module")
def replies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return asyncio.run(replies_of(tmp_path_factory.mktemp("replies")))


def test_a_garbled_reply_is_what_it_says_or_cannot_be_read(replies: dict[str, bytes]) -> None:
    tally = Counter[str]()
    kinds: dict[str, list[Callable[[bytes], Any]]] = {"event": [decode_event], "error": [decode_error]}
    kinds |= {"debit": [_DECODERS[Receipt]], "batch": [decode_unit_answers], "batch as text": [decode_answers]}
    answers = {kind.operation: kind.answer for kind in USAGE_REQUESTS}
    by_name = {kind.__name__: decode for kind, decode in _DECODERS.items()}
    plain = {"balance": "Balance", "grants": "GrantList", "ledger": "LedgerPage", "pools": "PoolPage"}
    plain |= {"totals": "CustomerTotals", "events": "EventPage", "budgets": "BudgetList", "holds": "HoldList"}
    plain |= {"allowances": "AllowanceList", "recurring": "RecurringList", "alerts": "AlertsView"}
    plain |= {"costs": "CostReport", "check": "Verdict"}
    kinds |= {name: [by_name[plain[name]]] for name in plain}
    kinds |= {name: [_DECODERS[answers[name]]] for name in answers if name in replies}
    assert kinds.keys() == replies.keys()

    @tried(1_000)
    @given(st.sampled_from(sorted(kinds)), st.data())
    def each(name: str, data: st.DataObject) -> None:
        body = data.draw(mutated([replies[name]]) | twisted([replies[name]]))
        (decode,) = kinds[name]
        try:
            answer = decode(body)
        except Exception:  # noqa: BLE001 - the client tells its caller that the outcome is unknown, whatever was raised
            tally["unreadable"] += 1
            return
        tally["read"] += 1
        for one in answer if isinstance(answer, list) else [answer]:
            # Whoever has the answer can look at it.
            repr(one)
            str(one)
            if isinstance(one, Receipt):
                _ = one.balance, one.allocations, one.recorded_at, one.returned
                if name == "debit":
                    assert one.amount == Decimal(msgspec.json.decode(body)["amount"]), "another amount than it says"

    each()
    report("replies", tally, "read", "unreadable")


def test_a_client_outlives_garbled_replies(replies: dict[str, bytes]) -> None:
    """Somebody else answers on the service's subjects, nearly as the service would."""
    tally, garbled = Counter[str](), dict[str, tuple[bytes, dict[str, str] | None]]()

    @asynccontextmanager
    async def between() -> AsyncIterator[tuple[Client, RawNats]]:
        async with nats_server() as url, raw_connection(url) as impostor, connect(url, timeout_s=3.0) as client:

            async def lie(message: Msg) -> None:
                body, headers = garbled["now"]
                await impostor.publish(message.reply, body, headers=headers)

            await impostor.subscribe("solvent.v1.default.*.*", cb=lie)
            await impostor.flush()
            yield client, impostor

    calls: dict[str, Callable[[Client], Any]] = {
        "debit": lambda client: client.debit(POOL, "0.25", key="fuzz"),
        "balance": lambda client: client.balance(POOL),
        "ledger": lambda client: client.ledger(POOL),
        "grants": lambda client: client.grants(POOL),
        "usage": lambda client: client.usage(POOL, period="last 7 days"),
        "batch": lambda client: client.batch(
            [DebitRequest(pool=POOL, amount="1", key="b1"), DebitRequest(pool=POOL, amount="9999", key="b2")]
        ),
    }
    headers = st.sampled_from(
        [
            None,
            None,
            {"Nats-Service-Error-Code": "402"},
            {"Nats-Service-Error-Code": "x"},
            {"X": "1"},
            {"Status": "503 x"},
        ]
    )
    with opened(between()) as (run, (client, _)):

        @tried(150)
        @given(st.sampled_from(sorted(calls)), headers, st.data())
        def each(name: str, with_headers: dict[str, str] | None, data: st.DataObject) -> None:
            error = with_headers is not None and "Nats-Service-Error-Code" in with_headers
            valid = [replies["error" if error else name]]
            body = data.draw(mutated(valid) | twisted(valid))
            garbled["now"] = (body, with_headers)
            try:
                run(calls[name](client))
                tally["answered"] += 1
            except Unavailable:
                tally["unknown"] += 1
            except SolventError:
                tally["refused"] += 1

        each()
        # And it goes on as if nothing had been.
        garbled["now"] = (replies["debit"], None)
        assert run(client.debit(POOL, "0.25", key="fuzz")).amount == Decimal("0.25")
    report("garbled replies", tally, "answered", "unknown", "refused")


# Published heads, and exports


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal, and its export beside it."""
    folder = tmp_path_factory.mktemp("audited")

    async def make() -> None:
        async with Engine.open(folder / "journal") as engine:
            await fill(engine)

    asyncio.run(make())
    export_journal(folder / "journal", folder / "export")
    return folder


def test_hostile_heads_are_those_that_were_published_or_refused(audited: Path, tmp_path: Path) -> None:
    tally = Counter[str]()
    found = verify_journal(audited / "journal")
    published = publish_heads(found.heads, found.frames)
    path = tmp_path / "heads.json"

    @tried(300)
    @given(mutated([msgspec.json.encode(published)]) | twisted([msgspec.json.encode(published)]))
    def each(body: bytes) -> None:
        path.write_bytes(body)
        try:
            heads = read_heads(path)
        except InvalidRequest as error:
            assert error.field == "against"
            tally["refused"] += 1
            return
        assert (heads.pools, heads.digest) == (published.pools, published.digest), "other heads pass for them"
        tally["read"] += 1

    each()
    report("heads", tally, "refused")


def _said(folder: Path) -> str:
    """What the script says of an export, run as it is by hand, but for the process. Empty if it proves it."""
    script = str(folder / VERIFIER_FILE)
    with mock.patch.object(sys, "argv", [script, str(folder)]), mock.patch.object(sys, "stdout", io.StringIO()):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as ended:
            assert isinstance(ended.code, str), "it does not say what is wrong"
            return ended.code
    return ""


VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0, 1, 27, 28, 10**9, 2**63, 2**64 - 1, 0.5, float("nan"), "", "x\n\x1b[2J", b"\xff", [], {}, [[]]]
)


def _struck(value: Any, data: st.DataObject) -> Any:
    """A value of MessagePack with something else in one place of it."""
    if not isinstance(value, list) or not value or data.draw(st.integers(0, 4)) == 0:
        return data.draw(VALUES)
    at = data.draw(st.integers(0, len(value) - 1))
    choice = data.draw(st.integers(0, 9))
    if choice == 0:
        return value[:at]
    if choice == 1:
        return [*value[:at], value[at], *value[at:]]
    return [*value[:at], _struck(value[at], data), *value[at + 1 :]]


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # It is written for a process that ends.
def test_a_hostile_export_ends_in_one_line_that_says_where(audited: Path, tmp_path: Path) -> None:
    tally = Counter[str]()
    folder, sound = tmp_path / "export", audited / "export"
    folder.mkdir()
    files = {name: (sound / name).read_bytes() for name in (JOURNAL_FILE, LEDGER_FILE, MANIFEST_FILE, VERIFIER_FILE)}
    sections = [json.loads(line)["section"] for line in files[JOURNAL_FILE].splitlines()]

    def judged(name: str, body: bytes) -> None:
        for each, content in files.items():
            (folder / each).write_bytes(body if each == name else content)
        said = _said(folder)
        if not said:
            assert [
                json.loads(line)["section"] for line in (folder / JOURNAL_FILE).read_text().splitlines()
            ] == sections
            tally[f"proven, {name} differs in what is not compared"] += 1
            return
        assert said.startswith(("DIFFERENCE: manifest.json", "DIFFERENCE: journal.jsonl", "DIFFERENCE: ledger.jsonl"))
        assert said.isascii()
        assert said.isprintable(), said
        tally[f"{name} refused"] += 1

    @tried(400)
    @given(st.sampled_from([JOURNAL_FILE, LEDGER_FILE, MANIFEST_FILE]), st.data())
    def each(name: str, data: st.DataObject) -> None:
        judged(name, data.draw(mutated([files[name]])))

    @tried(400)
    @given(st.integers(0, len(sections) - 1), st.data())
    def each_section(at: int, data: st.DataObject) -> None:
        """The line is made to fit its section: whoever forges an export has the script, too."""
        lines = files[JOURNAL_FILE].splitlines(keepends=True)
        line = json.loads(lines[at])
        section = msgspec.msgpack.decode(base64.b64decode(line["section"]))
        section[4] = _struck(section[4], data)
        body = msgspec.msgpack.encode(section)
        digest = hashlib.blake2b(body, digest_size=16).hexdigest()
        entries = len(section[4]) if isinstance(section[4], (list, dict, str, bytes)) else 0
        line.update(section=base64.b64encode(body).decode(), digest=digest, entries=entries)
        lines[at] = json.dumps(line).encode() + b"\n"
        before = tally.copy()
        judged(JOURNAL_FILE, b"".join(lines))
        tally["forged sections"] += (tally - before)[f"{JOURNAL_FILE} refused"]

    assert _said(sound) == ""
    each()
    each_section()
    gc.collect()
    report(
        "exports",
        tally,
        f"{JOURNAL_FILE} refused",
        f"{LEDGER_FILE} refused",
        f"{MANIFEST_FILE} refused",
        "forged sections",
    )
    (folder / JOURNAL_FILE).write_bytes(b"[1]\n")
    alone = subprocess.run(
        (sys.executable, "-I", "-S", str(folder / VERIFIER_FILE), str(folder)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (alone.returncode, alone.stdout) == (1, "")
    assert (
        alone.stderr
        == "DIFFERENCE: journal.jsonl line 1: TypeError: list indices must be integers or slices, not str\n"
    )
