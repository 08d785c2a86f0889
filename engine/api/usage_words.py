"""The words that questions about usage may choose from."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

Order: TypeAlias = Literal["credits", "events", "refused", "quantity", "name"]
"""What groups are ranked by."""
CompareOrder: TypeAlias = Literal["change", "increase", "credits", "name"]
"""What groups are ranked by when two periods are compared. "change" is its size, "increase" keeps its sign."""
ORDERS: Final[tuple[Order, ...]] = get_args(Order)
COMPARE_ORDERS: Final[tuple[CompareOrder, ...]] = get_args(CompareOrder)
