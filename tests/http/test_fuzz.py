"""Requests that schemathesis makes up from the description of the API: no bug, no answer that it does not describe."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import anyio
import pytest

from .conftest import Api

EXAMPLES: Final = int(os.environ.get("SOLVENT_HTTP_EXAMPLES", "3"))
"""The requests for each operation and phase. `make fuzz-http` makes many more."""
PHASES: Final = "examples,fuzzing" if EXAMPLES < 10 else "examples,coverage,fuzzing"
CHECKS: Final = ",".join(
    (
        *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"),
        *("negative_data_rejection", "missing_required_header", "unsupported_method"),
    )
)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
async def test_no_request_meets_a_bug_or_an_answer_that_is_not_described(api: Api, tmp_path: Path) -> None:
    await api.engine.grant("acme", "1000000", key="g")
    program = Path(sys.executable).with_name("schemathesis")
    done = await anyio.run_process(
        [
            *(str(program), "run", f"{api.url}/openapi.json", "--checks", CHECKS, "--max-examples", str(EXAMPLES)),
            *("--phases", PHASES, "--seed", "7", "--no-color"),
            # A stream of events does not end.
            *("--exclude-path-regex", "stream$"),
        ],
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout.decode()[-20_000:]
