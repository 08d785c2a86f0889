"""Records of JSON: lines, an array, or objects with an array in them. Pure, but for the stream it reads.

JSON lines have one object a line, so that a bad line costs one record. Of anything else only the structure is followed,
piece by piece: where a value begins and where it ends. Each record is then decoded by itself, so that the memory this
takes depends on the longest record and not on the file, and a record with a bad value in it costs one record. Where the
structure itself is wrong, the text is ``Broken``.

``ijson`` was looked at: it streams the values inside a record as well, which is more than is needed here, has no bound
on one of them, and ends at the first bad one.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, NamedTuple

from solvent.engine.values.errors import InvalidRequest

from .json_text import decode_json, decode_object
from .lines import read_lines
from .paths import Path, written
from .records import REASON_CHARS_MAX, RECORD_BYTES_MAX, BadRecord, Broken, Record

DEPTH_MAX: Final = 500
"""Of brackets within brackets: more than any record has, and less than decoding takes."""
_PIECE_BYTES: Final = 1 << 16
_SPACE: Final = re.compile(rb"[ \t\r\n]*")
_BRACKET_OR_QUOTE: Final = re.compile(rb'["{}\[\]]')
_END_OF_TEXT: Final = re.compile(rb'["\\\r\n]')
_END_OF_WORD: Final = re.compile(rb"[\s,:{}\[\]\"]")
_CLOSES: Final = {ord("{"): ord("}"), ord("["): ord("]")}
_OPENS: Final = frozenset(b'"{[')
_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")
_NEWLINE: Final = b"\n"


def read_json_lines(stream: BinaryIO) -> Iterator[Record | BadRecord]:
    """Yield the object of each line that is not blank."""
    number = 0
    for line in read_lines(stream):
        if line.content is not None and not line.content.strip():
            continue
        number += 1
        yield as_record(number, line.number, line.content)


def read_documents(stream: BinaryIO, records: Path = ()) -> Iterator[Record | BadRecord]:
    """Yield the records of a JSON text, whose values may follow each other without anything between them.

    An array's elements are records, and so is an object. With ``records``, it is the elements of the array at that path
    of each object, or the object that stands there. Raises ``Broken`` where the structure is wrong.
    """
    return _Documents(stream, records).read()


def values_of(text: bytes) -> int | None:
    """Return how many values a text is made of; ``None`` if one of them is cut off, or the structure is wrong."""
    structure = _Structure(io.BytesIO(text).read)
    count = 0
    try:
        while structure.peek() >= 0:
            structure.value()
            count += 1
    except _Wrong:
        return None
    return count


def members_of(head: bytes) -> frozenset[str]:
    """Return the names of the members of the object that a JSON text begins with, as far as ``head`` reaches."""
    structure = _Structure(io.BytesIO(head).read)
    found: set[str] = set()
    try:
        structure.take(b"[")
        if structure.take(b"{"):
            while structure.peek() == _QUOTE:
                found.add(str(decode_json(structure.value().text or b"0")))
                structure.expect(b":")
                structure.value()
                structure.take(b",")
    except (_Wrong, InvalidRequest):
        pass
    return frozenset(found)


class _Value(NamedTuple):
    """A value as text; ``None`` if that is longer than a record may be."""

    line: int
    text: bytes | None


class _Wrong(Exception):
    """The structure is not that of JSON."""


class _Structure:
    """A JSON text, read piece by piece: where its values begin and end, and nothing of what is in them."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._piece = read()
        while 0 < len(self._piece) < len(codecs.BOM_UTF8) and (more := read()):
            self._piece += more
        self._piece = self._piece.removeprefix(codecs.BOM_UTF8)
        self._at = 0
        self.line = 1

    def peek(self) -> int:
        """Return the next byte that is no white space; -1 at the end."""
        while True:
            found = _SPACE.match(self._piece, self._at)
            end = found.end() if found else self._at
            self.line += self._piece.count(b"\n", self._at, end)
            self._at = end
            if end < len(self._piece):
                return self._piece[end]
            if not self._more():
                return -1

    def take(self, byte: bytes) -> bool:
        """Step over ``byte`` if it comes next, and return whether it did."""
        if self.peek() != byte[0]:
            return False
        self._at += 1
        return True

    def expect(self, *bytes_: bytes) -> bytes:
        """Step over one of ``bytes_`` and return it."""
        for byte in bytes_:
            if self.take(byte):
                return byte
        wanted = " or ".join(byte.decode() for byte in bytes_)
        raise _Wrong(f"expected {wanted} in line {self.line}, got {self._next()}")

    def value(self) -> _Value:
        """Step over the next value and return its text."""
        first, line = self.peek(), self.line
        if first in _OPENS:
            return _Value(line, self._bracketed())
        return _Value(line, self._word())

    def _word(self) -> bytes:
        """Step over a number or a name such as ``true``, or what stands in place of one."""
        word = b""
        while len(word) <= RECORD_BYTES_MAX:
            found = _END_OF_WORD.search(self._piece, self._at)
            end = found.start() if found else len(self._piece)
            word += self._piece[self._at : end]
            self._at = end
            if found or not self._more():
                break
        if not word:
            raise _Wrong(f"expected a value in line {self.line}, got {self._next()}")
        return word

    def _bracketed(self) -> bytes | None:
        """Step over a text, an array or an object."""
        kept: list[bytes] = []
        size = 0
        to_close = bytearray()
        in_text = False
        begin = at = self._at
        while True:
            piece, length = self._piece, len(self._piece)
            while at < length:
                found = (_END_OF_TEXT if in_text else _BRACKET_OR_QUOTE).search(piece, at)
                if found is None:
                    at = length
                    break
                at = found.end()
                byte = piece[at - 1]
                if byte == _QUOTE:
                    in_text = not in_text
                elif byte == _BACKSLASH:
                    at += 1  # Of an escape that is cut, the rest is the next piece's first byte.
                elif in_text:
                    raise _Wrong(f"a text is not closed in line {self.line + piece.count(_NEWLINE, begin, at - 1)}")
                elif byte in _CLOSES:
                    to_close.append(_CLOSES[byte])
                    if len(to_close) > DEPTH_MAX:
                        raise _Wrong(f"more than {DEPTH_MAX} brackets are open")
                elif not to_close or to_close.pop() != byte:
                    raise _Wrong(f"the brackets do not match in line {self.line + piece.count(_NEWLINE, begin, at)}")
                if not in_text and not to_close:
                    break
            end = min(at, length)
            size += end - begin
            self.line += piece.count(_NEWLINE, begin, end)
            if size <= RECORD_BYTES_MAX:
                kept.append(piece[begin:end])
            else:
                kept.clear()
            if at <= length and not in_text and not to_close:
                self._at = at
                return b"".join(kept) if size <= RECORD_BYTES_MAX else None
            if not self._more():
                raise _Wrong("the text ends inside of it")
            begin, at = 0, at - length

    def _more(self) -> bool:
        self._piece, self._at = self._read(), 0
        return bool(self._piece)

    def _next(self) -> str:
        return "the end" if self.peek() < 0 else ascii(chr(self.peek()))


