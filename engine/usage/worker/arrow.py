"""Moving columns into and out of DuckDB through Arrow: nothing else is nearly as fast."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, Final

import nanoarrow
from nanoarrow.iterator import iter_py

_ARRAY_CODES: Final = {"int32": "i", "int64": "q"}
_ARROW_INTS: Final = {"b": nanoarrow.int8(), "i": nanoarrow.int32(), "q": nanoarrow.int64()}


def to_arrow(columns: dict[str, Any]) -> nanoarrow.ArrayStream:
    """Return columns, each an array of numbers or a list of text, as one batch of rows."""
    children, types = [], {}
    count = 0
    for name, values in columns.items():
        count = len(values)
        if isinstance(values, array):
            types[name] = _ARROW_INTS[values.typecode]
            children.append(nanoarrow.c_array_from_buffers(types[name], count, [None, values]))
        else:
            types[name] = nanoarrow.string()
            children.append(nanoarrow.c_array(values, types[name]))
    rows = nanoarrow.c_array_from_buffers(nanoarrow.struct(types), count, [None], children=children)
    return nanoarrow.ArrayStream(rows)


def from_arrow(chunks: Sequence[Any], place: int) -> Sequence[Any]:
    """Return a column from Arrow: an array if it has whole numbers without nulls, else a list."""
    children = [chunk.child(place) for chunk in chunks]
    views = [child.view() for child in children]
    code = _ARRAY_CODES.get(views[0].storage_type) if views else None
    if code is None or any(view.null_count for view in views):
        return [value for child in children for value in iter_py(child)]
    column = array(code)
    for view in views:
        values = memoryview(view.buffer(1))
        column.frombytes(values[view.offset : view.offset + view.length].tobytes())
    return column
