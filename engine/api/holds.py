"""Holds as objects: one that was requested, and one that was granted."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import anyio

from solvent.engine.values.amounts import AmountLike
from solvent.engine.values.errors import SolventError, StateConflict
from solvent.engine.values.quantities import QuantityLike
from solvent.engine.values.readable import described
from solvent.engine.values.times import TimeLike

from .receipts import Receipt
from .requests import HoldRequest

if TYPE_CHECKING:
    from .credits import Credits

RELEASE_TIMEOUT_S: Final = 5.0
"""The longest that leaving a hold's block waits for the release. Without an answer by then, the hold expires by
itself."""
HoldState: TypeAlias = Literal["open", "captured", "released"]


class OpenHold:
    """A hold that was granted. ``capture`` or ``release`` it; otherwise it expires at ``receipt.expires_at``."""

    receipt: Receipt
    """The receipt of the hold: its id, its amount and when it expires."""
    state: HoldState
    """Whether this object has settled the hold, and how. A hold that expired, or was settled by its id, stays "open"
    here."""

    def __init__(self, credits: Credits, request: HoldRequest, receipt: Receipt) -> None:
        self._credits = credits
        self._request = request
        self.receipt = receipt
        self.state = "open"

    @property
    def id(self) -> str:
        """The id of the hold, such as "h3"."""
        return self.receipt.id

    @property
    def settled(self) -> bool:
        """Whether the hold was captured or released through this object."""
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
            "expires_at": receipt.expires_at,
        }
        return described(self, fields.items())

    async def capture(
        self,
        amount: AmountLike,
        *,
        occurred_at: TimeLike | None = None,
        metric: str | None = None,
        quantity: QuantityLike | None = None,
    ) -> Receipt:
        """Spend the hold: less than it, all of it, or more. ``Credits.capture`` describes the fields and the errors."""
        receipt = await self._credits.capture(
            self._request.pool, self.id, amount, occurred_at=occurred_at, metric=metric, quantity=quantity
        )
        self.state = "captured"
        return receipt

    async def release(self) -> Receipt:
        """Give back all of the hold. Raises ``StateConflict`` (``hold_captured``, ``hold_expired``)."""
        receipt = await self._credits.release(self._request.pool, self.id)
        self.state = "released"
        return receipt


class PendingHold:
    """The result of ``Credits.hold``. The hold is requested when this is awaited or entered."""

    def __init__(self, credits: Credits, request: HoldRequest) -> None:
        self._credits = credits
        self._request = request
        self._opened: OpenHold | None = None

    async def _open(self) -> OpenHold:
        self._opened = OpenHold(self._credits, self._request, await self._credits.send(self._request))
        return self._opened

    def __repr__(self) -> str:
        request = self._request
        state = "not asked" if self._opened is None else self._opened.state
        fields = {"pool": str(request.pool), "key": request.key, "amount": request.amount, "state": state}
        return described(self, fields.items())

    def __await__(self) -> Generator[Any, None, OpenHold]:
        return self._open().__await__()

    async def __aenter__(self) -> OpenHold:
        opening = asyncio.ensure_future(self._open())
        try:
            opened = await asyncio.shield(opening)
        except asyncio.CancelledError:
            # The hold may have been granted already, and nothing else would release it.
            with anyio.move_on_after(RELEASE_TIMEOUT_S, shield=True), suppress(SolventError):
                await (await opening).release()
            opening.cancel()
            raise
        return opened

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._opened is not None  # noqa: S101 - narrows the type: it was entered
        if self._opened.settled:
            return
        # Release it also if the block was cancelled: credits that nobody will spend should not wait for their expiry.
        with anyio.move_on_after(RELEASE_TIMEOUT_S, shield=True):
            try:
                await self._opened.release()
            except StateConflict:
                # The hold has ended already: it was captured by its id or by an earlier try with the same key, or it
                # expired.
                return
            except SolventError as failure:
                if error is None:
                    raise
                error.add_note(f"hold {self._opened.id} could not be released and will expire: {failure}")
