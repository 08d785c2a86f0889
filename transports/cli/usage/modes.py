"""The five modes of ``solvent usage``, and the options that each mode takes.

A mode has the name of its option; "" is the table of lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import typer

from solvent.engine.values.errors import InvalidRequest

_MODES: Final = ("--compare", "--spikes", "--forecast", "--entries")
_WHOSE: Final = frozenset(("--customer", "--environment", "--in"))
_SHAPE: Final = frozenset(("--window", "--top", "--order", "--ascending", "--fill"))
_FILES: Final = frozenset(("--csv", "--output", "--parquet"))
_PAGE: Final = frozenset(("--limit", "--cursor"))
_NOT_WITH: Final[Mapping[str, frozenset[str]]] = {
    "": _PAGE | {"--sensitivity"},
    "--compare": _FILES | _PAGE | {"--sensitivity", "--window", "--ascending", "--fill"},
    "--spikes": _FILES | {"--cursor", "--fill"},
    "--forecast": _FILES
    | _PAGE
    | _SHAPE
    | _WHOSE
    | {"--sensitivity", "--by", "--where", "--where-not", "--missing", "--prefix", "--consistent"},
    "--entries": _FILES | {"--sensitivity"},
}
"""The options that have no meaning in a mode, by mode."""


def typed_options(ctx: typer.Context) -> list[str]:
    """Return the options that are on the command line."""
    sources = {each.opts[0]: ctx.get_parameter_source(each.name or "") for each in ctx.command.params}
    return [option for option, source in sources.items() if source is not None and source.name == "COMMANDLINE"]


def mode_of(typed: Sequence[str]) -> str:
    """Return the mode that was asked for; "" is the table. Raises ``InvalidRequest`` for more than one."""
    modes = [option for option in typed if option in _MODES]
    if len(modes) > 1:
        raise InvalidRequest(modes[1], f"one of {', '.join(_MODES)}", got=f"it with {modes[0]}")
    return modes[0] if modes else ""


def check_options(mode: str, typed: Sequence[str], pool: str | None, *, as_json: bool) -> None:
    """Refuse options that would have no effect. Raises ``InvalidRequest`` naming the option."""
    for option in typed:
        if option in _NOT_WITH[mode]:
            raise InvalidRequest(
                option, f"no such option {f'with {mode}' if mode else 'without --entries or --spikes'}"
            )
        if option in _WHOSE and pool is not None:
            raise InvalidRequest(option, "either a pool, whose name includes it, or this option")
    if mode == "--forecast" and pool is None:
        raise InvalidRequest("--forecast", "a POOL")
    if "--output" in typed and "--csv" not in typed:
        raise InvalidRequest("--output", "--csv as well")
    if "--parquet" in typed and "--csv" in typed:
        raise InvalidRequest("--parquet", "either it or --csv")
    if as_json and "--csv" in typed and "--output" not in typed:
        raise InvalidRequest("--csv", "either it or --json, or a file with --output")
