"""Closed sets of words, such as the category of a grant. Any other word is refused."""

from __future__ import annotations

from typing import TypeVar

from .amounts import shown
from .errors import InvalidRequest

W = TypeVar("W")


def check_word(value: object, field: str, words: tuple[W, ...]) -> W:
    """Return ``value`` if it is one of ``words``. Raises ``InvalidRequest`` naming ``field`` and all of them."""
    for word in words:
        if word == value:
            return word
    expected = " or ".join(f'"{word}"' for word in words) if len(words) == 2 else f"one of {', '.join(map(str, words))}"
    raise InvalidRequest(field, expected, got=shown(value))
