"""``export``, as an auditor types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .conftest import Cli


def test_an_export_is_checked_without_solvent(cli: Cli, tmp_path: Path) -> None:
    cli("grant", "acme", "10")
    cli("debit", "acme", "1.5", "--dim", "model=gpt")
    folder = tmp_path / "export"
    exported = cli("export", str(folder), "--json")
    assert exported.code == 0
    assert (exported.json["entries"], exported.json["left_out"]) == (3, [])
    script = (sys.executable, "-I", "-S", str(folder / "verify_export.py"), str(folder))
    checked = subprocess.run(script, capture_output=True, text=True, check=True)
    assert checked.stdout == "verified: 1 pools, 2 sections, 3 entries\n"
    assert cli("export", str(folder), "--json").code == 2
    assert "verify_export.py" in cli("export", str(folder), "--force").out
    assert cli("export", str(tmp_path / "parquet"), "--format", "parquet").code == 0
    assert (tmp_path / "parquet" / "ledger.parquet").is_file()
