"""Lines out of any bytes, in bounded memory."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from solvent.transports.cli.replay.lines import LINE_BYTES_MAX, Line, read_lines

BOM = b"\xef\xbb\xbf"
short_lines = st.lists(
    st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b"")), max_size=20
)


@given(short_lines, st.sampled_from([b"\n", b"\r\n"]), st.booleans())
def test_every_line_arrives_once_with_its_number(lines: list[bytes], end: bytes, ended: bool) -> None:
    content = end.join(lines) + (end if ended and lines else b"")
    found = list(read_lines(io.BytesIO(content)))
    expected = content.removeprefix(BOM).split(end)
    if not expected[-1] and (len(expected) > 1 or not content):
        expected.pop()
    assert [line.content for line in found] == expected
    assert [line.number for line in found] == list(range(1, len(found) + 1))


def test_a_line_of_the_limit_is_kept_and_a_longer_one_is_only_counted() -> None:
    longest = b"x" * LINE_BYTES_MAX
    for end in (b"\n", b"\r\n"):
        content = longest + end + longest + b"y" + end + b"z" * (3 * LINE_BYTES_MAX) + end + b"after"
        found = list(read_lines(io.BytesIO(content)))
        assert [line.content for line in found] == [longest, None, None, b"after"]
        assert found[-1] == Line(4, b"after")


def test_a_file_without_any_line_end_is_one_line_too_long() -> None:
    content = b"x" * (5 * LINE_BYTES_MAX)
    assert list(read_lines(io.BytesIO(content))) == [Line(1, None)]


def test_a_byte_order_mark_is_left_out() -> None:
    assert [line.content for line in read_lines(io.BytesIO(BOM + b"id\r\n1\r\n"))] == [b"id", b"1"]
