"""The examples of the documentation run and print what they say, its tables are complete, what it names exists."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.main import get_command

import solvent
from solvent import AlreadyServed, Engine, NatsServerUnavailable, SolventError
from solvent.engine.rules.outcomes import ConflictReason
from solvent.transports.cli.main import app
from solvent.transports.wire.operations import BATCH, COMMANDS, READS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SECTIONS = [
    (f"{name}: {title}", text)
    for name in ("credits", "usage", "audit")
    for title, text in re.findall(
        r"^## (.*?)\n(.*?)(?=^## |\Z)", (DOCS / f"{name}.md").read_text(), flags=re.DOTALL | re.MULTILINE
    )
]
EXAMPLES = {
    f"{title} {number}": code
    for title, text in SECTIONS
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
}
PUBLIC_MODULES = {"solvent.requests", "solvent.testing"}
"""What examples may import besides ``solvent`` itself."""
ERRORS = (DOCS / "errors.md").read_text()
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in sorted(
        [
            *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "actors/README.md")),
            *DOCS.rglob("*.md"),
            *DOCS.rglob("*.svg"),
        ]
    )
}
CODE_FOLDERS = "actors|bench|docs|engine|solvent|tests|transports"
NAMED_PATH = re.compile(rf"(?<![\w./-])(?:{CODE_FOLDERS})/[\w./-]*[\w/]")
"""A path from the root of the repository, such as ``engine/rules/pool.py`` or ``tests/credits``."""
NAMED_FILE = re.compile(r"(?<![\w./-])\w+\.py\b")
"""The name of a module without its folder."""
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def said_to_be_printed(code: str) -> list[str]:
    """The comments behind a print, or in the lines below it."""
    found = re.findall(r"^ *print\(.*\)(?:  # (.*)|((?:\n# .*)+))$", code, flags=re.MULTILINE)
    return [
        line
        for beside, below in found
        for line in ([beside] if beside else below.replace("# ", "").strip().split("\n"))
    ]


@pytest.mark.parametrize("title", EXAMPLES)
async def test_an_example_prints_what_it_says(title: str, tmp_path: Path) -> None:
    code = EXAMPLES[title]
    promised = said_to_be_printed(code)
    assert promised, "an example that shows nothing"
    scope: dict[str, Any] = {}
    exec("async def example(engine):\n" + textwrap.indent(code, "    "), scope)
    said = StringIO()
    async with Engine.open(tmp_path) as engine:
        with redirect_stdout(said):
            await scope["example"](engine)
    assert said.getvalue().splitlines() == promised


def strange_imports(page: str, code: str) -> list[str]:
    """Return what an example imports of Solvent that is not public."""
    may_import = PUBLIC_MODULES | ({"solvent.actors"} if page.startswith("actors/") else set())
    found: list[str] = []
    for node in ast.walk(ast.parse("async def example():\n" + textwrap.indent(code, "    "))):
        match node:
            case ast.Import(names=names):
                found += [alias.name for alias in names if alias.name not in ("solvent", *may_import)]
            case ast.ImportFrom(module="solvent", names=names):
                found += [f"solvent.{alias.name}" for alias in names if alias.name not in solvent.__all__]
            case ast.ImportFrom(module=str(module)) if module not in may_import:
                found.append(module)
    return [name for name in found if name.partition(".")[0] in ("solvent", "engine", "actors", "transports")]


def test_examples_import_what_is_public() -> None:
    examples = [
        (page, code)
        for page, text in PAGES.items()
        for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    ]
    assert len(examples) > len(EXAMPLES)
    assert {page: strange for page, code in examples if (strange := strange_imports(page, code))} == {}


@pytest.mark.parametrize(
    ("page", "code"),
    [
        ("README.md", "from solvent.engine.engine import Engine"),
        ("README.md", "import solvent.engine.audit.verify"),
        ("README.md", "from solvent import nothing_of_this_name"),
        ("docs/audit.md", "async with x:\n    from solvent.actors import Actor"),
        ("docs/audit.md", "import engine"),
    ],
)
def test_an_import_of_what_is_not_public_is_noticed(page: str, code: str) -> None:
    assert strange_imports(page, code)


def test_the_tests_on_the_page_about_testing_pass(tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", PAGES["docs/testing.md"], flags=re.DOTALL)
    assert len(examples) == 3
    for number, code in enumerate(examples):
        (tmp_path / f"test_{number}.py").write_text(code)
    bare = ("-p", "no:asyncio", "-p", "no:anyio", "-p", "no:cacheprovider")
    command = (sys.executable, "-W", "error", "-m", "pytest", "-q", *bare, "--rootdir", str(tmp_path), str(tmp_path))
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    assert re.search(r"^\d\d passed", ran.stdout, flags=re.MULTILINE), ran.stdout


def test_every_error_is_in_the_table_with_its_number_and_fields() -> None:
    def subclasses(kind: type[SolventError]) -> set[type[SolventError]]:
        return {kind, *(deeper for each in kind.__subclasses__() for deeper in subclasses(each))}

    rows = {
        code: (status, name, re.findall(r"`(\w+)`", fields))
        for code, status, name, fields in re.findall(
            r"^\| `(\w+)` \| (\d+) \| `(\w+)` \| (.*?) \|", ERRORS, flags=re.MULTILINE
        )
    }
    kinds = {
        kind for kind in subclasses(SolventError) if kind.__module__.startswith("solvent.") and "code" in vars(kind)
    }
    assert {AlreadyServed, NatsServerUnavailable} <= kinds
    assert {kind.code: (str(kind.status), kind.__name__, list(kind.fields)) for kind in kinds} == rows


def test_every_reason_of_a_conflict_is_listed() -> None:
    sources = "".join(path.read_text() for path in sorted((ROOT / "engine").rglob("*.py")))
    reasons = set(re.findall(r'(?:Conflict|StateConflict)\(\s*"(\w+)"', sources))
    reasons |= set(get_args(ConflictReason))
    assert len(reasons) >= 14
    assert {reason for reason in reasons if f"`{reason}`" not in ERRORS} == set()


def test_every_section_has_an_example() -> None:
    # What is typed to audit a journal is tested with the command line.
    capabilities = [title for title, _ in SECTIONS if not title.startswith("audit")]
    assert [title for title in capabilities if f"{title} 0" not in EXAMPLES] == []
    assert len(EXAMPLES) >= 8


def test_every_guarantee_names_tests_that_are_there() -> None:
    named = re.findall(r"`(tests/[a-z_/]+\.py)::(test_[a-z_]+)`", (DOCS / "guarantees.md").read_text())
    assert len(named) > 20
    for file, name in named:
        assert f"def {name}(" in (ROOT / file).read_text(), f"{file} has no {name}"


def without_fences(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def missing_paths(text: str) -> list[str]:
    """Return the paths from the root, and the bare names of modules, that ``text`` names and that are not there."""
    modules = {path.name for folder in CODE_FOLDERS.split("|") for path in (ROOT / folder).rglob("*.py")}
    return [
        *(path for path in NAMED_PATH.findall(text) if not (ROOT / path).exists()),
        *(name for name in NAMED_FILE.findall(text) if name not in modules),
    ]


def anchors(text: str) -> set[str]:
    """Return what a link to a heading of a page may name, as code hosts spell it."""
    headings = re.findall(r"^#+ (.*)$", without_fences(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: str, text: str) -> list[str]:
    """Return the relative links of a page that lead nowhere."""
    broken = []
    for link in LINK.findall(without_fences(text)):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        path = (ROOT / page).parent / target if target else ROOT / page
        if not path.exists() or (anchor and anchor not in anchors(path.read_text())):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_a_page_names_is_there(page: str) -> None:
    assert missing_paths(PAGES[page]) == []


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    assert broken_links(page, PAGES[page]) == []


def test_a_path_or_a_link_that_leads_nowhere_is_noticed() -> None:
    assert missing_paths("`engine/rules/pool.py`, `tests/credits/`, pool.py") == []
    assert missing_paths("`engine/pool.py` and `tests/no_such_folder`, [x](../engine/y.py), nothing.py") == [
        *("engine/pool.py", "tests/no_such_folder"),
        "nothing.py",
    ]
    assert broken_links("README.md", "[a](docs/usage.md#limits), [b](https://example.org/x)") == []
    assert broken_links("README.md", "[a](docs/usage.md#no-such), [b](usage.md)") == [
        "docs/usage.md#no-such",
        "usage.md",
    ]


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached = {"README.md"}
    waiting = ["README.md"]
    while waiting:
        page = waiting.pop()
        for link in LINK.findall(PAGES[page]):
            path = ((ROOT / page).parent / link.partition("#")[0]).resolve()
            found = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else ""
            if found in PAGES and found not in reached:
                reached.add(found)
                waiting.append(found)
    assert set(PAGES) - reached == set()


def test_the_architecture_has_a_place_for_every_folder() -> None:
    folders = {f"{path.parent.relative_to(ROOT)}/" for path in (ROOT / "engine").glob("*/__init__.py")}
    folders |= {f"{path.parent.relative_to(ROOT)}/" for path in (ROOT / "transports").glob("*/__init__.py")}
    assert len(folders) > 10
    assert {folder for folder in folders if f"`{folder}`" not in PAGES["docs/architecture.md"]} == set()


def test_every_operation_is_on_the_page_of_nats() -> None:
    (listed,) = re.findall(r"^## Operations\n(.*?)^## ", PAGES["docs/nats.md"], flags=re.DOTALL | re.MULTILINE)
    assert {name for name in (*COMMANDS, *READS, BATCH) if f"`{name}`" not in listed} == set()


def test_every_command_of_the_command_line_is_on_its_page() -> None:
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    assert len(commands) > 40
    assert {name for name in commands if f"`{name}`" not in PAGES["docs/command-line.md"]} == set()
