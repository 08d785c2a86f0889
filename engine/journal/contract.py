"""The contract of journals and their readers, as test suites. ``solvent.testing`` exports them for every user.

A subclass in a test module opens its journal; pytest then collects the inherited tests. Each is a plain function that
runs an event loop, so no plugin is needed. Needs pytest; only tests import this module.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from solvent.engine.journal.frames import (
    NO_HEAD,
    Frame,
    FrameBuilder,
    Head,
    Pointer,
    Section,
    decode_section,
    split_frame,
)
from solvent.engine.journal.protocol import HISTORY_SECTIONS_MAX, Journal, WrongFrame
from solvent.engine.journal.reader import JournalReader
from solvent.engine.rules.events import Debited, Event, Opened
from solvent.engine.values.errors import JournalCorrupt

S = TypeVar("S", bound="_Suite")


def event(version: int) -> Event:
    """Return an event for version ``version`` of a pool, dated at that microsecond."""
    if version == 1:
        return Opened(version, 6)
    return Debited(version, f"k{version}", 1, 100, ((2, 1),), 1, False)


def happened(sections: Sequence[Section]) -> list[int]:
    """Return the times of the events in ``sections``. In these tests, they equal the versions of the pool."""
    return [event.at for section in sections for event in section.events]


class Chains:
    """Makes the frames that a writer would make, and remembers every head."""

    def __init__(self, number: int = 0) -> None:
        """``number`` is the number of the last existing frame."""
        self.number = number
        self.heads: dict[str, list[Head]] = {}

    def frame(self, **events: int) -> Frame:
        """Return the next frame, with the given number of new events for each pool."""
        self.number += 1
        builder = FrameBuilder(self.number)
        for pool, count in events.items():
            heads = self.heads.setdefault(pool, [NO_HEAD])
            first = heads[-1].version + 1
            heads.append(builder.add(pool, heads[-1], [event(version) for version in range(first, first + count)]))
        return builder.seal(1_000 + self.number)

    def __getitem__(self, pool: str) -> Head:
        return self.heads[pool][-1]


def forged(frame: Frame, pool: str, change: Callable[[bytes], bytes]) -> Frame:
    """Return ``frame`` with the section of ``pool`` changed, its length kept, and a valid checksum."""
    body = frame.body
    for pointer, section in split_frame(frame):
        if decode_section(section, frame=frame.number).pool == pool:
            changed = change(section)
            assert changed != section, "nothing was changed"
            assert len(changed) == len(section), "pointers of other sections must stay right"
            body = body[: pointer.offset] + changed + body[pointer.offset + pointer.length :]
    return Frame.seal(frame.number, frame.at, body)


class _Suite:
    def run(self, test: Coroutine[Any, Any, None]) -> None:
        """Run one test to its end. Override this for another event loop."""
        asyncio.run(test)


def _test(body: Callable[[S, Path], Coroutine[Any, Any, None]]) -> Callable[[S, Path], None]:
    """Turn a coroutine function into a test that needs no plugin."""

    def test(self: S, tmp_path: Path) -> None:
        self.run(body(self, tmp_path))

    test.__name__, test.__qualname__, test.__doc__ = body.__name__, body.__qualname__, body.__doc__
    return test


class JournalContract(_Suite):
    """The promises of every ``Journal``. Override ``journal``."""

    def journal(self, folder: Path) -> AbstractAsyncContextManager[Journal]:
        """Open the journal in ``folder`` for the length of a block: a new one if ``folder`` is empty."""
        raise NotImplementedError

    @_test
    async def test_an_empty_journal_has_nothing(self, folder: Path) -> None:
        async with self.journal(folder) as journal:
            assert await journal.last_number() == 0
            assert list(await journal.read(0, 10)) == []
            assert list(await journal.read(5, 10)) == []
            assert list(await journal.history("a", NO_HEAD, down_to=1)) == []
            assert list(await journal.sections([])) == []
            with pytest.raises(JournalCorrupt):
                await journal.sections([Pointer(1, 0, 10)])

    @_test
    async def test_frames_come_back_as_they_were_in_order_and_in_pages(self, folder: Path) -> None:
        chains = Chains()
        frames = [chains.frame(a=1 + number % 3, b=1) for number in range(10)]
        async with self.journal(folder) as journal:
            for number, frame in enumerate(frames, 1):
                await journal.append(frame)
                assert await journal.last_number() == number
            assert list(await journal.read(0, 100)) == frames
            assert all(frame.is_intact() for frame in await journal.read(0, 100))
            for after in range(12):
                for limit in (1, 3, 10):
                    assert list(await journal.read(after, limit)) == frames[after : after + limit]
            assert list(await journal.read(0, 0)) == []

    @_test
    async def test_an_empty_frame_is_kept_as_well(self, folder: Path) -> None:
        async with self.journal(folder) as journal:
            await journal.append(FrameBuilder(1).seal(5))
            (frame,) = await journal.read(0, 5)
            assert list(split_frame(frame)) == []

    @_test
    async def test_reads_see_what_was_appended_by_the_time_they_are_asked(self, folder: Path) -> None:
        chains = Chains()
        async with self.journal(folder) as journal:
            for number in range(1, 30):
                await journal.append(chains.frame(a=1))
                assert (await journal.read(number - 1, 5))[0].number == number
                assert (await journal.history("a", chains["a"], down_to=number))[-1].last_version == number

    @_test
    async def test_an_append_that_does_not_follow_the_last_frame_is_refused_and_changes_nothing(
        self, folder: Path
    ) -> None:
        chains = Chains()
        first, second, third = chains.frame(a=1), chains.frame(a=1), chains.frame(a=1)
        async with self.journal(folder) as journal:
            for early in (second, third, FrameBuilder(0).seal(1)):
                with pytest.raises(WrongFrame) as wrong:
                    await journal.append(early)
                assert (wrong.value.expected, wrong.value.found) == (early.number - 1, 0)
            await journal.append(first)
            for frame in (first, Chains().frame(b=1), third):
                with pytest.raises(WrongFrame) as wrong:
                    await journal.append(frame)
                assert (wrong.value.expected, wrong.value.found) == (frame.number - 1, 1)
            assert list(await journal.read(0, 10)) == [first]
            await journal.append(second)
            await journal.append(third)
            assert list(await journal.read(0, 10)) == [first, second, third]

    @_test
    async def test_frames_are_appended_while_the_journal_tidies_up(self, folder: Path) -> None:
        chains = Chains()
        async with self.journal(folder) as journal:
            tidying = asyncio.create_task(journal.write_back())
            frames = [chains.frame(a=20) for _ in range(50)]
            for frame in frames:
                await journal.append(frame)
            assert not tidying.done(), "it goes on until it is cancelled"
            tidying.cancel()
            with suppress(asyncio.CancelledError):
                await tidying
            assert list(await journal.read(0, 100)) == frames

    @_test
    async def test_a_history_is_found_from_every_head_down_to_every_version(self, folder: Path) -> None:
        chains = Chains()
        async with self.journal(folder) as journal:
            for number in range(12):
                # Pool a is in every second frame, with up to three events; pool b is in all frames.
                await journal.append(chains.frame(**{"b": 1} | ({"a": 1 + number % 3} if number % 2 else {})))
            for pool in ("a", "b"):
                for head in chains.heads[pool]:
                    for down_to in range(-1, head.version + 3):
                        _check_history(await journal.history(pool, head, down_to=down_to), pool, head, down_to)

    @_test
    async def test_a_long_history_comes_in_bounded_parts_that_say_where_to_go_on(self, folder: Path) -> None:
        builder, heads, number = FrameBuilder(1), [NO_HEAD], HISTORY_SECTIONS_MAX * 2 + 10
        for version in range(1, number + 1):
            heads.append(builder.add("a", heads[-1], [event(version)]))
        async with self.journal(folder) as journal:
            await journal.append(builder.seal(1))
            head, versions, sizes = heads[-1], list[int](), list[int]()
            while head.version:
                part = await journal.history("a", head, down_to=1)
                sizes.append(len(part))
                versions[:0] = happened(part)
                head = Head(part[0].first_version - 1, part[0].previous, part[0].previous_digest)
                assert head == heads[head.version]
            assert versions == list(range(1, number + 1))
            assert sizes == [HISTORY_SECTIONS_MAX, HISTORY_SECTIONS_MAX, 10]

    @_test
    async def test_sections_are_found_by_their_pointers_in_the_order_asked(self, folder: Path) -> None:
        chains = Chains()
        async with self.journal(folder) as journal:
            for _ in range(5):
                await journal.append(chains.frame(a=2, b=1))
            asked = [chains.heads["a"][3], chains.heads["b"][1], chains.heads["a"][5], chains.heads["a"][3]]
            found = await journal.sections([head.pointer for head in asked])
            assert [section.last_version for section in found] == [head.version for head in asked]
            assert [section.pool for section in found] == ["a", "b", "a", "a"]

    @_test
    async def test_a_pointer_to_no_section_is_journal_corrupt_naming_the_frame(self, folder: Path) -> None:
        chains = Chains()
        async with self.journal(folder) as journal:
            await journal.append(chains.frame(a=2, b=1))
            await journal.append(chains.frame(a=2, b=1))
            for pointer in WRONG_POINTERS:
                with pytest.raises(JournalCorrupt) as corrupt:
                    await journal.sections([pointer])
                assert corrupt.value.frame == pointer.frame
                with pytest.raises(JournalCorrupt) as corrupt:
                    await journal.history("a", Head(4, pointer, chains["a"].digest), down_to=1)
                assert (corrupt.value.frame, corrupt.value.pool) == (pointer.frame, "a")

    @_test
    async def test_a_head_that_does_not_fit_is_journal_corrupt_naming_frame_and_pool(self, folder: Path) -> None:
        chains = Chains()
        async with self.journal(folder) as journal:
            for _ in range(3):
                await journal.append(chains.frame(a=2, b=2))
            for pool, head in _wrong_heads(chains):
                with pytest.raises(JournalCorrupt) as corrupt:
                    await journal.history(pool, head, down_to=1)
                assert (corrupt.value.frame, corrupt.value.pool) == (head.pointer.frame, pool)

    @_test
    async def test_a_changed_section_is_found_though_all_checksums_fit(self, folder: Path) -> None:
        chains = Chains()
        frames = [chains.frame(a=1, b=1) for _ in range(5)]
        frames[2] = forged(frames[2], "a", lambda section: section.replace(b"k3", b"k9"))
        assert frames[2].is_intact()
        async with self.journal(folder) as journal:
            for frame in frames:
                await journal.append(frame)
            with pytest.raises(JournalCorrupt, match="frame 3, pool a") as corrupt:
                await journal.history("a", chains["a"], down_to=1)
            assert (corrupt.value.frame, corrupt.value.pool) == (3, "a")
            # The history after the change is intact, and so is every other pool.
            assert happened(await journal.history("a", chains["a"], down_to=4)) == [4, 5]
            assert happened(await journal.history("b", chains["b"], down_to=1)) == [1, 2, 3, 4, 5]

    @_test
    async def test_a_removed_section_is_found(self, folder: Path) -> None:
        chains = Chains()
        frames = [chains.frame(a=1, b=1) for _ in range(5)]
        frames[1] = forged(frames[1], "a", lambda section: bytes(len(section)))
        async with self.journal(folder) as journal:
            for frame in frames:
                await journal.append(frame)
            with pytest.raises(JournalCorrupt) as corrupt:
                await journal.history("a", chains["a"], down_to=1)
            assert (corrupt.value.frame, corrupt.value.pool) == (2, "a")

    @_test
    async def test_sections_that_changed_places_are_found(self, folder: Path) -> None:
        chains = Chains()
        frames = [chains.frame(a=1) for _ in range(5)]
        frames[1], frames[2] = Frame.seal(2, 9, frames[2].body), Frame.seal(3, 9, frames[1].body)
        async with self.journal(folder) as journal:
            for frame in frames:
                await journal.append(frame)
            with pytest.raises(JournalCorrupt) as corrupt:
                await journal.history("a", chains["a"], down_to=1)
            assert (corrupt.value.frame, corrupt.value.pool) == (3, "a")

    @_test
    async def test_every_journal_has_an_identity_of_its_own_that_does_not_change(self, folder: Path) -> None:
        identities: set[str] = set()
        for number in range(3):
            place = folder / str(number)
            place.mkdir()
            async with self.journal(place) as journal:
                identity = journal.identity
                assert identity
                await journal.append(Chains().frame(a=1))
                assert journal.identity == identity
                identities.add(identity)
        assert len(identities) == 3


class DurableJournalContract(JournalContract):
    """The further promises of a journal that outlives its process. ``journal`` reopens the journal in ``folder``."""

    @_test
    async def test_everything_is_there_when_it_is_opened_again(self, folder: Path) -> None:
        chains = Chains()
        frames = [chains.frame(a=2) for _ in range(4)]
        async with self.journal(folder) as journal:
            identity = journal.identity
            for frame in frames:
                await journal.append(frame)
        async with self.journal(folder) as again:
            assert again.identity == identity
            assert await again.last_number() == 4
            assert list(await again.read(0, 10)) == frames
            assert len(await again.history("a", chains["a"], down_to=1)) == 4
            with pytest.raises(WrongFrame):
                await again.append(frames[3])
            await again.append(chains.frame(a=1))


class ReaderContract(_Suite):
    """The promises of every ``JournalReader`` while its journal is written. Override ``opened``."""

    def opened(self, folder: Path) -> AbstractAsyncContextManager[tuple[Journal, JournalReader]]:
        """Open a new journal in ``folder``, and a reader of it, for the length of a block."""
        raise NotImplementedError

    @_test
    async def test_it_knows_the_journal_and_finds_nothing_in_an_empty_one(self, folder: Path) -> None:
        async with self.opened(folder) as (journal, reader):
            assert reader.name
            assert reader.identity == journal.identity
            assert reader.last_number() == 0
            assert list(reader.frames(0, 10)) == []
            assert list(reader.history("a", NO_HEAD, down_to=1)) == []
            assert reader.damage() == []

    @_test
    async def test_it_reads_what_was_appended_by_then_in_order_and_in_pages(self, folder: Path) -> None:
        chains = Chains()
        frames = [chains.frame(a=1 + number % 3, b=1) for number in range(10)]
        async with self.opened(folder) as (journal, reader):
            for number, frame in enumerate(frames, 1):
                await journal.append(frame)
                assert reader.last_number() == number
                assert list(reader.frames(number - 1, 5)) == [frame]
            for after in range(12):
                for limit in (0, 1, 3, 10):
                    assert list(reader.frames(after, limit)) == frames[after : after + limit]
            assert reader.damage() == []

    @_test
    async def test_it_finds_a_history_from_every_head_down_to_every_version(self, folder: Path) -> None:
        chains = Chains()
        async with self.opened(folder) as (journal, reader):
            for number in range(8):
                await journal.append(chains.frame(a=1 + number % 3, b=1))
            for pool in ("a", "b"):
                for head in chains.heads[pool]:
                    for down_to in range(-1, head.version + 3):
                        _check_history(reader.history(pool, head, down_to=down_to), pool, head, down_to)

    @_test
    async def test_a_head_that_does_not_fit_is_journal_corrupt_naming_frame_and_pool(self, folder: Path) -> None:
        chains = Chains()
        async with self.opened(folder) as (journal, reader):
            for _ in range(3):
                await journal.append(chains.frame(a=2, b=2))
            pointers = [("a", Head(6, pointer, chains["a"].digest)) for pointer in WRONG_POINTERS]
            for pool, head in (*_wrong_heads(chains), *pointers):
                with pytest.raises(JournalCorrupt) as corrupt:
                    reader.history(pool, head, down_to=1)
                assert (corrupt.value.frame, corrupt.value.pool) == (head.pointer.frame, pool)

    @_test
    async def test_a_changed_section_is_found_though_all_checksums_fit(self, folder: Path) -> None:
        chains = Chains()
        frames = [chains.frame(a=1, b=1) for _ in range(5)]
        frames[2] = forged(frames[2], "a", lambda section: section.replace(b"k3", b"k9"))
        async with self.opened(folder) as (journal, reader):
            for frame in frames:
                await journal.append(frame)
            with pytest.raises(JournalCorrupt) as corrupt:
                reader.history("a", chains["a"], down_to=1)
            assert (corrupt.value.frame, corrupt.value.pool) == (3, "a")
            assert happened(reader.history("b", chains["b"], down_to=1)) == [1, 2, 3, 4, 5]


WRONG_POINTERS = (
    Pointer(0, 0, 0),
    Pointer(9, 0, 10),
    Pointer(2**62, 0, 10),
    Pointer(1, 10_000, 10),
    Pointer(1, 0, 5),
)
"""Places without a section, in journals of two and three frames."""


def _wrong_heads(chains: Chains) -> list[tuple[str, Head]]:
    """Return invalid heads, each with its pool, for chains of three frames with pools a and b."""
    a, b = chains["a"], chains["b"]
    return [
        ("a", Head(a.version + 1, a.pointer, a.digest)),
        ("a", Head(a.version - 1, a.pointer, a.digest)),
        ("a", Head(a.version, a.pointer, b.digest)),
        ("a", Head(a.version, b.pointer, a.digest)),
        ("b", a),
        ("a", Head(a.version, chains.heads["a"][1].pointer, a.digest)),
    ]


def _check_history(sections: Sequence[Section], pool: str, head: Head, down_to: int) -> None:
    """Check that ``sections`` are the sections of ``pool`` from ``head`` back to the one that holds ``down_to``."""
    versions = happened(sections)
    if down_to > head.version or not head.version:
        assert versions == []
        return
    assert versions == list(range(versions[0], head.version + 1))
    assert sections[0].first_version == versions[0] <= max(down_to, 1) <= sections[0].last_version
    assert all(section.pool == pool for section in sections)
