"""Translation of DuckDB's errors by what the caller can do about them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import duckdb

from solvent.engine.values.errors import TooLarge

_UNAVAILABLE: Final = ("lock on file", "No space left", "Could not write", "Could not create", "Cannot open file")


class UsageDamaged(Exception):
    """The file cannot be used. Delete it and rebuild it from the journal."""


class UsageUnavailable(Exception):
    """The file cannot be read or written now: it is open elsewhere, or the disk is full. It is unchanged."""


@contextmanager
def failures(*, opening: bool = False) -> Iterator[None]:
    """Translate errors of DuckDB by what the caller can do about them. Any other error is a bug, and is unchanged."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        limit = "a question that fits into the memory it may take: fewer groups, or a shorter range"
        raise TooLarge("usage", limit) from error
    except duckdb.IOException as error:
        # DuckDB has one exception for a file that cannot be read, one that is locked, and a disk that is full.
        text = str(error)
        if any(cause in text for cause in _UNAVAILABLE):
            raise UsageUnavailable(text) from error
        raise UsageDamaged(text) from error
    except (duckdb.SerializationException, duckdb.InternalException) as error:
        raise UsageDamaged(str(error)) from error
    except duckdb.FatalException as error:
        raise UsageUnavailable(str(error)) from error
    except duckdb.Error as error:
        if opening:
            raise UsageDamaged(str(error)) from error
        raise
