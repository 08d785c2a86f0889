"""Terms that grants, holds, budgets and recurring grants share: closed sets of words, defaults and small structs."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import Final, Literal, TypeAlias

import msgspec

from .amounts import AmountLike
from .readable import Readable

Category: TypeAlias = Literal["paid", "promotional"]
"""The category of a grant: bought, or given."""
BudgetMode: TypeAlias = Literal["block", "warn"]
"""Whether a budget refuses what does not fit, or only names itself in the receipt."""
RollOver: TypeAlias = AmountLike | Literal["none", "all"]
"""What happens to credits left when the next period begins: they expire, stay, or stay up to an amount."""
Missing: TypeAlias = Literal["pass", "block", "count together"]
"""What a budget or an allowance that counts each value of a dimension on its own does with usage that has none."""
HoldState: TypeAlias = Literal["open", "captured", "released", "expired"]
"""What became of a hold."""
Seconds: TypeAlias = float | Decimal
"""A span of time in seconds. It is not an amount, so a float is precise enough."""

PRIORITY_MAX: Final = 100
PRIORITY_DEFAULT: Final = 50
HOLD_TTL_DEFAULT_S: Final = 3_600


class CostBasis(Readable, msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one credit of a grant cost: decimal text and the code of a currency, e.g. ``("0.0125", "USD")``."""

    per_credit: str
    currency: str


CostLike: TypeAlias = CostBasis | tuple[str, str] | Mapping[str, str]
"""How callers give a cost basis: as a ``CostBasis``, a pair, or ``{"per_credit": ..., "currency": ...}``."""


class Keep(Enum):
    """Stands for a term that keeps its value, where ``None`` has another meaning."""

    KEEP = 0


KEEP: Final = Keep.KEEP
