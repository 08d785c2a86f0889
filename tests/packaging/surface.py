"""The public surface of ``solvent`` as text: every name with its fields, methods, signatures and defaults.

``make surface`` records it in ``surface.txt``, so that a change of what users see is a line in a diff. It needs nothing
but ``solvent``, and is the same on every version of Python: it is also made of the installed wheel.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import Enum
from types import ModuleType
from typing import Any, Final

import msgspec

import solvent

MADE_ELSEWHERE: Final = ("Client", "Engine", "OpenHold", "PendingHold")
"""Classes that users are given: nobody calls their ``__init__``."""
PROTOCOLS: Final = {"__aenter__", "__aexit__", "__await__", "__getitem__", "__iter__", "__len__"}
NAME: Final = re.compile(r"[A-Za-z_]\w*")


class Surface:
    """What is public in ``module``, and what its signatures name besides."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._package = module.__name__.partition(".")[0]
        self._public = {name: getattr(module, name) for name in module.__all__}
        self._aliases: dict[str, str] = {}
        self._hidden: set[str] = set()

    def lines(self) -> Iterator[str]:
        """Yield the surface line by line."""
        yield f"# The public names of {self._module.__name__}, as `make surface` records them."
        for name, value in sorted(self._public.items()):
            if inspect.isclass(value):
                yield ""
                yield from self._class(value)
            elif callable(value):
                yield f"\n{self._function(name, value)}"
            else:
                yield f"\n{name}: {type(value).__name__}"
        yield "\n# What these names stand for."
        yield from (f"{name} = {text}" for name, text in sorted(self._aliases.items()))
        yield "\n# Named in signatures, but not exported."
        yield from sorted(self._hidden)

    def _class(self, kind: type[Any]) -> Iterator[str]:
        heads = [base.__name__ for base in self._bases(kind)]
        lines: list[str] = []
        if issubclass(kind, msgspec.Struct):
            kinds = {each.kind for each in inspect.signature(kind).parameters.values()}
            heads += ["frozen"] if kind.__struct_config__.frozen else []
            heads += ["kw_only"] if kinds == {inspect.Parameter.KEYWORD_ONLY} else []
            lines += self._fields(kind)
        known = {line for base in self._bases(kind) for line in self._members(base)}
        lines += [line for line in self._members(kind) if line not in known]
        yield f"class {kind.__name__}({', '.join(heads)})"
        yield from (f"    {line}" for line in lines)

    def _bases(self, kind: type[Any]) -> list[type[Any]]:
        """Return the nearest bases that a user knows: public ones, and those of others."""
        known = [base for base in kind.__mro__[1:] if base in (*self._public.values(), Exception, msgspec.Struct)]
        return [base for base in known if not any(issubclass(other, base) for other in known if other is not base)]

    def _fields(self, kind: type[msgspec.Struct]) -> Iterator[str]:
        annotations: dict[str, tuple[str, type[Any]]] = {}
        for each in reversed(kind.__mro__):
            annotations |= {name: (text, each) for name, text in vars(each).get("__annotations__", {}).items()}
        names, defaults = kind.__struct_fields__, kind.__struct_defaults__
        absent = [msgspec.NODEFAULT] * (len(names) - len(defaults))
        for name, default in zip(names, [*absent, *defaults], strict=True):
            text, owner = annotations[name]
            yield f"{name}: {self._annotation(text, vars(sys.modules[owner.__module__]))}{_default(default)}"

    def _members(self, kind: type[Any]) -> Iterator[str]:
        """Yield what is public of a class, whether it is its own or inherited."""
        fields = kind.__struct_fields__ if issubclass(kind, msgspec.Struct) else ()
        found: dict[str, str] = {}
        for each in filter(self._is_ours, reversed(kind.__mro__)):
            scope = vars(sys.modules[each.__module__])
            for name, text in vars(each).get("__annotations__", {}).items():
                found[name] = f"{name}: {self._annotation(text, scope)}"
            found |= {name: self._member(name, value) for name, value in vars(each).items() if _is_shown(name, kind)}
        yield from (found[name] for name in sorted(found) if _is_shown(name, kind) and name not in fields)

    def _member(self, name: str, value: object) -> str:
        match value:
            case property():
                assert value.fget is not None
                returned = inspect.signature(value.fget).return_annotation
                return f"{name}: {self._annotation(returned, value.fget.__globals__)} (property)"
            case classmethod():
                return f"classmethod {self._function(name, value.__func__)}"
            case staticmethod():
                return f"staticmethod {self._function(name, value.__func__)}"
            case _ if inspect.isfunction(value):
                return self._function(name, value)
            case _:
                return f"{name} = {value.__name__ if inspect.isclass(value) else repr(value)}"

    def _function(self, name: str, function: Callable[..., Any]) -> str:
        wrapped = inspect.unwrap(function)
        signature = inspect.signature(wrapped)
        parts: list[str] = []
        for each in signature.parameters.values():
            if each.name in ("self", "cls"):
                continue
            if each.kind is each.KEYWORD_ONLY and "*" not in parts and not any(part[0] == "*" for part in parts):
                parts.append("*")
            stars = "*" if each.kind is each.VAR_POSITIONAL else "**" if each.kind is each.VAR_KEYWORD else ""
            annotation = self._annotation(each.annotation, wrapped.__globals__)
            parts.append(f"{stars}{each.name}: {annotation}{_default(each.default)}")
        returned = self._annotation(signature.return_annotation, wrapped.__globals__)
        word = "async def" if inspect.iscoroutinefunction(wrapped) else "def"
        if wrapped is not function:
            word = "async with" if inspect.isasyncgenfunction(wrapped) else "with"
        return f"{word} {name}({', '.join(parts)}) -> {returned}"

    def _is_ours(self, kind: type[Any]) -> bool:
        return kind.__module__.partition(".")[0] == self._package

    def _annotation(self, text: object, scope: dict[str, Any]) -> str:
        """Return the annotation as it is written, and note what its names stand for."""
        assert isinstance(text, str), f"{text!r}: from __future__ import annotations is missing"
        for name in NAME.findall(text):
            value = scope.get(name)
            if name in self._public or value is None:
                continue
            if inspect.isclass(value):
                if self._is_ours(value):
                    self._hidden.add(name)
            elif typing.get_origin(value) is not None and name not in vars(typing):
                self._aliases[name] = _written(value)
        return text


