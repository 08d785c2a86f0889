"""The docstrings of the fields of structs, which Python itself does not keep: they are read from the source."""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from typing import Any


def docs_of(kind: type[Any]) -> dict[str, str]:
    """Return the docstrings of the fields of a struct and its bases."""
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("solvent."):
            docs |= _own_docs_of(base)
    return docs


def doc_of(kind: type[Any], name: str) -> str:
    """Return the docstring of one member of ``kind``, a field or a property; empty if it has none."""
    member = getattr(kind, name, None)
    doc = (inspect.getdoc(member) if isinstance(member, property) else docs_of(kind).get(name)) or ""
    return " ".join(doc.split())


@cache
def _classes_of(module: str) -> dict[str, ast.ClassDef]:
    """Return the classes of a module as they are written. A module is parsed once, and not for each of its classes."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _own_docs_of(kind: type[Any]) -> dict[str, str]:
    node = _classes_of(kind.__module__)[kind.__name__]
    docs: dict[str, str] = {}
    for field, doc in zip(node.body, node.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            match doc:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    docs[field.target.id] = " ".join(text.split())
    return docs
