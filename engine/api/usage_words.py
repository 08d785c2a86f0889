"""The closed words of questions about usage."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

Order: TypeAlias = Literal["credits", "events", "refused", "quantity", "name"]
"""By what groups are ranked."""
CompareOrder: TypeAlias = Literal["change", "increase", "credits", "name"]
"""By what groups are ranked where two periods are compared: the size of the change, or the change with its sign."""
ORDERS: Final[tuple[Order, ...]] = get_args(Order)
COMPARE_ORDERS: Final[tuple[CompareOrder, ...]] = get_args(CompareOrder)
