"""``python -m solvent.transports.wire.reference``: the page of all operations, made from the table.

The text comes from the docstrings of the request structs and their fields, so callers in Python and in other languages
read the same.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from solvent.engine.api.receipts import Receipt, Settlement
from solvent.engine.api.requests import CommandRequest
from solvent.engine.api.usage_answers import UsageQuestion
from solvent.engine.api.usage_requests import UsageRequest
from solvent.engine.values import errors
from solvent.engine.values.errors import InvalidRequest, JournalError, Overloaded, SolventError, Unavailable

from .answers import RECEIPT_FIELDS
from .bodies import BODIES, Body, PoolBody
from .field_docs import doc_of, docs_of
from .forms import form_of
from .operations import COMMANDS, READS, Operation

INTRODUCTION: Final = """# Reference of operations

Every operation, with the fields of its request, its answer and its errors. The page is made from the table of operations
by `make reference`; a test keeps it current.

## Requests

A request is a JSON object: over NATS on the subject `solvent.v1.<environment>.<customer>.<operation>`, over HTTP posted
to `/v1/<environment>/<customer>/<operation>`. Unknown fields are refused. A request about a pool names the rest of it
in the body: `resource` (default: the customer's global pool) and `currency` (default: `credits`); `environment` and
`customer` may be repeated there, and must not differ from the subject or path. A request about a whole environment has
the customer `-`.

| type | in JSON |
|---|---|
| amount | an integer, or a decimal string such as `"12.5"`; above zero, with at most the decimal places of the currency (6 by default, 0 to 9) and 63 bits of its smallest unit. A number with a point is refused |
| quantity | an integer, or a decimal string; from 0, with at most 18 digits before the point and 9 after it |
| time | ISO 8601 with an offset, such as `"2026-11-23T10:00:00Z"`, to the microsecond |
| dimensions | an object: at most 64 names of 1 to 128 characters, with strings of at most 1,024 characters, numbers that 64 bits hold exactly, or booleans; 8 KiB in all |
| cost basis | `{"per_credit": "0.0125", "currency": "USD"}`: a decimal string of at most 12 places, and a code of 3 to 8 capital letters |

`batch` takes `{"commands": [...]}`, at most 2,000 in a message of at most 1 MiB. Each command is the body of an
operation of the first table, with its name as `op`; with the customer `-` in the subject or path, each names its own
`customer`. The answer is `{"answers": [...]}`, in the same order: a receipt, or `{"error": ...}`. With `"atomic": true`
all are done or none; at most 1,000, none of them a setting. `"receipts": "units"` asks for receipts as arrays: id,
version, replayed, decimal places, amount and balance in units of the smallest place, microseconds since 1970, `[[grant,
units], ...]`, and an object of the fields that only some receipts have. `report` also takes `{"events": [...]}`, and
answers as `batch` does.

## Answers

An answer is a JSON object. Amounts are decimal strings, times ISO 8601 in UTC. A field without a value is `null` or left
out.

## Errors

An error has the headers `Nats-Service-Error-Code` and `Nats-Service-Error`, and the body `{"error": {"code": ...,
"message": ..., ...}}`. Every operation may be answered with the errors of the first rows; the others are named where they
can occur. [errors.md](errors.md) describes their fields.

"""  # noqa: E501 - a row of a table is one line
ANY_ERRORS: Final = (InvalidRequest, Overloaded, Unavailable, JournalError)
WIDTH: Final = 120


def page() -> str:
    """Return the whole page as Markdown."""
    parts = [INTRODUCTION, _errors(), "\n## Commands to one pool\n\nEach is answered with a [receipt](#receipt).\n"]
    parts += [_operation(each) for each in COMMANDS.values()]
    parts.append("\n## Other operations\n")
    parts += [_operation(each) for each in READS.values()]
    parts.append("\n## Objects in answers\n")
    parts += [_struct(kind) for kind in _answers()]
    return "".join(parts)


def _errors() -> str:
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, SolventError)]
    concrete = [each for each in kinds if "code" in vars(each)]
    rows = [(f"`{each.code}`", str(each.status), "yes" if issubclass(each, ANY_ERRORS) else "") for each in concrete]
    return _table(("code", "number", "of any operation"), sorted(rows, key=lambda row: (row[2] == "", row[1], row[0])))


def _operation(operation: Operation) -> str:
    kind = operation.request
    lines = [f"\n### `{operation.name}`\n\n", _wrapped(inspect.getdoc(kind) or ""), "\n"]
    rows = list(_fields_of(kind))
    if rows:
        lines.append(_table(("field", "type", "default", "meaning"), rows))
        lines.append("\n")
    answer = "receipt" if operation.answer is Receipt else operation.answer.__name__
    about = [] if issubclass(kind, CommandRequest) else [f"Answer: [{answer}](#{answer.lower()})."]
    about.append(f"Access: `{operation.access}`.")
    if operation.errors:
        about.append("Errors: " + ", ".join(f"`{each.code}`" for each in operation.errors) + ".")
    lines.append(_wrapped(" ".join(about)))
    return "".join(lines)


def _fields_of(kind: type[Any]) -> Iterator[tuple[str, str, str, str]]:
    docs = docs_of(kind)
    if issubclass(kind, UsageRequest):
        for field in msgspec.structs.fields(kind):
            if field.type is UsageQuestion:
                named = "The fields of the question are in `question`:"
                yield "`question`", "object", "", f"{docs[field.name]} {named}"
                for inner in msgspec.structs.fields(UsageQuestion):
                    doc = docs_of(UsageQuestion).get(inner.name, "")
                    yield f"`question.{inner.name}`", _type_name(inner.type), _default(inner), doc
            else:
                yield f"`{field.name}`", _type_name(field.type), _default(field), docs.get(field.name, "")
        return
    body = BODIES[kind]
    about = {name for base in (Body, PoolBody) for name in base.__struct_fields__} & set(body.__struct_fields__)
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    for own in body.own:
        field = fields[own.name]
        yield f"`{field.name}`", form_of(field.type).name, _default(field), docs.get(field.name, "")
    for field in msgspec.structs.fields(body):
        # Fields that name the target, except those that the introduction describes for all requests.
        if field.name not in {own.name for own in body.own} | about | {"environment", "customer"}:
            yield f"`{field.name}`", _type_name(field.type), _default(field), _ABOUT[field.name]


_ABOUT: Final = {
    "to_resource": "The resource of the pool that gets the credits. Default: the customer's global pool.",
    "whole": "Whether to read all pools that the subject or path covers, instead of one pool.",
}


def _struct(kind: type[Any]) -> str:
    docs = docs_of(kind)
    if kind is Receipt:
        # A receipt holds units in Python, and has amounts on the wire.
        rows = [(f"`{name}`", described, doc_of(Receipt, name)) for name, described in RECEIPT_FIELDS.items()]
    else:
        hints = get_type_hints(kind, include_extras=True)
        rows = [
            (f"`{field.encode_name}`", _type_name(hints[field.name]), docs.get(field.name, ""))
            for field in msgspec.structs.fields(kind)
        ]
    return "".join(
        (
            f"\n### {kind.__name__}\n\n",
            _wrapped((inspect.getdoc(kind) or "").split("\n\n")[0]),
            "\n",
            _table(("field", "type", "meaning"), rows),
        )
    )


def _answers() -> list[type[Any]]:
    """Return all structs that answers are made of, each answer before its parts."""
    found: dict[type[Any], None] = {Receipt: None, Settlement: None}
    for operation in READS.values():
        _collect(operation.answer, found)
    return list(found)


def _collect(hint: Any, found: dict[type[Any], None]) -> None:
    for inner in get_args(hint):
        _collect(inner, found)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct) and hint not in found:
        found[hint] = None
        if hint is not Receipt:
            for inner in get_type_hints(hint).values():
                _collect(inner, found)


def _default(field: Any) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else None
    # The meaning describes these better: nothing, an empty list, a term that stays.
    if value is None or value == () or not isinstance(value, (str, int, float)):
        return ""
    return f"`{msgspec.json.encode(value).decode()}`"


_NAMES: Final[dict[Any, str]] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    Decimal: "decimal string",
    datetime: "time",
    NoneType: "null",
    Any: "any",
}


def _type_name(hint: Any) -> str:
    if hint in _NAMES:
        return _NAMES[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin in (Union, UnionType):
        return " or ".join(_type_name(each) for each in arguments)
    if origin is Literal:
        return " or ".join(f'"{word}"' for word in arguments)
    if origin is dict:
        return f"object of {_type_name(arguments[1])}" if arguments[1] is not Any else "object"
    if arguments:
        return f"list of {_type_name(arguments[0])}"
    return f"[{hint.__name__}](#{hint.__name__.lower()})"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("``", "`")


def _wrapped(text: str) -> str:
    return (
        textwrap.fill(" ".join(text.split()).replace("``", "`"), WIDTH, break_long_words=False, break_on_hyphens=False)
        + "\n"
    )


if __name__ == "__main__":
    sys.stdout.write(page())
