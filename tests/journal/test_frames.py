"""Frames: what was committed comes back, and what is not what was committed is found."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from solvent.engine.journal.frames import (
    NO_DIGEST,
    NO_HEAD,
    NOWHERE,
    Frame,
    FrameBuilder,
    Head,
    Pointer,
    decode_section,
    digest_of,
    events_at,
    split_frame,
)
from solvent.engine.journal.protocol import follow
from solvent.engine.rules.events import Activated, Debited, Event, Expired, Granted, Opened
from solvent.engine.runtime.files import JOURNAL_FORMAT
from solvent.engine.values.dimensions import encode_dimensions
from solvent.engine.values.errors import JournalCorrupt
from solvent.engine.values.terms import CostBasis

whole = st.integers(0, 2**63 - 1)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
raws = st.dictionaries(text.filter(bool), text | whole | st.booleans(), max_size=4).map(
    lambda values: encode_dimensions(values, "dimensions")
)
costs = st.none() | st.builds(CostBasis, text, text)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(Opened, whole, st.integers(0, 9)),
    st.builds(
        Granted,
        whole,
        text,
        whole,
        whole,
        st.sampled_from(["paid", "promotional"]),
        st.integers(0, 100),
        st.none() | whole,
        st.none() | whole,
        costs,
        st.none() | text,
        st.none() | text,
        raws,
    ),
    st.builds(Activated, whole, whole, whole, whole, whole),
    st.builds(Expired, whole, whole, whole, whole, whole),
    st.builds(
        Debited,
        whole,
        text,
        whole,
        whole,
        st.lists(st.tuples(whole, whole), max_size=3).map(tuple),
        whole,
        st.booleans(),
        st.none() | whole,
        st.none() | text,
        st.none() | text,
        raws,
    ),
)
batches = st.dictionaries(text.filter(bool), st.lists(events, min_size=1, max_size=4), max_size=5)


def plain(found: Sequence[Event]) -> list[object]:
    """Events as bytes, since raw msgpack parts have no equality of their own."""
    return [msgspec.msgpack.encode(event) for event in found]


def build(number: int, at: int, batch: dict[str, list[Event]], heads: dict[str, Head] | None = None) -> Frame:
    builder = FrameBuilder(number)
    for pool, happened in batch.items():
        head = builder.add(pool, NO_HEAD if heads is None else heads.get(pool, NO_HEAD), happened)
        if heads is not None:
            heads[pool] = head
    return builder.seal(at)


@given(st.integers(1, 2**62), whole, batches)
@settings(max_examples=150)
def test_a_frame_gives_back_what_was_put_in(number: int, at: int, batch: dict[str, list[Event]]) -> None:
    heads: dict[str, Head] = {}
    frame = build(number, at, batch, heads)
    assert frame.is_intact()
    assert (frame.number, frame.at) == (number, at)
    found = list(split_frame(frame))
    assert len(found) == len(batch)
    end = 0
    for (pool, happened), (pointer, body) in zip(batch.items(), found, strict=True):
        assert pointer == Pointer(number, end, len(body))
        assert frame.body[pointer.offset : pointer.offset + pointer.length] == body
        end += len(body)
        section = decode_section(body, frame=number)
        assert (section.pool, section.first_version) == (pool, 1)
        assert (section.previous, section.previous_digest) == (NOWHERE, NO_DIGEST)
        assert section.last_version == len(happened)
        assert plain(section.events) == plain(happened)
        assert heads[pool] == Head(len(happened), pointer, digest_of(body))


@given(st.lists(batches, max_size=6))
def test_sections_of_a_pool_are_a_chain_from_the_newest_to_the_first(history: list[dict[str, list[Event]]]) -> None:
    heads: dict[str, Head] = {}
    stored = [build(number, number, batch, heads) for number, batch in enumerate(history, 1)]
    for pool, newest in heads.items():
        expected = [event for batch in history for event in batch.get(pool, [])]
        assert newest.version == len(expected)
        head, walked = newest, list[Event]()
        while head != NO_HEAD:
            pointer = head.pointer
            body = stored[pointer.frame - 1].body[pointer.offset : pointer.offset + pointer.length]
            section, head = follow(pool, head, body)
            walked[:0] = section.events
        assert plain(walked) == plain(expected)


SAMPLE = build(
    7,
    1_795_428_000_000_000,
    {
        "default@acme:credits": [Opened(5, 6), Granted(5, "k", 100, 100, "paid", 50, None, None)],
        "default@b:credits": [Debited(6, "d", 4, 96, ((2, 4),), 4, False)],
    },
)


def test_every_flipped_bit_and_every_changed_byte_of_a_frame_is_found() -> None:
    masks = [1 << bit for bit in range(8)] + [0xFF, 0x55]
    for place in range(len(SAMPLE.body)):
        for mask in masks:
            body = bytearray(SAMPLE.body)
            body[place] ^= mask
            damaged = Frame(SAMPLE.number, SAMPLE.at, bytes(body), SAMPLE.crc)
            assert not damaged.is_intact()
            with pytest.raises(JournalCorrupt, match="frame 7: the checksum does not match") as found:
                list(split_frame(damaged))
            assert found.value.frame == 7


def test_a_frame_with_another_number_time_or_checksum_is_not_intact() -> None:
    body, crc = SAMPLE.body, SAMPLE.crc
    for bit in range(63):
        assert not Frame(SAMPLE.number ^ (1 << bit), SAMPLE.at, body, crc).is_intact()
        assert not Frame(SAMPLE.number, SAMPLE.at ^ (1 << bit), body, crc).is_intact()
    for bit in range(32):
        assert not Frame(SAMPLE.number, SAMPLE.at, body, crc ^ (1 << bit)).is_intact()


@pytest.mark.parametrize("field", ["number", "at", "crc"])
@pytest.mark.parametrize("value", [-1, -(2**63), 2**63 - 1, 0])
def test_any_number_a_damaged_row_can_hold_is_found(field: str, value: int) -> None:
    assert not msgspec.structs.replace(SAMPLE, **{field: value}).is_intact()


def test_every_truncation_of_a_frame_is_found() -> None:
    for length in range(len(SAMPLE.body)):
        with pytest.raises(JournalCorrupt):
            list(split_frame(Frame(SAMPLE.number, SAMPLE.at, SAMPLE.body[:length], SAMPLE.crc)))
        # Even when the checksum was made for the rest, the sections no longer add up.
        with pytest.raises(JournalCorrupt) as found:
            list(split_frame(Frame.seal(SAMPLE.number, SAMPLE.at, SAMPLE.body[:length])))
        assert found.value.frame == SAMPLE.number


def test_every_shortened_beginning_of_a_frame_is_found() -> None:
    for start in range(1, len(SAMPLE.body)):
        with pytest.raises(JournalCorrupt):
            list(split_frame(Frame.seal(SAMPLE.number, SAMPLE.at, SAMPLE.body[start:])))


def test_a_format_from_the_future_is_refused_by_its_number() -> None:
    trailer = msgspec.msgpack.encode([JOURNAL_FORMAT + 1, [len(SAMPLE.body)]])
    body = SAMPLE.body + trailer + len(trailer).to_bytes(4)
    with pytest.raises(JournalCorrupt, match=f"frame 9: format {JOURNAL_FORMAT + 1} is not known") as found:
        list(split_frame(Frame.seal(9, 1, body)))
    assert found.value.frame == 9


@given(st.binary(max_size=200), st.lists(st.integers(-(2**31), 2**31), max_size=5))
@example(b"", [])
@example(b"abc", [5, -2])
@settings(max_examples=300)
def test_splitting_any_bytes_ends_in_sections_that_cover_them_or_in_journal_corrupt(
    junk: bytes, lengths: list[int]
) -> None:
    trailer = msgspec.msgpack.encode([1, lengths])
    for body in (junk, junk + trailer + len(trailer).to_bytes(4)):
        try:
            found = list(split_frame(Frame.seal(3, 4, body)))
        except JournalCorrupt as corrupt:
            assert corrupt.frame == 3
        else:
            assert b"".join(part for _, part in found) == body[: sum(len(part) for _, part in found)]
            assert all(pointer.length == len(part) for pointer, part in found)


VALID = [body for _, body in split_frame(SAMPLE)]


@given(st.binary(max_size=300))
@settings(max_examples=300)
def test_decoding_any_bytes_raises_nothing_but_journal_corrupt(body: bytes) -> None:
    try:
        decode_section(body, frame=11)
    except JournalCorrupt as corrupt:
        assert corrupt.frame == 11


@given(
    st.sampled_from(VALID),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, 60),
)
@settings(max_examples=600)
def test_decoding_a_section_with_changed_bytes_raises_nothing_but_journal_corrupt(
    body: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    changed = bytearray(body)
    for place, byte in changes:
        changed[place % len(changed)] = byte
    for damaged in (bytes(changed), bytes(changed[: len(changed) - cut]), bytes(changed[cut:])):
        try:
            decode_section(damaged, frame=12)
        except JournalCorrupt as corrupt:
            assert corrupt.frame == 12


@pytest.mark.parametrize(
    "body",
    [
        b"",
        VALID[0][:1] + b"\xa2\xff\xfe" + VALID[0][1:],
        VALID[0].replace(b"acme", b"ac\xffe"),
        b"\x91" * 100_000,
        b"\x95\xa1p\x01\x93\0\0\0\xc4\0\x91\x9d\x02\x01\xa1k\x01\x01\xa4paid\x01" + b"\xc0" * 5 + b"\x91" * 100_000,
        msgspec.msgpack.encode({"pool": "p"}),
        msgspec.msgpack.encode(["p", "1", [0, 0, 0], b"", []]),
        msgspec.msgpack.encode(["p", 1, [0, 0, 0], b"", [[99, 1, 2]]]),
    ],
    ids=["empty", "shifted", "no UTF-8", "nested", "nested metadata", "a map", "a text version", "an unknown event"],
)
def test_bytes_that_are_no_section_are_journal_corrupt_naming_the_frame(body: bytes) -> None:
    with pytest.raises(JournalCorrupt, match=r"^frame 13: a section cannot be read") as found:
        decode_section(body, frame=13)
    assert found.value.frame == 13


def test_follow_names_the_frame_and_the_pool_of_a_link_that_does_not_fit() -> None:
    heads: dict[str, Head] = {}
    opened: list[Event] = [Opened(1, 6)]
    first = build(1, 1, {"a": opened, "b": opened}, heads)
    bodies = {decode_section(body, frame=1).pool: body for _, body in split_frame(first)}
    head = heads["a"]
    section, before = follow("a", head, bodies["a"])
    assert (section.pool, before) == ("a", NO_HEAD)
    other = msgspec.structs.replace(head, digest=digest_of(bodies["b"]))
    wrong = [
        ("the section of another pool", head, bodies["b"]),
        ("another pool, correctly chained", other, bodies["b"]),
        ("nothing", head, b""),
        ("another version", msgspec.structs.replace(head, version=2), bodies["a"]),
        ("a digest that is not its own", msgspec.structs.replace(head, digest=NO_DIGEST), bodies["a"]),
    ]
    for name, from_head, body in wrong:
        with pytest.raises(JournalCorrupt) as found:
            follow("a", from_head, body)
        assert (found.value.frame, found.value.pool) == (1, "a"), name


@pytest.mark.parametrize(("first_version", "previous"), [(2, NOWHERE), (1, Pointer(1, 0, 10))])
def test_a_chain_begins_with_version_1_and_nowhere_else(first_version: int, previous: Pointer) -> None:
    events_: list[Event] = [Opened(1, 6)]
    body = msgspec.msgpack.encode(("a", first_version, previous, NO_DIGEST, events_))
    with pytest.raises(JournalCorrupt, match="does not begin with version 1"):
        follow("a", Head(first_version, Pointer(2, 0, len(body)), digest_of(body)), body)


SOME_POOLS = ("a", "aa", "pool", "p" * 40, "é")


@given(st.lists(st.tuples(st.sampled_from(SOME_POOLS), st.lists(events, min_size=1, max_size=4)), max_size=6))
def test_single_events_are_those_of_the_decoded_sections(sections: list[tuple[str, list[Event]]]) -> None:
    builder = FrameBuilder(1)
    heads: dict[str, Head] = {}
    expected: dict[str, dict[int, bytes]] = {}
    for pool, happened in dict(sections).items():
        heads[pool] = builder.add(pool, heads.get(pool, NO_HEAD), happened)
        expected[pool] = {version: msgspec.msgpack.encode(event) for version, event in enumerate(happened, 1)}
    frame = builder.seal(5)
    for pool in SOME_POOLS:
        found = events_at(frame, pool, range(9))
        assert {version: bytes(event) for version, event in found.items()} == expected.get(pool, {})
    body = bytearray(frame.body)
    body[0] ^= 1
    with pytest.raises(JournalCorrupt):
        events_at(msgspec.structs.replace(frame, body=bytes(body)), "a", [1])
