"""Batches: a command means the same in one as by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from solvent import InvalidRequest
from solvent.transports.wire.batches import decode_batch
from solvent.transports.wire.bodies import DEBIT_BODY, Address, decode_body

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
        lambda: decode_body(msgspec.json.Decoder(DEBIT_BODY), one),
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
