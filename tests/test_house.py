"""The rules of the house that no linter knows: which way imports point, what is pure, what may lie about.

Every rule is a function over (path, source) that returns complaints, so that the tests below can ask each of them two
things: does the repository keep it, and would it notice if it did not.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TypeAlias

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = {"actors": {"actors"}, "engine": {"actors", "engine"}, "transports": {"actors", "engine", "transports"}}
"""What of the package each folder may import. The face, ``solvent`` itself, imports them all and is nobody's to use."""
TOP_LEVEL = {".ci", "actors", "bench", "docs", "engine", "solvent", "tests", "transports"}
NOT_YET = {"docs"}

ORDER = (
    *("values", "runtime", "api", "rules", "journal", "projections"),
    *("pools", "reads", "usage", "audit", "cluster", "settings", "engine"),
)
"""The folders of ``engine``, from the ground up, with its two modules on top. Each imports itself and what stands
before it, nothing behind it."""
PURE = ("values", "rules")
"""The folders of ``engine`` that neither wait nor look: what they return follows from what they are given."""
OPENS_NOTHING = ("api",)
"""The folders that may wait, but open nothing, and read no clock."""
EDGES = {
    "wire": {
        *("actors", "engine.values", "engine.api"),
        *("engine.rules.checking", "engine.rules.commands", "engine.rules.fields"),
    },
    "nats": {
        *("transports.wire", "actors", "engine.values", "engine.api", "engine.pools.asking"),
        "engine.engine",
    },
    "http": {
        *("transports.wire", "actors", "engine.values", "engine.api", "engine.pools.asking", "engine.engine"),
        "engine.reads.feed",
    },
    "cli": {
        *("transports.wire", "transports.nats", "transports.http", "engine.values", "engine.api"),
        *("engine.rules.checking", "engine.audit", "engine.engine", "engine.settings"),
        *("engine.runtime.collector", "engine.runtime.files", "engine.usage.analysis"),
        "engine.rules.rates",  # replay prices a file by a card that is checked and searched as the engine's own
    },
}
"""The folders of ``transports``, from the ground up, and what of the package each needs besides itself: folders or
single modules. Of the engine, an edge knows what a caller sees and the gate; the rest is named one by one."""
WAITS = {"aiosqlite", "anyio", "asyncio", "concurrent"}
WAITS_OR_LOOKS = {
    *WAITS,
    *("io", "logging", "multiprocessing", "nats", "os", "pathlib"),
    *("random", "secrets", "shutil", "signal", "socket", "sqlite3", "subprocess", "sys", "tempfile", "threading"),
    *("time", "uuid"),
}
ONE_WAY_OUT = "transports/cli/terminal.py"
"""The module through which everything passes that the command line shows."""
READS_A_CLOCK = {"now", "today", "utcnow"}
LOOKS_OUTSIDE = {"input", "open", "print"}

MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:home|root|work|Users)/|\b[A-Z]:\\+Users\b")
REGISTRY = re.compile(
    r"\b(?:pypi\.(?:org|python)|pythonhosted\.|npmjs\.|yarnpkg\.|proxy\.golang\.|crates\.io|artifactor[y])|index-ur[l]",
    re.I,
)

Check: TypeAlias = Callable[[str, str], list[str]]


