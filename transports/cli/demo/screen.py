"""What the newcomer sees: one live picture on a terminal, plain lines anywhere else.

The screen only reads: the load, the grants, and the steps that the story adds. It draws a few times a second and takes
some milliseconds of the event loop each time.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

import anyio
from rich import box
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table

from solvent.transports.cli.render.bars import split_bar
from solvent.transports.cli.render.cells import amount
from solvent.transports.cli.terminal import Console, Text

from .load import CALLERS, Load
from .proof import Books, Check

REFRESH_S: Final = 0.25
PLAIN_LINE_S: Final = 2.0
RATE_SAMPLES: Final = 32
BAR_CHARS: Final = 22
BREAKDOWN_BAR_CHARS: Final = 12
BREAKDOWN_ROWS: Final = 4
BREAKDOWN_DIMENSIONS: Final = ("model", "feature", "user", "region")
_SPARKS: Final = "▁▂▃▄▅▆▇█"
_MARK_STYLE: Final[Mapping[str, str]] = {"✓": "bold green", "✗": "bold red", "!": "bold red", "•": "cyan"}


class Screen:
    """The story's lines, and under them the load's figures. As a context manager it owns the terminal;
    ``keep_drawing`` is run beside the story, by whoever tells it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._load: Load | None = None
        self._grants: Mapping[str, Decimal] = {}
        self._rates: deque[float] = deque(maxlen=RATE_SAMPLES)
        self._sampled_at = time.perf_counter()
        self._sampled = 0

    def __enter__(self) -> Screen:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Leave the last picture where it is."""
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)
            self._live.stop()

    def watch(self, load: Load, grants: Mapping[str, Decimal]) -> None:
        """Show the figures of a load from now on."""
        self._load, self._grants = load, grants
        self._sampled, self._sampled_at = load.answered, time.perf_counter()

    def step(self, says: str, *, mark: str = "•") -> None:
        """Add a line to the story: ``•`` goes on, ``!`` breaks, ``✓`` is proven, ``✗`` is not."""
        style = _MARK_STYLE[mark]
        self._console.print(Text.assemble((f"{mark} ", style), (says, style if mark in "!✗" else "")))

    def check(self, check: Check) -> None:
        """Add the outcome of a check to the story."""
        self.step(check.says, mark="✓" if check.passed else "✗")

    async def keep_drawing(self) -> None:
        """Draw until cancelled."""
        while True:
            await anyio.sleep(PLAIN_LINE_S if self._live is None else REFRESH_S)
            self._sample()
            if self._live is not None:
                self._live.update(self._picture(), refresh=True)
            elif self._load is not None and self._rates[-1]:
                self._console.print(f"  {self._figures(self._load).plain}", soft_wrap=True)

    def breakdown(self, books: Books) -> None:
        """Print what was spent by each dimension, summed from the ledger."""
        tables = [_breakdown(dimension, books.spent_by(dimension)) for dimension in BREAKDOWN_DIMENSIONS]
        grid = Table.grid(padding=(1, 3))
        for left, right in zip(tables[::2], tables[1::2], strict=True):
            grid.add_row(left, right)
        self._console.print()
        self._console.print(Text("Who spent it, and on what (credits, summed from the ledger)", "bold"))
        self._console.print(grid)

    def _sample(self) -> None:
        now = time.perf_counter()
        if self._load is None:
            return
        answered = self._load.answered
        self._rates.append((answered - self._sampled) / (now - self._sampled_at))
        self._sampled, self._sampled_at = answered, now

    def _picture(self) -> RenderableType:
        if self._load is None:
            return Group()
        return Group(self._pools(self._load), self._figures(self._load), Text(_sparkline(self._rates), "cyan"))

    def _pools(self, load: Load) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("pool")
        table.add_column("balance", width=BAR_CHARS)
        table.add_column("credits left", justify="right", min_width=12)
        table.add_column("granted", justify="right")
        table.add_column("refused", justify="right", min_width=7)
        for pool, granted in self._grants.items():
            receipt = load.latest(pool)
            left = granted if receipt is None else receipt.balance
            refused = load.refused[pool]
            colour = "red" if refused else "green" if left * 4 > granted else "yellow"
            full, gone = split_bar((left, granted - left), BAR_CHARS)
            table.add_row(
                Text(pool),
                Text.assemble(("█" * full, colour), ("░" * gone, "bright_black")),
                Text(amount(left), colour),
                amount(granted),
                Text(f"{refused:,}", "red") if refused else "",
            )
        return table

    def _figures(self, load: Load) -> Text:
        rate = self._rates[-1] if self._rates else 0.0
        best = max(self._rates, default=0.0)
        figures = Text.assemble(
            (f"{rate:,.0f}/s", "bold cyan"),
            f" ({best:,.0f} at best)  ·  {len(load.acknowledged):,} debits recorded, {load.refused.total():,} refused, "
            f"{load.total - load.answered:,} to go  ·  {CALLERS} callers",
        )
        if len(load.latencies_s) > 1:
            middle, late = _percentiles(load.latencies_s)
            figures.append(f"  ·  p50 {middle * 1000:.1f} ms, p99 {late * 1000:.1f} ms")
        return figures


def _percentiles(values: Iterable[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(values, n=100)
    return cuts[49], cuts[98]


def _sparkline(values: Iterable[float]) -> str:
    known = list(values)
    top = max(known, default=0.0)
    return "".join(_SPARKS[int((len(_SPARKS) - 1) * value / top)] if top else _SPARKS[0] for value in known)


def _breakdown(dimension: str, spent: list[tuple[str, Decimal]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(dimension, header_style="bold")
    table.add_column("")
    table.add_column("", justify="right")
    total = sum((credits for _, credits in spent), Decimal(0))
    shown = spent if len(spent) <= BREAKDOWN_ROWS else spent[: BREAKDOWN_ROWS - 1]
    rest = total - sum((credits for _, credits in shown), Decimal(0))
    rows = shown + ([(f"{len(spent) - len(shown)} others", rest)] if len(shown) < len(spent) else [])
    for value, credits in rows:
        full, gone = split_bar((credits, total - credits), BREAKDOWN_BAR_CHARS)
        table.add_row(Text(value), Text.assemble(("█" * full, "blue"), ("░" * gone, "bright_black")), f"{credits:,.6f}")
    return table
