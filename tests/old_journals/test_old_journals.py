"""Data folders that older versions left behind: this one opens, verifies, exports and answers them the same.

They are written by ``make.py``, which also says what is in them. Public names and the command line only.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import lzma
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from solvent import Credits, Engine, IdempotencyConflict, InvalidRequest, SolventError, connect

from .questions import Answers, all_pools, collected, command, events, past, plain_error, present, usage
from .story import Clock

HERE: Final = Path(__file__).parent
ARCHIVES: Final = [str(path.relative_to(HERE)) for path in sorted(HERE.glob("*/*.tar.xz"))]
CACHES: Final = ("index.db", "snapshots.db", "usage.db")
LATER: Final = datetime.fromisoformat("2040-02-29T12:00:00+00:00")
"""When all that was open is over."""
AGAIN: Final = {
    *("grant", "update_grant", "void_grant", "debit", "report", "hold", "capture", "release", "reverse", "transfer"),
    *("grant_recharge", "refuse_recharge"),
}
"""Verbs that answer as they did when they are asked again, whatever has happened since."""
GROWS: Final = ("ledger ", "events ")
"""Answers that have more at their end when time goes on."""
DEADLINE_S: Final = 60.0
FOR_GOOD: Final = {"state_conflict", "idempotency_conflict", "not_found", "invalid_request"}
"""Refusals that no top-up and no time changes."""
KINDS: Final = {
    *("opened", "grant", "activation", "update", "void", "expiry", "lapse", "debit", "hold", "capture", "release"),
    *("hold_expiry", "reversal", "budget_set", "budget_removed", "allowance_set", "allowance_removed"),
    *("recurring_set", "recurring_ended", "roll_over_expiry", "alerts_set", "alert", "recharge_requested"),
    *("recharge_refused", "recharge_timed_out", "transfer_out", "transfer_in"),
}
EVENT_KINDS: Final = {
    *("low", "depleted", "expiring_soon", "budget_reached", "hold_expired"),
    *("recharge_requested", "recharge_refused", "recharge_timed_out"),
}


class Old:
    """A data folder, unpacked, and what the version that wrote it said of it."""

    def __init__(self, archive: str, folder: Path) -> None:
        self.name = archive
        self.folder = folder
        self.is_killed = archive.endswith("killed.tar.xz")
        parts = _record(archive)
        self.commands: list[Answers] = [line[0] for line in parts["commands"]]
        self.answers: Answers = corrected(dict(parts["answers"]))
        self.verified: Answers = dict(parts["verified"])
        self.exported: Answers = dict(parts["exported"])
        self.cursors: Answers = dict(parts["cursors"])
        self.heads: Answers = parts["heads"][0][0]
        self.clock = Clock()
        self.clock.now = datetime.fromisoformat(parts["now"][0][0])
        with tarfile.open(HERE / archive) as tar:
            tar.extractall(folder, filter="data")

    def delete_caches(self) -> None:
        """Delete what can be rebuilt from the journal."""
        for name in CACHES:
            for path in self.folder.glob(f"{name}*"):
                path.unlink()

    def open(self) -> Any:
        """Open the folder when time has stood still since."""
        return Engine.open(self.folder, now_us=self.clock.now_us)

    def ask_again(self) -> list[tuple[str, Answers, Any]]:
        """The commands that have a receipt: verb, arguments and what is answered when they are asked again."""
        found: list[tuple[str, Answers, Any]] = []
        for each in self.commands:
            verb, arguments, answer = each["verb"], each["arguments"], each["answer"]
            if verb == "batch":
                done = ["error" not in one for one in answer]
                if all(done) or not arguments["atomic"]:
                    requests = [one for one, is_done in zip(arguments["requests"], done, strict=True) if is_done]
                    receipts = [one | {"replayed": True} for one in answer if "error" not in one]
                    found.append((verb, {**arguments, "requests": requests}, receipts))
            elif verb in AGAIN and "error" not in answer:
                found.append((verb, arguments, answer | {"replayed": True}))
        return found


def corrected(answers: Answers) -> Answers:
    """Return the answers with what that version told wrong: it counted an event that several grants paid with the first
    of them only, and its whole quantity, too."""
    answers = deepcopy(answers)
    first, second, *_ = answers["usage by grant of acme"]["lines"]
    assert first["quantities"]["tokens"] == "1234.5"
    first["quantities"]["tokens"] = "1129.69904603"
    second["quantities"]["tokens"] = "104.80095397"
    assert second["events"] == 6
    second["events"] = 7
    return answers


@cache
def _record(archive: str) -> dict[str, list[list[Any]]]:
    parts: dict[str, list[list[Any]]] = {}
    with lzma.open(HERE / archive.replace(".tar.xz", ".jsonl.xz"), "rt", encoding="utf-8") as lines:
        for line in lines:
            part, *rest = json.loads(line)
            parts.setdefault(part, []).append(rest)
    return parts


@pytest.fixture(params=ARCHIVES)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Old:
    return Old(request.param, tmp_path / "journal")


@pytest.fixture(params=["in place", "deleted"])
def caches(request: pytest.FixtureRequest, old: Old) -> str:
    """Whether the folder has its caches."""
    if request.param == "deleted":
        old.delete_caches()
    return str(request.param)


PROSE: Final = ("assumption", "method", "expected")
"""The fields that explain an answer to people, in words that may get better."""


def differences(found: Any, recorded: Any, where: str, *, grows: bool = False) -> list[str]:
    """Say where ``found`` lacks something of ``recorded``, or has it otherwise. Answers may have got new fields."""
    if isinstance(found, tuple):
        found = list(found)  # They are one in JSON.
    if isinstance(recorded, dict) and isinstance(found, dict):
        return [
            difference
            for name, value in recorded.items()
            if name not in PROSE
            for difference in (
                differences(found[name], value, f"{where}.{name}") if name in found else [f"{where}.{name} is missing"]
            )
        ]
    if isinstance(recorded, list) and isinstance(found, list) and (len(found) == len(recorded) or grows):
        if len(found) < len(recorded):
            return [f"{where} has {len(found)} instead of {len(recorded)}"]
        return [
            difference
            for place, value in enumerate(recorded)
            for difference in differences(found[place], value, f"{where}[{place}]")
        ]
    return [] if found == recorded and type(found) is type(recorded) else [f"{where}: {found!r} was {recorded!r}"]


def check(found: Answers, recorded: Answers, *, grows: bool = False) -> None:
    """Compare all answers with what was recorded for the same questions."""
    wrong = [
        difference
        for question, answer in found.items()
        for difference in differences(answer, recorded[question], question, grows=grows and question.startswith(GROWS))
    ]
    assert not wrong, f"{len(wrong)} differences\n" + "\n".join(wrong[:20])


async def check_again(credits: Credits, old: Old) -> None:
    """Ask again whatever has a receipt, and look at whether it is the first."""
    again = old.ask_again()
    assert len(again) > 200
    for verb, arguments, receipt in again:
        answer = await command(credits, verb, arguments)
        assert not differences(answer, receipt, f"{verb} {arguments}")


def solvent(*words: object, code: int = 0) -> Any:
    """Call ``solvent``, which ends with this code, for its one JSON document."""
    done = subprocess.run(
        [sys.executable, "-m", "solvent", *map(str, words), "--json"], check=False, capture_output=True, text=True
    )
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def verify(old: Old) -> Answers:
    """What ``solvent verify`` says, which must find no difference, and that the heads of then are part of history."""
    heads = old.folder.parent / "heads.json"
    heads.write_text(json.dumps(old.heads))
    found: Answers = solvent("verify", "--data-dir", old.folder, "--against", heads)
    return found


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Credits]:
    """A client of ``solvent serve`` on a folder."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "solvent", "serve", "--json", "--nats-port", "0", "--data-dir", str(folder)),
        *("--environment", "default", "--environment", "staging", "--environment", "qa/1"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE_S):
            url = json.loads(await process.stdout.readline())["ready"]
        async with connect(url) as credits:
            yield credits
    finally:
        process.terminate()
        async with asyncio.timeout(DEADLINE_S):
            await process.wait()


