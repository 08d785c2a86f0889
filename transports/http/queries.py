"""The query of a ``GET`` as the body of the same operation: ``?limit=10&newest_first=true``.

Text is read as the type of its field, and a field that is a list is repeated. Fields of a question about usage stand
beside the others. Fields that are objects, such as filters, have no place in a query: they are sent with ``POST``.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Any, Final, TypeVar, cast
from urllib.parse import parse_qsl

import msgspec
from msgspec import inspect

from solvent.engine.api.usage_answers import UsageQuestion
from solvent.engine.values.errors import InvalidRequest
from solvent.transports.wire.bodies import UNDECODABLE, explain

FIELDS_MAX: Final = 200
"""The most fields of a query, repeated ones included."""
_LISTS: Final = (inspect.ListType, inspect.VarTupleType)
T = TypeVar("T")


def body_from_query(kind: type[T], query: bytes) -> T:
    """Return the body of type ``kind`` that a query spells out. Raises ``InvalidRequest`` naming the field."""
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX)
    except ValueError as error:
        expected = f"at most {FIELDS_MAX} fields of percent-encoded UTF-8"
        raise InvalidRequest("query", expected, got=str(error)[:60]) from None
    fields = _fields_of(cast("Hashable", kind))
    has_question = "question" in fields
    body: dict[str, Any] = {}
    question: dict[str, Any] = {}
    for name, text in pairs:
        if has_question and name == "question":
            raise InvalidRequest(name, "its fields, each by its own name")
        if has_question and name not in fields and name in _QUESTION:
            _add(question, name, text, is_list=_QUESTION[name])
        else:
            _add(body, name, text, is_list=fields.get(name, False))
    if has_question:
        body["question"] = question
    try:
        return msgspec.convert(body, kind, strict=False)
    except UNDECODABLE as error:
        raise explain(error) from None


def _add(body: dict[str, Any], name: str, text: str, *, is_list: bool) -> None:
    if is_list:
        body.setdefault(name, []).append(text)
    elif name in body:
        raise InvalidRequest(name, "one value")
    else:
        body[name] = text


@lru_cache(maxsize=256)
def _fields_of(kind: Hashable) -> dict[str, bool]:
    """Return the names of the fields of a struct, and whether each takes a list."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)  # noqa: S101 - narrows the type: bodies are structs
    return {field.encode_name: _takes_list(field.type) for field in info.fields}


def _takes_list(kind: inspect.Type) -> bool:
    members = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    return any(isinstance(each, _LISTS) for each in members)


_QUESTION: Final = _fields_of(UsageQuestion)
