"""The text of a file, or of standard input, as a stream of bytes: whatever it is compressed with, in bounded memory.

gzip and zstd are recognised by their first bytes, not by a name. A stream that is cut off or damaged ends in
``SourceError``, which says where; everything before that place has been handed out. Used by one reader, in any thread;
``stop`` may be called from another.
"""

from __future__ import annotations

import codecs
import gzip
import io
import os
import select
import stat
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from solvent.engine.values.errors import InvalidRequest

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdError, ZstdFile
else:
    from backports.zstd import DecompressionParameter, ZstdError, ZstdFile

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

STDIN: Final = "-"
"""The file name that means standard input."""
PIECE_BYTES: Final = 1 << 16
"""How much is read at a time. A compressed piece may stand for a thousand times as much: that is read in parts, too."""
ZSTD_WINDOW_LOG_MAX: Final = 27
"""128 MiB: how far back zstd may refer, and so the most that decompression keeps in memory. It is what the ``zstd``
tool takes unless it is told ``--long=31``."""
WAKE_S: Final = 0.2
"""How soon a reader that waits for a pipe notices that it should stop, and how long it takes an end for a stop."""

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = (b"\x28\xb5\x2f\xfd", *(bytes((byte, 0x2A, 0x4D, 0x18)) for byte in range(0x50, 0x60)))
"""The first bytes of a frame, and of frames that are skipped."""
_NO_TEXT: Final = (
    (b"PK\x03\x04", "a zip archive or a spreadsheet: unpack it, or export it as CSV"),
    (b"PAR1", "a Parquet file: export it as CSV or JSON lines"),
    (b"Obj\x01", "an Avro file: export it as JSON lines"),
    (b"SQLite format 3\x00", "a SQLite database: export a table of it as CSV"),
    (b"BZh", "compressed with bzip2: only gzip and zstd are read"),
    (b"\xfd7zXZ\x00", "compressed with xz: only gzip and zstd are read"),
    (_GZIP, "compressed twice: decompress it once"),
    (_ZSTD[0], "compressed twice: decompress it once"),
)
_BOMS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HEAD_BYTES: Final = 16
"""Enough to recognise each of the above."""


class SourceError(InvalidRequest):
    """The file cannot be read on from here. What was read before is as good as it was."""

    def __init__(self, reason: str) -> None:
        super().__init__("FILE", reason)
        self.message = reason
        self.args = (reason,)


class Stopped(Exception):  # It is no error: someone asked for it.
    """``Source.stop`` was called while a reader waited."""


class Source:
    """An open file, or standard input. ``text`` is its decompressed content, in UTF-8."""

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        """Open ``path``. Raises ``InvalidRequest`` for what cannot be opened, or is no text."""
        self._stored = _standard_input() if str(path) == STDIN else _opened(path)
        try:
            decompressed = _Decompressed(self._stored)
            encoding = encoding or _encoding_of(decompressed.head(_HEAD_BYTES))
            self._text: _Pieces = decompressed if encoding == "utf-8" else _Recoded(decompressed, encoding)
            self.text: Final = io.BufferedReader(self._text, PIECE_BYTES)
        except InvalidRequest:
            self._stored.close()
            raise
        self.size: Final = self._stored.size
        """Bytes of the file as it is stored; ``None`` where nobody knows."""

    @property
    def consumed(self) -> int:
        """Bytes of the file read so far, as it is stored: compressed ones are counted as such."""
        return self._stored.taken

    def head(self, least: int) -> bytes:
        """Return the first bytes of the text, ``least`` of them or all, before any was read."""
        return self._text.head(least)

    def first_line(self, most: int) -> bytes:
        """Return what begins with the first line that is not blank, ``most`` bytes or somewhat more, before any was
        read. No more is waited for than that line."""
        head = self._text.head(1)
        while (
            len(head) < most
            and b"\n" not in head.lstrip()
            and len(longer := self._text.head(len(head) + 1)) > len(head)
        ):
            head = longer
        return head

    def stop(self) -> None:
        """Let a reader that waits for standard input raise ``Stopped``."""
        self._stored.stopped = True

    def close(self) -> None:
        """Close the file. Standard input stays open."""
        self._stored.close()


