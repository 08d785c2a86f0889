"""Every kind of journal, and every kind of reader, keeps its contract: the suites that ``solvent.testing`` offers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from solvent.engine.journal.frames import decode_section
from solvent.engine.journal.sqlite.journal import SqliteJournal
from solvent.engine.journal.sqlite.reader import SqliteReader
from solvent.engine.usage.messages import AskFrames, Frames, framed, questions, replies
from solvent.engine.usage.worker.feed import FedReader
from solvent.testing import (
    DurableJournalContract,
    Frame,
    Head,
    Journal,
    JournalContract,
    JournalReader,
    MemoryJournal,
    ReaderContract,
    Section,
    open_journal,
)


class TestMemoryJournal(JournalContract):
    @asynccontextmanager
    async def journal(self, folder: Path) -> AsyncIterator[Journal]:
        journal = MemoryJournal()
        yield journal
        await journal.aclose()


class TestSqliteJournal(DurableJournalContract):
    @asynccontextmanager
    async def journal(self, folder: Path) -> AsyncIterator[Journal]:
        async with open_journal(folder) as opened:
            yield opened.journal


class TestMemoryReader(ReaderContract):
    @asynccontextmanager
    async def opened(self, folder: Path) -> AsyncIterator[tuple[Journal, JournalReader]]:
        journal = MemoryJournal()
        with closing(journal.reader()) as reader:
            yield journal, reader


class TestSqliteReader(ReaderContract):
    @asynccontextmanager
    async def opened(self, folder: Path) -> AsyncIterator[tuple[Journal, JournalReader]]:
        path = folder / "j.db"
        journal = await SqliteJournal.open(path)
        with closing(SqliteReader(path)) as reader:
            yield journal, reader
        await journal.aclose()


class TestFedReader(ReaderContract):
    """The reader of a journal whose frames come over a pipe: each message goes through the pipe's encoding."""

    @asynccontextmanager
    async def opened(self, folder: Path) -> AsyncIterator[tuple[Journal, JournalReader]]:
        journal = MemoryJournal()
        source = journal.reader()

        def ask(message: AskFrames) -> None:
            asked = replies.decode(framed(message)[4:])
            assert isinstance(asked, AskFrames)
            frames = list(source.frames(asked.after, asked.limit))
            answer = Frames(asked.id, source.identity, source.last_number(), frames)
            answer = questions.decode(framed(answer)[4:])
            assert isinstance(answer, Frames)
            reader.take(answer)

        reader = FedReader(ask)
        yield journal, reader


class Careless(MemoryJournal):
    """Takes whatever frame comes."""

    async def append(self, frame: Frame) -> None:
        self._frames.append(frame)


class Forgetful(MemoryJournal):
    """Loses a frame of many."""

    async def append(self, frame: Frame) -> None:
        await super().append(frame)
        if frame.number == 7:
            self._frames[6] = self._frames[5]


class Credulous(MemoryJournal):
    """Believes every head, and every section that its frames have."""

    async def history(self, pool: str, head: Head, *, down_to: int) -> Sequence[Section]:
        sections: list[Section] = []
        while head.version >= max(down_to, 1):
            frame, offset, length = head.pointer.frame, head.pointer.offset, head.pointer.length
            body = self._frames[frame - 1].body[offset : offset + length]
            section = decode_section(body, frame=frame)
            sections.insert(0, section)
            head = Head(section.first_version - 1, section.previous, section.previous_digest)
        return sections


class Slow(MemoryJournal):
    """Says that a frame is durable before it can be read."""

    async def read(self, after: int, limit: int) -> Sequence[Frame]:
        return self._frames[after : min(after + limit, len(self._frames) - 1)]


class Nameless(MemoryJournal):
    """Is every other journal as well."""

    def __init__(self) -> None:
        super().__init__(identity="mine")


@pytest.mark.parametrize("broken", [Careless, Forgetful, Credulous, Slow, Nameless])
def test_the_contract_notices_a_journal_that_does_not_keep_it(broken: type[MemoryJournal], tmp_path: Path) -> None:
    class Contract(JournalContract):
        @asynccontextmanager
        async def journal(self, folder: Path) -> AsyncIterator[Journal]:
            yield broken()

    assert failures(Contract(), tmp_path / "broken")
    assert not failures(TestMemoryJournal(), tmp_path / "sound")


def failures(suite: JournalContract, folder: Path) -> list[str]:
    """The tests of ``suite`` that fail."""
    failed: list[str] = []
    for name in dir(suite):
        if name.startswith("test_"):
            (folder / name).mkdir(parents=True)
            try:
                getattr(suite, name)(folder / name)
            except (Exception, pytest.fail.Exception):  # noqa: BLE001 - whatever it is, the suite has noticed
                failed.append(name)
    return failed


A_SUITE_OF_A_STRANGER = """
from contextlib import asynccontextmanager
from solvent.testing import JournalContract, MemoryJournal

class TestMine(JournalContract):
    @asynccontextmanager
    async def journal(self, folder):
        yield MemoryJournal()

class TestBroken(JournalContract):
    @asynccontextmanager
    async def journal(self, folder):
        journal = MemoryJournal()
        journal.identity = ""
        yield journal
"""


def test_a_stranger_runs_the_contract_with_nothing_but_pytest(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(A_SUITE_OF_A_STRANGER)
    bare = ("-p", "no:asyncio", "-p", "no:anyio", "-p", "no:cacheprovider", "-p", "no:xdist")
    command = (sys.executable, "-m", "pytest", "-q", *bare, "test_mine.py")
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    tests = sum(name.startswith("test_") for name in dir(JournalContract))
    assert f"1 failed, {2 * tests - 1} passed" in ran.stdout, ran.stdout
    assert "assert identity" in ran.stdout, "pytest says what it compared"
    assert "AssertionError: assert ''" in ran.stdout
