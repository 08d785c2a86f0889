"""Each command in docs/http.md does what the line below it says, with the real curl."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import anyio
import pytest

from .conftest import Api

PAGE: Final = (Path(__file__).parents[2] / "docs" / "http.md").read_text()
EXAMPLES: Final = re.findall(r"^((?:curl|printf) .*)\n# (.*)$", PAGE, flags=re.MULTILINE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_every_example_answers_as_it_says(api: Api) -> None:
    """One after another, on one journal, as a reader would try them."""
    assert len(EXAMPLES) >= 12
    for command, expected in EXAMPLES:
        here = command.replace("http://127.0.0.1:8080", api.url)
        done = await anyio.run_process(["bash", "-c", here], check=False, stderr=subprocess.PIPE)
        answer = done.stdout.decode()
        for part in re.findall(r'"[^"]*":(?:"[^"]*"|\w+)|"[^"]*"|event: \w+', expected):
            assert part in answer, f"{command}\nanswers\n{answer}{done.stderr.decode()}\nwithout {part}"
