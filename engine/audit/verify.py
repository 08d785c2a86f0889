"""Verification of a journal: every frame, every chain, every balance is recomputed from the first event on.

It judges by rules that are written a second time, in ``plain_rules``. Reads only, so it can run next to the service
that writes the journal. It also compares the caches with the recomputed state, and reports a snapshot or an index entry
that differs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Context, Decimal
from os import PathLike
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from solvent.engine.journal.frames import (
    NO_HEAD,
    Frame,
    Head,
    Pointer,
    Section,
    decode_section,
    digest_of,
    rules_of,
    split_frame,
)
from solvent.engine.journal.opening import open_reader
from solvent.engine.journal.reader import JournalReader
from solvent.engine.journal.sqlite.end import End, end_of
from solvent.engine.projections.snapshots import decode_pool
from solvent.engine.rules.events import NOTICES, Captured, Debited, Event, MovedIn, MovedOut
from solvent.engine.runtime.files import END_NAME, INDEX_NAME, JOURNAL_FORMAT, REFUSALS_NAME, SNAPSHOTS_NAME, USAGE_NAME
from solvent.engine.values.amounts import to_decimal
from solvent.engine.values.errors import JournalCorrupt, JournalError
from solvent.engine.values.pool_id import parse_canonical
from solvent.engine.values.readable import Readable

from .examine import (
    IndexFound,
    UsageFound,
    acknowledged,
    examine_index,
    examine_refusals,
    examine_snapshots,
    examine_usage,
    identity_of,
)
from .heads import PublishedHeads
from .losses import Loss, read_losses
from .plain_rules import Difference, PlainGrant, PlainPool

PROBLEMS_MAX: Final = 100
"""The number of findings that ends a verification. More would add nothing new."""
FRAMES_PER_READ: Final = 64


class Verification(Readable, msgspec.Struct, kw_only=True):
    """The recomputed state, and the problems found. Without ``problems``, the journal is proven."""

    frames: int = 0
    entries: int = 0
    pools: int = 0
    debits: int = 0
    granted: dict[str, Decimal] = {}
    """The credits granted so far, by currency."""
    spent: dict[str, Decimal] = {}
    """The credits spent, by currency."""
    problems: list[str] = []
    heads: dict[str, Head] = {}
    """The end of each pool's chain, by canonical name."""
    seconds: float = 0.0
    losses: list[Loss] = []
    """The losses that were accepted since the journal began: what is missing, and who knew. They are no problems."""

    @property
    def proven(self) -> bool:
        return not self.problems


