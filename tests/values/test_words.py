"""Closed words: one of a few, or refused with all of them."""

from __future__ import annotations

import pytest

from solvent.engine.values.errors import InvalidRequest
from solvent.engine.values.words import check_word


@pytest.mark.parametrize("word", ["day", "month"])
def test_a_word_of_them_passes(word: str) -> None:
    assert check_word(word, "window", ("day", "month", "total")) == word


@pytest.mark.parametrize("bad", ["days", "", "Day", None, 7, True, ["day"]])
def test_another_is_refused_with_the_field_and_all_words(bad: object) -> None:
    with pytest.raises(InvalidRequest, match="window: expected one of day, month, total") as refused:
        check_word(bad, "window", ("day", "month", "total"))
    assert refused.value.field == "window"


def test_two_words_are_named_as_alternatives() -> None:
    with pytest.raises(InvalidRequest, match='mode: expected "block" or "warn", got'):
        check_word("stop", "mode", ("block", "warn"))
