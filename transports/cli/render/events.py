"""Events of pools, as a table or as one line each."""

from __future__ import annotations

from decimal import Decimal

from rich.console import Group, RenderableType

from solvent.engine.api.events import EventPage, PoolEvent
from solvent.transports.cli.terminal import Text

from .cells import amount, moment, pool_name, titled_table


def events(answer: EventPage) -> RenderableType:
    """What pools have said, oldest first."""
    table = titled_table("Events")
    table.add_column("position", no_wrap=True)
    table.add_column("recorded (UTC)", no_wrap=True)
    for name in ("pool", "event", "what"):
        table.add_column(name, overflow="fold")
    table.add_column("available", justify="right")
    for event in answer.events:
        table.add_row(
            event.position,
            moment(event.recorded_at),
            Text(pool_name(event.pool)),
            event.kind,
            Text(_what(event)),
            amount(event.available),
        )
    more = [Text(f"more: --after {answer.position}", style="bright_black")] if answer.more else []
    return Group(table, *more)


def event_line(event: PoolEvent) -> str:
    """An event as one line of text, with its position at the end."""
    what = _what(event)
    said = f"{event.kind}: {what}" if what else event.kind
    return (
        f"{moment(event.recorded_at)}  {pool_name(event.pool)}  {said}, "
        f"{amount(event.available)} available  ({event.position})"
    )


def _what(event: PoolEvent) -> str:
    """What an event is about, beside the pool and what is available in it."""
    much = amount(event.amount or Decimal(0))
    match event.kind:
        case "low":
            percent = "" if event.percent is None else f" ({event.percent} %)"
            return f"below {amount(event.limit or Decimal(0))}{percent}"
        case "depleted":
            return ""
        case "expiring_soon":
            return f"{much} of {event.grant} expire {moment(event.expires_at)} UTC"
        case "budget_reached":
            whose = f"{event.budget}" if event.value is None else f"{event.budget} of {event.value}"
            return f"budget {whose}: {much} of {amount(event.limit or Decimal(0))} used ({event.percent} %)"
        case "hold_expired":
            return f"{event.hold} gave back {much}"
        case "grant_skipped":
            return (
                f"{event.recurring} could not grant {much}: the pool has room for {amount(event.limit or Decimal(0))}"
            )
        case "recharge_requested" if event.granted:
            return f"{event.recharge} is granted {much} by the pool itself"
        case "recharge_requested":
            return f"{event.recharge} asks for {much}, until {moment(event.expires_at)} UTC"
        case "recharge_refused" | "recharge_timed_out":
            return f"{event.recharge} had asked for {much}"
