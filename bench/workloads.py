"""The workloads, as data: the requests of callers, their pools, and their costs.

Amounts are units of 10^-6 credits. Everything is drawn beforehand from a fixed seed, so every contestant gets the same
work, and drawing it is not measured.
"""

from __future__ import annotations

import csv
import datetime
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Final, Literal

SEED: Final = 7
SCALE: Final = 6
DEBIT: Final = "0.25"
DEBIT_UNITS: Final = 250_000
GRANT: Final = "1000000000"
GRANT_UNITS: Final = 10**15
HOLD: Final = "1"
BATCH: Final = 100
ZIPF_EXPONENT: Final = 0.99
"""The exponent of YCSB's skewed workloads."""
PICKS: Final = 65_536
"""The number of pools drawn in all. Callers begin at different places of the list, and wrap around."""
USERS: Final = 997
CREDITS_PER_MILLION: Final = {"input_tokens": 30, "output_tokens": 60}
"""The rate card of the metered workloads. A token costs this many units of 10^-6 credits."""
TRACES: Final = Path("..", "shared", "data")
TRACE_FILES: Final = {
    "conversation": "azure_llm_2023_conversation.csv",
    "code": "azure_llm_2023_code.csv",
}

Kind = Literal["debit", "hold", "report", "batch", "replay"]


@dataclass(frozen=True)
class Workload:
    """The work that every caller repeats, each time as soon as it has its answer."""

    name: str
    title: str
    kind: Kind
    pools: int
    is_skewed: bool = False
    """Whether pools are drawn by a Zipf distribution instead of evenly."""

    @property
    def debits_per_call(self) -> int:
        return BATCH if self.kind == "batch" else 1


WORKLOADS: Final = {
    each.name: each
    for each in (
        Workload("W1", "one hot pool", "debit", 1),
        Workload("W2", "1,000 pools at random", "debit", 1_000),
        Workload("W3", "100,000 pools, Zipf", "debit", 100_000, is_skewed=True),
        Workload("W4", "hold, stream, capture; 1,000 pools", "hold", 1_000),
        Workload("W5", "metered events, rate card, two budgets; 1,000 pools", "report", 1_000),
        Workload("W6", "batches of 100; 100 pools", "batch", 100),
        Workload("W7", "replay of real traces", "replay", 1),
    )
}


def zipf_weights(count: int, exponent: float = ZIPF_EXPONENT) -> list[float]:
    """Return the cumulated weights of ``count`` ranks, the most frequent first."""
    return list(accumulate(1 / rank**exponent for rank in range(1, count + 1)))


def draw_pools(workload: Workload, picks: int = PICKS) -> list[int]:
    """Return the numbers of pools in the order of use, the same at each call."""
    dice = random.Random(SEED)
    numbers = range(workload.pools)
    if not workload.is_skewed:
        return dice.choices(numbers, k=picks)
    # Shuffle, so that frequent pools are not those opened first.
    shuffled = dice.sample(numbers, k=workload.pools)
    return dice.choices(shuffled, cum_weights=zipf_weights(workload.pools), k=picks)


def pool_name(number: int) -> str:
    return f"customer-{number}"


def draw_dimensions() -> list[dict[str, str]]:
    """Return the dimensions of usage events: a model, a user, a feature and a region each."""
    dice = random.Random(SEED)
    return [
        {
            "model": dice.choice(("gpt-4", "gpt-4-mini", "claude", "llama", "mistral")),
            "user": f"user-{user}",
            "feature": dice.choice(("chat", "search", "summary", "code")),
            "region": dice.choice(("eu", "us", "ap")),
        }
        for user in range(USERS)
    ]


class Draws:
    """The draws of a workload."""

    def __init__(self, workload: Workload) -> None:
        self.pools = [pool_name(number) for number in draw_pools(workload)]
        self.dimensions = draw_dimensions()

    def at(self, caller: int, number: int) -> tuple[str, dict[str, str]]:
        """Return the pool and the dimensions of a caller's call with a number."""
        place = caller * 7_919 + number
        return self.pools[place % PICKS], self.dimensions[place % USERS]


@dataclass(frozen=True)
class TraceEvent:
    """One metric of one request of the traces."""

    key: str
    occurred_at: datetime.datetime
    metric: str
    quantity: int
    feature: str

    @property
    def units(self) -> int:
        return self.quantity * CREDITS_PER_MILLION[self.metric]


def missing_traces(folder: Path = TRACES) -> Sequence[str]:
    return [name for name in TRACE_FILES.values() if not (folder / name).is_file()]


def read_traces(folder: Path = TRACES) -> Iterator[TraceEvent]:
    """Yield all events of the traces, in the files' order. Each request has two: its input and its output tokens."""
    for feature, name in TRACE_FILES.items():
        with (folder / name).open(newline="") as lines:
            for number, row in enumerate(csv.DictReader(lines)):
                # The seventh decimal is finer than a microsecond.
                at = datetime.datetime.fromisoformat(row["TIMESTAMP"][:26]).replace(tzinfo=datetime.UTC)
                for metric, column in (("input_tokens", "ContextTokens"), ("output_tokens", "GeneratedTokens")):
                    yield TraceEvent(f"{feature}-{number}-{metric}", at, metric, int(row[column]), feature)
