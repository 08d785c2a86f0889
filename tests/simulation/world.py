"""One simulated run: callers, a network, a disk, a service that is killed and started again; all from one seed."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import NamedTuple
from unittest import mock

import anyio.to_thread
import msgspec
from anyio._backends._asyncio import CancelScope

from solvent import CardList, LedgerEntry, PoolEvent, Settings, SolventError
from solvent.engine import engine as engine_module
from solvent.engine.audit.verify import verify_journal
from solvent.engine.engine import Engine
from solvent.engine.journal.sqlite.journal import _INSERT, _SCHEMA, SqliteJournal
from solvent.engine.projections import index_file, snapshots
from solvent.engine.runtime.files import JOURNAL_NAME
from solvent.transports.nats.client import Client
from solvent.transports.nats.discovery import Discovery
from solvent.transports.nats.gateway import Gateway
from solvent.transports.nats.publisher import Publisher
from solvent.transports.wire.answers import decode_event

from .checker import Illegal, check, check_told
from .clockwork import Process, SimulatedLoop, numbered
from .disk import Disk, Faults, SimulatedJournal, SimulatedSqlite, in_place_of_threads
from .history import History
from .network import Network, SimulatedNats
from .players import Player, read_ledgers

POOLS = ("acme", "acme/a", "acme/b", "globex")
PLAYERS = 4
COMMANDS = 40
"""That each player does, at least."""
BEGIN_US = 1_780_000_000_000_000
SETTINGS = Settings(resident_max=2, idle_after_s=1.0, timeout_s=3.0, stop_timeout_s=3.0)
CHANCES = {
    "lost request": 0.05,
    "lost reply": 0.05,
    "repeated request": 0.05,
    "repeated reply": 0.03,
    "late request": 0.05,
    "late reply": 0.03,
    "slow disk": 0.004,
    "slow flush": 0.02,
    "failed flush": 0.02,
    "crash in a flush": 0.02,
    "crash behind a flush": 0.03,
    "failed cache write": 0.01,
}
"""At the worst. How bad it is differs from seed to seed."""

log = logging.getLogger(__name__)


class Outcome(msgspec.Struct):
    """What became of a run."""

    seed: int
    failure: str = ""
    requests: int = 0
    entries: int = 0
    told: int = 0
    """Alerts and requests that were published."""
    did: dict[str, int] = {}
    """Entries, by their kind."""
    steps: int = 0
    seconds: float = 0.0
    """Of simulated time."""
    faults: dict[str, int] = {}
    trace: str = ""
    """A digest of everything that callers saw: the same for the same seed."""


class End(NamedTuple):
    """What can be read when all is over."""

    ledgers: dict[str, list[LedgerEntry]]
    cards: CardList
    told: list[PoolEvent]
    """What pools said, as it was published."""
    read_at_us: int
    """The service's clock when the ledgers were read, or before."""


