"""Answers that fit into one message: what was applied is never answered as refused because its answer is too long.

A receipt, a verdict or a row of a list that is too long comes without its longest fields, and ``cut`` names them. An
error comes with a shorter message. Each answer can be cut to ``ANSWER_BYTES_MAX`` bytes, so the answers to a batch fit
if its commands are few enough, which is checked before any is applied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from solvent.engine.api.prices import Estimate
from solvent.engine.api.receipts import Receipt
from solvent.engine.api.rows import ROWS, rows_of
from solvent.engine.values.errors import SolventError, TooLarge

from .answers import ReceiptForm, encode_answer, encode_answers, encode_error, encode_one

ANSWER_BYTES_MAX: Final = 500
"""The most bytes of one answer of a batch, cut as far as it can be: 2,000 fit into 1 MiB."""
MESSAGE_CHARS_MAX: Final = 80
"""The most characters of the message of an error that is cut."""
TEXT_CHARS_MAX: Final = 32
"""The most characters of a text among the fields of an error that is cut: numbers and times stay."""

_LONG: Final = ("allocations", "covered", "warnings", "dimensions", "metadata", "comment", "name")
"""The fields of a row or a verdict that can be left out, the longest first."""
_EMPTY: Final[dict[str, Any]] = {"dimensions": {}, "metadata": {}, "comment": None, "name": None}


def check_answers_fit(commands: int, bytes_max: int) -> None:
    """Raise ``TooLarge`` if the answers to so many commands may not fit into a message."""
    most = bytes_max // ANSWER_BYTES_MAX
    if commands > most:
        expected = f"at most {most} commands: their answers have to fit into one message of {bytes_max} bytes"
        raise TooLarge("commands", expected, got=str(commands))


def cut_receipt(receipt: Receipt, *, whole: bool) -> Receipt:
    """Return a receipt without its allocations and, if ``whole``, without all that may be long."""
    details = receipt.details
    cut = ["allocations"] if receipt.parts_units else []
    if whole and details.covers_units:
        cut.append("allowances")
        together = sum([units for _, units in details.covers_units])
        details = msgspec.structs.replace(details, covers_units=(("", together),))
    if whole and details.warnings:
        cut.append("warnings")
        details = msgspec.structs.replace(details, warnings=())
    return msgspec.structs.replace(receipt, parts_units=(), details=msgspec.structs.replace(details, cut=tuple(cut)))


class CutError(SolventError):
    """An error with a short message, and without long texts among its fields."""

    def __init__(self, error: SolventError) -> None:
        super().__init__(error.message[:MESSAGE_CHARS_MAX])
        self.code = error.code  # type: ignore[misc] # it stands for an error of any kind
        self.status = error.status  # type: ignore[misc]
        self._details = {
            name: value
            for name, value in error.details().items()
            if not isinstance(value, str) or len(value) <= TEXT_CHARS_MAX
        }

    def details(self) -> dict[str, str | int | float]:
        return self._details


def encode_error_to_fit(error: SolventError, bytes_max: int) -> bytes:
    """Return an error as JSON, cut if it has more than ``bytes_max`` bytes."""
    payload = encode_error(error)
    return payload if len(payload) <= bytes_max else encode_error(CutError(error))


def encode_to_fit(answer: Any, bytes_max: int) -> bytes:
    """Return an answer as JSON of at most ``bytes_max`` bytes, if cutting its long fields is enough for that."""
    payload = encode_answer(answer)
    for whole in (False, True):
        if len(payload) <= bytes_max:
            break
        payload = encode_answer(_cut(answer, whole=whole))
    return payload


def encode_answers_to_fit(answers: Sequence[Receipt | SolventError], receipts: ReceiptForm, bytes_max: int) -> bytes:
    """Return the answers of a batch as JSON of at most ``bytes_max`` bytes. ``check_answers_fit`` holds for them."""
    payload = encode_answers(answers, receipts)
    if len(payload) <= bytes_max:
        return payload
    share = bytes_max // len(answers) - 2
    return encode_answers([_cut_to(answer, receipts, share) for answer in answers], receipts)


def _cut_to(answer: Receipt | SolventError, receipts: ReceiptForm, share: int) -> Receipt | SolventError:
    if len(encode_one(answer, receipts)) <= share:
        return answer
    if isinstance(answer, SolventError):
        return CutError(answer)
    short = cut_receipt(answer, whole=False)
    return short if len(encode_one(short, receipts)) <= share else cut_receipt(answer, whole=True)


def _cut(answer: Any, *, whole: bool) -> Any:
    if isinstance(answer, Receipt):
        return cut_receipt(answer, whole=whole)
    if isinstance(answer, Estimate):
        verdict = None if answer.verdict is None else _cut_row(answer.verdict, whole=whole)
        return msgspec.structs.replace(answer, verdict=verdict)
    rows = rows_of(answer)
    if rows:
        return msgspec.structs.replace(
            answer, **{ROWS[type(answer)]: tuple([_cut_row(row, whole=whole) for row in rows])}
        )
    return _cut_row(answer, whole=whole)


def _cut_row(row: Any, *, whole: bool) -> Any:
    """Return a row or a verdict without its allocations and, if ``whole``, without all that may be long."""
    inner = getattr(row, "entry", None)
    if isinstance(inner, msgspec.Struct):
        return msgspec.structs.replace(row, entry=_cut_row(inner, whole=whole))
    if not hasattr(row, "cut"):
        return row
    names = [name for name in (_LONG if whole else _LONG[:1]) if getattr(row, name, None)]
    if not names:
        return row
    return msgspec.structs.replace(row, cut=tuple(names), **{name: _EMPTY.get(name, ()) for name in names})
