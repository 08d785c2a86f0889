"""Which statements of the rules the random scripts execute: all of them, or a rule has a branch that nothing tries."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any, NamedTuple, ParamSpec, TypeVar

import pytest

from solvent.engine.rules import (
    alerting,
    allowances,
    budgets,
    burning,
    decide,
    due,
    evolve,
    limits,
    recurring,
)
from solvent.engine.rules.decisions import debits, grants, holds, plans, repeats, settings, transfers

from . import comparison

P = ParamSpec("P")
T = TypeVar("T")
MODULES = (
    *(alerting, allowances, budgets, burning, decide, due, evolve, limits, recurring),
    *(debits, grants, holds, plans, repeats, settings, transfers),
)
ENTRANCES = (
    "apply",
    "check_target",
    "completed",
    "decide",
    "due",
    "due_after",
    "fold",
    "hold_behind",
    "opening",
    "pass_time",
    "receive",
    "verdict_of",
)
"""The functions of ``comparison`` behind which the rules are."""
NEVER = (
    "assert_never(",
    # A bug.
    "raise BrokenInvariant(",
    # Streams that are no pools: tests/rules/test_rates.py, and tests/nats/test_events.py for the outbox.
    "return _opening(opened, _decide_rates(",
    "return Unchanged() if frame <= pool.outbox",
    # Grants of older versions: tests/rules/test_roll_over.py.
    "_end_period(",
)
OF_OTHERS = {
    # Grants of older versions: tests/rules/test_roll_over.py.
    "_end_period",
    # Streams that are no pools.
    *("_decide_rates", "_apply_rates_set", "_apply_outbox_moved"),
    # Pools are changed in place here: tests/rules/test_folding.py compares the two.
    "evolve",
}
"""Functions that the scripts do not call."""
OF_OLD_JOURNALS = ("_apply_alerted", "_apply_recharge_requested", "_apply_recharge_closed")
"""Functions with a ``return`` for pools without alerts, which only older versions have written about."""


class Statement(NamedTuple):
    """A statement of a function, by its place."""

    file: str
    first: int
    last: int
    text: str

    def __str__(self) -> str:
        return f"{Path(self.file).name}:{self.first}: {self.text}"


def statements(module: ModuleType) -> Iterator[Statement]:
    """Yield the statements of all functions of a module, but for those that the scripts cannot meet."""
    file = str(module.__file__)
    source = Path(file).read_text()
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef) or function.name in OF_OTHERS:
            continue
        for node in ast.walk(function):
            if not isinstance(node, ast.stmt) or isinstance(node, (ast.FunctionDef, ast.Pass)):
                continue
            text = source.splitlines()[node.lineno - 1].strip()
            is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            is_of_old = function.name in OF_OLD_JOURNALS and text == "return"
            if not is_docstring and not is_of_old and not text.startswith(NEVER):
                yield Statement(file, node.lineno, node.end_lineno or node.lineno, text)


class Tracer:
    """Notes the lines of some modules that are executed."""

    def __init__(self) -> None:
        self.files = {str(module.__file__) for module in MODULES}
        self.lines: set[tuple[str, int]] = set()
        self._rest: dict[CodeType, set[int]] = {}
        """What was not executed yet, by function: one that was executed as a whole is traced no more."""

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any:
        code = frame.f_code
        if code.co_filename not in self.files:
            return None
        rest = self._rest.get(code)
        if rest is None:
            rest = self._rest[code] = {line for _, _, line in code.co_lines() if line}
        rest.discard(frame.f_lineno)
        self.lines.add((code.co_filename, frame.f_lineno))
        return self._line if rest else None

    def _line(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            self._rest[frame.f_code].discard(frame.f_lineno)
            self.lines.add((frame.f_code.co_filename, frame.f_lineno))
        return self._line

    def tracing(self, function: Callable[P, T]) -> Callable[P, T]:
        """Return ``function`` with a note of what it executes."""

        def traced_function(*args: P.args, **options: P.kwargs) -> T:
            before = sys.gettrace()
            sys.settrace(self)
            try:
                return function(*args, **options)
            finally:
                sys.settrace(before)

        return traced_function

    def missing(self) -> list[str]:
        """Return the statements that were never executed."""
        return [
            str(statement)
            for module in MODULES
            for statement in statements(module)
            if not any((statement.file, line) in self.lines for line in range(statement.first, statement.last + 1))
        ]


@contextmanager
def traced() -> Iterator[Tracer]:
    """Note what the rules execute within the block. The rest, and the model above all, goes on at full speed."""
    tracer = Tracer()
    with pytest.MonkeyPatch.context() as patch:
        for name in ENTRANCES:
            patch.setattr(comparison, name, tracer.tracing(getattr(comparison, name)))
        yield tracer
