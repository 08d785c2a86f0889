"""The common part of most verbs: send one question or command to the target, and print the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from rich.console import RenderableType

from solvent.engine.api.answers import Answer, to_wire
from solvent.engine.api.credits import Credits
from solvent.engine.api.receipts import Receipt
from solvent.engine.api.requests import Request
from solvent.engine.api.rows import joined
from solvent.engine.values.pool_id import parse_pool

from .options import Shared
from .render import receipts as render
from .running import reporting, respond

T = TypeVar("T", bound=Answer)


def ask(shared: Shared, question: Callable[[Credits], Awaitable[T]], plain: Callable[[T], RenderableType]) -> None:
    """Ask one question and print the answer as ``plain`` shows it, or with ``--json`` as on the wire."""
    with reporting(shared.as_json):
        target = shared.target()

    async def work() -> T:
        async with target.open() as credits:
            return await question(credits)

    respond(shared.as_json, work, plain=plain, wire=to_wire)


def ask_all(shared: Shared, request: Callable[[], Request[T]], plain: Callable[[T], RenderableType]) -> None:
    """Read all pages of a list, and print them as one."""

    async def question(credits: Credits) -> T:
        whole: T = joined([page async for page in credits.every_page(request())])
        return whole

    ask(shared, question, plain)


def command(
    shared: Shared,
    kind: str,
    pool: str,
    order: Callable[[Credits], Awaitable[Receipt]],
    *,
    key: str | None = None,
    create: bool = False,
) -> None:
    """Run one command and print its receipt. ``key`` is the command's key, if it takes one.

    ``create`` is for commands that open a pool. It creates the journal if there is none.
    """
    with reporting(shared.as_json):
        target = shared.target()
        written = str(parse_pool(pool))

    async def work() -> Receipt:
        async with target.open(create=create) as credits:
            return await order(credits)

    def wire(answer: Receipt) -> dict[str, Any]:
        return to_wire(answer) | ({} if key is None else {"key": key})

    respond(shared.as_json, work, plain=lambda answer: render.receipt(kind, written, answer, key), wire=wire, key=key)