class _Documents:
    """One reading of a JSON text."""

    def __init__(self, stream: BinaryIO, records: Path) -> None:
        self._text = _Structure(lambda: stream.read1(_PIECE_BYTES))  # type: ignore[attr-defined]
        self._records = records
        self._number = 0
        self._line = 1

    def read(self) -> Iterator[Record | BadRecord]:
        try:
            while self._text.peek() >= 0:
                if self._text.take(b"["):
                    yield from self._elements(self._records)
                else:
                    yield from self._value(self._records)
        except _Wrong as wrong:
            raise Broken(self._number + 1, self._line, f"this is no JSON: {wrong}") from None

    def _elements(self, records: Path) -> Iterator[Record | BadRecord]:
        """Yield the records of an array whose bracket was taken."""
        if self._text.take(b"]"):
            return
        while True:
            yield from self._value(records)
            if self._text.expect(b",", b"]") == b"]":
                return

    def _value(self, records: Path) -> Iterator[Record | BadRecord]:
        """Yield the records of the value that comes next: it is one, or has them at ``records``."""
        self._text.peek()
        self._line = self._text.line
        if not records:
            line, text = self._text.value()
            self._number += 1
            yield as_record(self._number, line, text)
        elif self._text.take(b"{"):
            yield from self._inside(records)
        else:
            self._text.value()
            yield self._without(records)

    def _inside(self, records: Path) -> Iterator[Record | BadRecord]:
        """Yield the records that an object whose bracket was taken has at ``records``."""
        line = self._line
        found = False
        closed = self._text.take(b"}")
        while not closed:
            name = self._name()
            if name != records[0]:
                self._text.value()
            elif found:
                raise _Wrong(f"two members are called {name!r}")
            else:
                found = True
                if not records[1:] and self._text.take(b"["):
                    yield from self._elements(())
                else:
                    yield from self._value(records[1:])
            closed = self._text.expect(b",", b"}") == b"}"
        if not found:
            self._line = line
            yield self._without(records)

    def _name(self) -> object:
        """Step over the name of a member, and return it."""
        if self._text.peek() != _QUOTE:
            self._text.expect(b'"')
        text = self._text.value().text
        self._text.expect(b":")
        try:
            return None if text is None else decode_json(text)
        except InvalidRequest:
            return None

    def _without(self, records: Path) -> BadRecord:
        self._number += 1
        return BadRecord(self._number, self._line, f"expected an object with records at {written(records)}")


def as_record(number: int, line: int, text: bytes | None) -> Record | BadRecord:
    """Return the record that is one JSON object; ``None`` stands for one that is too long."""
    if text is None:
        return BadRecord(number, line, f"a record has at most {RECORD_BYTES_MAX:,} bytes")
    try:
        return Record(number, line, decode_object(text))
    except InvalidRequest as error:
        return BadRecord(number, line, error.message[:REASON_CHARS_MAX])