def imported(path: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, full name) of everything a module imports, inside functions too, relative imports resolved."""
    parts = path.split("/")
    package = ["solvent", *parts[:-1]] if parts[0] in LAYERS else parts[:-1]
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = package[: len(package) - level + 1] if level else []
                stem = ".".join([*base, *([module] if module else [])])
                yield from ((node.lineno, f"{stem}.{alias.name}") for alias in names)
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name


def imports_point_one_way(path: str, source: str) -> list[str]:
    layer = path.split("/")[0]
    if layer not in LAYERS or not path.endswith(".py"):
        return []
    own = [(line, name.split(".")) for line, name in imported(path, ast.parse(source))]
    return [
        f"{path}:{line} imports {'.'.join(name)}"
        for line, name in own
        if name[0] == "solvent" and not (len(name) > 1 and name[1] in LAYERS[layer])
    ]


def nothing_is_imported_under_a_bare_name(path: str, source: str) -> list[str]:
    if not path.endswith(".py"):
        return []
    found = imported(path, ast.parse(source))
    return [f"{path}:{line} imports {name}, not solvent.{name}" for line, name in found if name.split(".")[0] in LAYERS]


def actors_have_never_heard_of_it(path: str, source: str) -> list[str]:
    if not path.startswith("actors/"):
        return []
    return [f"{path}:{number} {line.strip()}" for number, line in numbered(source) if "credit" in line.lower()]


def folder_of(path: str) -> str | None:
    """Return the folder of ``engine`` that a module stands in, or its own name where it stands in none."""
    top, _, rest = path.partition("/")
    if top != "engine" or not path.endswith(".py") or rest == "__init__.py":
        return None
    return rest.partition("/")[0].removesuffix(".py")


def folders_point_one_way(path: str, source: str) -> list[str]:
    """Complain of an import of a folder of ``engine`` that stands later, and of a folder without a place."""
    folder = folder_of(path)
    if folder is None:
        return []
    if folder not in ORDER:
        return [f"{path} stands in a folder that has no place in ORDER"]
    before = ORDER[: ORDER.index(folder) + 1]
    return [
        f"{path}:{line} imports {name}"
        for line, name in imported(path, ast.parse(source))
        if name.startswith("solvent.engine.") and name.split(".")[2] not in before
    ]


def edges_point_one_way(path: str, source: str) -> list[str]:
    """Complain of what a folder of ``transports`` imports beside its ``EDGES``, and of a folder without a place."""
    top, _, rest = path.partition("/")
    folder, below, _ = rest.partition("/")
    if top != "transports" or not below or not path.endswith(".py"):
        return []
    if folder not in EDGES:
        return [f"{path} stands in a folder that has no place in EDGES"]
    allowed = (f"transports.{folder}", *EDGES[folder])
    return [
        f"{path}:{line} imports {name}"
        for line, name in imported(path, ast.parse(source))
        if name.startswith("solvent.") and not any(lies_in(name, each) for each in allowed)
    ]


def lies_in(name: str, place: str) -> bool:
    return f"{name}.".startswith(f"solvent.{place}.")


def folders_are_imported_by_full_name(path: str, source: str) -> list[str]:
    """Complain of a relative import that leaves its folder: every arrow can be seen at the top of a file."""
    if path.split("/")[0] not in LAYERS:
        return []
    return [
        f"{path}:{node.lineno} imports {'.' * node.level}{node.module or ''}: name it in full"
        for node in ast.walk(ast.parse(source) if path.endswith(".py") else ast.Module([], []))
        if isinstance(node, ast.ImportFrom) and node.level > 1
    ]


def folders_promise_and_export_nothing(path: str, source: str) -> list[str]:
    """Complain of an ``__init__.py`` below ``engine`` or ``transports`` that is more than a docstring, or less."""
    top, _, rest = path.partition("/")
    if top not in ("engine", "transports") or not rest.endswith("/__init__.py"):
        return []
    body = ast.parse(source).body
    promise = len(body) == 1 and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
    return [] if promise else [f"{path} has to hold a promise, and nothing else"]


def pure_folders_neither_wait_nor_look(path: str, source: str) -> list[str]:
    """Complain of what is not pure in a folder of ``PURE``, and of what looks in one of ``OPENS_NOTHING``."""
    folder = folder_of(path)
    if folder not in (*PURE, *OPENS_NOTHING):
        return []
    may_wait = folder in OPENS_NOTHING
    forbidden = WAITS_OR_LOOKS - WAITS if may_wait else WAITS_OR_LOOKS
    tree = ast.parse(source)
    complaints = []
    for line, name in imported(path, tree):
        top, *rest = name.split(".")
        if top in forbidden or (top == "solvent" and not (rest[:1] == ["engine"] and rest[1] in (*PURE, "api"))):
            complaints.append(f"{path}:{line} imports {name}")
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name) if name in READS_A_CLOCK:
                complaints.append(f"{path}:{node.lineno} reads a clock: {ast.unparse(node)}")
            case ast.Call(func=ast.Name(id=name)) if name in LOOKS_OUTSIDE:
                complaints.append(f"{path}:{node.lineno} calls {name}")
            case ast.AsyncFunctionDef() | ast.Await() | ast.AsyncFor() | ast.AsyncWith() if not may_wait:
                complaints.append(f"{path}:{node.lineno} waits")
    return complaints


def no_machine_or_registry_is_named(path: str, source: str) -> list[str]:
    return [
        f"{path}:{number} {line.strip()[:100]}"
        for number, line in numbered(source)
        if MACHINE_PATH.search(line) or REGISTRY.search(line)
    ]


def text_leaves_the_command_line_one_way(path: str, source: str) -> list[str]:
    """Complain of a console, a ``Text`` or a stream of a verb's own: text of others would reach a terminal raw."""
    if not path.startswith("transports/cli/") or not path.endswith(".py") or path == ONE_WAY_OUT:
        return []
    tree = ast.parse(source)
    complaints = [
        f"{path}:{line} imports {name}"
        for line, name in imported(path, tree)
        if name.startswith(("rich.text", "rich.markup", "rich.pretty")) or name in ("rich.print", "rich.get_console")
    ]
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="print")):
                complaints.append(f"{path}:{node.lineno} calls print")
            case ast.Call(func=ast.Attribute(attr="echo" | "secho" | "prompt" | "confirm" as name)):
                complaints.append(f"{path}:{node.lineno} calls {name}")
            case ast.Call(func=ast.Name(id="TextColumn"), args=[ast.Constant(value=str(format))]) if not re.search(
                "description|fields", format
            ):
                pass  # A number, which has no markup.
            case ast.Call(func=ast.Name(id="TextColumn") | ast.Attribute(attr="TextColumn")):
                complaints.append(f"{path}:{node.lineno} takes text for markup")
            case ast.Attribute(value=ast.Name(id="sys"), attr="stdout" | "stderr") if not only_asks(node, tree):
                complaints.append(f"{path}:{node.lineno} has a stream of its own")
    if "Console" in {name.asname or name.name for name in names_from(tree, "rich.console")} and "Console(" in source:
        complaints.append(f"{path} makes a console of its own")
    return complaints


