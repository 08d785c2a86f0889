"""The examples of the documentation run and print what they say, and its tables are complete."""

from __future__ import annotations

import re
import textwrap
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from solvent import Engine, SolventError
from solvent.transports.nats.discovery import AlreadyServed
from solvent.transports.nats.launcher import NatsServerUnavailable

DOCS = Path(__file__).parents[1] / "docs"
SECTIONS = [
    (f"{name}: {title}", text)
    for name in ("credits", "usage", "audit")
    for title, text in re.findall(
        r"^## (.*?)\n(.*?)(?=^## |\Z)", (DOCS / f"{name}.md").read_text(), flags=re.DOTALL | re.MULTILINE
    )
]
EXAMPLES = {
    f"{title} {number}": code
    for title, text in SECTIONS
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
}
ERRORS = (DOCS / "errors.md").read_text()


def said_to_be_printed(code: str) -> list[str]:
    """The comments behind a print, or in the lines below it."""
    found = re.findall(r"^ *print\(.*\)(?:  # (.*)|((?:\n# .*)+))$", code, flags=re.MULTILINE)
    return [
        line
        for beside, below in found
        for line in ([beside] if beside else below.replace("# ", "").strip().split("\n"))
    ]


@pytest.mark.parametrize("title", EXAMPLES)
async def test_an_example_prints_what_it_says(title: str, tmp_path: Path) -> None:
    code = EXAMPLES[title]
    promised = said_to_be_printed(code)
    assert promised, "an example that shows nothing"
    scope: dict[str, Any] = {}
    exec("async def example(engine):\n" + textwrap.indent(code, "    "), scope)
    said = StringIO()
    async with Engine.open(tmp_path) as engine:
        with redirect_stdout(said):
            await scope["example"](engine)
    assert said.getvalue().splitlines() == promised


def test_every_error_is_in_the_table_with_its_number_and_fields() -> None:
    def subclasses(kind: type[SolventError]) -> set[type[SolventError]]:
        return {kind, *(deeper for each in kind.__subclasses__() for deeper in subclasses(each))}

    rows = {
        code: (status, name, re.findall(r"`(\w+)`", fields))
        for code, status, name, fields in re.findall(
            r"^\| `(\w+)` \| (\d+) \| `(\w+)` \| (.*?) \|", ERRORS, flags=re.MULTILINE
        )
    }
    kinds = {
        kind for kind in subclasses(SolventError) if kind.__module__.startswith("solvent.") and "code" in vars(kind)
    }
    assert {AlreadyServed, NatsServerUnavailable} <= kinds
    assert {kind.code: (str(kind.status), kind.__name__, list(kind.fields)) for kind in kinds} == rows


def test_every_reason_of_a_conflict_is_listed() -> None:
    sources = "".join(path.read_text() for path in sorted((DOCS.parent / "engine").rglob("*.py")))
    reasons = set(re.findall(r'(?:Conflict|StateConflict)\(\s*"(\w+)"', sources))
    reasons |= {f"hold_{word}" for word in ("captured", "released", "expired")}
    reasons |= {f"grant_{word}" for word in ("voided", "expired")}
    reasons |= {f"recharge_{word}" for word in ("granted", "refused", "timed_out")}
    assert len(reasons) >= 14
    assert {reason for reason in reasons if f"`{reason}`" not in ERRORS} == set()


def test_every_section_has_an_example() -> None:
    # What is typed to audit a journal is tested with the command line.
    capabilities = [title for title, _ in SECTIONS if not title.startswith("audit")]
    assert [title for title in capabilities if f"{title} 0" not in EXAMPLES] == []
    assert len(EXAMPLES) >= 8


def test_every_guarantee_names_tests_that_are_there() -> None:
    named = re.findall(r"`(tests/[a-z_/]+\.py)::(test_[a-z_]+)`", (DOCS / "guarantees.md").read_text())
    assert len(named) > 20
    for file, name in named:
        assert f"def {name}(" in (DOCS.parent / file).read_text(), f"{file} has no {name}"
