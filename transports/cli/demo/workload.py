"""The workload of the demo: three customers, their pools, and their usage events.

The same seed makes the same events with the same keys. Users, features and models are skewed: a few make most of the
events. With a trace, tokens, times and features come from the trace; pools and users are drawn, because a trace has no
customers.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from decimal import ROUND_UP, Decimal
from itertools import accumulate, islice
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from solvent.engine.api.requests import DebitRequest
from solvent.engine.values.errors import InvalidRequest
from solvent.transports.cli.replay.choices import reading_of
from solvent.transports.cli.replay.options import ColumnOptions, DimensionOptions, FileOptions, PriceOptions
from solvent.transports.cli.replay.presets import find_preset
from solvent.transports.cli.replay.pricing import cost, parse_price
from solvent.transports.cli.replay.rows import Parsed


class PoolPlan(NamedTuple):
    """A pool of the demo. ``funded`` is its credits as a part of what its events ask for; below 1 it runs empty."""

    name: str
    weight: float
    funded: Decimal


POOLS: Final = (
    PoolPlan("aurora", 10, Decimal("1.4")),
    PoolPlan("aurora/website", 22, Decimal("1.15")),
    PoolPlan("aurora/mobile", 14, Decimal("0.35")),
    PoolPlan("northwind", 8, Decimal("1.6")),
    PoolPlan("northwind/support", 18, Decimal("1.2")),
    PoolPlan("northwind/research", 12, Decimal("0.6")),
    PoolPlan("tidepool", 6, Decimal("1.3")),
    PoolPlan("tidepool/batch", 10, Decimal("0.15")),
)
"""A global pool for each customer, and pools for their workspaces. Three of the eight run empty."""

PRICES: Final = {"large": "0.00006", "medium": "0.00002", "small": "0.000004"}
"""Credits per token of each model."""

_MODELS: Final = (("small", 60), ("medium", 30), ("large", 10))
_FEATURES: Final = (("conversation", 50), ("code", 25), ("summary", 15), ("search", 10))
_REGIONS: Final = (("eu-west", 45), ("us-east", 35), ("ap-south", 20))
_USERS: Final = tuple((f"user-{number:02}", 100 / number) for number in range(1, 41))
_METRIC: Final = "tokens"
_SCALE: Final = 6
_CENT: Final = Decimal("0.01")


class _Draw(NamedTuple):
    """A skewed random choice."""

    values: Sequence[str]
    cumulative: Sequence[float]

    def one(self, dice: random.Random) -> str:
        return dice.choices(self.values, cum_weights=self.cumulative)[0]


def _draw(weighted: Sequence[tuple[str, float]]) -> _Draw:
    return _Draw([value for value, _ in weighted], list(accumulate(weight for _, weight in weighted)))


_POOL: Final = _draw([(pool.name, pool.weight) for pool in POOLS])
_MODEL, _FEATURE, _REGION, _USER = _draw(_MODELS), _draw(_FEATURES), _draw(_REGIONS), _draw(_USERS)


def generated(seed: int) -> Iterator[DebitRequest]:
    """Yield usage events without end."""
    dice = random.Random(seed)
    prices = {model: parse_price(price, model) for model, price in PRICES.items()}
    number = 0
    while True:
        number += 1
        model = _MODEL.one(dice)
        tokens = 50 + int(dice.expovariate(1 / 900))
        yield DebitRequest(
            pool=_POOL.one(dice),
            amount=cost(Decimal(tokens), prices[model], scale=_SCALE, field=_METRIC),
            key=f"demo-{number}",
            metric=_METRIC,
            quantity=tokens,
            dimensions={
                "model": model,
                "feature": _FEATURE.one(dice),
                "user": _USER.one(dice),
                "region": _REGION.one(dice),
            },
        )


def traced(path: Path, seed: int) -> Iterator[DebitRequest]:
    """Yield the events of a trace with the columns of preset ``azure-llm``. Pool, user, model and region are drawn.

    Raises ``InvalidRequest`` at the first bad line of the file.
    """
    dice = random.Random(seed)
    words = find_preset("azure-llm").feature_words
    feature = None if any(word in path.stem.lower() for word in words) else [f"feature={path.stem}"]
    reading = reading_of(
        path,
        FileOptions(preset="azure-llm"),
        ColumnOptions(pool=POOLS[0].name, source=path.stem),
        DimensionOptions(dim=feature),
        PriceOptions(),
        currencies={},
    )
    with reading.open() as (_, events):
        for parsed in events:
            if not isinstance(parsed, Parsed):
                raise InvalidRequest("--data", "usage events", got=f"line {parsed.line}: {parsed.reason}")
            pool = _POOL.one(dice)
            who = {"model": _MODEL.one(dice), "user": _USER.one(dice), "region": _REGION.one(dice)}
            for request in parsed.requests:
                yield msgspec.structs.replace(request, pool=pool, dimensions={**(request.dimensions or {}), **who})


class Workload(NamedTuple):
    """The events to ask for, and the credits to grant to each pool."""

    requests: tuple[DebitRequest, ...]
    grants: dict[str, Decimal]

    @classmethod
    def plan(cls, source: Iterator[DebitRequest], events_max: int) -> Workload:
        """Take the first events, and fund the pools so that some of them run empty."""
        requests = tuple(islice(source, events_max))
        asked: defaultdict[str, Decimal] = defaultdict(Decimal)
        largest = Decimal(0)
        for request in requests:
            amount = Decimal(request.amount)
            asked[str(request.pool)] += amount
            largest = max(largest, amount)
        # The largest event fits into every pool, so that no pool refuses from the start.
        floor = largest.quantize(_CENT, ROUND_UP)
        grants = {pool.name: max((asked[pool.name] * pool.funded).quantize(_CENT, ROUND_UP), floor) for pool in POOLS}
        return cls(requests, grants)
