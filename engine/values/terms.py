"""What grants have in common, however they come about."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal, TypeAlias

import msgspec

Category: TypeAlias = Literal["paid", "promotional"]

PRIORITY_MAX: Final = 100
PRIORITY_DEFAULT: Final = 50


class CostBasis(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one credit of a grant cost: decimal text and the code of a currency, e.g. ``("0.0125", "USD")``."""

    per_credit: str
    currency: str


class Keep(Enum):
    """Stands for a term that is not to be changed, where ``None`` has a meaning of its own."""

    KEEP = 0


KEEP: Final = Keep.KEEP
