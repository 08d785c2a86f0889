"""The ``repr`` of answers in logs and notebooks: ``Balance(pool='acme', version=3, available=99.75, spent=0.25)``.

Amounts are plain decimals and times ISO 8601 in UTC. A field is left out if it is ``None``, if it has the default of
its struct, or if it is one of ``QUIET`` and zero, ``False`` or empty. Long sequences and mappings are cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from typing import Final

import msgspec

QUIET: Final = frozenset(
    {
        *("granted", "held", "spent", "expired", "voided", "moved_out", "pending", "top_up", "expiring"),
        *("debited", "reversed", "refused", "more", "prorate"),
        *("allocations", "counts", "low", "budget_percents", "quantities", "cut"),
        *("dimensions", "group", "match", "metadata"),
    }
)
"""Fields that are left out when they are zero, ``False`` or empty. All others are shown: a reader must see that
``available`` is 0."""
ITEMS_MAX: Final = 10
"""The most items shown of a sequence or a mapping. A page of a ledger has up to a thousand; a log line should not."""
NO_DEFAULT: Final = object()


class Readable:
    """The ``repr`` of structs that people read."""

    __slots__ = ()

    def _shown(self) -> Iterable[tuple[str, object]]:
        """Yield the name and the value of each field that is not left out."""
        assert isinstance(self, msgspec.Struct)  # noqa: S101 - narrows the type: this is mixed into structs
        names, defaults = self.__struct_fields__, self.__struct_defaults__
        for name, default in zip(names, [NO_DEFAULT] * (len(names) - len(defaults)) + [*defaults], strict=True):
            value = getattr(self, name)
            is_default = type(value) is type(default) and value == default
            if value is not None and not is_default and (value or name not in QUIET):
                yield name, value

    def __repr__(self) -> str:
        return described(self, self._shown())


def described(value: object, fields: Iterable[tuple[str, object]]) -> str:
    """Return the type of ``value`` with ``fields``, written like a call."""
    return f"{type(value).__name__}({', '.join([f'{name}={text_of(each)}' for name, each in fields])})"


def text_of(value: object) -> str:
    """Return ``value`` as text: decimals and times plain, everything else as its ``repr``."""
    match value:
        case Decimal():
            return format(value, "f")
        case datetime(tzinfo=None):
            return value.isoformat()
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case Readable():
            return str(value)
        case Mapping():
            pairs = [f"{name!r}: {text_of(each)}" for name, each in islice(value.items(), ITEMS_MAX)]
            return "{" + _joined(pairs, len(value)) + "}"
        case str() | bytes():
            return repr(value)
        case Sequence():
            return "[" + _joined([text_of(each) for each in islice(value, ITEMS_MAX)], len(value)) + "]"
        case _:
            return repr(value)


def _joined(shown: list[str], items: int) -> str:
    return ", ".join(shown if items == len(shown) else [*shown, f"... {items - len(shown)} more"])
