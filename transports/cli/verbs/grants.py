"""The verbs of grants: make one, change or void it, list them."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from solvent.engine.api.requests import GrantsRequest
from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.terms import KEEP, PRIORITY_DEFAULT, Keep
from solvent.transports.cli.asking import ask_all, command
from solvent.transports.cli.options import (
    AmountArgument,
    AsOf,
    Category,
    Comment,
    Key,
    NeverOrTime,
    NowOrTime,
    PoolArgument,
    Priority,
    Shared,
    as_typed,
    random_key,
    with_shared_options,
)
from solvent.transports.cli.pairs import parse_cost_basis, parse_dimensions
from solvent.transports.cli.render import balances as render
from solvent.transports.cli.running import reporting

GrantArgument: TypeAlias = Annotated[str, typer.Argument(metavar="GRANT", help='The id of a grant, such as "g2".')]


@with_shared_options
def grant(
    shared: Shared,
    pool: PoolArgument,
    amount: AmountArgument,
    key: Key = None,
    category: Category = "paid",
    priority: Priority = PRIORITY_DEFAULT,
    effective_at: NowOrTime = None,
    expires_at: NeverOrTime = None,
    cost_basis: Annotated[
        str | None, typer.Option(metavar="CODE=PRICE", help="The cost of one credit, such as USD=0.0125.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    comment: Comment = None,
    meta: Annotated[
        list[str] | None,
        typer.Option("--meta", metavar="NAME=VALUE", help="Metadata, written as --dim of a debit. Repeatable."),
    ] = None,
) -> None:
    """Add a block of credits to a pool. The first grant opens the pool, and creates the journal if there is none."""
    used_key = key or random_key()
    with reporting(shared.as_json):
        cost = parse_cost_basis(cost_basis, "--cost-basis")
        metadata = parse_dimensions(meta, "--meta") if meta else None
    command(
        shared,
        "grant",
        pool,
        lambda credits: credits.grant(
            pool,
            amount,
            key=used_key,
            category=as_typed(category),
            priority=priority,
            effective_at=effective_at,
            expires_at=expires_at,
            cost_basis=cost,
            name=name,
            comment=comment,
            metadata=metadata,
        ),
        key=used_key,
        create=True,
    )


@with_shared_options
def update_grant(
    shared: Shared,
    pool: PoolArgument,
    grant: GrantArgument,
    key: Key = None,
    priority: Annotated[int | None, typer.Option(help="0 to 100; lower burns first.")] = None,
    expires_at: Annotated[str | None, typer.Option(help='The expiry, ISO 8601 with its zone, or "never".')] = None,
    meta: Annotated[
        list[str] | None,
        typer.Option("--meta", metavar="NAME=VALUE", help="The new metadata, which replaces the old. Repeatable."),
    ] = None,
) -> None:
    """Change terms of a grant. Terms that are not given stay."""
    used_key = key or random_key()
    with reporting(shared.as_json):
        metadata = parse_dimensions(meta, "--meta") if meta else KEEP
        if priority is None and expires_at is None and meta is None:
            raise InvalidRequest("--priority", "something to change: --priority, --expires-at or --meta")
    ends: str | Keep | None = KEEP if expires_at is None else None if expires_at == "never" else expires_at
    command(
        shared,
        "update",
        pool,
        lambda credits: credits.update_grant(
            pool,
            grant,
            key=used_key,
            priority=KEEP if priority is None else priority,
            expires_at=ends,
            metadata=metadata,
        ),
        key=used_key,
    )


@with_shared_options
def void_grant(shared: Shared, pool: PoolArgument, grant: GrantArgument) -> None:
    """Remove what is left of a grant. What is held or spent stays."""
    command(shared, "void", pool, lambda credits: credits.void_grant(pool, grant))


@with_shared_options
def grants(
    shared: Shared,
    pool: PoolArgument,
    as_of: AsOf = None,
    state: Annotated[
        str | None, typer.Option(help="Only grants that are pending, active, depleted, expired or voided.")
    ] = None,
) -> None:
    """List the grants of a pool: first those that can be burned, in burn order."""
    ask_all(shared, lambda: GrantsRequest(pool=pool, as_of=as_of, state=as_typed(state)), render.grants)