class _Pieces(io.RawIOBase):
    """A stream that is read in pieces. Its first bytes can be looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = 0
        """Bytes that were handed out."""
        self._head = b""

    def piece(self, most: int) -> bytes:
        """Return the next bytes, at most so many; none at the end."""
        raise NotImplementedError

    def head(self, least: int) -> bytes:
        """Return the first bytes, at least ``least`` or all that there are, without taking them."""
        while len(self._head) < least and (piece := self.piece(PIECE_BYTES)):
            self._head += piece
        return self._head

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        most = min(len(view), PIECE_BYTES)
        piece, self._head = (self._head[:most], self._head[most:]) if self._head else (self.piece(most), b"")
        view[: len(piece)] = piece
        self.taken += len(piece)
        return len(piece)


class _Stored(_Pieces):
    """The bytes of a file as they are."""

    size: int | None = None
    stopped = False


class _File(_Stored):
    """A file, or something that is read as one: whoever waits for a pipe can be stopped."""

    def __init__(self, file: io.FileIO) -> None:
        super().__init__()
        status = os.fstat(file.fileno())
        self._file = file
        self._waits = not stat.S_ISREG(status.st_mode) and sys.platform != "win32"
        self.size = None if self._waits else status.st_size

    def piece(self, most: int) -> bytes:
        while self._waits and not self.stopped and not select.select([self._file], [], [], WAKE_S)[0]:
            pass
        piece = b"" if self.stopped else self._file.read(most)
        if not piece and self._waits:
            # Ctrl-C stops the writer of a pipe as well, in the middle of a line: that is not the end of its text.
            time.sleep(WAKE_S)
            if self.stopped:
                raise Stopped
        return piece or b""

    def close(self) -> None:
        self._file.close()
        super().close()


class _Stream(_Stored):
    """Standard input that is no file."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream

    def piece(self, most: int) -> bytes:
        return self._stream.read(most)


def _standard_input() -> _Stored:
    stream = sys.stdin.buffer
    try:
        descriptor = stream.fileno()
    except OSError:
        return _Stream(stream)
    return _File(io.FileIO(descriptor, "rb", closefd=False))


class _Decompressed(_Pieces):
    """What is stored, decompressed. Each way in which that can fail is a ``SourceError``."""

    def __init__(self, stored: _Stored) -> None:
        super().__init__()
        self._stored = stored
        buffered = io.BufferedReader(stored, PIECE_BYTES)
        head = self._reading(lambda: stored.head(len(_ZSTD[0])))[: len(_ZSTD[0])]
        self._read1: Callable[[int], bytes]
        if head.startswith(_GZIP):
            self._read1 = gzip.GzipFile(fileobj=buffered, mode="rb").read1
        elif head in _ZSTD:
            options = {int(DecompressionParameter.window_log_max): ZSTD_WINDOW_LOG_MAX}
            self._read1 = ZstdFile(buffered, options=options).read1
        else:
            self._read1 = buffered.read1

    def piece(self, most: int) -> bytes:
        return self._reading(lambda: self._read1(most))

    def _reading(self, read: Callable[[], bytes]) -> bytes:
        try:
            return read()
        except EOFError:
            raise SourceError(f"the compressed file ends too early, {self._where()}") from None
        except (gzip.BadGzipFile, zlib.error, ZstdError) as error:
            raise SourceError(f"the compressed file is damaged ({error}), {self._where()}") from None
        except OSError as error:
            raise SourceError(f"the file cannot be read ({error.strerror or error}), {self._where()}") from None

    def _where(self) -> str:
        return f"after {self._stored.taken:,} of its bytes and {self.taken:,} bytes of text"


class _Recoded(_Pieces):
    """Text of another encoding as UTF-8. A byte that stands for nothing becomes one that is no UTF-8 either."""

    def __init__(self, inner: _Pieces, encoding: str) -> None:
        super().__init__()
        self._inner = io.BufferedReader(inner, PIECE_BYTES)
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
        self._left = b""

    def piece(self, most: int) -> bytes:
        ended = False
        while not self._left and not ended:
            taken = self._inner.read1(PIECE_BYTES)
            ended = not taken
            try:
                self._left = self._decoder.decode(taken, final=ended).encode("utf-8", "surrogateescape")
            except UnicodeError as error:
                raise SourceError(f"the file is not {self._encoding} throughout ({error}): see --encoding") from None
        piece, self._left = self._left[:most], self._left[most:]
        return piece


def check_encoding(name: str, option: str) -> str:
    """Return the canonical name of a text encoding. Raises ``InvalidRequest`` naming ``option``."""
    try:
        "".encode(name)
        return codecs.lookup(name).name
    except (LookupError, ValueError):
        raise InvalidRequest(option, "an encoding of text, such as utf-8 or cp1252", got=repr(name)[:40]) from None


def _opened(path: Path) -> _Stored:
    try:
        return _File(path.open("rb", buffering=0))
    except OSError as error:
        raise InvalidRequest("FILE", "a file that can be read", got=f"{path} ({error.strerror})") from None


def _encoding_of(head: bytes) -> str:
    """Return the encoding of a text that begins so. Raises ``InvalidRequest`` for what is no text."""
    for magic, what in _NO_TEXT:
        if head.startswith(magic):
            raise InvalidRequest("FILE", "CSV or JSON", got=what)
    return next((name for bom, name in _BOMS if head.startswith(bom)), "utf-8")
