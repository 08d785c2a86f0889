"""``python -m bench.usage``: the speed of usage in reading a journal and answering, and its effect on debits.

The journal is generated: events over 90 days with five skewed dimensions of 5, 20, 50, 1,000 and 100,000 values. It is
read, decoded and added exactly as in the usage process, and the sums are compared with those of the generator.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import platform
import random
import shutil
import signal
import statistics
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import anyio
from rich.console import Console
from rich.table import Table

from solvent.engine.api.usage_answers import UsageQuestion
from solvent.engine.engine import Engine
from solvent.engine.journal.frames import NO_HEAD, FrameBuilder, Head
from solvent.engine.journal.opening import open_reader
from solvent.engine.journal.sqlite.journal import SqliteJournal
from solvent.engine.pools.asking import outcome_of
from solvent.engine.rules.checking import debit_command
from solvent.engine.rules.events import Debited, Granted, Opened
from solvent.engine.runtime.collector import tune_collector
from solvent.engine.runtime.files import JOURNAL_NAME, USAGE_NAME
from solvent.engine.settings import Settings
from solvent.engine.usage.desk import UsageDesk
from solvent.engine.usage.messages import Extent
from solvent.engine.usage.process import UsageProcess
from solvent.engine.usage.query import environment_scope, usage_query
from solvent.engine.usage.worker.store import UsageStore
from solvent.engine.usage.worker.worker import ROWS_PER_REBUILD, YOUNG_MAX, follow
from solvent.engine.values.dimensions import encode_dimensions
from solvent.engine.values.errors import SolventError
from solvent.engine.values.pool_id import parse_pool
from solvent.engine.values.times import to_datetime

from .loops import run

DAY_US: Final = 86_400_000_000
DAYS: Final = 90
END: Final = int(datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC).timestamp()) * 1_000_000
POOLS: Final = 100
EVENTS_PER_SECTION: Final = 50
SECTIONS_PER_FRAME: Final = 20
DIMENSIONS: Final = {"region": 5, "feature": 20, "model": 50, "team": 1_000, "user": 100_000}
SCALE: Final = 6
STEP_S: Final = 0.0005
"""The seconds between two looks of a steady load at due arrivals: the most that an arrival waits for the gauge."""


async def make_journal(directory: Path, events: int) -> int:
    """Write a journal of so many debits. Returns the units spent."""
    dice = random.Random(7)
    journal = await SqliteJournal.open(directory / JOURNAL_NAME)
    heads: dict[str, Head] = {}
    begin, spent, made, number = END - DAYS * DAY_US, 0, 0, 0
    grant = 10**17
    while made < events:
        number += 1
        builder = FrameBuilder(number)
        now = END
        for place in range(SECTIONS_PER_FRAME):
            pool = f"default@customer-{(number * SECTIONS_PER_FRAME + place) % POOLS}:credits"
            head = heads.get(pool, NO_HEAD)
            section: list[Any] = []
            if not head.version:
                section += [Opened(begin, SCALE), Granted(begin, "g", grant, grant, "paid", 50, None, None)]
            for _ in range(EVENTS_PER_SECTION):
                amount = dice.randrange(1, 5_000_000)
                # The square of a number below 1 is smaller, so low values are frequent.
                values = {name: f"{name}-{int(dice.random() ** 2 * count)}" for name, count in DIMENSIONS.items()}
                now = begin + (END - begin) * made // events
                section.append(
                    Debited(
                        now,
                        f"k{made}",
                        amount,
                        grant,
                        ((2, amount),),
                        amount,
                        False,
                        metric="tokens",
                        quantity="100",
                        dimensions=encode_dimensions(values, "dimensions"),
                    )
                )
                spent += amount
                made += 1
            heads[pool] = builder.add(pool, head, section)
        await journal.append(builder.seal(now))
    await journal.aclose()
    return spent


def ingest(directory: Path, *, threads: int) -> tuple[UsageStore, float, float]:
    """Follow the whole journal. Returns the store, the seconds in all, and those of the longest batch."""
    journal = open_reader(directory)
    store = UsageStore(directory / USAGE_NAME, journal_identity=journal.identity, threads=threads)
    tune_collector(YOUNG_MAX)
    began, longest, more = time.perf_counter(), 0.0, True
    while more:
        batch_began = time.perf_counter()
        more = follow(journal, directory / "none", store, rows_max=ROWS_PER_REBUILD)
        longest = max(longest, time.perf_counter() - batch_began)
    journal.close()
    return store, time.perf_counter() - began, longest


def questions() -> dict[str, dict[str, Any]]:
    """Return the questions: each dimension per day of Europe/Paris over 30 days with a filter, and some more."""
    month: dict[str, Any] = {"start": END - 30 * DAY_US, "end": END, "window": "day", "zone": "Europe/Paris"}
    found: dict[str, dict[str, Any]] = {}
    for name, count in DIMENSIONS.items():
        by = "model" if name == "region" else "region"
        asked = {**month, "group_by": [name], "filters": [{"field": by, "value": f"{by}-0"}]}
        if count <= 1_000:
            found[f"all of {name} ({count:,}) per day, one {by}"] = asked
        found[f"top 20 of {name} ({count:,}) per day and others, one {by}"] = {**asked, "top": 20}
    region = {"field": "region", "value": "region-0"}
    found["top 100 of user (100,000) in 30 days, one region"] = {
        **month,
        "window": None,
        "group_by": ["user"],
        "filters": [region],
        "top": 100,
    }
    found["one user's models per day"] = {
        **month,
        "group_by": ["model"],
        "filters": [{"field": "user", "value": "user-7"}],
    }
    return found


def ask_store(store: UsageStore, runs: int, spent: int) -> dict[str, dict[str, float]]:
    """Return the median milliseconds of each question in the store, which answers by columns."""
    scope = environment_scope("default", "credits")
    whole = store.query(usage_query(scope, start=0, end=END + 1))
    if whole.rows[0].credits != spent:
        raise SystemExit(f"{spent} units were spent, usage says {whole.rows[0].credits}")
    medians: dict[str, dict[str, float]] = {}
    for name, parts in questions().items():
        query = usage_query(scope, **parts)
        times: list[float] = []
        lines = 0
        for _ in range(runs + 1):
            began = time.perf_counter()
            lines = len(store.query(query).cells.bucket)
            times.append((time.perf_counter() - began) * 1e3)
        if not lines:
            raise SystemExit(f"{name}: no lines")
        medians[name] = {"lines": lines, "store_ms": statistics.median(times[1:])}
    return medians


async def ask_engine(directory: Path, runs: int, *, threads: int) -> dict[str, dict[str, float]]:
    """Return the median milliseconds of each question through ``engine.usage``: the usage process, its pipe, and the
    typed answer. Also return those of its columns and of all its lines, if they are wanted."""

    async def nothing(*_: object) -> Any:
        return Extent()

    async def scale_of(*_: object) -> int:
        return SCALE

    process = UsageProcess(directory, source=directory, threads=threads)
    desk = UsageDesk(
        process,
        now_us=lambda: END,
        scale_of=scale_of,
        extent=nothing,
        grants_of=nothing,
        timeout_s=60,
    )
    medians: dict[str, dict[str, float]] = {}
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(process.run)
        for name, parts in questions().items():
            question = UsageQuestion(
                start=to_datetime(parts["start"]).isoformat(),
                end=to_datetime(parts["end"]).isoformat(),
                window=parts["window"],
                time_zone=parts["zone"],
                group_by=tuple(parts["group_by"]),
                filters=tuple(parts["filters"]),
                top=parts.get("top"),
            )
            times: dict[str, list[float]] = {"engine_usage_ms": [], "columns_ms": [], "all_lines_ms": []}
            for _ in range(runs + 1):
                began = time.perf_counter()
                answer = await desk.usage(question)
                answered = time.perf_counter()
                answer.columns()
                told = time.perf_counter()
                for line in answer.lines:
                    assert line.events  # noqa: S101 - looked at
                ended = time.perf_counter()
                for figure, seconds in zip(times, (answered - began, told - answered, ended - told), strict=True):
                    times[figure].append(seconds * 1e3)
            medians[name] = {figure: statistics.median(each[1:]) for figure, each in times.items()}
        tasks.cancel_scope.cancel()
    return medians


# -- The effect on debits


@asynccontextmanager
async def ticks(every_s: float) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """Yield a function that awaits the next tick of the kernel's interval timer, which interrupts by a signal.

    The loop's own timers have whole milliseconds and come late. Most arrivals would wait longer for them than for the
    engine.
    """
    loop = asyncio.get_running_loop()
    due = asyncio.Event()

    def tick() -> Awaitable[object]:
        due.clear()
        return due.wait()

    loop.add_signal_handler(signal.SIGALRM, due.set)
    signal.setitimer(signal.ITIMER_REAL, every_s, every_s)
    try:
        yield tick
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        loop.remove_signal_handler(signal.SIGALRM)


class Load:
    """Debits at a steady rate, answered or not, and the time of each since it was due."""

    def __init__(self, engine: Engine, per_s: float) -> None:
        self._engine = engine
        self._per_s = per_s
        self.latencies_ms: list[float] = []
        self.acknowledged = 0
        self.behind = 0
        self._target = parse_pool("hot")
        self._name = uuid.uuid4().hex
        """The prefix of its keys, which no other load has."""
        self._made = 0

    async def run(self, seconds: float) -> None:
        async with ticks(STEP_S) as tick:
            began = time.perf_counter()
            sent = 0
            while (now := time.perf_counter() - began) < seconds:
                due = int(now * self._per_s)
                while sent < due:
                    self._debit(began + sent / self._per_s)
                    sent += 1
                await tick()
        await self._engine.balance("hot")  # It is answered after all earlier requests.

    def _debit(self, due: float) -> None:
        self._made += 1
        command = debit_command(
            scale=SCALE,
            amount="0.25",
            key=f"{self._name}-{self._made}",
            metric="tokens",
            quantity=1,
            dimensions={"user": f"user-{self._made % 5_000}", "region": f"region-{self._made % 5}"},
        )

        def answered(future: asyncio.Future[Any]) -> None:
            if isinstance(outcome_of(future), SolventError):
                self.behind += 1
                return
            self.acknowledged += 1
            self.latencies_ms.append((time.perf_counter() - due) * 1e3)

        try:
            self._engine.live.submit(self._target, command).add_done_callback(answered)
        except SolventError:
            self.behind += 1


def disk_alone(directory: Path, per_s: float, seconds: float) -> dict[str, float]:
    """Measure arrivals that only wait for a flush: the latency of debits at this rate if nothing else took time."""
    descriptor = os.open(directory / "raw", os.O_CREAT | os.O_WRONLY)
    latencies: list[float] = []
    sent, began = 0, time.perf_counter()
    while (now := time.perf_counter() - began) < seconds:
        due = int(now * per_s)
        if due > sent:
            os.write(descriptor, bytes(150 * (due - sent)))
            os.fdatasync(descriptor)
            done = time.perf_counter() - began
            latencies += [(done - number / per_s) * 1e3 for number in range(sent, due)]
            sent = due
        time.sleep(STEP_S)
    os.close(descriptor)
    cuts = statistics.quantiles(latencies, n=1_000)
    return {"debits_per_s": sent / seconds, "p50_ms": cuts[499], "p99_ms": cuts[989], "p99.9_ms": cuts[998]}


@asynccontextmanager
async def nothing_beside(engine: Engine) -> AsyncIterator[dict[str, float]]:
    yield {}


@asynccontextmanager
async def usage_beside(engine: Engine, *, questions: bool) -> AsyncIterator[dict[str, float]]:
    """Let the usage process follow, and ask for its position at times; with ``questions``, ask heavy ones always."""
    found: dict[str, float] = {"asked": 0}
    behind: list[float] = []
    waits: list[float] = []

    async def watch() -> None:
        while True:
            frames, at = engine.statistics()["frames"], time.perf_counter()
            position = -1
            while position < frames:
                await asyncio.sleep(0.05)
                position = (await engine.usage_status()).position
            behind.append(time.perf_counter() - at)
            await asyncio.sleep(0.2)

    async def ask_on() -> None:
        while True:
            began = time.perf_counter()
            await engine.usage(period="2026", window="day", group_by=["user", "model"], top=20)
            waits.append(time.perf_counter() - began)
            found["asked"] += 1

    await engine.usage("hot", consistent=True)
    tasks = [asyncio.create_task(watch())]
    if questions:
        tasks.append(asyncio.create_task(ask_on()))
    yield found
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    found["behind_max_s"] = max(behind, default=0.0)
    found["question_p50_s"] = statistics.median(waits) if waits else 0.0


KINDS: Final[dict[str, tuple[bool, Callable[[Engine], Any]]]] = {
    "alone": (False, nothing_beside),
    "usage follows": (True, lambda engine: usage_beside(engine, questions=False)),
    "usage follows, heavy questions all the time": (True, lambda engine: usage_beside(engine, questions=True)),
}


async def disturb(directory: Path, rate: float, seconds: float, rounds: int) -> dict[str, dict[str, float]]:
    """Return the latencies of ``rate`` debits per second, alone and next to the work of usage.

    A machine has good and bad minutes, so every round has all kinds in it, and the medians of the rounds are returned.
    """
    found: dict[str, list[dict[str, float]]] = {"the disk alone": []}
    for number in range(rounds):
        found["the disk alone"].append(disk_alone(directory, rate, seconds))
        for name, (always, beside) in KINDS.items():
            settings = Settings(usage="always" if always else "on demand", pending_max=1_000_000, mailbox_max=1_000_000)
            async with Engine.open(directory, settings=settings) as engine:
                await engine.grant("hot", 10_000_000, key=f"g-{name}-{number}")
                tune_collector()
                figures = await felt(engine, rate, seconds, beside, always=always)
                alone = found["alone"][-1] if name != "alone" else figures
                figures["p99_to_alone"] = figures["p99_ms"] / alone["p99_ms"]
                found.setdefault(name, []).append(figures)
    return {
        name: {figure: statistics.median(each[figure] for each in measured) for figure in measured[0]}
        for name, measured in found.items()
    }


async def felt(
    engine: Engine, rate: float, seconds: float, beside: Callable[[Engine], Any], *, always: bool
) -> dict[str, float]:
    """Return the latencies of debits at this rate, and check the books afterwards."""
    before = (await engine.balance("hot")).spent
    load = Load(engine, rate)
    async with beside(engine) as found:
        await load.run(seconds)
    cuts = statistics.quantiles(load.latencies_ms, n=1_000)
    spent = (await engine.balance("hot")).spent - before
    if spent != load.acknowledged * Decimal("0.25"):
        raise SystemExit(f"{load.acknowledged} debits were acknowledged, the books say {spent}")
    if always and (await engine.usage("hot", consistent=True, period="last 1000 days")).total.credits <= 0:
        raise SystemExit("usage shows none of the debits")
    return {
        "debits_per_s": load.acknowledged / seconds,
        "refused": load.behind,
        "p50_ms": cuts[499],
        "p99_ms": cuts[989],
        "p99.9_ms": cuts[998],
        **found,
    }


def show(title: str, rows: dict[str, dict[str, float]]) -> None:
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    table = Table(title=title)
    table.add_column("")
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    for name, row in rows.items():
        table.add_row(name, *(f"{row[column]:,.2f}" if column in row else "" for column in columns))
    Console(width=160).print(table)


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench.usage", description=__doc__)
    options.add_argument("--events", type=int, default=10_000_000, help="events of the made-up journal")
    options.add_argument("--runs", type=int, default=9, help="times each question is asked; medians are shown")
    options.add_argument("--threads", type=int, default=2, help="threads of DuckDB for the questions")
    options.add_argument("--disturb", action="store_true", help="measure the effect on debits instead")
    options.add_argument("--rate", type=int, default=20_000, help="debits per second of --disturb")
    options.add_argument("--seconds", type=float, default=20.0, help="length of each phase of --disturb")
    options.add_argument("--rounds", type=int, default=3, help="rounds of all phases of --disturb; medians are shown")
    options.add_argument("--keep", type=Path, help="a folder that keeps the journal for the next run")
    options.add_argument("--json", action="store_true", help="figures for programs")
    chosen = options.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="solvent-bench-", dir="."))
    try:
        results = measure_disturbance(scratch, chosen) if chosen.disturb else measure_usage(scratch, chosen)
    finally:
        shutil.rmtree(scratch)
    if chosen.json:
        print(json.dumps(results, indent=2))
        return
    for title, rows in results.items():
        show(title, rows)
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    print(f"{machine}, {datetime.date.today().isoformat()}")  # noqa: DTZ011 - the date on the reader's wall


def measure_usage(scratch: Path, chosen: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    directory = chosen.keep or scratch / "journal"
    note = directory / "spent"
    if not note.exists():
        directory.mkdir(exist_ok=True)
        spent = asyncio.run(make_journal(directory, chosen.events))
        note.write_text(str(spent))
    spent = int(note.read_text())
    for old in directory.glob(f"{USAGE_NAME}*"):
        old.unlink()
    store, seconds, longest = ingest(directory, threads=chosen.threads)
    store.close()
    size = (directory / USAGE_NAME).stat().st_size
    journal = open_reader(directory)
    identity = journal.identity
    journal.close()
    began = time.perf_counter()
    store = UsageStore(directory / USAGE_NAME, journal_identity=identity, threads=chosen.threads)
    opened = time.perf_counter() - began
    rows = ask_store(store, chosen.runs, spent)
    store.close()
    for name, figures in asyncio.run(ask_engine(directory, chosen.runs, threads=chosen.threads)).items():
        rows[name] |= figures
    events = chosen.events
    return {
        f"Taking in {events:,} events": {
            "": {
                "events_per_s": events / seconds,
                "longest_batch_s": longest,
                "bytes_per_event": size / events,
                "open_s": opened,
            }
        },
        f"Questions about {events:,} events, {chosen.threads} threads": rows,
    }


def measure_disturbance(scratch: Path, chosen: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    directory = scratch / "journal"
    directory.mkdir()
    asyncio.run(make_journal(directory, min(chosen.events, 1_000_000)))
    found = run(disturb(directory, chosen.rate, chosen.seconds, chosen.rounds))
    return {f"What {chosen.rate:,} debits per second feel": found}


if __name__ == "__main__":
    main()