def test_there_are_old_folders() -> None:
    assert {"2026-11/closed.tar.xz", "2026-11/killed.tar.xz"} <= set(ARCHIVES)


def test_every_kind_of_entry_is_in_them(old: Old) -> None:
    """Of what there was in 2026: or these folders were not what they are kept for."""
    entries = [entry for question, answer in old.answers.items() if question.startswith("ledger ") for entry in answer]
    said = [event for question, answer in old.answers.items() if question.startswith("events ") for event in answer]
    assert {entry["kind"] for entry in entries} >= KINDS
    assert {event["kind"] for event in said} >= EVENT_KINDS
    assert {"%rates@default:credits", "%rates@default:eur", "%rates@staging:credits", "%outbox@nats"} <= set(
        old.heads["pools"]
    )


async def test_every_answer_is_the_same(old: Old, caches: str) -> None:
    async with old.open() as engine:
        answers = {
            **await collected(past(engine)),
            **await collected(present(engine)),
            **await collected(usage(engine)),
        }
        assert answers.keys() == old.answers.keys()
        check(answers, old.answers)
        # Nothing was due, so nothing was written.
        assert (await engine.usage_status()).journal == old.verified["frames"]


async def test_without_the_counts_of_refusals_the_rest_is_the_same(old: Old) -> None:
    old.delete_caches()
    (old.folder / "refusals.db").unlink()
    async with old.open() as engine:
        answers = await collected(usage(engine))
    assert old.answers["usage all"]["total"]["refused"] > 0
    for question, answer in answers.items():
        if isinstance(answer, dict):
            found, recorded = (
                # A group in which there was nothing but refusals has no line any more.
                [{**line, "refused": 0} for line in (*each["lines"], each["total"]) if line["events"]]
                for each in (answer, old.answers[question])
            )
            assert not differences(found, recorded, question)
        else:
            check({question: answer}, old.answers)