class World:
    """Everything of one run."""

    def __init__(self, seed: int, folder: Path) -> None:
        dice = Random(seed)
        self.loop = SimulatedLoop()
        self.dice = Random(dice.random())
        self.faults = Faults(Random(dice.random()))
        self.faults.chances = {kind: worst * dice.choice((0, 0, 0.3, 1)) for kind, worst in CHANCES.items()}
        self.disk = Disk(folder, self.faults)
        self.network = Network(self.loop, self.faults)
        self.players = [
            Player(f"p{number}", POOLS, Random(dice.random()), clock=self.loop.time, now=self.today)
            for number in range(PLAYERS)
        ]
        self.crashes = dice.choice((0, 2, 5))
        self.secrets = Random(dice.random())
        self._jump_us = 0
        self._done = asyncio.Event()
        self.process: Process | None = None

    def now_us(self) -> int:
        """The clock on the wall of the service."""
        return BEGIN_US + self._jump_us + int(self.loop.time() * 1e6)

    def today(self) -> datetime:
        return datetime.fromtimestamp(self.now_us() // 1_000_000, UTC)

    async def run(self) -> End:
        """Play, calm down, settle."""
        service = self.loop.create_task(self._keep_serving())
        callers = self.loop.create_task(self._call())
        await asyncio.wait({service, callers}, return_when=asyncio.FIRST_COMPLETED)
        if service.done():
            service.result()
        self._done.set()
        await service
        return callers.result()

    async def _call(self) -> End:
        weather = self.loop.create_task(self._change_the_weather())
        playing = [self._play(player) for player in self.players]
        await asyncio.gather(*playing)
        weather.cancel()
        self.faults.is_calm, self.disk.is_full = True, False
        self.crashes = 0
        if self.process is not None:
            self.process.dies_at = None
        client = await self._client()
        await asyncio.gather(*(player.settle(client) for player in self.players))
        # All came to rest: what was late has arrived, and every key says what came of it.
        await asyncio.sleep(20)
        await asyncio.gather(*(player.settle(client) for player in self.players))
        read_at_us = self.now_us()
        ledgers, cards = await read_ledgers(client, POOLS), await client.rates()
        # What the last of it has to say is published by now, too.
        await asyncio.sleep(5)
        return End(ledgers, cards, [decode_event(payload) for payload in self.network.told], read_at_us)

    async def _client(self) -> Client:
        client = Client(SimulatedNats(self.network), gather="environment", timeout_s=4.0, outstanding_max=1_000)  # type: ignore[arg-type]
        await client.requests.start()
        self.loop.create_task(client.requests.run())
        return client

    async def _play(self, player: Player) -> None:
        """Two lives: the first may be cut short, in the middle of whatever it is doing."""
        for life in range(2):
            process = Process(player.name)
            if life == 0 and self.dice.random() < 0.3:
                process.dies_at = self.dice.randrange(50, 1_500)
            ended = asyncio.Event()
            process.died.append(ended.set)
            process.died.append(lambda: self.faults.struck.update(["client killed"]))

            async def main(player: Player = player, ended: asyncio.Event = ended) -> None:
                client = await self._client()
                await player.play(client, COMMANDS // 2, pause_s=0.8)
                ended.set()

            task = self.loop.run_process(process, main)
            await ended.wait()
            if task.done():
                task.result()

    async def _keep_serving(self) -> None:
        while not self._done.is_set():
            self.process = process = Process("service")
            if self.crashes:
                self.crashes -= 1
                process.dies_at = self.dice.choice((self.dice.randrange(1, 400), self.dice.randrange(400, 12_000)))
            died = asyncio.Event()
            process.died.append(died.set)
            task = self.loop.run_process(process, self._serve)
            dead = self.loop.create_task(died.wait())
            await asyncio.wait({task, dead}, return_when=asyncio.FIRST_COMPLETED)
            if process.is_dead:
                self.faults.struck["crash"] += 1
            else:
                # Its connections end with it.
                process.kill()
                error = task.exception()
                if error is not None:
                    if not isinstance(error, (SolventError, sqlite3.Error)):
                        raise Illegal(f"the service ended with {error!r}") from error
                    self.faults.struck["did not start"] += 1
            self.disk.lose_power()
            await asyncio.sleep(self.dice.random())

    async def _serve(self) -> None:
        stopped = asyncio.Event()
        if not self.faults.is_calm and self.dice.random() < 0.2:
            self.loop.call_later(self.dice.random() * 20, stopped.set)
            self.faults.struck["orderly stop"] += 1
        async with Engine.open(self.disk.folder, settings=SETTINGS, now_us=self.now_us) as engine:
            commands, reads = SimulatedNats(self.network), SimulatedNats(self.network)
            discovery = Discovery(reads, instance="i", version="0", environments=(), statistics=engine.statistics)  # type: ignore[arg-type]
            gateway = Gateway(engine, commands, reads, discovery)  # type: ignore[arg-type]
            async with anyio.create_task_group() as tasks:
                await tasks.start(gateway.run)
                await gateway.start(())
                await tasks.start(Publisher(engine, reads, ()).run)  # type: ignore[arg-type]
                done = self.loop.create_task(self._done.wait())
                await asyncio.wait({done, self.loop.create_task(stopped.wait())}, return_when=asyncio.FIRST_COMPLETED)
                await gateway.stop(5.0)
                tasks.cancel_scope.cancel()

    async def _change_the_weather(self) -> None:
        while True:
            await asyncio.sleep(self.dice.random() * 4)
            choice = self.dice.random()
            if choice < 0.3:
                jump_s = self.dice.choice((-60, -1, 1, 30, 30, 86_400))
                self._jump_us += jump_s * 1_000_000
                self.faults.struck["clock jump back" if jump_s < 0 else "clock jump ahead"] += 1
            elif choice < 0.4:
                self.disk.is_full = True
                await asyncio.sleep(self.dice.random() * 3)
                self.disk.is_full = False


@contextmanager
def _instead_of_the_real(world: World) -> Iterator[None]:
    """Put the simulated parts where the engine looks for threads, files and chance."""

    def disk() -> Disk:
        return world.disk

    async def open_journal(path: Path) -> SimulatedJournal:
        await world.disk.delay()
        return SimulatedJournal(world.disk)

    @contextmanager
    def unlocked(directory: Path) -> Iterator[None]:
        yield

    sqlite = SimulatedSqlite(disk)
    with (
        mock.patch.object(CancelScope, "__hash__", numbered),
        mock.patch.object(anyio.to_thread, "run_sync", in_place_of_threads(disk)),
        mock.patch.object(index_file, "aiosqlite", sqlite),
        mock.patch.object(snapshots, "aiosqlite", sqlite),
        mock.patch.object(engine_module, "exclusive", unlocked),
        mock.patch.object(SqliteJournal, "open", open_journal),
        mock.patch.object(secrets, "randbits", world.secrets.getrandbits),
    ):
        yield


def _verify(world: World) -> None:
    """What is left on the disk is what an auditor would find in order, caches and all."""
    with closing(sqlite3.connect(world.disk.folder / JOURNAL_NAME, isolation_level=None)) as connection:
        connection.executescript(_SCHEMA)
        connection.execute("begin")
        rows = [(frame.number, frame.at, frame.crc, frame.body) for frame in world.disk.frames()]
        connection.executemany(_INSERT, rows)
        connection.execute("commit")
    problems = verify_journal(world.disk.folder).problems
    if problems:
        raise Illegal(f"verify finds: {problems[0]}")


def run_seed(seed: int, *, scratch: Path | None = None) -> Outcome:
    """Simulate one run, and judge it."""
    outcome = Outcome(seed)
    folder = Path(tempfile.mkdtemp(prefix=f"simulation-{seed}-", dir=scratch))
    world = World(seed, folder)
    asyncio.set_event_loop(world.loop)
    history, end = History(), None
    try:
        with _instead_of_the_real(world):
            end = world.loop.run_until_complete(world.run())
        for player in world.players:
            history.commands += player.history.commands
            history.reads += player.history.reads
        outcome.entries = sum(map(len, end.ledgers.values()))
        check(history, end.ledgers, end.cards, now_us=end.read_at_us)
        check_told(end.told, end.ledgers)
        outcome.told = len(end.told)
        _verify(world)
    except Exception as error:  # whatever it is, it belongs to this seed
        log.debug("seed %d", seed, exc_info=True)
        outcome.failure = f"{type(error).__name__}: {error}"
    outcome.requests = history.requests
    outcome.did = dict(Counter(entry.kind for ledger in end.ledgers.values() for entry in ledger)) if end else {}
    outcome.steps = world.loop.steps
    outcome.seconds = world.loop.time()
    outcome.faults = dict(world.faults.struck)
    outcome.trace = hashlib.blake2b(msgspec.json.encode([history, outcome.steps]), digest_size=8).hexdigest()
    world.disk.remove()
    return outcome


def total(outcomes: list[Outcome]) -> Counter[str]:
    """How often each fault struck, over many runs."""
    struck: Counter[str] = Counter()
    for outcome in outcomes:
        struck.update(outcome.faults)
    return struck
