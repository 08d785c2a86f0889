"""A cursor leads to its place in its own list, and nothing else passes for one."""

from __future__ import annotations

import random
import string

import pytest

from solvent import InvalidRequest
from solvent.engine.values.cursors import CURSOR_CHARS_MAX, read_cursor, write_cursor

LIST = ("grants", "default/acme", "active")
PLACE = (50, 10**15, True, 7)
KIND = tuple[int, int, bool, int]


def test_a_cursor_leads_to_its_place() -> None:
    cursor = write_cursor(LIST, PLACE)
    assert read_cursor(cursor, LIST, KIND) == PLACE
    assert read_cursor(None, LIST, KIND) is None
    assert set(cursor) <= set(string.ascii_letters + string.digits + "-_")


@pytest.mark.parametrize("other", [("grants", "default/globex", "active"), (*LIST[:2], None), ("holds", *LIST[1:]), ()])
def test_a_cursor_of_another_list_is_refused(other: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_cursor(write_cursor(other, PLACE), LIST, KIND)
    assert refused.value.field == "cursor"


def test_a_cursor_in_which_any_character_is_another_is_refused() -> None:
    cursor = write_cursor(LIST, PLACE)
    for place, right in enumerate(cursor):
        for wrong in "Az09-_":
            if wrong != right:
                with pytest.raises(InvalidRequest):
                    read_cursor(cursor[:place] + wrong + cursor[place + 1 :], LIST, KIND)


@pytest.mark.parametrize("text", ["", "v12", "=", "é", "A" * CURSOR_CHARS_MAX, "A" * 10**6, 12, b"AAAA", ["x"]])
def test_what_is_no_cursor_is_refused(text: object) -> None:
    with pytest.raises(InvalidRequest, match="next_cursor"):
        read_cursor(text, LIST, KIND)


def test_random_text_and_pieces_of_cursors_are_refused() -> None:
    dice = random.Random(18)
    cursor = write_cursor(LIST, PLACE)
    for length in range(len(cursor)):
        with pytest.raises(InvalidRequest):
            read_cursor(cursor[:length], LIST, KIND)
        with pytest.raises(InvalidRequest):
            read_cursor("".join(dice.choices(string.ascii_letters, k=length + 1)), LIST, KIND)
    with pytest.raises(InvalidRequest):
        read_cursor(cursor + "=", LIST, KIND)
