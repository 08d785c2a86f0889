"""The cells: a contestant that runs a workload with a number of callers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from .contestants import CONTESTANTS, ECHO, EMBEDDED, FLUSH, MAILBOX, NATS, REDIS, REDIS_GATHERED
from .workloads import WORKLOADS

CALLERS: Final = (1, 64, 512)
FLUSH_TITLE: Final = "limit: a flush of the same bytes"


class Cell(NamedTuple):
    workload: str
    callers: int
    contestant: str

    @property
    def title(self) -> str:
        return FLUSH_TITLE if self.contestant == FLUSH else CONTESTANTS[self.contestant].title

    @property
    def is_limit(self) -> bool:
        return self.contestant in (ECHO, FLUSH, MAILBOX)

    def __str__(self) -> str:
        return f"{self.workload} {self.callers} {self.contestant}"


_USUAL: Final[dict[tuple[str, int], tuple[str, ...]]] = {
    ("W1", 1): (EMBEDDED, NATS, REDIS, "postgres", ECHO, FLUSH),
    ("W1", 64): (
        *(EMBEDDED, NATS, REDIS, REDIS_GATHERED, "postgres", "postgres-transaction", "sqlite", "credit-ledger"),
        *("escrowmint", ECHO, MAILBOX, FLUSH),
    ),
    ("W1", 512): (EMBEDDED, NATS, REDIS, REDIS_GATHERED, "postgres", ECHO, FLUSH),
    ("W2", 64): (EMBEDDED, NATS, REDIS, REDIS_GATHERED, "postgres"),
    ("W2", 512): (EMBEDDED, NATS, REDIS, REDIS_GATHERED),
    ("W4", 64): (EMBEDDED, NATS),
    ("W5", 64): (EMBEDDED, NATS),
    ("W6", 1): (EMBEDDED, NATS),
    ("W6", 64): (EMBEDDED, NATS, REDIS, "postgres"),
    ("W7", 64): (EMBEDDED, NATS),
}
"""The cells of ``make bench``: all that a mark needs, and each peer at its best."""


def usual_cells() -> Iterator[Cell]:
    for (workload, callers), contestants in _USUAL.items():
        for contestant in contestants:
            yield Cell(workload, callers, contestant)


def mark_cells() -> Iterator[Cell]:
    """Yield only the cells that a mark needs."""
    contestants = {EMBEDDED, NATS, REDIS, REDIS_GATHERED, ECHO, FLUSH}
    return (cell for cell in usual_cells() if cell.contestant in contestants and cell.workload not in ("W4", "W7"))


def all_cells() -> Iterator[Cell]:
    """Yield every workload with all callers and capable contestants. Limits do not depend on the workload."""
    for workload in WORKLOADS.values():
        for callers in CALLERS:
            for name, contestant in CONTESTANTS.items():
                cell = Cell(workload.name, callers, name)
                if workload.kind in contestant.kinds and (not cell.is_limit or workload.name == "W1"):
                    yield cell
            if workload.name == "W1":
                yield Cell(workload.name, callers, FLUSH)
