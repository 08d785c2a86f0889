"""Subjects: ``solvent.v1.<environment>.<customer>.<operation>``.

Environment and customer are in the subject because NATS permissions act on subjects. Characters that a subject token
cannot have are percent-encoded, and each id has only one spelling, because a second one would slip past a permission.
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
"""The most characters of a wrong token that an error repeats."""

_SAFE: Final = re.compile(r"[A-Za-z0-9_\-]+", re.ASCII)
_UNSAFE: Final = re.compile(r"[^!#$&'()+,/0-9:;=<?@A-Z\[\\\]^_`a-z{|}~\-\"]")
"""The characters to encode: ``. * > %``, white space and everything else but printable ASCII."""


@lru_cache(maxsize=32_768)
def encode_token(part: str) -> str:
    """Return ``part`` as one subject token."""
    if part == ANY_CUSTOMER:
        return "%2D"
    if _SAFE.fullmatch(part):
        return part
    return _UNSAFE.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), part)


def decode_token(token: str, field: str) -> str:
    """Return the text that ``encode_token`` turned into ``token``. Raises ``InvalidRequest`` for any other spelling."""
    try:
        part = unquote(token, errors="strict")
        spelling = encode_token(part)
    except UnicodeError:
        raise InvalidRequest(field, "percent-encoded UTF-8", got=ascii(token)[:60]) from None
    if spelling != token:
        raise InvalidRequest(field, f"the spelling {spelling[:SHOWN_CHARS_MAX]!r}", got=repr(token)[:60])
    return part


def subject_of(environment: str, customer: str | None, operation: str) -> str:
    """Return the subject of ``operation`` for a customer, ``None`` if the body names the customers."""
    token = ANY_CUSTOMER if customer is None else encode_token(customer)
    return f"{PREFIX}.{encode_token(environment)}.{token}.{operation}"


def event_subject(environment: str, customer: str, kind: str) -> str:
    """Return the subject of events of one kind of a customer's pools."""
    return f"{PREFIX}.{encode_token(environment)}.{encode_token(customer)}.{EVENTS}.{kind}"


def events_subject(environment: str, customer: str | None) -> str:
    """Return the wildcard for all events of a customer's pools, or of an environment's."""
    token = "*" if customer is None else encode_token(customer)
    return f"{PREFIX}.{encode_token(environment)}.{token}.{EVENTS}.>"


@lru_cache(maxsize=32_768)
def parse_subject(subject: str) -> tuple[str, str | None]:
    """Return (environment, customer) of a request's subject; customer ``None`` if each command names its own."""
    tokens = subject.split(".", 4)
    environment = decode_token(tokens[2], "environment")
    return environment, None if tokens[3] == ANY_CUSTOMER else decode_token(tokens[3], "customer")
