"""Holds as objects: one that was requested, and one that was granted.

Cancelling a task never leaves a hold open behind it: what was granted to a cancelled caller is released, and a capture
or a release that was begun is done to its end, so none of it needs a shield of the caller's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import anyio

from solvent.engine.values.amounts import AmountLike
from solvent.engine.values.errors import SolventError, StateConflict
from solvent.engine.values.quantities import QuantityLike
from solvent.engine.values.readable import described
from solvent.engine.values.terms import HoldState, Seconds
from solvent.engine.values.times import TimeLike

from .completion import finish
from .receipts import Receipt
from .requests import HoldRequest

if TYPE_CHECKING:
    from .credits import Credits

RELEASE_TIMEOUT_S: Final = 5.0
"""The longest that leaving a hold's block waits for the release. Without an answer by then, the hold expires by
itself."""


class OpenHold:
    """A hold that was granted. ``capture`` or ``release`` it; otherwise it expires at ``expires_at``.

    It can be entered: ``async with hold:`` releases it when the block ends, unless it was captured. A hold that is
    settled already cannot be entered.
    """

    receipt: Receipt
    """The receipt of the hold: its id, its amount, and what became of it if it was asked for before."""
    state: HoldState
    """What became of the hold, as far as this object knows: from its receipt, and from what was done through it."""
    expires_at: datetime | None
    """The time at which the hold expires, as last extended through this object."""

    def __init__(self, credits: Credits, request: HoldRequest, receipt: Receipt) -> None:
        self._credits = credits
        self._request = request
        self.receipt = receipt
        self.state = receipt.state or "open"
        self.expires_at = receipt.expires_at

    @property
    def id(self) -> str:
        """The id of the hold, such as "h3"."""
        return self.receipt.id

    @property
    def settled(self) -> bool:
        """Whether the hold was captured, was released or has expired, as far as this object knows."""
        return self.state != "open"

    def __repr__(self) -> str:
        request, receipt = self._request, self.receipt
        fields = {
            "pool": str(request.pool),
            "key": request.key,
            "id": self.id,
            "state": self.state,
            "amount": receipt.amount,
            "balance": receipt.balance,
            "expires_at": self.expires_at,
        }
        return described(self, fields.items())

    async def capture(
        self,
        amount: AmountLike | None = None,
        *,
        occurred_at: TimeLike | None = None,
        metric: str | None = None,
        quantity: QuantityLike | None = None,
    ) -> Receipt:
        """Spend the hold: less than it, all of it, or more. ``Credits.capture`` describes the fields and the errors.

        If the caller is cancelled meanwhile, the hold is captured before the cancellation goes on.
        """
        work = partial(self._capture, amount, occurred_at=occurred_at, metric=metric, quantity=quantity)
        try:
            return await work()
        except asyncio.CancelledError:
            # The command may have been withdrawn. A hold is captured once, so it can be sent again.
            await finish(work())
            raise

    async def _capture(self, amount: AmountLike | None, **about: Any) -> Receipt:
        receipt = await self._credits.capture(self._request.pool, self.id, amount, **about)
        self.state = "captured"
        return receipt

    async def release(self) -> Receipt:
        """Give back all of the hold. Raises ``StateConflict`` (``hold_captured``, ``hold_expired``).

        If the caller is cancelled meanwhile, the hold is released before the cancellation goes on.
        """
        try:
            return await self._release()
        except asyncio.CancelledError:
            await finish(self._release())
            raise

    async def _release(self) -> Receipt:
        receipt = await self._credits.release(self._request.pool, self.id)
        self.state = "released"
        return receipt

    async def extend(self, *, key: str, ttl_s: Seconds | None = None, expires_at: TimeLike | None = None) -> Receipt:
        """Let the hold expire later. ``Credits.extend`` describes the fields and the errors."""
        receipt = await self._credits.extend(self._request.pool, self.id, key=key, ttl_s=ttl_s, expires_at=expires_at)
        self.expires_at = receipt.expires_at
        return receipt

    async def __aenter__(self) -> OpenHold:
        """Ask what became of the hold, and enter it if it is open.

        Raises ``StateConflict`` (``hold_captured``, ``hold_released``, ``hold_expired``).
        """
        if not self.settled:
            try:
                self.receipt = await self._credits.send(self._request)
            except (asyncio.CancelledError, SolventError):
                # The block is not entered, so nothing else would end the hold.
                await finish(self._release())
                raise
            self.state, self.expires_at = self.receipt.state or "open", self.receipt.expires_at
        self.check_open()
        return self

    def check_open(self) -> None:
        """Raise ``StateConflict`` if the hold is settled, as far as this object knows."""
        if not self.settled:
            return
        receipt, how = self.receipt, self.state
        end = receipt.settlement
        by = "" if end is None else f" by entry {end.entry}, with {end.captured} credits spent"
        raise StateConflict(
            f"hold_{how}",
            f"hold {self.id} was {how} before{by}: a settled hold cannot be entered, use another key for another hold",
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.settled:
            return
        # Release it also if the block was cancelled: credits that nobody will spend should not wait for their expiry.
        with anyio.move_on_after(RELEASE_TIMEOUT_S, shield=True) as scope:
            try:
                await self._release()
            except asyncio.CancelledError:
                if not scope.cancel_called:
                    await finish(self._release())
                raise
            except StateConflict as ended:
                # The hold has ended already: it was captured or released by its id, or it expired.
                self.state = _STATES.get(ended.reason, self.state)
            except SolventError as failure:
                if error is None:
                    raise
                error.add_note(f"hold {self.id} could not be released and will expire: {failure}")


_STATES: Final[dict[str, HoldState]] = {
    "hold_captured": "captured",
    "hold_released": "released",
    "hold_expired": "expired",
}


class PendingHold:
    """The result of ``Credits.hold``. The hold is requested when this is awaited or entered."""

    def __init__(self, credits: Credits, request: HoldRequest) -> None:
        self._credits = credits
        self._request = request
        self._opened: OpenHold | None = None

    async def _open(self) -> OpenHold:
        try:
            receipt = await self._credits.send(self._request)
        except asyncio.CancelledError:
            await finish(self._abandon())
            raise
        self._opened = OpenHold(self._credits, self._request, receipt)
        return self._opened

    async def _abandon(self) -> None:
        """Ask again which hold was granted, for a caller that was cancelled, and release it: nobody else knows it."""
        receipt = await self._credits.send(self._request)
        if receipt.state == "open":
            await self._credits.release(self._request.pool, receipt.id)

    def __repr__(self) -> str:
        request = self._request
        state = "not asked" if self._opened is None else self._opened.state
        fields = {"pool": str(request.pool), "key": request.key, "amount": request.amount, "state": state}
        return described(self, fields.items())

    def __await__(self) -> Generator[Any, None, OpenHold]:
        return self._open().__await__()

    async def __aenter__(self) -> OpenHold:
        opened = await self._open()
        opened.check_open()
        return opened

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._opened is not None  # noqa: S101 - narrows the type: it was entered
        await self._opened.__aexit__(kind, error, trace)
