"""The one interface of Solvent, whether it is embedded or reached over a transport.

``Engine`` and the NATS client both implement ``Credits``, and one test suite runs over both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from .amounts import AmountLike
from .answers import Balance, GrantList, LedgerPage, PoolPage, Receipt
from .commands import PRIORITY_DEFAULT, CostBasis, Dimensions
from .errors import SolventError
from .pool_id import ENVIRONMENT_DEFAULT, PoolLike
from .times import TimeLike

LEDGER_PAGE_MAX = 1_000
POOL_PAGE_MAX = 1_000
BATCH_COMMANDS_MAX = 10_000


class GrantRequest(msgspec.Struct, kw_only=True):
    """A grant as one command of a ``batch``. The fields are those of ``Credits.grant``."""

    pool: PoolLike
    amount: AmountLike
    key: str
    category: str = "paid"
    priority: int = PRIORITY_DEFAULT
    effective_at: TimeLike | None = None
    expires_at: TimeLike | None = None
    cost_basis: CostBasis | None = None
    name: str | None = None
    comment: str | None = None
    metadata: Dimensions | None = None


class DebitRequest(msgspec.Struct, kw_only=True):
    """A debit as one command of a ``batch``. The fields are those of ``Credits.debit``."""

    pool: PoolLike
    amount: AmountLike
    key: str
    partial: bool = False
    occurred_at: TimeLike | None = None
    metric: str | None = None
    quantity: AmountLike | None = None
    dimensions: Dimensions | None = None
    backfill: bool = False


Request = GrantRequest | DebitRequest


class Credits(Protocol):
    """Grants, debits and what can be known of them. Each method raises a ``SolventError`` when the answer is no.

    ``pool`` is written ``customer``, ``customer/resource``, with ``:currency`` and ``environment@`` where they are
    not the defaults. Amounts go in as ``int``, ``str`` or ``Decimal``. A ``key`` is the caller's own name for the
    command, 1 to 256 characters: the same key and request again is answered with the first receipt.
    """

    async def grant(
        self,
        pool: PoolLike,
        amount: AmountLike,
        *,
        key: str,
        category: str = "paid",
        priority: int = PRIORITY_DEFAULT,
        effective_at: TimeLike | None = None,
        expires_at: TimeLike | None = None,
        cost_basis: CostBasis | tuple[str, str] | Mapping[str, str] | None = None,
        name: str | None = None,
        comment: str | None = None,
        metadata: Dimensions | None = None,
    ) -> Receipt:
        """Put a block of credits into a pool; the first grant creates the pool."""
        ...

    async def debit(
        self,
        pool: PoolLike,
        amount: AmountLike,
        *,
        key: str,
        partial: bool = False,
        occurred_at: TimeLike | None = None,
        metric: str | None = None,
        quantity: AmountLike | None = None,
        dimensions: Dimensions | None = None,
        backfill: bool = False,
    ) -> Receipt:
        """Consume credits: all or nothing, or with ``partial`` what is there, at least one unit.

        ``occurred_at`` (default: when it is recorded) lies at most 400 days back and 5 minutes ahead; ``backfill``
        lifts the first, for old traces. ``metric`` and ``quantity`` say what was metered, ``dimensions`` who and what.

        Raises ``InsufficientCredits``, ``NotFound`` (pool), ``IdempotencyConflict``, ``InvalidRequest``,
        ``Overloaded``, or ``Unavailable`` (outcome unknown: retry with the same key).
        """
        ...

    async def batch(self, requests: Sequence[Request]) -> list[Receipt | SolventError]:
        """Do many commands, each on its own: receipts and errors side by side, in the order of the requests."""
        ...

    async def balance(self, pool: PoolLike) -> Balance:
        """The pool as it is. Raises ``NotFound`` for a pool that was never granted anything."""
        ...

    async def grants(self, pool: PoolLike) -> GrantList:
        """All grants of a pool, those that can be burned first, in burn order."""
        ...

    async def ledger(
        self, pool: PoolLike, *, limit: int = 100, cursor: str | None = None, newest_first: bool = True
    ) -> LedgerPage:
        """A page of the pool's history, ``1 <= limit <= 1000``. A cursor stays valid while entries are added."""
        ...

    async def pools(
        self,
        customer: str | None = None,
        *,
        environment: str = ENVIRONMENT_DEFAULT,
        limit: int = 100,
        cursor: str | None = None,
    ) -> PoolPage:
        """Balances of a customer's pools, or of a whole environment's, ``1 <= limit <= 1000`` a page."""
        ...
