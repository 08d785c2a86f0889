"""The usage process: follows a journal into a usage file, and answers questions from it.

The engine starts ``python -m solvent.engine.usage.worker.worker FOLDER THREADS [LOCATION]``. It has its own interpreter
and a low priority, because in the engine's interpreter its work would stop debits for tens of milliseconds. It reads
the journal at LOCATION read-only, in short reads; without a location, it asks the engine for the frames. It talks to
the engine over its standard input and output; when the input ends, so does the process.

One thread does everything in turn: follow a little, answer a question. The file can always be rebuilt from the journal.
A damaged file is deleted and rebuilt; on request, a new one is built next to the old one, which answers until then.
"""

from __future__ import annotations

import fcntl
import logging
import os
import queue
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from solvent.engine.api.usage_table import UsageRow, UsageTable, pack, table_of
from solvent.engine.journal.frames import decode_section, split_frame
from solvent.engine.journal.opening import open_reader
from solvent.engine.journal.reader import JournalReader
from solvent.engine.pools.refusal_log import read_refused
from solvent.engine.pools.refusals import Refused
from solvent.engine.runtime.collector import tune_collector
from solvent.engine.runtime.files import REBUILT_NAME, REFUSALS_NAME, USAGE_NAME
from solvent.engine.runtime.sqlite import is_passing
from solvent.engine.usage.analysis import Compared, Spike, compare, exact, series_of, spikes
from solvent.engine.usage.messages import (
    LENGTH_BYTES,
    AskComparison,
    AskEntries,
    AskFrames,
    AskSpikes,
    AskStatus,
    AskTable,
    Entries,
    Failed,
    Frames,
    Lookup,
    Question,
    Rebuild,
    Reply,
    Spikes,
    Status,
    Stop,
    TableEnd,
    TablePart,
    comparison_of,
    framed,
    length_of,
    parts_of,
    questions,
)
from solvent.engine.usage.query import UsageQuery
from solvent.engine.values.errors import (
    InvalidRequest,
    JournalError,
    JournalShorter,
    NewerFormat,
    SolventError,
    TooLarge,
    Unavailable,
)

from .catalog import DIMENSION_COLUMNS_MAX
from .entries import with_events
from .failures import UsageDamaged, UsageUnavailable
from .feed import FedReader, FeedEnded
from .priority import go_to_background
from .rows import UsageRows
from .store import UsageStore

FOLLOW_INTERVAL_S: Final = 0.25
"""The seconds between two looks at the journal while no question waits."""
WAITING_INTERVAL_S: Final = 0.01
"""The same while questions wait for answers."""
FRESH_S: Final = 0.5
"""The age in seconds of an answer that need not be consistent. Beyond that, the journal is read first."""
FRAMES_PER_READ: Final = 8
"""The frames in one read. A frame may hold two thousand events."""
ROWS_PER_CHUNK: Final = 500
"""The rows encoded at once: few enough to stay in the cache, and enough to share the cost of a call."""
ROWS_PER_ROUND: Final = 10_000
"""The rows added before questions get a turn: about 60 ms."""
ROWS_PER_REBUILD: Final = 20_000
REFUSALS_PER_ROUND: Final = 2_000
SPIKE_CELLS_MAX: Final = 2_000_000
"""The most buckets of all groups in a search for spikes: about a second."""
RETRY_S: Final = 0.5
PIPE_BYTES: Final = 1 << 20
"""The size of the pipe for answers that the engine has not read yet. Linux allows every user this much; the default is
64 KiB."""
YOUNG_MAX: Final = 500_000
"""The new objects before a garbage collection. Batches and answers are tens of thousands of small objects without
cycles, which come and go together."""

log = logging.getLogger(__name__)
_Waiting = tuple[float, Lookup]


