"""How hard the proofs try: once in CI, as often as SOLVENT_EFFORT says in the long form."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def effort() -> int:
    return int(os.environ.get("SOLVENT_EFFORT", "1"))
