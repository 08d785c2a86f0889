"""The README's examples run as they stand, and print what their comments say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
URL = "nats://127.0.0.1:4222"


@contextmanager
def service(directory: Path) -> Iterator[str]:
    """``solvent serve`` on a free port."""
    command = [sys.executable, "-m", "solvent", "serve", "--json", "--nats-port", "0", "--data-dir", str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["ready"]
        finally:
            process.terminate()


def run(example: str, directory: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=directory, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def promised(example: str) -> list[str]:
    return re.findall(r"print\(.*\)  # (.*)", example)


def test_the_embedded_example_prints_what_it_says(tmp_path: Path) -> None:
    said = promised(EXAMPLES[0])
    assert len(said) == 2
    assert run(EXAMPLES[0], tmp_path) == said
    assert (tmp_path / "solvent-data").is_dir()


def test_the_example_over_nats_prints_what_it_says(tmp_path: Path) -> None:
    assert URL in EXAMPLES[1]
    with service(tmp_path / "data") as url:
        lines = run(EXAMPLES[1].replace(URL, url), tmp_path)
    assert lines[0] == promised(EXAMPLES[1])[0]
    assert lines[1].split()[0] == "d52"
    assert len(EXAMPLES) == 2, "an example that no test runs"