def only_asks(stream: ast.Attribute, tree: ast.AST) -> bool:
    """Return whether a stream is only asked if it is a terminal."""
    return any(
        isinstance(node, ast.Attribute) and node.value is stream and node.attr == "isatty" for node in ast.walk(tree)
    )


def names_from(tree: ast.AST, module: str) -> Iterator[ast.alias]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == module:
            yield from node.names


def modules_open_with_a_promise(path: str, source: str) -> list[str]:
    """Complain of a public module without a docstring. An empty ``__init__.py`` promises nothing."""
    name = path.rpartition("/")[2]
    if not name.endswith(".py") or (name.startswith("_") and not name.startswith("__")) or not source.strip():
        return []
    return [] if ast.get_docstring(ast.parse(source)) else [f"{path} has no docstring"]


def top_level_folders(paths: Iterable[str]) -> list[str]:
    """Complain of folders that should not be there, or that are missing."""
    found = {path.split("/")[0] for path in paths if "/" in path}
    return [
        *(f"{name}/ is no folder of this repository" for name in sorted(found - TOP_LEVEL)),
        *(f"{name}/ is missing" for name in sorted(TOP_LEVEL - NOT_YET - found)),
    ]


def numbered(source: str) -> Iterable[tuple[int, str]]:
    return enumerate(source.splitlines(), start=1)


CHECKS: list[Check] = [
    imports_point_one_way,
    folders_point_one_way,
    edges_point_one_way,
    folders_are_imported_by_full_name,
    folders_promise_and_export_nothing,
    pure_folders_neither_wait_nor_look,
    nothing_is_imported_under_a_bare_name,
    actors_have_never_heard_of_it,
    no_machine_or_registry_is_named,
    modules_open_with_a_promise,
    text_leaves_the_command_line_one_way,
]


