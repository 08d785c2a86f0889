"""Every kind of journal, and every kind of reader, keeps its contract: the suites that ``solvent.testing`` offers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from solvent.engine.journal.sqlite.journal import SqliteJournal
from solvent.engine.journal.sqlite.reader import SqliteReader
from solvent.engine.usage.messages import AskFrames, Frames, framed, questions, replies
from solvent.engine.usage.worker.feed import FedReader
from solvent.testing import (
    DurableJournalContract,
    Journal,
    JournalContract,
    JournalReader,
    MemoryJournal,
    ReaderContract,
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
