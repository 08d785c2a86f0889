"""The versions of Python on this machine that Solvent can be installed with."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias

Version: TypeAlias = tuple[int, int]

OLDEST: Final[Version] = (3, 11)
NAME: Final = re.compile(r"python3\.\d+")
PROBE: Final = "import ensurepip, sys, venv; print(*sys.version_info[:2], sys.version_info.releaselevel)"


def interpreters() -> dict[Version, Path]:
    """Return one interpreter of each released version from ``OLDEST`` on that can make a virtual environment."""
    found: dict[Version, Path] = {}
    for python in _candidates():
        version = _version_of(python)
        if version is not None and version >= OLDEST:
            found.setdefault(version, python)
    return found


def _candidates() -> Iterator[Path]:
    """Yield the interpreter that runs this, those on the path, and those that pyenv has but shows only when asked."""
    yield Path(sys.executable)
    for folder in os.get_exec_path():
        if os.path.isdir(folder):
            yield from (path for path in sorted(Path(folder).iterdir()) if NAME.fullmatch(path.name))
    if shutil.which("pyenv"):
        for version in _lines("pyenv", "versions", "--bare"):
            yield from (Path(prefix, "bin", "python") for prefix in _lines("pyenv", "prefix", version))


def _version_of(python: Path) -> Version | None:
    match [line.split() for line in _lines(str(python), "-c", PROBE)]:
        case [[major, minor, "final"]]:
            return int(major), int(minor)
        case _:
            return None


def _lines(*command: str) -> list[str]:
    """Return what a command prints: nothing, if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []
