"""The headers of an error reply (ADR-32)."""

from __future__ import annotations

import re
from typing import Final

from solvent.engine.values.errors import SolventError

CODE_HEADER: Final = "Nats-Service-Error-Code"
TEXT_HEADER: Final = "Nats-Service-Error"
TEXT_CHARS_MAX: Final = 500

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def headers_of(error: SolventError) -> dict[str, str]:
    """Return the headers of an error reply. A header is one line of ASCII."""
    text = _CONTROL.sub(" ", error.message.encode("ascii", "backslashreplace").decode())
    return {CODE_HEADER: str(error.status), TEXT_HEADER: text[:TEXT_CHARS_MAX]}
