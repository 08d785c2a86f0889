"""Files as they lie about: compressed, cut off, in other encodings, or no text at all."""

from __future__ import annotations

import codecs
import gzip
import sys
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent.engine.values.errors import InvalidRequest
from solvent.transports.cli.replay.formats import Format, Shape, shape_of, stem_of
from solvent.transports.cli.replay.source import Source, SourceError, check_encoding
from solvent.transports.cli.replay.tables import Dialect

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = "".join(f"line {number}: é 🜁\n" for number in range(20_000)).encode()


def bgz(content: bytes) -> bytes:
    """Several gzip members, one behind the other, as log rotation and block compression leave them."""
    return b"".join(gzip.compress(content[start : start + 70_000]) for start in range(0, len(content), 70_000))


def frames(content: bytes) -> bytes:
    """Several zstd frames, and one that is to be skipped."""
    skipped = b"\x51\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"meta"
    return skipped + b"".join(zstd.compress(content[at : at + 70_000]) for at in range(0, len(content), 70_000))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bgz, zstd.compress, frames])
def test_text_is_read_whatever_it_is_compressed_with(tmp_path: Path, pack: Any) -> None:
    path = tmp_path / "no-telling-name"
    path.write_bytes(pack(TEXT))
    source = Source(path)
    assert source.size == path.stat().st_size
    assert source.first_line(1 << 20).startswith(b"line 0:")
    assert source.text.read() == TEXT
    assert source.consumed == source.size
    source.close()


@pytest.mark.parametrize("pack", [gzip.compress, bgz, zstd.compress, frames])
@given(part=st.floats(0.01, 0.999))
def test_a_file_that_is_cut_off_gives_what_is_there_and_says_where_it_ends(
    tmp_path_factory: pytest.TempPathFactory, pack: Any, part: float
) -> None:
    packed = pack(TEXT)
    path = tmp_path_factory.mktemp("cut") / "file"
    kept = packed[: int(len(packed) * part)]
    path.write_bytes(kept)
    read = b""
    try:
        source = Source(path)
        while piece := source.text.read1(1 << 16):
            read += piece
    except SourceError as error:
        assert "the compressed file ends too early, after" in error.message or "is damaged" in error.message
        assert f"{len(read):,} bytes of text" in error.message or not read
    else:
        # It was cut between two members, where nothing is missing.
        assert pack in (bgz, frames)
    assert TEXT.startswith(read)


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_a_damaged_file_ends_in_a_clear_error(tmp_path: Path, pack: Any) -> None:
    packed = bytearray(pack(TEXT))
    path = tmp_path / "file"
    for place in range(20, len(packed), len(packed) // 23):
        damaged = packed.copy()
        damaged[place] ^= 0x55
        path.write_bytes(damaged)
        try:
            source = Source(path)
            read = source.text.read()
        except SourceError as error:
            assert "damaged" in error.message or "ends too early" in error.message
        else:
            assert pack is zstd.compress, "gzip has a checksum"
            assert len(read) == len(TEXT)


def test_what_stands_behind_the_compressed_text_is_damage(tmp_path: Path) -> None:
    for pack in (gzip.compress, zstd.compress):
        path = tmp_path / "file"
        path.write_bytes(pack(TEXT) + b"666,5000,not compressed\n")
        with pytest.raises(SourceError, match="damaged"):
            Source(path).text.read()


@pytest.mark.parametrize("pack", [lambda text: zlib.compress(text, 9, wbits=31), zstd.compress])
def test_a_bomb_takes_bounded_memory(tmp_path: Path, pack: Any) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(pack(b"\n" * (96 << 20)))
    assert path.stat().st_size < 1 << 20
    source = Source(path)
    tracemalloc.start()
    size = 0
    while piece := source.text.read1(1 << 16):
        size += len(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    source.close()
    assert (size, peak < 16 << 20) == (96 << 20, True)


def test_a_window_of_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    options = {int(zstd.CompressionParameter.window_log): 28, int(zstd.CompressionParameter.compression_level): 1}
    compressor = zstd.ZstdCompressor(options=options)
    path = tmp_path / "long.zst"
    path.write_bytes(compressor.compress(TEXT) + compressor.flush())
    with pytest.raises(SourceError, match=r"damaged|memory"):
        Source(path).text.read()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PK\x03\x04....", "a zip archive or a spreadsheet"),
        (b"PAR1....", "a Parquet file"),
        (b"BZh91AY&SY", "bzip2"),
        (b"\xfd7zXZ\x00\x00", "xz"),
        (gzip.compress(gzip.compress(TEXT)), "compressed twice"),
        (zstd.compress(gzip.compress(TEXT)), "compressed twice"),
    ],
)
def test_what_is_no_text_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "usage.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidRequest, match=says):
        Source(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1", "utf-8-sig"])
def test_other_encodings_are_read_as_utf_8(tmp_path: Path, encoding: str) -> None:
    text = "id,name\n1,née\n" * 9_000
    path = tmp_path / "file"
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}.get(encoding, b"")
    path.write_bytes(mark + text.encode(encoding))
    given_encoding = encoding if encoding in ("cp1252", "latin-1") else None
    with_mark = Source(path, given_encoding)
    assert with_mark.text.read().decode("utf-8-sig") == text
    with_mark.close()


