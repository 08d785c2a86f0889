"""All errors of Solvent, and the form of each on the wire.

An error has a stable ``code`` and the ``status`` that transports send (an HTTP status). Its fields are typed
attributes. ``details`` returns them in wire form, so that ``error_from_wire`` can raise the same error at the other
end. ``retry_safe`` is whether a retry with the same key can help, ``outcome_unknown`` whether the command may have been
written although there is no receipt.

Amounts in errors are credits, as decimals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar


def _plain(value: Any) -> str | int | float:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    plain: str | int | float = value
    return plain


class SolventError(Exception):
    """The base of all errors that Solvent raises on purpose."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    retry_safe: ClassVar[bool] = False
    """Whether a retry with the same key can help without anything else being changed first."""
    outcome_unknown: bool = True
    """Whether the command may have been written although there is no receipt. If not, nothing was applied."""
    fields: ClassVar[tuple[str, ...]] = ()
    """The attributes that are sent with the error, in addition to its message."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def details(self) -> dict[str, str | int | float]:
        """Return the error's fields in wire form: amounts as decimal strings, fields that are ``None`` left out."""
        values = ((name, getattr(self, name)) for name in self.fields)
        return {name: _plain(value) for name, value in values if value is not None}


class Refused(SolventError):
    """The pool refused a valid command. Nothing was written, and the key is not used up."""

    status = 402
    outcome_unknown = False


class InsufficientCredits(Refused):
    """The pool has fewer credits available than requested. ``top_up`` is the smallest grant that would be enough. A
    budget may still refuse then: budgets are checked only when there are enough credits.

    ``covered`` is what allowances would pay in addition to what is ``available``. ``allowance`` is the first allowance
    to have room again of those that could not cover the whole amount, at ``resets_at``; both are ``None`` if there is
    none. ``dimension`` and ``value`` name its quota, if each value of a dimension has its own.
    """

    code = "insufficient_credits"
    fields = ("requested", "available", "top_up", "covered", "resets_at", "allowance", "dimension", "value")

    def __init__(
        self,
        *,
        requested: Decimal,
        available: Decimal,
        top_up: Decimal,
        covered: Decimal | None = None,
        resets_at: datetime | None = None,
        allowance: str | None = None,
        dimension: str | None = None,
        value: str | int | float | bool | None = None,
    ) -> None:
        free = "" if covered is None else f", {covered} covered by allowances"
        whose = f"allowance {allowance}" if dimension is None else f"allowance {allowance} of {dimension} {value!r}"
        wait = "" if resets_at is None else f"; {whose} has room again at {resets_at.isoformat()}"
        super().__init__(
            f"insufficient credits: {requested} requested, {available} available{free}; "
            f"a top-up of {top_up} is needed{wait}"
        )
        self.requested, self.available, self.top_up = requested, available, top_up
        self.covered, self.resets_at = covered, resets_at
        self.allowance, self.dimension, self.value = allowance, dimension, value


class BudgetExceeded(Refused):
    """There are enough credits, but the command would exceed ``budget``: ``used`` of ``limit`` is used in this window.

    ``value`` is the value of the dimension for which the budget counts on its own. ``resets_at`` is the end of the
    window; ``None`` if waiting does not help, because the budget is for all time or its whole limit is less than the
    requested amount. ``counts`` is what the budget counts: credits, or open holds.
    """

    code = "budget_exceeded"
    fields = ("budget", "value", "limit", "used", "resets_at", "counts")

    def __init__(
        self,
        *,
        budget: str,
        limit: Decimal,
        used: Decimal,
        resets_at: datetime | None = None,
        value: str | int | float | bool | None = None,
        counts: str = "credits",
    ) -> None:
        whose = budget if value is None else f"{budget} of {value!r}"
        until = "" if resets_at is None else f"; it resets at {resets_at.isoformat()}"
        super().__init__(f"budget {whose} exceeded: {used} of {limit} {counts} used{until}")
        self.budget, self.limit, self.used, self.resets_at = budget, limit, used, resets_at
        self.value, self.counts = value, counts


