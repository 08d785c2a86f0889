"""Requests about usage: the address names the customer, the body the question, and the two must not differ."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from solvent.engine.api.usage_answers import Usage, UsageLine, UsageQuestion
from solvent.engine.api.usage_requests import (
    ForecastRequest,
    QuestionRequest,
    RebuildRequest,
    StatusRequest,
    UsageRequest,
)
from solvent.engine.values.errors import InvalidRequest, TooLarge
from solvent.engine.values.pool_id import ENVIRONMENT_DEFAULT, PoolId, parse_pool, pool_id

LINES_PER_TURN: Final = 100
"""The lines built before other tasks get a turn: half a millisecond."""
LINE_BYTES_MIN: Final = 180
"""The bytes of the smallest line: without fields, quantities and times, and with one digit per number."""


def address_of_usage(request: UsageRequest[Any]) -> tuple[str, str | None]:
    """Return the environment and the customer of ``request``, ``None`` for all customers."""
    if isinstance(request, (StatusRequest, RebuildRequest)):
        return request.environment, None
    if isinstance(request, ForecastRequest):
        pool = parse_pool(request.pool)
        return pool.environment, pool.customer
    if isinstance(request, QuestionRequest):
        question = request.question
        if question.pool is None:
            return question.environment, question.customer
        pool = parse_pool(question.pool)
        return pool.environment, pool.customer
    raise _unknown(request)


def usage_within(request: UsageRequest[Any], environment: str, customer: str | None) -> UsageRequest[Any]:
    """Return ``request`` limited to its address. Raises ``InvalidRequest`` if the two differ."""
    if isinstance(request, (StatusRequest, RebuildRequest)):
        if customer is not None:
            raise InvalidRequest(
                "customer", '"-" in the subject or path: this is about the whole journal', got=customer[:60]
            )
        return request
    if isinstance(request, ForecastRequest):
        return msgspec.structs.replace(request, pool=str(_pool(request.pool, environment, customer)))
    if isinstance(request, QuestionRequest):
        return msgspec.structs.replace(request, question=_scoped(request.question, environment, customer))
    raise _unknown(request)


def _unknown(request: UsageRequest[Any]) -> TypeError:
    return TypeError(f"no place is known for {type(request).__name__}")


async def with_lines(usage: Usage, bytes_max: int) -> Usage:
    """Build the lines of ``usage`` in turns, because encoding would build them without a pause.

    Raises ``TooLarge`` if they cannot fit into ``bytes_max``.
    """
    if len(usage.lines) * LINE_BYTES_MIN > bytes_max:
        limit = f"a smaller number: {len(usage.lines):,} lines do not fit into one message"
        raise TooLarge("top", limit, got=str(usage.question.top))
    lines: list[UsageLine] = []
    for first in range(0, len(usage.lines), LINES_PER_TURN):
        lines += usage.lines[first : first + LINES_PER_TURN]
        await asyncio.sleep(0)
    return msgspec.structs.replace(usage, lines=tuple(lines))


def _scoped(question: UsageQuestion, environment: str, customer: str | None) -> UsageQuestion:
    """Return the question limited to its address: without a pool, to all pools of its customer."""
    if question.environment not in (ENVIRONMENT_DEFAULT, environment):
        raise InvalidRequest(
            "environment", "the environment of the subject or path", got=repr(question.environment)[:60]
        )
    if question.pool is not None:
        pool = _pool(question.pool, environment, customer)
        return msgspec.structs.replace(question, pool=str(pool), environment=environment)
    if customer is not None and question.customer not in (None, customer):
        raise InvalidRequest("customer", "the customer of the subject or path", got=repr(question.customer)[:60])
    whose = question.customer if customer is None else customer
    return msgspec.structs.replace(question, customer=whose, environment=environment)


def _pool(written: str, environment: str, customer: str | None) -> PoolId:
    pool = parse_pool(written)
    if pool.environment not in (ENVIRONMENT_DEFAULT, environment):
        raise InvalidRequest("pool", "a pool of the environment in the subject or path", got=repr(written)[:60])
    if customer is not None and pool.customer != customer:
        raise InvalidRequest("pool", "a pool of the customer in the subject or path", got=repr(written)[:60])
    return pool_id(environment, pool.customer, pool.resource, pool.currency)
