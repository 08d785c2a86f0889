"""Which versions of Python are found: those that are there, are released, and can make an environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from .interpreters import interpreters


def test_only_released_versions_that_work_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "python3.97": "3 97 final",
        "python3.98": "3 98 candidate",
        "python3.10": "3 10 final",
        "python3": "3 96 final",
    }
    for name, answer in answers.items():
        (tmp_path / name).write_text(f"#!/bin/sh\necho {answer}\n")
    (tmp_path / "python3.99").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python3.95").write_text("no program")
    for file in tmp_path.iterdir():
        file.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), str(tmp_path / "missing")]))
    found = interpreters()
    assert found == {sys.version_info[:2]: Path(sys.executable), (3, 97): tmp_path / "python3.97"}


def test_of_pyenv_the_versions_are_found_that_are_not_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "3.97.0" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 3 97 final\n")
    pyenv = tmp_path / "pyenv"
    pyenv.write_text(f'#!/bin/sh\n[ "$1" = versions ] && echo 3.97.0 || echo {tmp_path}/"$2"\n')
    for file in (python, pyenv):
        file.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert interpreters()[3, 97] == python