@cache
def git(*options: str) -> tuple[str, ...]:
    """Return the paths ``git ls-files`` names. What git ignores is nobody's business."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(["git", "ls-files", "-z", *options], cwd=ROOT, capture_output=True, text=True, check=True)
    return tuple(done.stdout.rstrip("\0").split("\0"))


@cache
def sources() -> dict[str, str]:
    files = {path: ROOT / path for path in git("--cached", "--others", "--exclude-standard")}
    return {
        path: file.read_text(encoding="utf-8", errors="replace")
        for path, file in files.items()
        if file.is_file() and not file.is_symlink()
    }


@pytest.mark.parametrize("check", CHECKS)
def test_the_repository_keeps_the_rule(check: Check) -> None:
    complaints = [complaint for path, source in sources().items() for complaint in check(path, source)]
    assert not complaints, "\n".join(complaints)


def test_the_top_level_folders_are_the_design() -> None:
    assert not top_level_folders(git("--cached"))


def test_every_folder_of_the_engine_has_its_place() -> None:
    found = {folder_of(path) for path in sources()} - {None}
    assert found == set(ORDER) - {"cluster"}


@pytest.mark.parametrize("folder", EDGES)
def test_an_edge_lists_only_what_it_needs(folder: str) -> None:
    files = [(path, source) for path, source in sources().items() if path.startswith(f"transports/{folder}/")]
    names = [name for path, source in files for _, name in imported(path, ast.parse(source))]
    assert [place for place in EDGES[folder] if not any(lies_in(name, place) for name in names)] == []


@pytest.mark.parametrize(
    ("check", "path", "source"),
    [
        (imports_point_one_way, "actors/a.py", "from solvent.engine.rules.pool import Pool"),
        (imports_point_one_way, "actors/a.py", "import solvent.transports"),
        (imports_point_one_way, "actors/a.py", "from ..engine import pool"),
        (imports_point_one_way, "actors/a.py", "from .. import engine"),
        (imports_point_one_way, "actors/a.py", "def f():\n    from solvent import engine"),
        (imports_point_one_way, "engine/a.py", "if TYPE_CHECKING:\n    from solvent.transports.nats import gateway"),
        (imports_point_one_way, "engine/a.py", "from ..transports.cli.main import app"),
        (imports_point_one_way, "engine/a.py", "import importlib\nimportlib.import_module('solvent.transports')"),
        (imports_point_one_way, "engine/a.py", "from solvent import Engine"),
        (imports_point_one_way, "transports/nats/a.py", "import solvent"),
        (folders_point_one_way, "engine/values/a.py", "from solvent.engine.rules.pool import Pool"),
        (folders_point_one_way, "engine/pools/a.py", "def f():\n    from solvent.engine.reads.feed import read_events"),
        (folders_point_one_way, "engine/journal/sqlite/a.py", "from solvent.engine.engine import Engine"),
        (folders_point_one_way, "engine/strange/a.py", "import re"),
        (
            edges_point_one_way,
            "transports/wire/a.py",
            "from solvent.transports.nats.client import Client",
        ),
        (edges_point_one_way, "transports/nats/a.py", "from solvent.transports.cli.main import app"),
        (edges_point_one_way, "transports/nats/a.py", "from solvent.engine.rules.pool import Pool"),
        (edges_point_one_way, "transports/nats/a.py", "from solvent.engine.rules import pool"),
        (edges_point_one_way, "transports/wire/a.py", "from solvent.engine.engine import Engine"),
        (edges_point_one_way, "transports/cli/verbs/a.py", "import solvent.engine.journal"),
        (edges_point_one_way, "transports/cli/a.py", "from solvent import engine"),
        (edges_point_one_way, "transports/strange/a.py", "import re"),
        (folders_are_imported_by_full_name, "engine/rules/a.py", "from ..values.times import SECOND_US"),
        (folders_are_imported_by_full_name, "transports/nats/a.py", "from ..wire import bodies"),
        (folders_promise_and_export_nothing, "engine/rules/__init__.py", ""),
        (folders_promise_and_export_nothing, "engine/rules/__init__.py", '"""Rules."""\nfrom .pool import Pool'),
        (nothing_is_imported_under_a_bare_name, "tests/a.py", "import engine"),
        (nothing_is_imported_under_a_bare_name, "tests/a.py", "import engine.pool as p"),
        (nothing_is_imported_under_a_bare_name, "transports/a.py", "from actors import Actor"),
        (nothing_is_imported_under_a_bare_name, "engine/a.py", "def f():\n    from transports.nats import client"),
        (nothing_is_imported_under_a_bare_name, "bench/a.py", "__import__('actors')"),
        (actors_have_never_heard_of_it, "actors/a.py", '"""Debits are not credits."""'),
        (actors_have_never_heard_of_it, "actors/README.md", "An actor of Credit"),
        *(
            (pure_folders_neither_wait_nor_look, "engine/rules/pool.py", source)
            for source in (
                *(f"import {name}" for name in sorted(WAITS_OR_LOOKS)),
                "from os.path import join",
                "def f():\n    from time import monotonic",
                "from solvent.actors import Actor",
                "from datetime import datetime\nnow = datetime.now(UTC)",
                "import datetime\nclock = datetime.datetime.utcnow",
                "from datetime import date\ndate.today()",
                "open('file')",
                "async def f(): pass",
            )
        ),
        *(
            (pure_folders_neither_wait_nor_look, "engine/api/credits.py", source)
            for source in ("import os", "from time import monotonic", "open('file')", "import solvent.engine.journal")
        ),
        (no_machine_or_registry_is_named, "docs/a.md", "see `/" + "home/me/notes`"),
        (no_machine_or_registry_is_named, "Makefile", "CACHE := /" + "root/.cache"),
        (no_machine_or_registry_is_named, "tests/a.py", "x = '/" + "work/main'"),
        (no_machine_or_registry_is_named, "docs/a.md", "C:\\" + "Users\\me"),
        (no_machine_or_registry_is_named, "pyproject.toml", "url = 'https://py" + "pi.org/simple'"),
        (no_machine_or_registry_is_named, ".ci/run", "pip install --index" + "-url $MIRROR"),
        (no_machine_or_registry_is_named, "README.md", "https://registry.npm" + "js.org/x"),
        (modules_open_with_a_promise, "engine/a.py", "import re"),
        *(
            (text_leaves_the_command_line_one_way, "transports/cli/verbs/a.py", source)
            for source in (
                "from rich.text import Text",
                "import rich.text",
                "from rich import print",
                "from rich.console import Console\nConsole().print('x')",
                "print('x')",
                "import typer\ntyper.echo('x')",
                "import typer\nname = typer.prompt('who?')",
                "import sys\nsys.stdout.write('x')",
                "import sys\nstream = sys.stderr",
                "from rich.progress import TextColumn\nTextColumn('{task.description}')",
            )
        ),
        (modules_open_with_a_promise, "solvent/__init__.py", "from solvent.engine import x"),
        (modules_open_with_a_promise, "tests/a.py", "# only a comment\nx = 1"),
    ],
)
def test_a_violation_is_noticed(check: Check, path: str, source: str) -> None:
    assert check(path, source)


@pytest.mark.parametrize(
    ("check", "path", "source"),
    [
        (
            imports_point_one_way,
            "actors/a.py",
            "import solvents\nfrom .errors import Stopped\nfrom solvent.actors import x",
        ),
        (imports_point_one_way, "engine/a.py", "from solvent.actors import Actor\nfrom ..actors import Mail"),
        (
            imports_point_one_way,
            "transports/nats/a.py",
            "from ..cli import x\nfrom solvent.engine.rules.pool import Pool",
        ),
        (imports_point_one_way, "tests/a.py", "from solvent import Engine"),
        (folders_point_one_way, "engine/rules/a.py", "from solvent.engine.values.times import SECOND_US\nimport re"),
        (folders_point_one_way, "engine/engine.py", "from solvent.engine.usage.desk import UsageDesk"),
        (folders_point_one_way, "transports/a.py", "from solvent.engine.engine import Engine"),
        (edges_point_one_way, "transports/wire/a.py", "from solvent.engine.api.receipts import Receipt"),
        (
            edges_point_one_way,
            "transports/nats/a.py",
            "from solvent.transports.wire.bodies import encode",
        ),
        (
            edges_point_one_way,
            "transports/cli/verbs/a.py",
            "from solvent.transports.cli.options import Key",
        ),
        (edges_point_one_way, "transports/cli/a.py", "from .exits import Exit\nimport re"),
        (edges_point_one_way, "engine/pools/a.py", "from solvent.engine.rules.pool import Pool"),
        (folders_are_imported_by_full_name, "engine/rules/a.py", "from .pool import Pool\nfrom . import budgets"),
        (folders_promise_and_export_nothing, "engine/rules/__init__.py", '"""Rules."""'),
        (pure_folders_neither_wait_nor_look, "engine/api/a.py", "import asyncio\nasync def f(): pass"),
        (pure_folders_neither_wait_nor_look, "engine/journal/a.py", "import os"),
        (nothing_is_imported_under_a_bare_name, "engine/a.py", "from .engine import Engine\nimport engines"),
        (actors_have_never_heard_of_it, "engine/a.py", "credits = 1"),
        (
            pure_folders_neither_wait_nor_look,
            "engine/rules/pool.py",
            "from .events import Held\nimport re\nnow = pool.at",
        ),
        (no_machine_or_registry_is_named, "docs/a.md", "https://host/home/x, ~/work/x, a/root/b, ./work/y"),
        (
            text_leaves_the_command_line_one_way,
            "transports/cli/verbs/a.py",
            "import sys\nfrom rich.console import Console\nfrom solvent.transports.cli.terminal import Text\n"
            "def f(console: Console) -> bool: return sys.stderr.isatty()",
        ),
        (text_leaves_the_command_line_one_way, "transports/nats/a.py", "print('x')"),
        (modules_open_with_a_promise, "engine/__init__.py", ""),
        (modules_open_with_a_promise, "engine/_private.py", "x = 1"),
        (modules_open_with_a_promise, "README.md", "# no module"),
    ],
)
def test_what_is_allowed_passes(check: Check, path: str, source: str) -> None:
    assert not check(path, source)


def test_a_strange_or_a_missing_folder_is_noticed() -> None:
    tidy = [f"{name}/file" for name in TOP_LEVEL] + ["Makefile"]
    assert not top_level_folders(tidy)
    assert not top_level_folders(path for path in tidy if path != "docs/file")
    assert top_level_folders([*tidy, "scripts/file"])
    assert top_level_folders(path for path in tidy if path != "bench/file")
