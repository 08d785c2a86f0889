"""The checks of the demo: the answers that callers got, compared with the ledgers that the service shows.

Each function compares and returns ``Check``s, and repairs nothing. ``Books`` are read over NATS as any client reads
them, so the proof covers what a customer can see.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple

from solvent.engine.api.balances import Balance
from solvent.engine.api.credits import Credits
from solvent.engine.api.ledger import LedgerEntry
from solvent.engine.api.receipts import Receipt
from solvent.engine.api.requests import DebitRequest
from solvent.engine.values.pages import LEDGER_PAGE_MAX
from solvent.transports.cli.render.cells import amount

EXAMPLES_MAX: Final = 3
"""The most keys that a failed check names."""


class Check(NamedTuple):
    """One claim, and whether it is true."""

    passed: bool
    says: str


@dataclass(frozen=True, slots=True)
class Books:
    """The ledgers and balances of the demo's pools, read while there is no traffic."""

    entries: Mapping[str, tuple[LedgerEntry, ...]]
    """The ledger of each pool, oldest entry first."""
    balances: Mapping[str, Balance]

    @classmethod
    async def read(cls, credits: Credits, pools: Iterable[str]) -> Books:
        """Read every entry of the pools, page by page."""
        entries: dict[str, tuple[LedgerEntry, ...]] = {}
        balances: dict[str, Balance] = {}
        for pool in pools:
            found: list[LedgerEntry] = []
            cursor: str | None = None
            while True:
                page = await credits.ledger(pool, limit=LEDGER_PAGE_MAX, cursor=cursor, newest_first=False)
                found.extend(page.entries)
                if (cursor := page.next_cursor) is None:
                    break
            entries[pool] = tuple(found)
            balances[pool] = await credits.balance(pool)
        return cls(entries, balances)

    def debits(self) -> list[LedgerEntry]:
        """Return all debits of all pools."""
        return [entry for entries in self.entries.values() for entry in entries if entry.kind == "debit"]

    def spent_by(self, dimension: str) -> list[tuple[str, Decimal]]:
        """Return what was spent for each value of a dimension, the most first."""
        spent: defaultdict[str, Decimal] = defaultdict(Decimal)
        for entry in self.debits():
            spent[str(entry.dimensions.get(dimension, "(none)"))] += entry.amount
        return sorted(spent.items(), key=lambda item: item[1], reverse=True)


def after_the_kill(
    books: Books, acknowledged: Mapping[str, Receipt], unanswered: Mapping[str, DebitRequest]
) -> list[Check]:
    """Check that every acknowledged debit is in the ledger as acknowledged, and that nothing else is."""
    recorded = _by_key(books)
    kept = [key for key, receipt in acknowledged.items() if key in recorded and _same(receipt, recorded[key])]
    lost = [key for key, receipt in acknowledged.items() if key not in recorded or not _same(receipt, recorded[key])]
    strange = [key for key in recorded if key not in acknowledged and key not in unanswered]
    inside = [key for key in unanswered if key in recorded]
    torn = [key for key in inside if recorded[key].amount != Decimal(unanswered[key].amount)]
    return [
        Check(
            not lost, f"{len(kept):,} of {len(acknowledged):,} acknowledged debits are in the ledger{_such_as(lost)}"
        ),
        Check(not strange, f"{len(strange):,} debits are there that nobody asked for{_such_as(strange)}"),
        Check(
            not torn,
            f"{len(unanswered):,} were unanswered at that moment: {len(inside):,} recorded whole, "
            f"{len(unanswered) - len(inside):,} not at all{_such_as(torn)}",
        ),
    ]


def after_asking_again(
    books: Books, unanswered: Mapping[str, DebitRequest], answers: Mapping[str, Receipt | None]
) -> Check:
    """Check that recorded debits got their first receipt again, and that the others were done now or refused.

    ``books`` were read before the keys were sent again.
    """
    recorded = _by_key(books)
    first = done = refused = 0
    wrong: list[str] = []
    for key in unanswered:
        answer, entry = answers.get(key), recorded.get(key)
        if entry is not None and answer is not None and answer.replayed and _same(answer, entry):
            first += 1
        elif entry is None and answer is not None and not answer.replayed:
            done += 1
        elif entry is None and key in answers and answer is None:
            refused += 1
        else:
            wrong.append(key)
    says = f"asked again with the same keys: {first:,} got their first receipt, {done:,} are done now"
    return Check(not wrong, says + (f", {refused:,} refused" if refused else "") + _such_as(wrong))


def at_the_end(books: Books, acknowledged: Mapping[str, Receipt]) -> list[Check]:
    """Check that ledger and receipts match one to one, no balance was ever below zero, and the sums agree."""
    debits = books.debits()
    keys = Counter(entry.key for entry in debits)
    twice = [str(key) for key, count in keys.items() if count > 1]
    recorded = _by_key(books)
    different = [
        key for key, receipt in acknowledged.items() if key not in recorded or not _same(receipt, recorded[key])
    ]
    different += [key for key in recorded if key not in acknowledged]
    lowest = min(entry.balance for entries in books.entries.values() for entry in entries)
    broken = [pool for pool, entries in books.entries.items() if not _adds_up(entries, books.balances[pool])]
    spent = sum((entry.amount for entry in debits), Decimal(0))
    return [
        Check(
            not different and not twice,
            f"{len(debits):,} debits in the ledger, {len(acknowledged):,} receipts: one to one, none twice"
            + _such_as(different + twice),
        ),
        Check(lowest >= 0, f"no balance was ever below zero: the lowest was {amount(lowest)}"),
        Check(
            not broken, f"{amount(spent)} credits spent in the balances and in the sum of the ledger{_such_as(broken)}"
        ),
    ]


def _by_key(books: Books) -> dict[str, LedgerEntry]:
    return {entry.key: entry for entry in books.debits() if entry.key is not None}


def _same(receipt: Receipt, entry: LedgerEntry) -> bool:
    """Return whether a ledger entry equals its receipt, to the last unit."""
    return (
        receipt.id == entry.id
        and receipt.version == entry.version
        and receipt.amount == entry.amount
        and receipt.balance == entry.balance
        and receipt.allocations == entry.allocations
    )


def _adds_up(entries: Iterable[LedgerEntry], balance: Balance) -> bool:
    """Return whether each entry's change leads to the next balance, and the last one to the pool's own figures."""
    available = spent = Decimal(0)
    for entry in entries:
        available += entry.change
        if available != entry.balance:
            return False
        if entry.kind == "debit":
            spent += entry.amount
    whole = balance.available + balance.held + balance.spent + balance.expired + balance.voided + balance.moved_out
    return available == balance.available and spent == balance.spent and whole == balance.granted


def _such_as(keys: list[str]) -> str:
    return f" (such as {', '.join(keys[:EXAMPLES_MAX])})" if keys else ""
