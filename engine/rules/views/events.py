"""The published form of alerts and recharge requests."""

from __future__ import annotations

from typing import Any, assert_never

from solvent.engine.api.events import PoolEvent
from solvent.engine.rules.events import Alerted, Notice, RechargeClosed, RechargeRequested
from solvent.engine.values.amounts import to_decimal
from solvent.engine.values.matching import decode_value
from solvent.engine.values.times import to_datetime


def pool_event_of(event: Notice, pool: str, version: int, position: str, scale: int) -> PoolEvent:
    """Return the published form of ``event``, which made ``version``."""
    common: dict[str, Any] = {
        "pool": pool,
        "version": version,
        "recorded_at": to_datetime(event.at),
        "available": to_decimal(event.balance, scale),
        "position": position,
    }
    match event:
        case RechargeRequested():
            return PoolEvent(
                kind="recharge_requested",
                amount=to_decimal(event.amount, scale),
                recharge=f"q{version}",
                expires_at=to_datetime(event.until),
                granted=event.granted,
                **common,
            )
        case RechargeClosed():
            return PoolEvent(
                kind="recharge_refused" if event.due_at is None else "recharge_timed_out",
                amount=to_decimal(event.amount, scale),
                recharge=f"q{event.recharge}",
                **common,
            )
        case Alerted(kind="low"):
            return PoolEvent(kind="low", limit=to_decimal(event.limit, scale), percent=event.percent or None, **common)
        case Alerted(kind="budget_reached"):
            return PoolEvent(
                kind="budget_reached",
                budget=event.budget,
                value=decode_value(event.value) if event.value else None,
                amount=to_decimal(event.amount, scale),
                limit=to_decimal(event.limit, scale),
                percent=event.percent,
                **common,
            )
        case Alerted(kind="expiring_soon"):
            return PoolEvent(
                kind="expiring_soon",
                grant=f"g{event.about}",
                amount=to_decimal(event.amount, scale),
                expires_at=None if event.moment is None else to_datetime(event.moment),
                **common,
            )
        case Alerted(kind="hold_expired"):
            return PoolEvent(
                kind="hold_expired", hold=f"h{event.about}", amount=to_decimal(event.amount, scale), **common
            )
        case Alerted(kind="grant_skipped"):
            return PoolEvent(
                kind="grant_skipped",
                recurring=event.recurring,
                amount=to_decimal(event.amount, scale),
                limit=to_decimal(event.limit, scale),
                **common,
            )
        case Alerted():
            return PoolEvent(kind="depleted", **common)
    assert_never(event)
