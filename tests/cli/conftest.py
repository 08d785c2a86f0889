"""The command line as the tests call it: in this process, on a folder of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest
from typer.testing import CliRunner

from solvent.transports.cli.main import app


class Answer(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its one JSON document."""
        return json.loads(self.out)


class Cli(Protocol):
    def __call__(self, *words: str | Path) -> Answer: ...


def run_cli(*words: str | Path, stdin: bytes | None = None) -> Answer:
    """Run ``solvent`` with these words. What is no ordinary exit is raised."""
    result = CliRunner().invoke(app, [str(word) for word in words], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Answer(result.exit_code, result.stdout, result.stderr)


def check_named(cli: Cli, words: str, field: str) -> None:
    """``words`` are wrong: programs and people are told which field or option is."""
    for_programs = cli(*words.split(), "--json")
    assert (for_programs.code, for_programs.json["error"]["field"]) == (2, field)
    for_people = cli(*words.split())
    assert (for_people.code, for_people.out) == (2, "")
    assert for_people.err.startswith(f"error: {field}: expected")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """``solvent`` on a journal of its own, named by the environment."""
    monkeypatch.delenv("SOLVENT_NATS_URL", raising=False)
    monkeypatch.setenv("SOLVENT_DATA_DIR", str(tmp_path / "journal"))
    return run_cli


@pytest.fixture
def rows(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a file to replay."""

    def write(name: str, content: str) -> Path:
        path = tmp_path / name
        path.write_text(content, newline="")
        return path

    return write
