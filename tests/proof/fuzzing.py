"""Hostile bytes made of valid ones: what is nearly right gets further in than noise."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.one_task import in_one_task

T = TypeVar("T")
EFFORT = int(os.environ.get("SOLVENT_EFFORT", "1"))
TOKENS = (
    *(b"null", b"true", b"-1", b"0", b"-0", b"1e999", b"1.5", b"NaN", b'""', b"[]", b"{}", b'"\\ud800"', b"\\u0000"),
    *(b"9" * 19, b"9223372036854775808", b"1" + b"0" * 40, b"9" * 5_000, b"[" * 2_000, b'{"a":' * 2_000),
    *(b'"', b"\\", b",", b":", b"\n", b"\r", b"\x00", b"\x1b[2J", b"\xff", b"\xed\xa0\x80", b"\xc3", b"=", b"."),
)
"""What decoders and their callers trip over."""


def tried(examples: int) -> settings:
    """The same examples on each run; in the long form more, and others each time."""
    return settings(
        max_examples=examples * EFFORT,
        derandomize=EFFORT == 1,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )


@st.composite
def mutated(draw: st.DrawFn, valid: Sequence[bytes]) -> bytes:
    """One of ``valid`` with some changes; or, now and then, noise."""
    body = draw(st.sampled_from(valid))
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=300))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body)))
        match draw(st.sampled_from(("flip", "cut", "remove", "insert", "replace", "repeat", "splice"))):
            case "flip" if at < len(body):
                body = body[:at] + bytes((body[at] ^ 1 << draw(st.integers(0, 7)),)) + body[at + 1 :]
            case "cut":
                body = body[:at]
            case "remove":
                body = body[:at] + body[at + draw(st.integers(1, 9)) :]
            case "insert":
                body = body[:at] + draw(st.sampled_from(TOKENS)) + body[at:]
            case "replace":
                # The rest of a word: what stands between quotes or commas.
                end = min([place for mark in b'",:}]\n' if (place := body.find(mark, at)) >= 0], default=len(body))
                body = body[:at] + draw(st.sampled_from(TOKENS)) + body[end:]
            case "repeat":
                end = draw(st.integers(at, min(len(body), at + 200)))
                body = body[:end] + body[at:end] + body[end:]
            case "splice":
                other = draw(st.sampled_from(valid))
                body = body[:at] + other[draw(st.integers(0, len(other))) :]
    return body


HOSTILE: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2**31, 2**63, -(2**63) - 1, 2**64 - 1, 2**64, 10**40, 0.5, -0.0, 1e308),
    *(
        "",
        "x",
        "NaN",
        "-1",
        "1e9",
        "0.0000000001",
        "9" * 30,
        "\x00",
        "\x1b[2J\n",
        "é😀",
        "%",
        "' or 1=1 --",
        "x" * 5_000,
    ),
    *([], [[]], ["x"], {}, {"": 1}, {"x": None}, {"select": "amount"}),
)
"""Values that JSON can say and few places can have."""


@st.composite
def twisted(draw: st.DrawFn, valid: Sequence[bytes]) -> bytes:
    """The JSON of one of ``valid`` with another value in one place of it, or without it."""

    def struck(value: Any) -> Any:
        if not isinstance(value, (dict, list)) or not value or draw(st.integers(0, 5)) == 0:
            return draw(st.sampled_from(HOSTILE))
        names = list(value) if isinstance(value, dict) else list(range(len(value)))
        at = draw(st.sampled_from(names))
        changed: Any = value.copy()
        if draw(st.integers(0, 9)) == 0:
            del changed[at]
        else:
            changed[at] = struck(value[at])
        return changed

    return json.dumps(struck(json.loads(draw(st.sampled_from(valid))))).encode()


def texts(valid: Sequence[str]) -> st.SearchStrategy[str]:
    """As ``mutated``, for what arrives as text."""
    return mutated([each.encode() for each in valid]).map(lambda body: body.decode("utf-8", "replace"))


@contextmanager
def opened(context: AbstractAsyncContextManager[T]) -> Iterator[tuple[Callable[[Any], Any], T]]:
    """Something that lives on an event loop, and how to wait for what it is asked: examples are no coroutines."""
    with asyncio.Runner() as runner:
        held = in_one_task(context)
        value = runner.run(held.__aenter__())
        try:
            yield runner.run, value
        finally:
            runner.run(held.__aexit__(None, None, None))


def report(what: str, tally: Counter[str], *needed: str) -> None:
    """Print what became of the inputs, and fail if any of what is ``needed`` never did."""
    print(f"{what}: {dict(tally)}")
    assert all(tally[each] for each in needed), f"{what}: {dict(tally)}, and not one {needed}"
