"""Subjects: ``solvent.v1.<environment>.<customer>.<operation>``.

Environment and customer stand in the subject because that is what NATS permissions act on. What cannot be part of a
subject token is percent-encoded, and each id has one spelling only: a second one would slip past a permission.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from solvent.engine.values.errors import InvalidRequest

PREFIX: Final = "solvent.v1"
ANY_CUSTOMER: Final = "-"
"""The customer token of a request whose commands name their customers themselves."""

EVENTS: Final = "events"
BALANCE_EVENT: Final = "balance"

SHOWN_CHARS_MAX: Final = 100
"""How much of a wrong token an error repeats."""

_SAFE: Final = re.compile(r"[A-Za-z0-9_\-]+", re.ASCII)
_UNSAFE: Final = re.compile(r"[^!#$&'()+,/0-9:;=<?@A-Z\[\\\]^_`a-z{|}~\-\"]")
"""Everything but printable ASCII that means nothing in a subject: so ``. * > %``, white space and non-ASCII."""


@lru_cache(maxsize=32_768)
def encode_token(part: str) -> str:
    """Return ``part`` as one subject token."""
    if part == ANY_CUSTOMER:
        return "%2D"
    if _SAFE.fullmatch(part):
        return part
    return _UNSAFE.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), part)


def decode_token(token: str, field: str) -> str:
    """Return what ``encode_token`` made ``token`` of. Raises ``InvalidRequest`` for any other spelling."""
    try:
        part = unquote(token, errors="strict")
        spelling = encode_token(part)
    except UnicodeError:
        raise InvalidRequest(field, "percent-encoded UTF-8", got=ascii(token)[:60]) from None
    if spelling != token:
        raise InvalidRequest(field, f"the spelling {spelling[:SHOWN_CHARS_MAX]!r}", got=repr(token)[:60])
    return part


def subject_of(environment: str, customer: str | None, operation: str) -> str:
    """The subject of ``operation`` on a customer's pools; ``None`` if the body says whose."""
    token = ANY_CUSTOMER if customer is None else encode_token(customer)
    return f"{PREFIX}.{encode_token(environment)}.{token}.{operation}"


def event_subject(environment: str, customer: str, kind: str) -> str:
    """Where what happened to a customer's pools is published."""
    return f"{PREFIX}.{encode_token(environment)}.{encode_token(customer)}.{EVENTS}.{kind}"


def events_subject(environment: str, customer: str | None) -> str:
    """The subjects of all that is published of a customer's pools, or of an environment's."""
    token = "*" if customer is None else encode_token(customer)
    return f"{PREFIX}.{encode_token(environment)}.{token}.{EVENTS}.>"


@lru_cache(maxsize=32_768)
def parse_subject(subject: str) -> tuple[str, str | None]:
    """Return (environment, customer) of a request's subject; customer ``None`` if each command names its own."""
    tokens = subject.split(".", 4)
    environment = decode_token(tokens[2], "environment")
    return environment, None if tokens[3] == ANY_CUSTOMER else decode_token(tokens[3], "customer")
