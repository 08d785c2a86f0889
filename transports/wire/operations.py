"""The table of operations, which every transport serves and from which the reference is made.

A new operation is a struct in ``engine/api/requests.py``, a rule or a read in the engine, and a line here.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple, TypeAlias

from solvent.engine.api import requests as ask
from solvent.engine.api.requests import Request
from solvent.engine.api.usage_requests import USAGE_REQUESTS, RebuildRequest
from solvent.engine.values.errors import (
    BudgetExceeded,
    IdempotencyConflict,
    InsufficientCredits,
    NotFound,
    SolventError,
    StateConflict,
    TooLarge,
)

Access: TypeAlias = Literal["read", "spend", "grant", "configure", "operate"]
"""The right that a caller needs to use an operation."""
Errors: TypeAlias = tuple[type[SolventError], ...]


class Operation(NamedTuple):
    """One line of the table."""

    request: type[Request[Any]]
    access: Access
    errors: Errors = ()
    """The errors of this operation, in addition to ``ANY_ERRORS``."""

    @property
    def name(self) -> str:
        """The name on the wire, such as "hold.capture"."""
        return self.request.operation

    @property
    def answer(self) -> type[Any]:
        """The type of the answer."""
        return self.request.answer


_SPENT: Final[Errors] = (NotFound, InsufficientCredits, BudgetExceeded, IdempotencyConflict, StateConflict)
_CHANGED: Final[Errors] = (NotFound, IdempotencyConflict, StateConflict)
_SET: Final[Errors] = (NotFound, StateConflict)
_READ: Final[Errors] = (NotFound,)

COMMANDS: Final[dict[str, Operation]] = {
    each.name: each
    for each in (
        Operation(ask.GrantRequest, "grant", (IdempotencyConflict, StateConflict)),
        Operation(ask.UpdateGrantRequest, "grant", _CHANGED),
        Operation(ask.VoidGrantRequest, "grant", _SET),
        Operation(ask.DebitRequest, "spend", _SPENT),
        Operation(ask.HoldRequest, "spend", _SPENT),
        Operation(ask.CaptureRequest, "spend", _SET),
        Operation(ask.ReleaseRequest, "spend", _SET),
        Operation(ask.ExtendRequest, "spend", _CHANGED),
        Operation(ask.ReverseRequest, "grant", _CHANGED),
        Operation(ask.ReportRequest, "spend", _SPENT),
        Operation(ask.SetBudgetRequest, "configure", _SET),
        Operation(ask.RemoveBudgetRequest, "configure", _READ),
        Operation(ask.OpenPoolRequest, "grant", (StateConflict,)),
        Operation(ask.SetAllowanceRequest, "configure", (StateConflict,)),
        Operation(ask.RemoveAllowanceRequest, "configure", _READ),
        Operation(ask.SetRecurringRequest, "grant", (StateConflict,)),
        Operation(ask.CancelRecurringRequest, "grant", _READ),
        Operation(ask.SetAlertsRequest, "configure", _SET),
        Operation(ask.GrantRechargeRequest, "grant", _SET),
        Operation(ask.RefuseRechargeRequest, "grant", _SET),
    )
}
"""The commands to one pool, by name. Each is sent alone or in a ``batch``."""
READS: Final[dict[str, Operation]] = {
    each.name: each
    for each in (
        Operation(ask.BalanceRequest, "read", _READ),
        Operation(ask.GrantsRequest, "read", _READ),
        Operation(ask.HoldsRequest, "read", _READ),
        Operation(ask.BudgetsRequest, "read", _READ),
        Operation(ask.BudgetCountsRequest, "read", _READ),
        Operation(ask.AllowancesRequest, "read", _READ),
        Operation(ask.AllowanceCountsRequest, "read", _READ),
        Operation(ask.RecurringRequest, "read", _READ),
        Operation(ask.AlertsRequest, "read", _READ),
        Operation(ask.PastEventsRequest, "read"),
        Operation(ask.CheckRequest, "read", _SET),
        Operation(ask.LedgerRequest, "read", _READ),
        Operation(ask.AllocationsRequest, "read", _READ),
        Operation(ask.CostsRequest, "read", _READ),
        Operation(ask.EstimateRequest, "read", _SET),
        Operation(ask.TransferRequest, "grant", (NotFound, InsufficientCredits, IdempotencyConflict, StateConflict)),
        Operation(ask.RatesRequest, "read"),
        Operation(ask.SetRatesRequest, "configure", (StateConflict,)),
        Operation(ask.ClockRequest, "read"),
        Operation(ask.ConfirmClockRequest, "operate"),
        Operation(ask.PoolsRequest, "read"),
        Operation(ask.TotalsRequest, "read"),
        *(
            Operation(kind, "operate" if kind is RebuildRequest else "read", (NotFound, StateConflict, TooLarge))
            for kind in USAGE_REQUESTS
        ),
    )
}
"""All other operations, by name: reads, and rare commands that need more than one pool."""
BATCH: Final = "batch"
"""Many commands in one message. It has no request struct: ``Credits.batch`` sends it, and a client that gathers."""
