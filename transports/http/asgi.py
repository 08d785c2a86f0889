"""The types of ASGI that this package uses (ASGI 3.0, HTTP connection scope)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final, TypeAlias

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


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return the first header with ``name``, in lower case; ``None`` if there is none."""
    for each, value in scope["headers"]:
        if each == name:
            found: bytes = value
            return found
    return None