def verify_journal(
    directory: str | PathLike[str],
    *,
    against: PublishedHeads | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Recompute everything in ``directory`` and compare: checksums, chains, balances, keys, and the caches.

    It only reads, and may run next to the engine that writes. It blocks the calling thread, for about 5 seconds per
    million entries, and keeps all pools and their keys in memory.

    Args:
        directory: The folder of the journal.
        against: Heads that were published earlier. If history was rewritten since, that is reported too.
        on_progress: Called with (frames done, frames in all).

    Returns:
        The recomputed state, and each difference in ``problems``. Without problems, it is ``proven``.

    Raises:
        JournalError: There is no journal, or it cannot be opened. Faults inside are reported, not raised.
    """
    reader = open_reader(directory)
    try:
        return verify(reader, Path(directory), against=against, on_progress=on_progress)
    finally:
        reader.close()


def verify(
    reader: JournalReader,
    folder: Path,
    *,
    against: PublishedHeads | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Recompute everything in the journal of ``reader``, with its caches in ``folder``, as ``verify_journal`` does."""
    started = time.perf_counter()
    checker = _Checker(reader.name, against)
    for finding in reader.damage():
        checker.report(finding)
    checker.examine(folder, identity_of(reader))
    checker.result.losses, problems = read_losses(folder)
    for problem in problems:
        checker.report(problem)
    _check_frames(reader, checker, on_progress)
    checker.finish()
    checker.result.heads = checker.heads
    checker.result.seconds = time.perf_counter() - started
    return checker.result


def _check_frames(reader: JournalReader, checker: _Checker, on_progress: Callable[[int, int], None] | None) -> None:
    try:
        last = reader.last_number()
    except JournalError as error:
        checker.report(f"{reader.name}: {error}")
        return
    checker.check_end(last)
    position = 0
    while position < last and len(checker.result.problems) < PROBLEMS_MAX:
        try:
            frames = reader.frames(position, min(FRAMES_PER_READ, last - position))
        except JournalCorrupt as error:
            checker.report(f"{reader.name}, {error}", frame=error.frame)
            return
        for frame in frames:
            try:
                checker.rules = rules_of(frame)
                for pointer, body in split_frame(frame):
                    checker.check(pointer, body)
                checker.end_frame(frame)
            except JournalCorrupt as error:
                checker.report(f"{reader.name}, {error}", frame=error.frame)
            checker.result.frames += 1
            position = frame.number
        if on_progress is not None:
            on_progress(position, last)


_EXACT: Final = Context(prec=80)
"""A context that never rounds, whatever went through all pools in their lives."""
_Move: TypeAlias = tuple[str, str, str, int]
"""A move of credits: the source pool, the target pool, the key and the grant."""
_Origin: TypeAlias = tuple[str, int, int | None]
"""The recurring grant whose credits were moved, by its pool and number, and the end of their period."""
_MovedTerms: TypeAlias = tuple[str, int, int, int, int | None, _Origin | None]


def _terms(of: PlainGrant | MovedIn, origin: _Origin | None) -> _MovedTerms:
    """Return the terms that a transfer must not change."""
    return of.category, of.priority, of.created_at, of.effective_at, of.expires_at, origin


def _left(pool: str, grant: PlainGrant, found: PlainPool) -> _Origin | None:
    """Return what credits that leave a pool have to remember: where they roll over."""
    if grant.origin is not None:
        return *grant.origin, grant.period_end
    return (pool, grant.recurring, found.period_end(grant)) if grant.rolls else None


def _arrived(pool: str, event: MovedIn) -> _Origin | None:
    """Return what credits that arrive remember."""
    if event.origin is not None:
        return *event.origin, event.period_end
    return (pool, event.recurring, event.period_end) if event.recurring else None


class _Checker:
    """Recomputes all pools by the plain rules, and compares them with what journal and caches contain."""

    def __init__(self, journal: str, against: PublishedHeads | None) -> None:
        self.result = Verification()
        self.rules = JOURNAL_FORMAT
        """The number of the rules by which the present frame was written."""
        self._journal = journal
        """The name of the journal in findings."""
        self._published = {} if against is None else dict(against.pools)
        """The published heads that have not been found yet."""
        self._pools: dict[str, PlainPool] = {}
        self._heads: dict[str, Head] = {}
        self._broken: set[str] = set()
        self._on_the_way: dict[_Move, tuple[int, _MovedTerms]] = {}
        """The credits that left a pool (above zero) or reached one (below) in this frame, and their terms then."""
        self._snapshots: dict[str, dict[int, bytes]] = {}
        """The snapshots that have not been compared yet: by pool, then by version."""
        self._index = IndexFound()
        self._indexed: dict[str, Head] = {}
        """The heads of the index that have not been found yet."""
        self._notices: set[int] = set()
        """The frames with notices (events to be published), as far as the index covers them."""
        self._usage = UsageFound()
        self._noted: End | None = None
        self._acknowledged: dict[str, int] = {}
        """The newest frame that each file knows to have been written."""
        self._damaged: set[int] = set()
        """The frames that cannot be read."""

    def report(self, problem: str, *, frame: int | None = None) -> None:
        self.result.problems.append(problem)
        if frame is not None:
            self._damaged.add(frame)

    def examine(self, directory: Path, identity: str) -> None:
        """Examine the caches before the journal is read, so that none is ahead of it even while a service writes."""
        self._snapshots, problems = examine_snapshots(directory / SNAPSHOTS_NAME, identity)
        self._index = examine_index(directory / INDEX_NAME, identity)
        self._indexed = dict(self._index.heads)
        self._usage = examine_usage(directory / USAGE_NAME, identity)
        self._noted = end_of(directory, identity)
        self._acknowledged = acknowledged(directory, identity)
        if self._usage.position:
            self._acknowledged[USAGE_NAME] = self._usage.position
        for name, found in (
            (REFUSALS_NAME, examine_refusals(directory / REFUSALS_NAME)),
            (SNAPSHOTS_NAME, problems),
            (INDEX_NAME, self._index.problems),
            (USAGE_NAME, self._usage.problems),
        ):
            for problem in found:
                self.report(f"{name}: {problem}")

    @property
    def heads(self) -> dict[str, Head]:
        """Return the end of each pool's chain."""
        return self._heads

    def check(self, pointer: Pointer, body: bytes) -> None:
        """Check one section. Raises ``JournalCorrupt``; reports other faults, once per pool."""
        section = decode_section(body, frame=pointer.frame)
        if section.pool in self._broken:
            return
        version = section.first_version
        try:
            self._check_chain(section, pointer)
            for version, event in enumerate(section.events, section.first_version):
                self._check_event(section.pool, version, event, pointer.frame)
            head = Head(section.last_version, pointer, digest_of(body))
            self._heads[section.pool] = head
            self._compare(section.pool, head)
            self._compare_published(section.pool, head)
        except Difference as difference:
            self._broken.add(section.pool)
            self.report(f"{self._journal}, frame {pointer.frame}, pool {section.pool}, entry {version}: {difference}")

    def end_frame(self, frame: Frame) -> None:
        """Check that credits which left one pool for another in this frame also arrived in it."""
        number = frame.number
        if self._noted is not None and number == self._noted.number and not self._noted.is_of(frame):
            self.report(f"{self._journal}, frame {number}: it is not the frame that was acknowledged, by {END_NAME}")
        if self._usage.there and number == self._usage.position:
            self._compare_usage()
        if self._on_the_way:
            moves = ", ".join(f"{source} to {target}, key {key!r}" for source, target, key, _ in self._on_the_way)
            self.report(f"{self._journal}, frame {number}: a transfer has one side only: {moves}")
            self._on_the_way.clear()

    def _compare_usage(self) -> None:
        for name, pool in self._pools.items():
            found, spent = self._usage.spent.get(name, 0), pool.total("spent")
            if found != spent and name not in self._broken:
                self.report(f"{USAGE_NAME}, pool {name}: it says {found} units were spent, {self._journal} {spent}")

    def _note_transfer(self, pool: str, event: MovedOut | MovedIn) -> None:
        """Pair both sides of a transfer, in either order. Moved credits keep their terms. Raises ``Difference``."""
        moves: list[tuple[_Move, int, _MovedTerms]]
        if isinstance(event, MovedOut):
            found = self._pools[pool]
            moves = []
            for number, part in event.parts:
                grant = found.grants[number]
                origin = _left(pool, grant, found) if self.rules >= 2 else None
                moves.append(((pool, event.target, event.key, number), part, _terms(grant, origin)))
        else:
            move = (event.source, pool, event.source_key, event.source_grant)
            moves = [(move, -event.amount, _terms(event, _arrived(pool, event)))]
        for move, units, terms in moves:
            before, other = self._on_the_way.pop(move, (0, terms))
            if before + units:
                self._on_the_way[move] = (before + units, terms)
            if terms != other:
                raise Difference(f"g{move[3]} of {move[0]} arrives with other terms")

    def _check_chain(self, section: Section, pointer: Pointer) -> None:
        head = self._heads.get(section.pool, NO_HEAD)
        if section.first_version != head.version + 1:
            raise Difference(f"version {head.version + 1} is missing: a section begins at {section.first_version}")
        if section.previous != head.pointer or section.previous_digest != head.digest:
            raise Difference(f"the section at version {section.first_version} is not chained to the one before it")

    def _check_event(self, name: str, version: int, event: Event, frame: int) -> None:
        pool = self._pools.get(name)
        if pool is None:
            pool = self._pools[name] = PlainPool()
        pool.happen(event, frame, self.rules)
        if isinstance(event, (Debited, Captured)):
            self.result.debits += 1
        elif isinstance(event, (MovedOut, MovedIn)):
            self._note_transfer(name, event)
        if isinstance(event, NOTICES) and frame <= self._index.position:
            self._notices.add(frame)
        self.result.entries += 1
        saved = self._snapshots.get(name)
        if saved is not None and version in saved and not _tells_the_same(saved.pop(version), pool):
            self.report(
                f"{SNAPSHOTS_NAME}, pool {name}: the snapshot at version {version} is not what {self._journal} says"
            )

    def _compare(self, name: str, head: Head) -> None:
        # Several sections may end at one version, because older engines wrote empty sections.
        if self._indexed.get(name) == head:
            del self._indexed[name]

    def _compare_published(self, name: str, head: Head) -> None:
        published = self._published.get(name)
        if published is not None and (published.version, published.digest) == (head.version, head.digest.hex()):
            del self._published[name]

    def check_end(self, last: int) -> None:
        """Check that the journal, which ends with frame ``last``, has every frame that a file knows of."""
        newest = max(self._acknowledged.values(), default=0)
        if newest > last:
            known_by = " and ".join(name for name, number in self._acknowledged.items() if number == newest)
            self.report(
                f"{self._journal}: it ends with frame {last}, "
                f"but frames up to {newest} were acknowledged, as {known_by} knows"
            )

    def finish(self) -> None:
        """Compute the sums, once everything was recomputed."""
        result = self.result
        for name, pool in self._pools.items():
            if name in self._broken:
                continue
            try:
                pool.finish()
            except Difference as difference:
                self.report(f"{self._journal}, pool {name}, version {pool.version}: {difference}")
            currency = parse_canonical(name).currency
            for sums, units in ((result.granted, pool.granted), (result.spent, pool.total("spent"))):
                sums[currency] = _EXACT.add(sums.get(currency, Decimal(0)), to_decimal(units, pool.scale))
        result.pools = len(self._pools)
        for name, published in self._published.items():
            if name in self._broken:
                continue
            if published.version <= self._heads.get(name, NO_HEAD).version:
                what = f"at or before version {published.version}, the digest that was published is not there"
            else:
                what = f"no section ends at version {published.version}, which was published"
            self.report(f"{self._journal}, pool {name}: history was rewritten: {what}")
        for name, head in self._indexed.items():
            if head.pointer.frame in self._damaged:
                self.report(f"{self._journal}, frame {head.pointer.frame}, pool {name}: its newest entries are lost")
            elif name not in self._broken:
                there = head.version <= self._heads.get(name, NO_HEAD).version
                what = "does not point to the section that ends" if there else "points to a section that is not there"
                self.report(f"{INDEX_NAME}, pool {name}: it {what} at version {head.version}")
        if self._index.there:
            for name, head in self._heads.items():
                if name not in self._index.heads and head.pointer.frame <= self._index.position:
                    self.report(f"{INDEX_NAME}, pool {name}: it is missing")
            for number in sorted(self._notices - self._index.notices):
                self.report(f"{INDEX_NAME}, frame {number}: the events in it are not known")
        if not result.problems:
            for name, saved in self._snapshots.items():
                for version in saved:
                    what = f"it speaks of version {version}, which the journal does not have"
                    self.report(f"{SNAPSHOTS_NAME}, pool {name}: {what}")


def _tells_the_same(snapshot: bytes, pool: PlainPool) -> bool:
    """Return whether every grant and hold of a snapshot agrees with the plain rules."""
    try:
        saved = decode_pool(snapshot)
    except ValueError:
        return False
    blocks = {
        block.number: (block.amount, block.held, block.spent, block.expired, block.voided, block.moved_out)
        for block in saved.blocks.values()
    }
    grants = {
        grant.number: (grant.amount, grant.held, grant.spent, grant.expired, grant.voided, grant.moved_out)
        for grant in pool.grants.values()
    }
    return (
        blocks == grants
        and saved.available == pool.available
        and saved.clock == pool.clock
        and {number: (hold.parts, hold.expires_at) for number, hold in saved.holds.items()}
        == {number: (hold.parts, hold.expires_at) for number, hold in pool.holds.items()}
    )
