"""``verify --heads`` and ``verify --against``, as an auditor types them."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import Cli


def test_heads_are_published_and_compared(cli: Cli, tmp_path: Path) -> None:
    cli("grant", "acme", "10")
    cli("grant", "globex", "5")
    heads = tmp_path / "heads.json"
    assert cli("verify", "--heads", str(heads)).code == 0
    published = json.loads(heads.read_text())
    assert sorted(published["pools"]) == ["default@acme:credits", "default@globex:credits"]
    cli("debit", "acme", "1")
    assert cli("verify", "--against", str(heads)).code == 0
    cli("verify", "--heads", str(tmp_path / "acme.json"), "--customer", "acme")
    assert list(json.loads((tmp_path / "acme.json").read_text())["pools"]) == ["default@acme:credits"]
    heads.write_text(heads.read_text().replace('"version": 2', '"version": 3', 1))
    assert cli("verify", "--against", str(heads), "--json").code == 2
    assert cli("verify", "--against", str(tmp_path / "missing"), "--json").code == 2


def test_history_that_was_rewritten_is_said_to_be(cli: Cli, tmp_path: Path) -> None:
    cli("grant", "acme", "10")
    heads = tmp_path / "heads.json"
    cli("verify", "--heads", str(heads))
    # Another journal in its place.
    for file in (tmp_path / "journal").iterdir():
        file.unlink()
    cli("grant", "acme", "11")
    found = cli("verify", "--against", str(heads), "--json")
    assert found.code == 8
    assert "default@acme:credits: history was rewritten" in found.json["problems"][0]
