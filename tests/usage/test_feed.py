"""The usage process's end of a journal that only the engine can read."""

from __future__ import annotations

import threading

import pytest

from solvent import JournalCorrupt, JournalError
from solvent.engine.journal.frames import Head, Pointer, split_frame
from solvent.engine.usage.messages import AskFrames, Frames
from solvent.engine.usage.worker import feed
from solvent.engine.usage.worker.feed import FedReader, FeedEnded
from solvent.testing import Chains, Frame


class Engine:
    """Answers from a list of frames, in one way after the other."""

    def __init__(self, frames: list[Frame]) -> None:
        self.frames = frames
        self.asked: list[AskFrames] = []
        self.reader = FedReader(self.hear)
        self.silent = False

    def hear(self, asked: AskFrames) -> None:
        self.asked.append(asked)
        if not self.silent:
            self.reader.take(self.answer(asked))

    def answer(self, asked: AskFrames) -> Frames:
        found = self.frames[asked.after : asked.after + asked.limit]
        return Frames(asked.id, "it", len(self.frames), found)


@pytest.fixture
def engine() -> Engine:
    chains = Chains()
    return Engine([chains.frame(a=2) for _ in range(5)])


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as hasty:
        hasty.setattr(feed, "ANSWER_TIMEOUT_S", 0.01)
        engine.silent = True
        with pytest.raises(JournalError, match=r"no frames within 0\.01 s"):
            engine.reader.frames(0, 2)
    engine.silent = False
    engine.reader.take(engine.answer(engine.asked[0]))
    assert engine.reader.frames(3, 2) == engine.frames[3:5]


def test_a_failure_of_the_journal_is_raised_and_the_next_answer_is_right(engine: Engine) -> None:
    engine.reader.take(Frames(1, failure="it is away"))
    engine.silent = True
    with pytest.raises(JournalError, match="it is away"):
        engine.reader.last_number()
    engine.silent = False
    assert engine.reader.last_number() == 5


def test_the_identity_is_asked_for_once(engine: Engine) -> None:
    assert (engine.reader.identity, engine.reader.identity) == ("it", "it")
    assert [(asked.after, asked.limit) for asked in engine.asked] == [(0, 0)]


def test_a_reader_that_waits_ends_at_once_and_so_does_everything_after_it(engine: Engine) -> None:
    engine.silent = True
    ended = threading.Event()

    def read() -> None:
        with pytest.raises(FeedEnded):
            engine.reader.frames(0, 1)
        ended.set()

    thread = threading.Thread(target=read)
    thread.start()
    engine.reader.end()
    assert ended.wait(10.0)
    thread.join()
    for _ in range(2):
        with pytest.raises(FeedEnded):
            engine.reader.last_number()


def test_what_is_changed_on_the_way_is_found(engine: Engine) -> None:
    frame = engine.frames[2]
    engine.frames[2] = Frame(frame.number, frame.at, frame.body[:-1] + b"x", frame.crc)
    with pytest.raises(JournalCorrupt):
        list(split_frame(engine.reader.frames(2, 1)[0]))
    with pytest.raises(JournalCorrupt, match="missing"):
        engine.reader.history("a", Head(20, Pointer(10, 0, 5), bytes(16)), down_to=1)