class InvalidRequest(SolventError):
    """The request is invalid. ``field`` is the wrong field, ``expected`` is what it should have been."""

    code = "invalid_request"
    status = 400
    outcome_unknown = False
    fields = ("field", "expected")

    def __init__(self, field: str, expected: str, *, got: str | None = None) -> None:
        super().__init__(f"{field}: expected {expected}" + ("" if got is None else f", got {got}"))
        self.field, self.expected = field, expected


class TooLarge(InvalidRequest):
    """A message or a batch exceeds its limit. Send less at a time."""

    code = "too_large"
    status = 413


class NotFound(SolventError):
    """There is no such pool, grant, hold or debit. ``what`` is the kind of thing, ``id`` the id that was not found."""

    code = "not_found"
    status = 404
    outcome_unknown = False
    fields = ("what", "id")

    def __init__(self, what: str, id: str) -> None:
        super().__init__(f"unknown {what}: {id}")
        self.what, self.id = what, id


class IdempotencyConflict(SolventError):
    """The key was used before in this pool for another request. The first request stands, as entry ``version``."""

    code = "idempotency_conflict"
    status = 409
    outcome_unknown = False
    fields = ("key", "version")

    def __init__(self, *, key: str, version: int) -> None:
        super().__init__(f"key {key!r} was already used for another request, entry {version} of this pool")
        self.key, self.version = key, version


class StateConflict(SolventError):
    """The request is valid, but the present state of the pool does not allow it. ``reason`` is a stable word."""

    code = "state_conflict"
    status = 409
    outcome_unknown = False
    fields = ("reason",)

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Overloaded(SolventError):
    """Too many requests are waiting. Nothing was written: retry after ``retry_after`` seconds."""

    code = "overloaded"
    status = 429
    outcome_unknown = False
    retry_safe = True
    fields = ("retry_after",)

    def __init__(self, *, retry_after: float) -> None:
        super().__init__(f"overloaded: retry after {retry_after:g} s")
        self.retry_after = retry_after


class Unavailable(SolventError):
    """No answer can be given, and the command may or may not have been written: retry with the same key."""

    code = "unavailable"
    status = 503
    retry_safe = True


class JournalError(SolventError):
    """The journal cannot be used: it is locked, damaged, or cannot be written."""

    code = "journal_error"


class JournalLocked(JournalError):
    """Another process has this journal open. A journal has one writer."""

    code = "journal_locked"

    def __init__(self, *, directory: str, holder_pid: int | None) -> None:
        holder = "another process" if holder_pid is None else f"process {holder_pid}"
        super().__init__(
            f"{directory} is open in {holder}: a journal has one writer. "
            "Reach it over NATS (--nats-url), or stop that process first"
        )
        self.directory, self.holder_pid = directory, holder_pid


class JournalCorrupt(JournalError):
    """A stored entry is not what was written. ``frame`` and ``pool`` say where, so that it can be inspected."""

    code = "journal_corrupt"

    def __init__(self, reason: str, *, frame: int | None = None, pool: str | None = None) -> None:
        where = [f"frame {frame}" if frame is not None else "", f"pool {pool}" if pool is not None else ""]
        place = ", ".join(part for part in where if part)
        super().__init__(f"{place}: {reason}" if place else reason)
        self.frame, self.pool, self.reason = frame, pool, reason


class JournalShorter(JournalCorrupt):
    """The journal ends earlier than it did: frames that were acknowledged are missing. Nothing was changed.

    ``last`` is the frame with which it ends now, ``acknowledged`` the newest one that is known to have been written,
    and ``known_by`` the file that knows it. An operator restores the journal, or accepts the loss with ``solvent
    accept-loss``.
    """

    code = "journal_shorter"
    fields = ("folder", "last", "acknowledged", "known_by")

    def __init__(self, folder: str, *, last: int, acknowledged: int, known_by: str) -> None:
        super().__init__(
            f"the journal in {folder} ends with frame {last}, but frames up to {acknowledged} were acknowledged, as "
            f"{known_by} knows: restore journal.db with its journal.db-wal, or accept that the frames from {last + 1} "
            f"on are lost: solvent accept-loss --data-dir {folder} --last-frame {last}",
            frame=last + 1,
        )
        self.folder, self.last, self.acknowledged, self.known_by = folder, last, acknowledged, known_by


