"""The description of the API in OpenAPI 3.1, made from the table of operations and the types of bodies and answers."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import lru_cache
from importlib.metadata import version
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec

from solvent.engine.api.receipts import Receipt
from solvent.engine.api.requests import CommandRequest, CustomerRequest, PastEventsRequest
from solvent.engine.api.usage_answers import UsageQuestion
from solvent.engine.api.usage_requests import RebuildRequest, StatusRequest, UsageRequest
from solvent.engine.values.errors import InvalidRequest, Overloaded, SolventError, TooLarge, Unavailable
from solvent.transports.wire.answers import ReceiptWire
from solvent.transports.wire.batches import BATCH_COMMANDS_MAX
from solvent.transports.wire.bodies import BODIES, Body, EnvironmentBody
from solvent.transports.wire.field_docs import doc_of, docs_of
from solvent.transports.wire.forms import form_of
from solvent.transports.wire.operations import BATCH, COMMANDS, READS, Operation

from .errors import HttpError, MethodNotAllowed, NotLocal, RequestTimeout, UnsupportedMediaType

Schema = dict[str, Any]
REF: Final = "#/components/schemas/{name}"
ANY_ERRORS: Final[tuple[type[SolventError], ...]] = (
    *(InvalidRequest, NotLocal, MethodNotAllowed, RequestTimeout, TooLarge, UnsupportedMediaType),
    *(Overloaded, SolventError, Unavailable),
)
"""The errors that every operation may be answered with."""
_TARGET: Final = {
    "environment": "The environment, as in the path. It need not be repeated.",
    "customer": "The customer, as in the path. It need not be repeated.",
    "resource": "The resource of the pool. Default: the global pool of the customer.",
    "currency": "The currency of the pool.",
    "op": "The operation. Only a command of a batch has to name it.",
    "to_resource": "The resource of the pool that gets the credits. Default: the global pool of the customer.",
    "whole": "Whether to read all pools of the customer, or of the environment, instead of one pool.",
}
_AMOUNT: Final[Schema] = {"anyOf": [{"type": "integer"}, {"type": "string", "format": "decimal"}]}
EXAMPLES: Final[dict[str, Schema]] = {
    "grant": {"amount": "100", "key": "order-1"},
    "debit": {"amount": "0.25", "key": "req-1", "dimensions": {"user": "u7", "model": "m1"}},
    "hold": {"amount": "5", "key": "job-1", "ttl_s": 600},
    "check": {"amount": "1"},
    "balance": {},
    "ledger": {"limit": 10, "newest_first": True},
    "budget.set": {"name": "per user", "amount": "50", "window": "month", "each": "user"},
    "usage": {"question": {"period": "today", "group_by": ["user"]}},
    "batch": {"commands": [{"op": "debit", "amount": "0.25", "key": "req-2"}]},
}
"""A body for the commonest operations, for a customer ``acme`` that has been granted credits."""


@lru_cache(maxsize=8)
def document(root: str) -> bytes:
    """Return the document as JSON, for an application that is mounted at the path ``root``."""
    schemas = _schemas()
    paths: dict[str, Any] = {}
    for operation in (*COMMANDS.values(), *READS.values()):
        paths[f"/v1/{{environment}}/{{customer}}/{operation.name}"] = _path(operation, schemas)
    paths[f"/v1/{{environment}}/{{customer}}/{BATCH}"] = _batch()
    paths["/v1/{environment}/{customer}/events/stream"] = _event_stream()
    for path, what in (("/healthz", "Whether the process runs."), ("/readyz", "Whether its journal takes writes.")):
        answer = {"description": what, "content": {"application/json": {"schema": {"type": "object"}}}}
        paths[path] = {"get": {"operationId": path[1:], "summary": what, "responses": {"200": answer, "503": answer}}}
    whole = {
        "openapi": "3.1.0",
        "info": {
            "title": "Solvent",
            "version": version("solvent"),
            "description": "A real-time credit engine. Amounts are decimal strings, times ISO 8601 in UTC.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": root or "/"}],
        "paths": paths,
        "components": {"schemas": schemas},
    }
    return msgspec.json.encode(whole)


def _schemas() -> dict[str, Schema]:
    """Return the schemas of all bodies and answers, with what the types alone do not say."""
    kinds: list[type[Any]] = [BODIES.get(each.request, each.request) for each in _operations()]
    answers = {each.answer for each in READS.values()} - {Receipt}
    _, found = msgspec.json.schema_components((*kinds, *answers, ReceiptWire), ref_template=REF)
    schemas: dict[str, Schema] = found
    for each in _operations():
        body = BODIES.get(each.request)
        schema = schemas[(body or each.request).__name__]
        docs = {**_TARGET, **docs_of(each.request)}
        _describe(schema, docs)
        if body is not None:
            _refine(schema, each.request, body)
    _describe(schemas[UsageQuestion.__name__], docs_of(UsageQuestion))
    for kind in _structs(answers):
        _describe(schemas[kind.__name__], docs_of(kind))
        _date(schemas[kind.__name__], kind)
    schemas["Receipt"] = receipt = schemas.pop(ReceiptWire.__name__)
    receipt["title"], receipt["description"] = "Receipt", inspect.getdoc(Receipt) or ""
    _describe(receipt, {name: doc_of(Receipt, name) for name in receipt["properties"]})
    _date(receipt, ReceiptWire)
    for name in ("amount", "balance", "returned", "lapsed", "uncovered", "covered"):
        receipt["properties"][name]["format"] = "decimal"
    schemas["Problem"] = _problem()
    schemas["Error"] = {"type": "object", "properties": {"error": {"type": "object"}}, "required": ["error"]}
    return schemas


def _operations() -> Iterable[Operation]:
    return (*COMMANDS.values(), *READS.values())


def _describe(schema: Schema, docs: dict[str, str]) -> None:
    if "description" in schema:
        schema["description"] = " ".join(schema["description"].replace("``", "`").split())
    for name, field in schema.get("properties", {}).items():
        doc = docs.get(name)
        if doc:
            schema["properties"][name] = {**field, "description": doc.replace("``", "`")}


def _refine(schema: Schema, request: type[Any], body: type[Body]) -> None:
    """Say of the fields of a body what a decoder does not check: their words, that a text is a time or an amount."""
    hints = get_type_hints(request)
    for field in body.own:
        described = schema["properties"][field.name]
        words = [word for hint in _members(hints[field.name]) if get_origin(hint) is Literal for word in get_args(hint)]
        if words:
            described.pop("anyOf", None)
            described.pop("type", None)
            described["enum"] = [*words, None] if type(None) in _members(hints[field.name]) else words
        if form_of(hints[field.name]).name.removesuffix(" or null") == "time":
            _add_format(described, "date-time")
    if "op" in schema.get("properties", {}):
        schema["required"] = [name for name in schema["required"] if name != "op"]


def _members(hint: Any) -> tuple[Any, ...]:
    inner = get_args(hint)
    return (hint,) if get_origin(hint) is Literal or not inner else inner


def _date(schema: Schema, kind: type[Any]) -> None:
    for field in msgspec.structs.fields(kind):
        if datetime in _members(get_type_hints(kind)[field.name]):
            _add_format(schema["properties"][field.encode_name], "date-time")


def _add_format(field: Schema, name: str) -> None:
    for part in (field, *field.get("anyOf", ())):
        if part.get("type") == "string":
            part["format"] = name


def _structs(kinds: Iterable[Any]) -> list[type[Any]]:
    found: dict[type[Any], None] = {}

    def collect(hint: Any) -> None:
        for inner in get_args(hint):
            collect(inner)
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct) and hint not in found and hint is not Receipt:
            found[hint] = None
            for inner in get_type_hints(hint).values():
                collect(inner)

    for kind in kinds:
        collect(kind)
    return list(found)


def _problem() -> Schema:
    text = {"type": "string"}
    return {
        "title": "Problem",
        "description": "An error (RFC 9457). Its numbers are further members, named as in the table of errors.",
        "type": "object",
        "properties": {
            "type": text,
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "code": {"type": "string", "description": "A stable word: what a program goes by."},
        },
        "required": ["type", "title", "status", "detail", "code"],
    }


def _path(operation: Operation, schemas: dict[str, Schema]) -> Schema:
    kind = operation.request
    body = BODIES.get(kind, kind).__name__
    summary = (inspect.getdoc(kind) or "").split("\n")[0].replace("``", "`")
    content: Schema = {"schema": {"$ref": REF.format(name=body)}}
    if operation.name in EXAMPLES:
        content["example"] = EXAMPLES[operation.name]
    posted = {
        "operationId": operation.name,
        "summary": summary,
        "description": f"Access: {operation.access}.",
        "tags": [_tag(operation)],
        "requestBody": {"required": bool(schemas[body].get("required")), "content": {"application/json": content}},
        "responses": _responses(operation),
    }
    path: Schema = {"parameters": _address(kind), "post": posted}
    if operation.access == "read":
        read = {key: posted[key] for key in ("summary", "description", "tags", "responses")}
        path["get"] = {"operationId": f"get {operation.name}", **read, "parameters": list(_query(kind, schemas))}
    return path


def _tag(operation: Operation) -> str:
    return "commands" if operation.name in COMMANDS else "usage" if operation.name.startswith("usage") else "reads"


def _address(kind: type[Any]) -> list[Schema]:
    """Return the parameters of a path. ``-`` is the customer of what is about a whole environment."""
    text = {"type": "string", "minLength": 1, "maxLength": 128}
    whole = kind in (StatusRequest, RebuildRequest) or issubclass(BODIES.get(kind, kind), EnvironmentBody)
    may_be_whole = issubclass(kind, (CustomerRequest, PastEventsRequest, UsageRequest))
    customer: Schema = {"name": "customer", "in": "path", "required": True, "schema": {"const": "-"} if whole else text}
    if may_be_whole and not whole:
        customer["description"] = "`-` for all customers of the environment, where the operation allows it."
    environment = {"name": "environment", "in": "path", "required": True, "schema": text, "example": "default"}
    return [environment, {**customer, "example": "-" if whole else "acme"}]


def _query(kind: type[Any], schemas: dict[str, Schema]) -> Iterator[Schema]:
    """Yield the fields of a body that a query can spell: those that are not objects."""
    schema = schemas[BODIES.get(kind, kind).__name__]
    required = set(schema.get("required", ()))
    fields = dict(schema.get("properties", {}))
    if "question" in fields:
        del fields["question"]
        required.discard("question")
        fields |= schemas[UsageQuestion.__name__]["properties"]
    for name, field in fields.items():
        parts = field.get("anyOf", (field,))
        if name == "op" or any(part.get("type") == "object" or "$ref" in part for part in parts):
            continue
        items = [part.get("items", {}) for part in parts if part.get("type") == "array"]
        if any("$ref" in item or item.get("type") == "object" for item in items):
            continue
        query: Schema = {"name": name, "in": "query", "required": name in required, "schema": _without_null(field)}
        if "description" in field:
            query["description"] = field["description"]
        yield query


def _without_null(field: Schema) -> Schema:
    """Return a schema without ``null``, which a query leaves out."""
    schema = {key: value for key, value in field.items() if key not in ("description", "default")}
    if "anyOf" in schema:
        parts = [part for part in schema["anyOf"] if part.get("type") != "null"]
        schema = parts[0] if len(parts) == 1 else {**schema, "anyOf": parts}
    if "enum" in schema:
        schema["enum"] = [word for word in schema["enum"] if word is not None]
    return schema


def _responses(operation: Operation) -> Schema:
    answer = "Receipt" if operation.answer is Receipt else operation.answer.__name__
    headers = {}
    if issubclass(operation.request, CommandRequest):
        replayed = "Whether this is the first receipt again: then it is `true`."
        headers = {"Idempotency-Replayed": {"description": replayed, "schema": {"type": "string"}}}
    done: Schema = {
        "description": "The answer.",
        "content": {"application/json": {"schema": {"$ref": REF.format(name=answer)}}},
    }
    if headers:
        done["headers"] = headers
    if operation.name == "report":
        many = {"anyOf": [done["content"]["application/json"]["schema"], _answers_schema()]}
        done["content"] = {"application/json": {"schema": many}, "application/x-ndjson": {"schema": {"type": "string"}}}
    return {"200": done, **_refusals(operation.errors)}


def _refusals(errors: Iterable[type[SolventError]]) -> Schema:
    by_status: dict[int, list[str]] = {}
    for kind in (*ANY_ERRORS, *errors):
        codes = by_status.setdefault(kind.status, [])
        if kind.code not in codes:
            codes.append(kind.code)
    content = {"application/problem+json": {"schema": {"$ref": REF.format(name="Problem")}}}
    return {
        str(status): {"description": ", ".join(f"`{code}`" for code in codes), "content": content}
        for status, codes in sorted(by_status.items())
    }


def _answers_schema() -> Schema:
    each = {"anyOf": [{"$ref": REF.format(name="Receipt")}, {"$ref": REF.format(name="Error")}, {"type": "array"}]}
    return {"type": "object", "properties": {"answers": {"type": "array", "items": each}}, "required": ["answers"]}


def _batch() -> Schema:
    each = {"oneOf": [{"$ref": REF.format(name=BODIES[kind.request].__name__)} for kind in COMMANDS.values()]}
    body = {
        "type": "object",
        "properties": {
            "commands": {"type": "array", "items": each, "maxItems": BATCH_COMMANDS_MAX},
            "atomic": {"type": "boolean", "default": False, "description": "All or none."},
            "receipts": {"enum": ["text", "units"], "default": "text", "description": "The form of the receipts."},
        },
        "required": ["commands"],
        "additionalProperties": False,
    }
    done = {
        "description": "The answer to each command, in its place.",
        "content": {
            "application/json": {"schema": _answers_schema()},
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    }
    posted = {
        "operationId": BATCH,
        "summary": "Do many commands: each for itself, or with `atomic` all or none.",
        "description": "Each command names its operation in `op`; with the customer `-`, also its customer.",
        "tags": ["commands"],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": body, "example": EXAMPLES[BATCH]},
                "application/x-ndjson": {"schema": {"type": "string", "description": "A command on each line."}},
            },
        },
        "responses": {"200": done, **_refusals(())},
    }
    return {"parameters": _address(CustomerRequest), "post": posted}


def _event_stream() -> Schema:
    text = {"type": "string"}
    after = {"name": "after", "in": "query", "schema": text, "description": "The position after which to begin."}
    fields = [
        after,
        {"name": "resource", "in": "query", "schema": text, "description": "One pool; empty: the global one."},
        {"name": "currency", "in": "query", "schema": text, "description": "The currency of that pool."},
        {"name": "balances", "in": "query", "schema": {"type": "boolean"}, "description": "Whether balances are sent."},
        {
            "name": "Last-Event-ID",
            "in": "header",
            "schema": text,
            "description": "As `after`, if a reader returns.",
        },
    ]
    stream = {"description": "Events as they happen.", "content": {"text/event-stream": {"schema": text}}}
    read = {
        "operationId": "events.stream",
        "summary": "Follow alerts, recharge requests and balances as server-sent events.",
        "tags": ["reads"],
        "parameters": fields,
        "responses": {"200": stream, **_refusals(())},
    }
    return {"parameters": _address(CustomerRequest), "get": read}


def errors() -> list[type[SolventError]]:
    """Return the errors that HTTP may answer, each with a code of its own, in the order of their numbers."""
    found: set[type[SolventError]] = {
        InvalidRequest,
        *ANY_ERRORS,
        *(kind for each in _operations() for kind in each.errors),
    }
    found |= {kind for kind in HttpError.__subclasses__() if kind.__module__ == HttpError.__module__}
    return sorted(found, key=lambda kind: (kind.status, kind.code))