async def test_a_key_that_is_asked_again_has_its_first_receipt(old: Old, caches: str) -> None:
    async with old.open() as engine:
        await check_again(engine, old)
        await check_again(engine, old)
        assert (await engine.usage_status()).journal == old.verified["frames"], "something was written"
    assert verify(old)["spent"] == old.verified["spent"]


async def test_a_key_of_old_is_not_taken_for_another_request(old: Old, caches: str) -> None:
    tried = 0
    async with old.open() as engine:
        for each in old.commands:
            if each["verb"] in ("grant", "debit", "hold") and "error" not in each["answer"]:
                with pytest.raises(IdempotencyConflict) as conflict:
                    await command(engine, each["verb"], {**each["arguments"], "amount": 77})
                assert conflict.value.version == each["answer"]["version"]
                tried += 1
    assert tried > 100


async def test_what_was_refused_for_good_is_refused_again(old: Old, caches: str) -> None:
    refused = [each for each in old.commands if "error" in each["answer"] and each["answer"]["error"] in FOR_GOOD]
    assert {each["answer"]["error"] for each in refused} == FOR_GOOD
    async with old.open() as engine:
        for each in refused:
            with pytest.raises(SolventError) as again:
                await command(engine, each["verb"], each["arguments"])
            # An error names what was asked for, as it was written: "q1" where an older version said "r1".
            recorded = {name: value for name, value in each["answer"].items() if name != "id"}
            assert not differences(plain_error(again.value), recorded, str(each["arguments"]))
        assert (await engine.usage_status()).journal == old.verified["frames"], "something was written"


async def test_long_after_the_past_is_the_same_and_new_commands_go_on(old: Old) -> None:
    old.clock.now = LATER
    async with old.open() as engine:
        await check_again(engine, old)
        check(await collected(past(engine)), old.answers, grows=True)
        check(await collected(usage(engine)), old.answers)
        for pool in await all_pools(engine):
            before = await engine.balance(pool)
            await engine.grant(pool, 9, key="new grant")
            receipt = await engine.debit(pool, 2, key="new debit", dimensions={"user": "u1"})
            after = await engine.balance(pool)
            assert (after.granted - before.granted, after.available) == (9, receipt.balance)
            assert after.spent - before.spent == receipt.amount == 2 - receipt.covered
    async with old.open() as engine:
        await check_again(engine, old)
        check(await collected(past(engine)), old.answers, grows=True)
    assert verify(old)["problems"] == []


async def test_what_was_open_is_settled(old: Old) -> None:
    holds = {
        question.partition(" ")[2]: [hold["id"] for hold in answer]
        for question, answer in old.answers.items()
        if question.startswith("holds ") and answer
    }
    assert len(holds) >= 4
    async with old.open() as engine:
        for pool, (hold,) in holds.items():
            before = await engine.balance(pool)
            captured = await engine.capture(pool, hold, "0.125")
            after = await engine.balance(pool)
            assert after.held == 0 < before.held + captured.covered
            assert after.spent - before.spent == captured.amount
        request = old.answers["alerts recharge"]["open_recharge"]
        granted = await engine.grant_recharge("recharge", request["id"])
        assert str(granted.amount) == request["amount"]
        assert (await engine.alerts("recharge")).open_recharge is None
        moved = await engine.transfer("acme", "acme/web", "0.5", key="new split")
        assert moved.amount == 0.5
        await engine.cancel_recurring("plan/pro", "pro", at_once=True)
        assert (await engine.recurring("plan/pro")).recurring == ()
        old.clock.now += timedelta(days=40)
        grants = {grant.key: grant.state for grant in (await engine.grants("acme")).grants}
        assert (grants["last"], grants["to come"]) == ("expired", "active")
    assert verify(old)["problems"] == []


