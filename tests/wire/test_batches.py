"""Batches: a command means the same in one as by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent import DebitRequest, InvalidRequest
from solvent.engine.rules.commands import Debit
from solvent.engine.values.dimensions import decode_dimensions, encode_dimensions
from solvent.transports.wire.batches import decode_batch
from solvent.transports.wire.bodies import Address, CommandBody, decode_body, decoder_of_body

JSON_VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers())


@given(
    st.dictionaries(
        st.text(max_size=3) | st.sampled_from(["n" * 128, "n" * 129]),
        JSON_VALUES | st.sampled_from(["v" * 1_024, "v" * 1_025, 2**64 - 1, 2**64, -(2**63), 1e308, -0.0]),
        max_size=4,
    )
    | st.integers(62, 66).map(lambda size: {f"d{number}": "x" for number in range(size)})
    | st.integers(7, 9).map(lambda size: {f"d{number}": "x" * 1_000 for number in range(size)})
)
def test_a_debit_is_checked_alike_alone_and_in_a_batch(dimensions: dict[str, Any]) -> None:
    one = json.dumps({"op": "debit", "amount": "1", "key": "k", "dimensions": dimensions}).encode()
    outcomes: list[object] = []
    ways: list[Callable[[], Any]] = [
        lambda: decode_body(decoder_of_body(DebitRequest), one),
        lambda: decode_batch(b'{"commands":[%b]}' % one).commands[0],
    ]
    for decode in ways:
        try:
            body = decode()
            if isinstance(body, InvalidRequest):
                raise body
            outcomes.append(body.command(Address("default", "acme"), lambda currency: 6))
        except InvalidRequest as invalid:
            # An infinity is no JSON, and stands elsewhere in a batch.
            outcomes.append((invalid.field, re.sub(r" \(byte \d+\)", "", invalid.message)))
    assert outcomes[0] == outcomes[1]


def debit_of(body: object) -> Debit:
    assert isinstance(body, CommandBody)
    _, command = body.command(Address("default", "acme"), lambda currency: 6)
    assert isinstance(command, Debit)
    return command


@pytest.mark.parametrize("text", ["1", "1.0", "1e0", "10E-1", "0.10e1"])
def test_a_number_is_the_same_dimension_however_json_has_it(text: str) -> None:
    one = b'{"op":"debit","amount":"1","key":"k","dimensions":{"n":%b,"user":"u"}}' % text.encode()
    bodies = (
        decode_body(decoder_of_body(DebitRequest), one),
        *decode_batch(b'{"commands":[%b,%b]}' % (one, one)).commands,
    )
    for body in bodies:
        command = debit_of(body)
        assert bytes(command.dimensions) == bytes(encode_dimensions({"n": 1, "user": "u"}, "d"))


@pytest.mark.parametrize("text", ["9007199254740993.0", "0.1000000000000000055", "1e999999999", "18446744073709551616"])
def test_a_number_of_json_is_never_rounded(text: str) -> None:
    one = b'{"op":"debit","amount":"1","key":"k","dimensions":{"n":%b}}' % text.encode()
    bodies = (decode_body(decoder_of_body(DebitRequest), one), *decode_batch(b'{"commands":[%b]}' % one).commands)
    for body in bodies:
        if text == "9007199254740993.0":
            assert decode_dimensions(debit_of(body).dimensions) == {"n": 2**53 + 1}
        else:
            with pytest.raises(InvalidRequest, match="hold exactly"):
                debit_of(body)
