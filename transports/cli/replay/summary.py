"""How one run of ``solvent replay`` ended: its exit code, and its summary for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from solvent.engine.values.errors import (
    IdempotencyConflict,
    InsufficientCredits,
    InvalidRequest,
    NotFound,
    StateConflict,
    error_to_wire,
)
from solvent.transports.cli.exits import Exit, exit_code
from solvent.transports.cli.render.cells import amount, plain_amount

from .replayer import Tally


@dataclass(frozen=True, slots=True)
class Finished:
    """How a run ended."""

    file: str
    tally: Tally
    seconds: float
    interrupted: bool

    def exit_code(self) -> Exit:
        """The worst thing that happened: interrupted, given up, a bad line, an unknown pool, a conflict, another no."""
        tally = self.tally
        codes = set(tally.no) - {InsufficientCredits.code}
        if self.interrupted:
            return Exit.INTERRUPTED
        if tally.gave_up is not None:
            return exit_code(tally.gave_up)
        if tally.bad_lines or InvalidRequest.code in codes:
            return Exit.INVALID
        if NotFound.code in codes:
            return Exit.NOT_FOUND
        if codes & {IdempotencyConflict.code, StateConflict.code}:
            return Exit.CONFLICT
        return Exit.UNEXPECTED if codes else Exit.OK

    def to_wire(self) -> dict[str, Any]:
        """The summary as plain JSON values; ``refused`` counts events by code."""
        tally = self.tally
        return {
            "file": self.file,
            "lines": tally.lines,
            "booked": tally.booked,
            "already_there": tally.already,
            "free": tally.free,
            "refused": dict(tally.no),
            "bad_lines": tally.bad_lines,
            "amount_booked": plain_amount(tally.amount_booked),
            "retried": tally.retried,
            "seconds": round(self.seconds, 3),
            "complete": not self.interrupted and tally.gave_up is None,
            "gave_up": None if tally.gave_up is None else error_to_wire(tally.gave_up),
        }

    def table(self) -> RenderableType:
        """The summary for people."""
        tally = self.tally
        rows = Table(box=None, show_header=False, padding=(0, 1))
        rows.add_column(style="bright_black")
        rows.add_column(justify="right")
        rows.add_column()
        rows.add_row("lines read", f"{tally.lines:,}")
        rows.add_row("booked", Text(f"{tally.booked:,}", "green"), f"debits, {amount(tally.amount_booked)} credits")
        rows.add_row("already there", f"{tally.already:,}", "the same key and request: not debited twice")
        rows.add_row("free", f"{tally.free:,}", "cost nothing, not sent")
        for code, count in sorted(tally.no.items()):
            rows.add_row(code.replace("_", " "), Text(f"{count:,}", "yellow"), "refused, nothing written")
        rows.add_row("bad lines", Text(f"{tally.bad_lines:,}", "red" if tally.bad_lines else ""))
        if tally.retried:
            rows.add_row("asked again", f"{tally.retried:,}", "with the same key, after no answer")
        rows.add_row("time", f"{self.seconds:.1f} s", f"{tally.answered / max(self.seconds, 0.001):,.0f} events/s")
        if self.interrupted:
            ending = Text("stopped; run the same command again to go on", style="yellow")
        elif tally.gave_up is not None:
            ending = Text("ended before the end of the file; run the same command again to go on", style="red")
        else:
            ending = Text.assemble(("✓ ", "green"), f"{self.file} replayed")
        return Group(ending, rows)
