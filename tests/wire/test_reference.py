"""The reference says what the table of operations says, and every operation is in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from solvent.transports.wire.operations import COMMANDS, READS
from solvent.transports.wire.reference import page

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference.md"


def test_the_page_is_current() -> None:
    assert REFERENCE.read_text() == page(), "run make reference"


@pytest.mark.parametrize("name", [*COMMANDS, *READS])
def test_every_operation_has_its_section_and_every_field_a_meaning(name: str) -> None:
    section = page().split(f"### `{name}`\n", 1)[1].split("\n### ", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert not [row for row in rows if not row.rstrip("| ").rpartition("|")[2].strip()], section
    assert "Access: `" in section