class NewerFormat(JournalError):
    """A file in the data folder was written by a newer Solvent. It was left as it is.

    ``file`` is its path, ``found`` the number of its format, and ``known`` the newest one that this version reads.
    ``cache`` says that the file can be deleted: it is then rebuilt from the journal.
    """

    code = "newer_format"
    fields = ("file", "found", "known")

    def __init__(self, file: str, *, found: int, known: int, cache: bool = False) -> None:
        way_out = ", or delete the file: it is rebuilt from the journal" if cache else ""
        super().__init__(
            f"{file} was written by a newer Solvent: it has format {found}, and this version knows {known}. "
            f"Use the newer version{way_out}"
        )
        self.file, self.found, self.known = file, found, known


def _text(details: Mapping[str, Any], name: str) -> str:
    return str(details.get(name, ""))


def _decimal(details: Mapping[str, Any], name: str) -> Decimal:
    return Decimal(str(details.get(name, "0")))


def _rebuild_invalid(kind: type[InvalidRequest]) -> Callable[[Mapping[str, Any]], SolventError]:
    return lambda details: kind(_text(details, "field"), _text(details, "expected"))


_REBUILD: dict[str, Callable[[Mapping[str, Any]], SolventError]] = {
    InsufficientCredits.code: lambda details: InsufficientCredits(
        requested=_decimal(details, "requested"),
        available=_decimal(details, "available"),
        top_up=_decimal(details, "top_up"),
        covered=_decimal(details, "covered") if "covered" in details else None,
        resets_at=datetime.fromisoformat(details["resets_at"]) if "resets_at" in details else None,
        allowance=details.get("allowance"),
        dimension=details.get("dimension"),
        value=details.get("value"),
    ),
    BudgetExceeded.code: lambda details: BudgetExceeded(
        budget=_text(details, "budget"),
        limit=_decimal(details, "limit"),
        used=_decimal(details, "used"),
        resets_at=datetime.fromisoformat(details["resets_at"]) if "resets_at" in details else None,
        value=details.get("value"),
        counts=_text(details, "counts"),
    ),
    InvalidRequest.code: _rebuild_invalid(InvalidRequest),
    TooLarge.code: _rebuild_invalid(TooLarge),
    NotFound.code: lambda details: NotFound(_text(details, "what"), _text(details, "id")),
    IdempotencyConflict.code: lambda details: IdempotencyConflict(
        key=_text(details, "key"), version=int(details.get("version", 0))
    ),
    StateConflict.code: lambda details: StateConflict(_text(details, "reason"), _text(details, "message")),
    Overloaded.code: lambda details: Overloaded(retry_after=float(details.get("retry_after", 0))),
    Unavailable.code: lambda details: Unavailable(_text(details, "message")),
    JournalError.code: lambda details: JournalError(_text(details, "message")),
    JournalShorter.code: lambda details: JournalShorter(
        _text(details, "folder"),
        last=int(details.get("last", 0)),
        acknowledged=int(details.get("acknowledged", 0)),
        known_by=_text(details, "known_by"),
    ),
    NewerFormat.code: lambda details: NewerFormat(
        _text(details, "file"), found=int(details.get("found", 0)), known=int(details.get("known", 0))
    ),
}


def error_from_wire(error: Mapping[str, Any]) -> SolventError:
    """Return the exception that the ``error`` object of a reply was made from, with the sender's message.

    A code that this version does not know becomes a plain ``SolventError``: a newer service may send new codes.
    """
    rebuild = _REBUILD.get(_text(error, "code"))
    message = _text(error, "message")
    if rebuild is None:
        return SolventError(f"{_text(error, 'code')}: {message}")
    rebuilt = rebuild(error)
    rebuilt.message = message
    rebuilt.args = (message,)
    return rebuilt


def error_to_wire(error: SolventError) -> dict[str, str | int | float]:
    """Return the ``error`` object of a reply."""
    return {"code": error.code, "message": error.message, **error.details()}
