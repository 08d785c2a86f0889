"""The types of ASGI that this package uses (ASGI 3.0, HTTP connection scope)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final, TypeAlias

from solvent.engine.values.errors import InvalidRequest

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Headers: TypeAlias = Sequence[tuple[bytes, bytes]]


ABORT: Final = "solvent.abort"
"""The key of a scope under which our own server offers to drop the connection at once, unsent bytes with it."""


def cut(scope: Scope) -> None:
    """Drop the connection of a client that takes nothing, where the server can. Others close it in their own time."""
    abort: Callable[[], None] | None = scope.get(ABORT)
    if abort is not None:
        abort()


def headers(scope: Scope, name: bytes) -> list[bytes]:
    """Return all headers with ``name``, which is in lower case."""
    return [value for each, value in scope["headers"] if each == name]


def waits_to_send(scope: Scope) -> bool:
    """Return whether the client waits for "100 Continue" before it sends its body."""
    return bool(headers(scope, b"expect"))


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return the header with ``name``, which is in lower case; ``None`` if there is none.

    Raises ``InvalidRequest`` if there are several: whoever looked at the request before may have read another one.
    """
    found = headers(scope, name)
    if len(found) > 1:
        raise InvalidRequest(name.decode(), "one header of this name", got=str(len(found)))
    return found[0] if found else None
