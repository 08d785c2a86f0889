"""Modules that the documentation once named and that have moved. Their old names work, and warn.

All old names are in this file, so no file stays at the old places.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

MOVED: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "solvent.engine.heads": ("solvent.engine.audit.heads", {"publish": "publish_heads"}),
    "solvent.engine.verify": ("solvent.engine.audit.verify", {}),
}
"""The new place of each module, and the names that are different there."""


class MovedModule(ModuleType):
    """A module under its old name. The new module is imported when an attribute is used."""

    def __init__(self, name: str, place: str, renamed: Mapping[str, str]) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)
        self.__place = place
        self.__renamed = renamed

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            # The import system looks these up, and must not cause a warning.
            raise AttributeError(name)
        new_name = self.__renamed.get(name, name)
        found = getattr(import_module(self.__place), new_name)
        public = sys.modules["solvent"]
        place = "solvent" if new_name in public.__all__ else self.__place
        warnings.warn(
            f"{self.__name__}.{name} has moved: import {new_name} from {place}", DeprecationWarning, stacklevel=2
        )
        return found


def keep_old_names() -> None:
    """Make the modules of ``MOVED`` importable under their old names."""
    for name, (place, renamed) in MOVED.items():
        package, _, last = name.rpartition(".")
        sys.modules[name] = module = MovedModule(name, place, renamed)
        setattr(sys.modules[package], last, module)
