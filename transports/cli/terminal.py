"""The one way from the command line to a terminal, a pipe or a log: everything passes ``visible`` here.

Text of others must do nothing but be read, whatever a verb does with it. So a verb has no other console, no other
``Text``, and no stream to write to: ``tests/test_house.py`` looks after that. ``Text`` escapes what it is made of,
before a table measures it; a plain string in a table is text, never markup; and what some renderable makes of itself
all the same is escaped when it is drawn. Only what Rich adds by itself, colours and the movements of a progress bar, is
not.

JSON is escaped likewise: in JSON ``\\u001b`` is the same text, and nobody has to know where it is going to be shown.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, Final

import msgspec
import rich.console
import rich.text
import typer
import typer.core
from rich.console import ConsoleOptions, RenderableType
from rich.progress import ProgressColumn, Task
from rich.segment import Segment
from rich.style import Style

from .render.visible import visible

_WRONG_WORDS: Final[type[Exception]] = next(
    kind for kind in typer.BadParameter.__mro__ if issubclass(kind, Exception) and kind.__name__ == "ClickException"
)
"""What is raised for words that are no command. Where it stands depends on the version of typer."""
PIPE_WIDTH: Final = 140
"""Columns of a table that goes into a pipe or a file: nobody's window is there to fit into."""


class Text(rich.text.Text):
    """Text in one line, or of a cell: escaped where it has to be, and never taken for markup."""

    def __init__(self, text: str = "", style: str | Style = "", **options: Any) -> None:
        super().__init__(visible(text), style, **options)

    def append(self, text: rich.text.Text | str, style: str | Style | None = None) -> Text:
        """Add text at the end."""
        super().append(visible(text) if isinstance(text, str) else text, style)
        return self

    @classmethod
    def assemble(
        cls, *parts: str | rich.text.Text | tuple[str, str | Style], style: str | Style = "", **options: Any
    ) -> Text:
        """Return one text of several, each of them with its style."""
        text = cls(style=style, **options)
        for part in parts:
            if isinstance(part, tuple):
                text.append(part[0], part[1])
            else:
                text.append(part)
        return text

    def __add__(self, other: object) -> Text:
        if not isinstance(other, (str, rich.text.Text)):
            return NotImplemented
        return Text().append(self).append(other)


class Console(rich.console.Console):
    """A console to which nothing comes that is not escaped."""

    def __init__(self, file: IO[str] | None = None, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(file=file, stderr=stderr, width=width, highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, *, style: str | Style = "", **options: Any) -> rich.text.Text:
        """Return plain text: a string is neither markup nor a name of an emoji."""
        return Text(text, style, justify=options.get("justify"), overflow=options.get("overflow"))

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render, and escape what was not."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                # A line end between the lines of a table is Rich's own; one inside of a text is escaped before.
                yield Segment("\n".join(map(visible, segment.text.split("\n"))), segment.style)


class Label(ProgressColumn):
    """What a progress bar is about: the description of its task, or one of its fields."""

    def __init__(self, field: str | None = None, style: str = "") -> None:
        super().__init__()
        self._field = field
        self._style = style

    def render(self, task: Task) -> Text:
        """Return the text."""
        return Text(task.description if self._field is None else str(task.fields[self._field]), self._style)


def out() -> Console:
    """The console for answers."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)


def err() -> Console:
    """The console for errors, warnings and progress."""
    return Console(stderr=True, width=None if sys.stderr.isatty() else PIPE_WIDTH)


def print_line(text: str) -> None:
    """One line of text on stdout, at once."""
    sys.stdout.write(visible(text) + "\n")
    sys.stdout.flush()


def print_lines(text: str) -> None:
    """Text of several lines on stdout, as it is but for what has to be escaped."""
    sys.stdout.write("\n".join(map(visible, text.split("\n"))))


def print_json(document: object) -> None:
    """One JSON document on stdout, in one line, at once."""
    print_line(json_text(document))


def json_text(document: object) -> str:
    """Return a document as JSON."""
    try:
        return msgspec.json.encode(document).decode()
    except UnicodeEncodeError:
        # Half of a pair of surrogates: JSON in ASCII can say even that.
        return json.dumps(msgspec.to_builtins(document))


# -- What is shown without a verb's doing


class Group(typer.core.TyperGroup):
    """The command line. What was typed wrong is shown escaped, as everything is: a script may have typed it."""

    def make_context(self, *words: Any, **options: Any) -> Any:
        """Read the words before the verb."""
        with _escaped_errors():
            return super().make_context(*words, **options)

    def invoke(self, ctx: Any) -> Any:
        """Read the words behind the verb, and run it."""
        with _escaped_errors():
            return super().invoke(ctx)


@contextmanager
def _escaped_errors() -> Iterator[None]:
    try:
        yield
    except _WRONG_WORDS as error:
        for name, value in vars(error).items():
            if isinstance(value, str):
                setattr(error, name, visible(value))
        raise


class _Formatter(logging.Formatter):
    """A record as one line, and the lines of its exception."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # So it is called in the base.
        return visible(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802  # So it is called in the base.
        return "\n".join(map(visible, super().formatException(ei).split("\n")))


def escape_logs() -> None:
    """Let warnings of the engine go to stderr escaped, as logging would write them without being asked."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def print_traceback(error: BaseException) -> None:
    """The traceback of a bug on stderr."""
    text = "".join(traceback.format_exception(error))
    sys.stderr.write("\n".join(map(visible, text.split("\n"))))
