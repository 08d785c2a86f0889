"""Mappings of well-known files, so that they replay without a page of options.

``azure-llm`` reads the traces of the Azure Public Dataset, "Azure LLM inference trace 2023" (CC-BY 4.0):

| column | becomes |
|---|---|
| ``TIMESTAMP`` | the event's time, UTC; its seventh decimal is cut |
| ``ContextTokens`` | metric ``input_tokens``, 0.00003 credits each |
| ``GeneratedTokens`` | metric ``output_tokens``, 0.00006 credits each |
| the file's name | dimension ``feature``: ``conversation`` or ``code`` |

The traces are from 2023, so the preset also lifts the limit on how far back an event may lie. The prices are those of a
large model of that year with a credit worth a dollar; ``--price`` replaces them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, tzinfo
from typing import Final, NamedTuple

from solvent.engine.values.dimensions import DimensionValue
from solvent.engine.values.errors import InvalidRequest


class Preset(NamedTuple):
    """Options of ``replay`` under one name. An option that is given as well wins over its part of the preset."""

    time_column: str | None
    zone: tzinfo | None
    metrics: Mapping[str, str]
    prices: Mapping[str, str]
    backfill: bool
    feature_words: tuple[str, ...]
    """The file's name holds one of these, which is the value of dimension ``feature``. Empty for no such dimension."""

    def dimensions(self, stem: str, given: Mapping[str, DimensionValue]) -> dict[str, DimensionValue]:
        """Return the fixed dimensions of a file. Raises ``InvalidRequest`` where neither its name nor an option says
        the feature."""
        if "feature" in given or not self.feature_words:
            return dict(given)
        for word in self.feature_words:
            if word in stem.lower():
                return {"feature": word, **given}
        words = " or ".join(self.feature_words)
        raise InvalidRequest("--preset", f"a file with {words} in its name, or --dim feature=...", got=repr(stem)[:60])


NO_PRESET: Final = Preset(time_column=None, zone=None, metrics={}, prices={}, backfill=False, feature_words=())

PRESETS: Final[Mapping[str, Preset]] = {
    "azure-llm": Preset(
        time_column="TIMESTAMP",
        zone=UTC,
        metrics={"input_tokens": "ContextTokens", "output_tokens": "GeneratedTokens"},
        prices={"input_tokens": "0.00003", "output_tokens": "0.00006"},
        backfill=True,
        feature_words=("conversation", "code"),
    ),
}


def find_preset(name: str) -> Preset:
    """Return a preset by its name. Raises ``InvalidRequest`` naming those that there are."""
    if name not in PRESETS:
        raise InvalidRequest("--preset", f"one of {', '.join(PRESETS)}", got=repr(name)[:40])
    return PRESETS[name]
