"""Text of others, shown so that it does nothing but be read.

Names, keys, dimensions, comments and error messages hold what somebody else once sent. A terminal would obey it: escape
sequences move the cursor and set titles, bidirectional controls reorder a line, a line break in a cell makes a row that
is none, and what has no width makes two names look like one. ``visible`` shows each such character as JSON writes it:
``\\u001b``, ``\\n``.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Final

_HIDDEN: Final = re.compile(
    "["
    "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"  # joiners and fillers: letters and marks of which nothing is seen
    "\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef"  # variation selectors
    "\u2800"  # a braille pattern without dots
    "]"
)
"""What Unicode counts as printable although there is nothing to see."""
_COMBINING: Final = ("Mn", "Mc", "Me")


def visible(text: str) -> str:
    """Return ``text`` with each character escaped that cannot be seen, or that a terminal would act upon.

    What is printable stays as it is. A mark at the start would change the character before the text, and is escaped,
    too.
    """
    if text.isprintable() and (text.isascii() or not (_HIDDEN.search(text) or _combines(text[0]))):
        return text
    shown = [each if each.isprintable() and not _HIDDEN.match(each) else escaped(each) for each in text]
    if _combines(text[0]):
        shown[0] = escaped(text[0])
    return "".join(shown)


def escaped(character: str) -> str:
    """Return a character as JSON can write it in ASCII."""
    return json.dumps(character)[1:-1]


def _combines(character: str) -> bool:
    return unicodedata.category(character) in _COMBINING
