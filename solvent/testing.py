"""Tests for a journal of your own: the contract that it has to keep, and the types to write one. Needs pytest.

Tests of an application need nothing from here, because ``Engine.open(":memory:")`` leaves nothing behind.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("solvent.engine.journal.contract")

from solvent.engine.journal.contract import Chains, DurableJournalContract, JournalContract, ReaderContract  # noqa: E402
from solvent.engine.journal.frames import Frame, Head, Pointer, Section  # noqa: E402
from solvent.engine.journal.memory import MemoryJournal  # noqa: E402
from solvent.engine.journal.opening import Location, OpenJournal, open_journal, open_reader  # noqa: E402
from solvent.engine.journal.protocol import Journal, NoSection, WrongFrame  # noqa: E402
from solvent.engine.journal.reader import JournalReader  # noqa: E402

__all__ = [
    "Chains",
    "DurableJournalContract",
    "Frame",
    "Head",
    "Journal",
    "JournalContract",
    "JournalReader",
    "Location",
    "MemoryJournal",
    "NoSection",
    "OpenJournal",
    "Pointer",
    "ReaderContract",
    "Section",
    "WrongFrame",
    "open_journal",
    "open_reader",
]
