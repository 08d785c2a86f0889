"""All contestants by name, and the workloads of each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from .credit_ledger_peer import credit_ledger
from .escrowmint_peer import escrowmint
from .limits import echo, mailbox
from .postgres_peer import postgres
from .redis_peer import redis
from .session import AsyncSession, ThreadSession
from .solvent_sessions import embedded, over_nats
from .sqlite_peer import sqlite
from .workloads import Kind, Workload

Open: TypeAlias = Callable[[Workload, int, Path], AbstractAsyncContextManager[AsyncSession | ThreadSession]]


@dataclass(frozen=True)
class Contestant:
    title: str
    open: Open
    kinds: frozenset[Kind]


ALL_KINDS: Final[frozenset[Kind]] = frozenset(("debit", "hold", "report", "batch", "replay"))
DEBITS: Final[frozenset[Kind]] = frozenset(("debit",))

EMBEDDED: Final = "embedded"
NATS: Final = "nats"
REDIS: Final = "redis"
REDIS_GATHERED: Final = "redis-gathered"
ECHO: Final = "echo"
FLUSH: Final = "flush"
MAILBOX: Final = "mailbox"

CONTESTANTS: Final = {
    EMBEDDED: Contestant("Solvent, embedded", embedded, ALL_KINDS),
    NATS: Contestant("Solvent over NATS", over_nats, ALL_KINDS),
    REDIS: Contestant(
        "Redis, Lua, always, a connection per caller", partial(redis, gathers=False), frozenset(("debit", "batch"))
    ),
    REDIS_GATHERED: Contestant("Redis, Lua, always, gathered into pipelines", partial(redis, gathers=True), DEBITS),
    "postgres": Contestant(
        "Postgres, one PL/pgSQL call", partial(postgres, by_function=True), frozenset(("debit", "batch"))
    ),
    "postgres-transaction": Contestant(
        "Postgres, four statements in a transaction", partial(postgres, by_function=False), DEBITS
    ),
    "sqlite": Contestant("aiosqlite, a transaction per debit", sqlite, DEBITS),
    "credit-ledger": Contestant("credit-ledger (Postgres, threads)", credit_ledger, DEBITS),
    "escrowmint": Contestant("escrowmint (Redis always, threads)", escrowmint, frozenset(("debit", "hold"))),
    ECHO: Contestant("limit: nats-py request, echo", echo, DEBITS),
    MAILBOX: Contestant("limit: an empty ask through a mailbox", mailbox, DEBITS),
}
"""The contestants in the order of the table. The flush has no session, because ``cell`` runs it directly."""