async def test_positions_that_callers_kept_go_on_and_cursors_are_refused(old: Old) -> None:
    async with old.open() as engine:
        for environment in ("default", "staging"):
            said = old.answers[f"events {environment}"]
            for place, event in enumerate(said):
                found = await events(engine, environment, after=event["position"])
                assert not differences(found, said[place + 1 :], environment)
        # Cursors of then did not say of which list they are: they are refused, and the caller begins the list again.
        for ask in (
            engine.ledger("acme", limit=5, cursor=old.cursors["ledger acme"], newest_first=False),
            engine.pools(limit=10, cursor=old.cursors["pools default"]),
        ):
            with pytest.raises(InvalidRequest) as refused:
                await ask
            assert refused.value.field == "cursor"


async def test_over_nats_the_past_is_the_same(old: Old) -> None:
    async with served(old.folder) as credits:
        await check_again(credits, old)
        check(await collected(past(credits)), old.answers, grows=True)
        check(await collected(usage(credits)), old.answers)
        receipt = await credits.debit("acme", "0.5", key="over NATS")
        assert (await credits.debit("acme", "0.5", key="over NATS")).version == receipt.version
    assert verify(old)["problems"] == []


def test_verify_and_export_say_the_same_and_change_nothing(old: Old, tmp_path: Path) -> None:
    def content() -> dict[str, str]:
        # A reader makes an empty log where there is none, and a file for the memory that it shares.
        paths = (path for path in old.folder.iterdir() if not path.name.endswith("-shm") and path.stat().st_size)
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    before = content()
    found = verify(old)
    assert not differences(found, old.verified, "verified")
    exported = tmp_path / "exported"
    solvent("export", exported, "--data-dir", old.folder)
    hashes = {name: hashlib.sha256((exported / name).read_bytes()).hexdigest() for name in old.exported}
    assert hashes == old.exported
    subprocess.run(
        [sys.executable, exported / "verify_export.py", exported, tmp_path / "heads.json"],
        check=True,
        capture_output=True,
    )
    assert content() == before


def test_the_command_line_says_the_same(old: Old) -> None:
    at = ("--data-dir", old.folder)
    names = [balance["pool"] for balance in old.answers["pools qa/1"]]
    for pool in ("acme", *names):
        entries = old.answers[f"ledger {pool}"]
        page = solvent("ledger", pool, "--oldest-first", "--limit", len(entries), *at)
        assert not differences(page["entries"], entries, pool)
    moment = "2026-01-31T12:00:00Z"
    balance = solvent("balance", "acme", "--as-of", moment, *at)
    assert not differences(balance, old.answers[f"as of {moment} acme"][0], "balance")
    usage = solvent("usage", "--period", "2026-01", "--in", "tokens", "--by", "model", *at)
    assert usage["total"]["credits"] == "0"
    (again,) = [
        each for each in old.commands if each["arguments"].get("key") == "job-2" and each["arguments"]["pool"] == "acme"
    ]
    asked = again["arguments"]
    receipt = solvent(
        *("debit", asked["pool"], asked["amount"], "--key", asked["key"], "--metric", asked["metric"]),
        *("--quantity", asked["quantity"], "--dim", "model=gpt-4", "--dim", "user=u1", *at),
    )
    assert not differences(receipt, {"id": again["answer"]["id"], "replayed": True}, "receipt")


async def test_the_caches_of_the_killed_are_behind_and_those_of_the_closed_are_not(old: Old) -> None:
    """Or these folders were not what they are kept for."""
    log = old.folder / "journal.db-wal"
    assert (log.exists() and log.stat().st_size > 0) is old.is_killed
    steps: list[tuple[int, int]] = []
    async with Engine.open(old.folder, now_us=old.clock.now_us, on_progress=lambda *step: steps.append(step)):
        pass
    assert bool(steps) is old.is_killed
