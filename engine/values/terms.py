"""What grants, holds, budgets and plans have in common, however they come about: closed words and small terms."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import Final, Literal, TypeAlias

import msgspec

from .amounts import AmountLike
from .readable import Readable

Category: TypeAlias = Literal["paid", "promotional"]
"""What a grant is: bought, or given."""
BudgetMode: TypeAlias = Literal["block", "warn"]
"""Whether a budget refuses what does not fit, or only names itself in the receipt."""
RollOver: TypeAlias = AmountLike | Literal["none", "all"]
"""What is left of a period when the next begins: it expires, stays, or stays up to an amount."""
Seconds: TypeAlias = float | Decimal
"""A span of time in seconds. It is no amount: a float will do."""

PRIORITY_MAX: Final = 100
PRIORITY_DEFAULT: Final = 50
HOLD_TTL_DEFAULT_S: Final = 3_600


class CostBasis(Readable, msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one credit of a grant cost: decimal text and the code of a currency, e.g. ``("0.0125", "USD")``."""

    per_credit: str
    currency: str


CostLike: TypeAlias = CostBasis | tuple[str, str] | Mapping[str, str]
"""How callers give a cost basis: as such, as a pair, or as ``{"per_credit": ..., "currency": ...}``."""


class Keep(Enum):
    """Stands for a term that is not to be changed, where ``None`` has a meaning of its own."""

    KEEP = 0


KEEP: Final = Keep.KEEP
