"""The public surface is the recorded one, and no change of it stays unseen."""

from __future__ import annotations

from collections.abc import Callable
from difflib import unified_diff
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeAlias

import msgspec
import pytest

import solvent

from .surface import Surface, surface

RECORDED = Path(__file__).with_name("surface.txt")
Size: TypeAlias = Literal["small", "large"] | int


def shown(**names: Any) -> str:
    """Return the surface of a module with these names."""
    module = ModuleType("tests.example")
    vars(module).update(names, __all__=list(names))
    return "\n".join(Surface(module).lines())


def test_the_public_surface_is_the_recorded_one() -> None:
    changes = unified_diff(RECORDED.read_text().splitlines(), surface().splitlines(), "recorded", "found", lineterm="")
    assert not (lines := list(changes)), "if this is meant, record it with `make surface`:\n" + "\n".join(lines)


def test_every_public_name_is_recorded() -> None:
    text = RECORDED.read_text()
    for name in solvent.__all__:
        assert f"class {name}(" in text or f"def {name}(" in text or f"with {name}(" in text or f"\n{name}: " in text


class Base(msgspec.Struct, frozen=True):
    """A base that is not public."""

    a: int
    b: tuple[str, ...] = ()


class Struct(Base, frozen=True):
    """A struct with an inherited field."""

    c: dict[str, int] = {}

    @property
    def size(self) -> Size:
        """A property."""
        return 1

    async def wait(self, one: int, *others: str, key: str | None = None, **rest: Any) -> None:
        """A method."""


def test_a_class_is_shown_with_fields_defaults_properties_and_methods() -> None:
    assert shown(Struct=Struct).splitlines()[2:] == [
        "class Struct(Struct, frozen)",
        "    a: int",
        "    b: tuple[str, ...] = ()",
        "    c: dict[str, int] = {}",
        "    size: Size (property)",
        "    async def wait(one: int, *others: str, key: str | None = None, **rest: Any) -> None",
        "",
        "# What these names stand for.",
        "Size = Literal['small', 'large'] | int",
        "",
        "# Named in signatures, but not exported.",
    ]
    assert "class Struct(Base, frozen)\n    a: int" in shown(Struct=Struct, Base=Base)


def plain(size: Size, *, key: str = "k") -> Struct:
    raise NotImplementedError


def other(size: Size, key: str = "k") -> Struct:
    raise NotImplementedError


@pytest.mark.parametrize("function", [plain, other])
def test_a_function_is_shown_as_it_is_called(function: Callable[..., Any]) -> None:
    stars = "*, " if function is plain else ""
    assert f"def call(size: Size, {stars}key: str = 'k') -> Struct" in shown(call=function)
    assert shown(call=function).endswith("# Named in signatures, but not exported.\nStruct")
