"""Runs a verb to its answer or its error, and turns either into output and an exit code.

An answer goes to stdout. An error goes to stderr as one line, or with ``--json`` to stdout as the error object of the
wire, so that a program finds one JSON document there in any case. What is not a ``SolventError`` is a bug and keeps its
traceback.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import anyio
import typer
from rich.console import RenderableType

from solvent.engine.values.errors import SolventError, error_to_wire

from .exits import Exit, exit_code
from .terminal import Text, err, out, print_json

T = TypeVar("T")


def run_async(main: Callable[[], Awaitable[T]]) -> T:
    """Run ``main`` in an event loop of its own, uvloop's where it is installed.

    Task groups raise groups: one that holds nothing but ``SolventError``s is raised as the first of them.
    """
    use_uvloop = importlib.util.find_spec("uvloop") is not None
    try:
        return anyio.run(main, backend_options={"use_uvloop": use_uvloop})
    except BaseExceptionGroup as group:
        _, others = group.split(SolventError)
        if others is not None:
            raise
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None


def respond(
    as_json: bool,
    work: Callable[[], Awaitable[T]],
    *,
    plain: Callable[[T], RenderableType],
    wire: Callable[[T], dict[str, Any]],
    key: str | None = None,
) -> None:
    """Do the work of a verb and print its answer. Exits with the error's code if there is none.

    ``key`` is shown with an error after which the same command has to be asked again under the same key.
    """
    with reporting(as_json, key=key):
        answer = run_async(work)
    if as_json:
        print_json(wire(answer))
    else:
        out().print(plain(answer))


@contextmanager
def reporting(as_json: bool, *, key: str | None = None) -> Iterator[None]:
    """A block whose ``SolventError`` ends the process with its message and its exit code."""
    try:
        yield
    except SolventError as error:
        fail(error, as_json, key=key if error.retry_safe else None)
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None


def fail(error: SolventError, as_json: bool, *, key: str | None = None) -> NoReturn:
    """Print an error, with the key to ask again with if there is one, and exit with its code."""
    if as_json:
        print_json({"error": error_to_wire(error)} | ({} if key is None else {"key": key}))
    else:
        print_error(error.message if key is None else f"{error.message} (ask again with --key {key})")
    raise typer.Exit(exit_code(error))


def print_error(message: str) -> None:
    """One line on stderr. Its text is never taken for markup."""
    err().print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True)