def test_a_byte_that_is_nothing_in_an_encoding_is_no_utf_8_either(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a\x81b\n")
    assert Source(path, "cp1252").text.read() == b"a\x81b\n"
    path.write_bytes(b"a\x00b")
    with pytest.raises(SourceError, match="not utf-16-le throughout"):
        Source(path, "utf-16-le").text.read()


@pytest.mark.parametrize("name", ["nonsense", "hex", "rot13", ""])
def test_an_encoding_has_to_be_one_of_text(name: str) -> None:
    with pytest.raises(InvalidRequest, match="--encoding"):
        check_encoding(name, "--encoding")


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(InvalidRequest, match="FILE: expected a file that can be read"):
            Source(path)


CSV, TSV = Shape(Format.CSV), Shape(Format.TSV, Dialect("\t"))
LINES, JSON = Shape(Format.JSON_LINES), Shape(Format.JSON)


@pytest.mark.parametrize(
    ("head", "name", "shape"),
    [
        (b"id,amount\n1,2\n", "f.csv", CSV),
        (b"\xef\xbb\xbf\r\nid,amount\n", "f", CSV),
        (b"id\tamount\n1\t2\n", "f.csv", TSV),
        (b"id\tname, first\tamount\n", "f.tsv", TSV),
        (b"id;amount\n", "f.csv", Shape(Format.CSV, Dialect(";"))),
        (b"id|amount\n", "f.csv", Shape(Format.CSV, Dialect("|"))),
        (b'id,"a;b;c;d"\n', "f.csv", CSV),
        (b"amount\n1\n", "f.txt", CSV),
        (b"", "f.csv", CSV),
        (b"", "f.jsonl", LINES),
        (b'{"a": 1}\n{"a": 2}\n', "f.csv", LINES),
        (b'\n {"a": 1}', "-", LINES),
        (b'{"a": nan}\n', "f", LINES),
        (b"not json\n", "f.jsonl", LINES),
        (b"not json\n", "f.ndjson.gz", LINES),
        (b"not json\n", "f.json", JSON),
        (b'{"a":\n', "f.jsonl", LINES),
        (b'{"a":\n 1}', "f.txt", JSON),
        (b"{", "f.json.zst", JSON),
        (b'{"a": 1}{"a": 2}\n', "f", JSON),
        (b"[\n", "f.jsonl", JSON),
        (b'[{"a": 1}]\n', "f.csv", JSON),
    ],
)
def test_a_format_is_told_from_the_content(head: bytes, name: str, shape: Shape) -> None:
    assert shape_of(head, name) == shape


def test_options_overrule_what_the_content_says() -> None:
    assert shape_of(b'{"a"\n', "f.json", format=Format.CSV) == CSV
    assert shape_of(b"a;b,c\n", "f", delimiter=",") == CSV
    assert shape_of(b"{a},b\n", "f", delimiter=",") == CSV
    assert shape_of(b"a,b\n", "f", format=Format.TSV) == TSV
    assert shape_of(b"a;b\n", "f", format=Format.CSV) == Shape(Format.CSV, Dialect(";"))
    assert shape_of(b'{"a": 1}\n', "f", format=Format.JSON) == JSON
    assert shape_of(b"a,b\n", "f", quote=None) == Shape(Format.CSV, Dialect(",", None))
    with pytest.raises(InvalidRequest, match="--delimiter"):
        shape_of(b"[", "f", format=Format.JSON, delimiter=",")


def test_the_endings_of_a_name_are_no_part_of_its_stem() -> None:
    assert [stem_of(name) for name in ("may.csv", "may.csv.gz", "may", "may.2026.jsonl.zst")] == [
        *("may", "may", "may"),
        "may.2026",
    ]
