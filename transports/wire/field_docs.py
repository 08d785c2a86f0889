"""The docstrings of the fields of structs, which Python itself does not keep: they are read from the source."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any


def docs_of(kind: type[Any]) -> dict[str, str]:
    """Return the docstrings of the fields of a struct and its bases."""
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("solvent."):
            docs |= _own_docs_of(base)
    return docs


def _own_docs_of(kind: type[Any]) -> dict[str, str]:
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(node, ast.ClassDef)  # noqa: S101 - narrows the type
    docs: dict[str, str] = {}
    for field, doc in zip(node.body, node.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            match doc:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    docs[field.target.id] = " ".join(text.split())
    return docs
