"""The figures as a picture: bars of debits per second, in SVG that reads on light and on dark ground."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from .cells import Cell
from .contestants import EMBEDDED, FLUSH, MAILBOX, NATS
from .measures import Figures
from .workloads import WORKLOADS

WIDTH: Final = 860
LABEL_WIDTH: Final = 300
VALUE_WIDTH: Final = 190
BAR: Final = 16
STEP: Final = 23
HEADING: Final = 34
MARGIN: Final = 16
NOT_DRAWN: Final = frozenset((FLUSH, MAILBOX))
"""The limits of another kind, whose bars cannot be compared with the others."""

# Draw the background too, because a page can be dark on a light system.
STYLE: Final = """
.ground{fill:#ffffff;stroke:#d0d7de}.text{fill:#1f2328}.faint{fill:#59636e}
.own{fill:#0969da}.peer{fill:#afb8c1}.limit{fill:#eac54f}
text{font:13px -apple-system,'Segoe UI',Helvetica,Arial,sans-serif}.heading{font-weight:600;font-size:14px}
@media (prefers-color-scheme: dark){
.ground{fill:#0d1117;stroke:#3d444d}.text{fill:#f0f6fc}.faint{fill:#9198a1}
.own{fill:#4493f8}.peer{fill:#656c76}.limit{fill:#9e6a03}
}
"""


def groups_of(medians: Mapping[Cell, Figures]) -> dict[tuple[str, int], list[tuple[Cell, Figures]]]:
    """Return the cells to draw by workload and callers, the fastest first. Groups of Solvent alone are left out."""
    groups: dict[tuple[str, int], list[tuple[Cell, Figures]]] = {}
    for cell, figures in medians.items():
        if cell.contestant not in NOT_DRAWN:
            groups.setdefault((cell.workload, cell.callers), []).append((cell, figures))
    return {
        key: sorted(bars, key=lambda bar: -bar[1].per_s)
        for key, bars in groups.items()
        if any(cell.contestant not in (EMBEDDED, NATS) and not cell.is_limit for cell, _ in bars)
    }


def draw(medians: Mapping[Cell, Figures], *, caption: str) -> str:
    """Return the picture. Each group has a scale of its own, from zero."""
    groups = groups_of(medians)
    parts: list[str] = []
    y = MARGIN
    for (workload, callers), bars in groups.items():
        said = "1 caller" if callers == 1 else f"{callers} callers"
        parts.append(_text(MARGIN, y + 16, f"{workload}: {WORKLOADS[workload].title}, {said}", "text heading"))
        y += HEADING
        y = _bars(parts, bars, y) + MARGIN
    parts.append(_text(MARGIN, y + 6, caption, "faint"))
    height = y + 2 * MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
            f'height="{height}" role="img">',
            "<title>Durable debits per second</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="ground" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _bars(parts: list[str], bars: Sequence[tuple[Cell, Figures]], y: int) -> int:
    most = max(figures.per_s for _, figures in bars)
    room = WIDTH - 2 * MARGIN - LABEL_WIDTH - VALUE_WIDTH
    for cell, figures in bars:
        kind = "limit" if cell.is_limit else "own" if cell.contestant in (EMBEDDED, NATS) else "peer"
        width = max(1.0, figures.per_s / most * room)
        left = MARGIN + LABEL_WIDTH
        parts.append(_text(left - 8, y + 13, cell.title, "text", anchor="end"))
        parts.append(f'<rect class="{kind}" x="{left}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2"/>')
        value = f"{figures.per_s:,.0f}/s, p99 {figures.p99_ms:,.1f} ms"
        parts.append(_text(left + width + 8, y + 13, value, "faint"))
        y += STEP
    return y


def _text(x: float, y: float, said: str, style: str, *, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(said)}</text>'
