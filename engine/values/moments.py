"""The one written form of a moment, in JSON, in errors and in logs: ISO 8601 in UTC, such as 2026-11-23T10:00:00Z."""

from __future__ import annotations

from datetime import UTC, datetime


def written(moment: datetime) -> str:
    """Return an aware ``datetime`` as JSON has it: in UTC with a Z, and six places for a fraction of a second."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
