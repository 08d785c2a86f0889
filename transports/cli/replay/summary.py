"""How one run of ``solvent replay`` ended: its exit code, and its summary for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table

from solvent.engine.values.errors import (
    BudgetExceeded,
    IdempotencyConflict,
    InsufficientCredits,
    InvalidRequest,
    NotFound,
    SolventError,
    StateConflict,
    error_to_wire,
)
from solvent.transports.cli.exits import Exit, exit_code
from solvent.transports.cli.render.cells import amount, plain_amount
from solvent.transports.cli.terminal import Text

from .replayer import BadRecordStopped, Tally
from .source import SourceError

_CONFLICTS: Final = frozenset((IdempotencyConflict.code, StateConflict.code))


@dataclass(frozen=True, slots=True)
class Finished:
    """How a run ended."""

    file: str
    tally: Tally
    seconds: float
    interrupted: bool

    @property
    def error(self) -> SolventError | None:
        """Why the run ended before the end of the file, if it did so by itself."""
        return self.tally.gave_up

    def exit_code(self) -> Exit:
        """The worst thing that happened: interrupted, given up, a conflict, a bad record, an unknown pool, another
        no."""
        tally = self.tally
        codes = set(tally.no) - {InsufficientCredits.code}
        if self.interrupted:
            return Exit.INTERRUPTED
        if tally.gave_up is not None and not isinstance(tally.gave_up, BadRecordStopped):
            return exit_code(tally.gave_up)
        if codes & _CONFLICTS:
            return Exit.CONFLICT
        if tally.bad_records or tally.gave_up is not None or InvalidRequest.code in codes:
            return Exit.INVALID
        if NotFound.code in codes:
            return Exit.NOT_FOUND
        if codes == {BudgetExceeded.code}:
            return Exit.REFUSED
        return Exit.UNEXPECTED if codes else Exit.OK

    def to_wire(self) -> dict[str, Any]:
        """The summary as plain JSON values: ``lines`` counts records, ``refused`` events by code."""
        tally = self.tally
        return {
            "file": self.file,
            "lines": tally.records,
            "booked": tally.booked,
            "already_there": tally.already,
            "free": tally.free,
            "left_out": tally.left_out,
            "refused": dict(tally.no),
            "bad_lines": tally.bad_records,
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
        rows.add_row("records read", f"{tally.records:,}")
        rows.add_row("booked", Text(f"{tally.booked:,}", "green"), f"debits, {amount(tally.amount_booked)} credits")
        rows.add_row("already there", f"{tally.already:,}", "the same key and request: not debited twice")
        rows.add_row("free", f"{tally.free:,}", "cost nothing, not sent")
        if tally.left_out:
            rows.add_row("left out", f"{tally.left_out:,}", "by --only")
        for code, count in sorted(tally.no.items()):
            rows.add_row(code.replace("_", " "), Text(f"{count:,}", "yellow"), "refused, nothing written")
        rows.add_row("bad records", Text(f"{tally.bad_records:,}", "red" if tally.bad_records else ""))
        if tally.retried:
            rows.add_row("asked again", f"{tally.retried:,}", "with the same key, after no answer")
        rows.add_row("time", f"{self.seconds:.1f} s", f"{tally.answered / max(self.seconds, 0.001):,.0f} events/s")
        return Group(self._ending(), rows)

    def _ending(self) -> Text:
        """How it went, in a line. Only a run that booked all that it could is marked as done."""
        conflicts = sum(count for code, count in self.tally.no.items() if code in _CONFLICTS)
        if self.interrupted:
            return Text("stopped; run the same command again to go on", style="yellow")
        if isinstance(self.tally.gave_up, SourceError):
            return Text("ended before the end of the file; what was read before stands", style="red")
        if self.tally.gave_up is not None:
            return Text("ended before the end of the file; run the same command again to go on", style="red")
        if conflicts:
            says = f"✗ {conflicts:,} in conflict: their keys were used before, for something else. They are not booked"
            return Text(says, style="red")
        if self.exit_code() is not Exit.OK:
            return Text(f"{self.file} read to its end; not all of it is booked", style="yellow")
        return Text.assemble(("✓ ", "green"), f"{self.file} replayed")