class UsageWorker:
    """Owns the usage file in ``directory``, which follows ``journal``. ``now`` is a clock in seconds, of any origin."""

    def __init__(
        self,
        directory: Path,
        journal: JournalReader,
        reply: Callable[[Reply], None],
        *,
        threads: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._reply = reply
        self._threads = threads
        self._now = now
        self._journal = journal
        self._identity = journal.identity
        self._store: UsageStore | None = None
        self._rebuilt: UsageStore | None = None
        self._waiting: list[_Waiting] = []
        self._covered_at = -1e9
        """The last time at which the file covered the whole journal."""
        self._not_before = 0.0
        """The time of the next attempt after a failure."""
        self._trouble = "the usage file is being opened"
        self._refused: NewerFormat | JournalShorter | None = None
        """Why nothing is answered until somebody does something: a newer file, or a journal that lost frames."""
        self._rebuild_failure: str | None = None

    def run(self, inbox: queue.SimpleQueue[Question]) -> None:
        """Follow the journal and answer questions until a ``Stop`` arrives."""
        with suppress(FeedEnded):
            self._serve(inbox)
        for store in (self._store, self._rebuilt):
            if store is not None:
                store.close()

    def _serve(self, inbox: queue.SimpleQueue[Question]) -> None:
        behind = True
        while True:
            busy = behind or self._rebuilt is not None
            try:
                timeout = WAITING_INTERVAL_S if self._waiting else FOLLOW_INTERVAL_S
                question = inbox.get(block=not busy, timeout=timeout)
            except queue.Empty:
                pass
            else:
                if isinstance(question, Stop):
                    return
                self._take(question)
            behind = self._follow()
            self._rebuild_on()
            self._answer_one()

    def _take(self, question: Lookup | AskStatus | Rebuild) -> None:
        if not isinstance(question, (AskStatus, Rebuild)):
            self._waiting.append((self._now() + question.patience_s, question))
            return
        try:
            if isinstance(question, Rebuild) and self._rebuilt is None:
                # Also in place of a file of a newer version: that is what is asked for.
                self._begin_rebuilding()
            if self._refused is not None and self._rebuilt is None:
                self._fail(question.id, self._refused)
                return
            self._reply(self._status(question.id))
        except (UsageDamaged, UsageUnavailable, JournalError, sqlite3.Error, OSError) as error:
            self._fail(question.id, Unavailable(f"the usage file cannot be rebuilt now: {error}"))

    def _status(self, id: int) -> Status:
        store, rebuilt = self._store, self._rebuilt
        return Status(
            id,
            0 if store is None else store.position,
            self._journal.last_number(),
            None if rebuilt is None else rebuilt.position,
            self._rebuild_failure,
        )

    # -- Following the journal

    def _follow(self) -> bool:
        """Add the next part of the journal, of bounded size. Returns whether there is more."""
        if self._now() < self._not_before:
            time.sleep(min(FOLLOW_INTERVAL_S, self._not_before - self._now()))
            return True
        try:
            if self._store is None:
                self._store = self._open(USAGE_NAME)
                self._refused = None
            began, store = self._now(), self._store
            wanted = any(not self._is_covered(store, question) for _, question in self._waiting)
            if began - self._covered_at < FOLLOW_INTERVAL_S and not wanted:
                return False
            more = follow(self._journal, self._directory / REFUSALS_NAME, store, rows_max=ROWS_PER_ROUND)
        except UsageDamaged as damage:
            log.warning("the usage file is rebuilt from the journal: %s", damage)
            self._discard()
            return True
        except (UsageUnavailable, JournalError, sqlite3.Error) as error:
            if not (
                isinstance(error, (NewerFormat, JournalShorter)) and self._refused
            ):  # That is so until somebody does something.
                log.warning("usage does not follow the journal for now: %s", error)
            self._refused = error if isinstance(error, (NewerFormat, JournalShorter)) else None
            self._trouble = str(error)
            self._close()
            self._not_before = self._now() + RETRY_S
            return True
        if not more:
            self._covered_at = began
        return more

    def _open(self, name: str) -> UsageStore:
        store = UsageStore(self._directory / name, journal_identity=self._identity, threads=self._threads)
        last = self._journal.last_number()
        if store.position > last:
            # It has only what was flushed. To rebuild it would be to forget what the journal has lost.
            store.close()
            raise JournalShorter(str(self._directory), last=last, acknowledged=store.position, known_by=USAGE_NAME)
        return store

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _discard(self) -> None:
        self._close()
        remove_usage(self._directory / USAGE_NAME)
        self._covered_at = -1e9

    # -- Rebuilding the file

    def _begin_rebuilding(self) -> None:
        remove_usage(self._directory / REBUILT_NAME)
        busiest: list[str] = []
        try:
            if self._store is None:  # An engine started only to rebuild the file asks at once.
                self._store = self._open(USAGE_NAME)
            busiest = self._store.dimensions_by_use()[:DIMENSION_COLUMNS_MAX]
        except (UsageDamaged, UsageUnavailable, NewerFormat) as error:
            log.warning("which dimensions are used most cannot be read from the old usage file: %s", error)
        self._rebuilt = self._open(REBUILT_NAME)
        self._rebuilt.reserve(busiest)
        self._rebuild_failure = None

    def _rebuild_on(self) -> None:
        if self._rebuilt is None:
            return
        try:
            if not follow(self._journal, self._directory / REFUSALS_NAME, self._rebuilt, rows_max=ROWS_PER_REBUILD):
                self._rebuilt.commit()
                self._rebuilt.close()
                self._rebuilt = self._refused = None
                self._close()
                remove_usage(self._directory / USAGE_NAME)
                (self._directory / REBUILT_NAME).replace(self._directory / USAGE_NAME)
        except (UsageDamaged, UsageUnavailable, JournalError, sqlite3.Error, OSError) as error:
            log.warning("the usage file was not rebuilt, the old one stays: %s", error)
            self._rebuild_failure = str(error)
            if self._rebuilt is not None:
                self._rebuilt.close()
                self._rebuilt = None

    # -- Answers

    def _answer_one(self) -> None:
        """Answer the oldest question that can be answered, and fail those that waited too long."""
        for place, (until, question) in enumerate(self._waiting):
            late = self._now() > until
            store = self._store
            if store is not None and self._is_covered(store, question):
                del self._waiting[place]
                self._answer(store, question)
                return
            if self._refused is not None:
                del self._waiting[place]
                self._fail(question.id, self._refused)
                return
            if late:
                del self._waiting[place]
                self._fail(question.id, Unavailable(self._why_not_yet()))
                return

    def _is_covered(self, store: UsageStore, question: Lookup) -> bool:
        if self._now() - self._covered_at > FRESH_S:
            return False
        if isinstance(question, AskEntries):
            return True
        return store.position >= question.extent.frame and store.refusals >= question.extent.refusal

    def _why_not_yet(self) -> str:
        if self._store is None:
            return f"usage cannot be read now: {self._trouble}"
        covered, last = self._store.position, self._journal.last_number()
        return f"usage is being brought up to date: {covered} of {last} frames are in it"

    def _answer(self, store: UsageStore, question: Lookup) -> None:
        try:
            match question:
                case AskTable(id, query):
                    self._send_table(id, store.query(query))
                case AskEntries(id, query, cell, as_of, cursor, limit):
                    found = store.entries(query, cell, as_of=as_of, cursor=cursor, limit=limit)
                    entries = with_events(found.entries, self._journal)
                    self._reply(Entries(id, msgspec.structs.replace(found, entries=entries)))
                case AskComparison(id, query, before, order, top):
                    after, earlier = store.query(query), store.query(before)
                    descending = order != "name"
                    groups = compare(after.rows, earlier.rows, order=order, descending=descending, top=top)
                    if groups and groups[-1].other:
                        groups[-1] = _others(store, query, before, groups)
                    self._reply(comparison_of(id, groups, sum(earlier.total.events), sum(after.total.events)))
                case AskSpikes():
                    self._reply(_spikes(store, question))
        except SolventError as error:
            self._fail(question.id, error)
        except UsageDamaged as damage:
            log.warning("the usage file is rebuilt from the journal: %s", damage)
            self._discard()
            self._fail(question.id, Unavailable("the usage file was damaged and is being rebuilt"))
        except UsageUnavailable as error:
            self._close()
            self._fail(question.id, Unavailable(f"usage cannot be read now: {error}"))
        except Exception:  # supervises questions: the error is logged, and the question answered
            log.exception("a question failed: %r", question)
            self._fail(question.id, SolventError("an internal error: the log of the usage process says more"))

    def _send_table(self, id: int, table: UsageTable) -> None:
        for message in parts_of(id, table):
            self._reply(message)

    def _fail(self, id: int, error: SolventError) -> None:
        if isinstance(error, InvalidRequest):
            self._reply(Failed(id, error.code, error.field, error.expected))
        elif isinstance(error, NewerFormat):
            self._reply(Failed(id, error.code, error.file, error.message, found=error.found, known=error.known))
        elif isinstance(error, JournalShorter):
            found, known = error.last, error.acknowledged
            self._reply(Failed(id, error.code, error.folder, error.known_by, found=found, known=known))
        else:
            self._reply(Failed(id, error.code, "", error.message))


def follow(journal: JournalReader, refusals: Path, store: UsageStore, *, rows_max: int) -> bool:
    """Add to the store what it does not cover yet, at most about ``rows_max`` rows. Returns whether there is more.

    Raises ``JournalError``, ``sqlite3.Error``, ``UsageDamaged``, ``UsageUnavailable``.
    """
    with store.batch() as batch:
        more, rows = True, UsageRows()
        while more and batch.count < rows_max:
            frames = journal.frames(batch.frame, FRAMES_PER_READ)
            for each in frames:
                rows.add((decode_section(body, frame=each.number) for _, body in split_frame(each)), each.number)
                if len(rows.rows) >= ROWS_PER_CHUNK or each is frames[-1]:
                    batch.add(rows, through_frame=each.number)
                    rows = UsageRows()
            more = len(frames) == FRAMES_PER_READ
        refused = _refused(refusals, batch.refusal)
        if refused:
            rows.add_refused(each for _, each in refused if each is not None)
            batch.add(rows, through_refusal=refused[-1][0])
    return more or len(refused) == REFUSALS_PER_ROUND


def _refused(path: Path, after: int) -> list[tuple[int, Refused | None]]:
    try:
        return read_refused(path, after, REFUSALS_PER_ROUND)
    except sqlite3.Error as error:
        if is_passing(error):
            raise
        # Damaged statistics are no reason to stop following the journal.
        log.warning("refusals are not counted, %s cannot be read: %s", path.name, error)
        return []
    except NewerFormat as error:
        _warn_once(f"what was refused is not counted: {error}")
        return []


@cache
def _warn_once(text: str) -> None:
    log.warning(text)


def _others(store: UsageStore, query: UsageQuery, before: UsageQuery, groups: Sequence[Compared]) -> Compared:
    """Return the last of ``groups``, which stands for all that are not named, with its events counted once."""
    *named, others = groups
    values = [each.values for each in named]
    events, events_before = store.events_outside(query, values), store.events_outside(before, values)
    return msgspec.structs.replace(
        others,
        events_after=others.events_after if events is None else events,
        events_before=others.events_before if events_before is None else events_before,
    )


def _spikes(store: UsageStore, question: AskSpikes) -> Spikes:
    query = question.query
    table = store.query(query)
    buckets = query.buckets()
    if len(table.groups) * len(buckets) > SPIKE_CELLS_MAX:
        limit = f"at most {SPIKE_CELLS_MAX} buckets of all groups together: ask for the top groups, or a wider window"
        raise TooLarge("window", limit)
    every = table.rows
    rows = {(row.start, row.other, exact(row.values)): row for row in every}
    found: list[tuple[UsageRow, Spike]] = []
    series = series_of(every, [start for start, _ in buckets])
    for spike in spikes(series, sensitivity=question.sensitivity, history_min=question.history_min):
        start, end = buckets[spike.bucket]
        # An empty bucket can be a spike, if there were only reversals before. It has no row.
        row = rows.get((start, spike.other, exact(spike.values)))
        if row is not None and end > question.since and len(found) < question.limit:
            found.append((row, spike))
    told = table_of(table.columns, buckets, [row for row, _ in found], position=table.position, as_of=table.as_of)
    return Spikes(
        question.id,
        TablePart(question.id, list(told.groups), told.cells.narrow().packed()),
        TableEnd(question.id, list(told.metrics), told.total.narrow().packed(), told.position, told.as_of),
        pack([int(2 * spike.expected) for _, spike in found]),
        [spike.score for _, spike in found],
    )


def remove_usage(path: Path) -> None:
    """Delete a usage file and its log."""
    for name in (path, path.with_name(f"{path.name}.wal")):
        name.unlink(missing_ok=True)


def _receive(source: BinaryIO, inbox: queue.SimpleQueue[Question], feed: FedReader) -> None:
    """Receive questions and frames until the engine is gone. Then end the process: no one waits for work under way."""
    status = 1
    try:
        while len(header := source.read(LENGTH_BYTES)) == LENGTH_BYTES:
            message = questions.decode(source.read(length_of(header)))
            if isinstance(message, Frames):
                feed.take(message)
                continue
            inbox.put(message)
            if isinstance(message, Stop):
                feed.end()
        status = 0
    except Exception:  # supervises the process: logs the error and ends, since no question could arrive any more
        log.exception("a question cannot be read")
    finally:
        os._exit(status)


def main() -> None:
    """Serve usage. The arguments are the folder, the number of threads, and the location of the journal; without a
    location, the engine sends its frames."""
    logging.basicConfig(format="solvent usage: %(message)s", level=logging.WARNING)
    for each in (signal.SIGINT, signal.SIGTERM):
        # The signal is meant for the engine, which ends this process when it no longer needs it.
        signal.signal(each, signal.SIG_IGN)
    go_to_background()
    tune_collector(YOUNG_MAX)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    if sys.platform == "linux":
        # Otherwise an answer of a megabyte takes twenty turns of both processes.
        with suppress(OSError):  # It exceeds what the system allows a user.
            fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def send(message: Reply | AskFrames) -> None:
        sink.write(framed(message))
        sink.flush()

    folder, threads, *location = sys.argv[1:]
    inbox: queue.SimpleQueue[Question] = queue.SimpleQueue()
    feed = FedReader(send)
    journal: JournalReader = open_reader(location[0]) if location else feed
    threading.Thread(target=_receive, args=(source, inbox, feed), daemon=True).start()
    with suppress(FeedEnded), closing(journal):
        UsageWorker(Path(folder), journal, send, threads=int(threads)).run(inbox)
    # The receiving thread may hold the input, and an orderly end of the interpreter would wait for it.
    os._exit(0)


if __name__ == "__main__":
    main()