def _is_shown(name: str, kind: type[Any]) -> bool:
    if name == "__init__":
        return kind.__name__ not in MADE_ELSEWHERE and not issubclass(kind, msgspec.Struct)
    return not name.startswith("_") or name in PROTOCOLS


def _default(value: object) -> str:
    if value in (msgspec.NODEFAULT, inspect.Parameter.empty):
        return ""
    if isinstance(value, msgspec.Struct) and value == type(value)():
        return f" = {type(value).__name__}()"
    with suppress(AttributeError):  # A factory of msgspec's, or a function.
        return f" = {getattr(value, 'factory')()!r}"  # noqa: B009 - no type is known of it
    if isinstance(value, Enum):
        return f" = {value}"
    text = value.__qualname__ if inspect.isfunction(value) else repr(value)
    return f" = {type(value).__name__}()" if " at 0x" in text else f" = {text}"


def _written(value: Any) -> str:
    """Return a type as it is written, the same on every version of Python."""
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    origin, arguments = typing.get_origin(value), typing.get_args(value)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(_written, arguments))
    if origin is typing.Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if origin is not None:
        return f"{origin.__name__}[{', '.join(map(_written, arguments))}]"
    return "None" if value is types.NoneType else getattr(value, "__name__", None) or repr(value)


def surface() -> str:
    """Return the surface of ``solvent``."""
    return "\n".join(Surface(solvent).lines()) + "\n"


if __name__ == "__main__":
    sys.stdout.write(surface())
