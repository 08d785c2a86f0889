"""The face of the package: what ``solvent`` exports, what it leaves alone, and the old names that it keeps."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import solvent
import solvent.requests
from solvent import Client, Credits, Engine, OpenHold, PendingHold
from solvent._moved import MOVED
from solvent.transports.wire.operations import COMMANDS, READS

from .test_house import imported, sources


def run(program: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *options, "-c", program], capture_output=True, text=True, check=False)


def test_every_public_name_is_there_and_nothing_else_is_public() -> None:
    assert solvent.__all__ == sorted(solvent.__all__)
    assert len(set(solvent.__all__)) == len(solvent.__all__)
    for name in solvent.__all__:
        assert getattr(solvent, name) is not None
    private = {name for name in vars(solvent) if name.startswith("_")} | {"annotations"}
    modules = {name for name, value in vars(solvent).items() if isinstance(value, ModuleType)}
    assert set(vars(solvent)) - private - modules <= set(solvent.__all__)


def test_the_request_of_every_operation_is_public() -> None:
    requests = {operation.request for operation in (*COMMANDS.values(), *READS.values())}
    assert requests <= {getattr(solvent.requests, name) for name in solvent.requests.__all__}


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'solvent' has no attribute 'Engin'"):
        _ = solvent.Engin
    with pytest.raises(ImportError, match="cannot import name 'Engin'"):
        exec("from solvent import Engin")


def test_duckdb_is_left_to_the_process_for_usage() -> None:
    done = run("import solvent, sys; before = 'duckdb' in sys.modules; solvent.verify_journal; print(before)")
    assert (done.stdout.strip(), done.stderr) == ("False", "")


@pytest.mark.parametrize("name", MOVED)
def test_an_old_module_has_what_it_had_and_warns(name: str) -> None:
    place, renamed = MOVED[name]
    old, new = importlib.import_module(name), importlib.import_module(place)
    public = [each for each in vars(new) if getattr(vars(new)[each], "__module__", "") == place]
    assert len(public) > 1
    former = {new_name: old_name for old_name, new_name in renamed.items()}
    for each in public:
        with pytest.warns(DeprecationWarning, match=rf"^{name}\.\w+ has moved: import {each} from (solvent|{place})$"):
            assert getattr(old, former.get(each, each)) is vars(new)[each]
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        _ = old.nothing_of_this_name


def test_the_warning_names_the_line_that_imports_and_the_public_name() -> None:
    program = "import solvent.engine.verify\nfrom solvent.engine.heads import publish\nprint(publish.__name__)"
    done = run(program, "-W", "always::DeprecationWarning")
    assert done.stdout.strip() == "publish_heads"
    assert (
        "<string>:2: DeprecationWarning: solvent.engine.heads.publish has moved: import publish_heads from solvent"
        in (done.stderr)
    )
    assert done.stderr.count("DeprecationWarning") == 1
    assert run(program, "-W", "error::DeprecationWarning").returncode == 1


def test_asking_the_import_system_about_an_old_module_does_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in MOVED:
            assert importlib.util.find_spec(name) is not None
            assert not hasattr(importlib.import_module(name), "__path__")


def test_nothing_here_uses_an_old_module() -> None:
    found = [
        f"{path}:{line} imports {name}"
        for path, source in sources().items()
        if path.endswith(".py")
        for line, name in imported(path, ast.parse(source))
        if name.startswith(tuple(MOVED))
    ]
    assert found == []
    prose = [
        f"{path} names {name}"
        for path, source in sources().items()
        if path.endswith(".md") and path != "CHANGELOG.md"
        for name in MOVED
        if name in source
    ]
    assert prose == []


VERBS = {name for name, _ in inspect.getmembers(Credits, inspect.isfunction) if not name.startswith("_")}


def public_members(kind: type[Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a user can ask for on an object of ``kind``, as an IDE lists it."""
    yield from ((name, member) for name, member in inspect.getmembers(kind) if not name.startswith("_"))


@pytest.mark.parametrize("kind", [Credits, Engine, Client, OpenHold, PendingHold])
def test_an_ide_shows_a_whole_text_for_everything(kind: type[Any]) -> None:
    for name, member in public_members(kind):
        text = inspect.getdoc(member) or ""
        assert len(text.split()) >= 3, f"{kind.__name__}.{name} says nothing"
        assert not text.startswith("See "), f"{kind.__name__}.{name} sends its reader elsewhere"


@pytest.mark.parametrize("kind", [Engine, Client])
def test_a_verb_has_the_same_text_and_signature_wherever_it_is_written(kind: type[Any]) -> None:
    assert len(VERBS) > 40
    for name in VERBS:
        written, general = getattr(kind, name), getattr(Credits, name)
        assert inspect.getdoc(written) == inspect.getdoc(general), f"{kind.__name__}.{name}"
        assert inspect.signature(written) == inspect.signature(general), f"{kind.__name__}.{name}"


CALLED = [
    *(getattr(Credits, name) for name in sorted(VERBS)),
    Engine.open,
    *(getattr(solvent, name) for name in solvent.__all__ if inspect.isfunction(getattr(solvent, name))),
]


@pytest.mark.parametrize("function", CALLED, ids=[function.__qualname__ for function in CALLED])
def test_the_text_of_what_users_call_names_each_of_its_parameters(function: Callable[..., Any]) -> None:
    text, signature = inspect.getdoc(function) or "", inspect.signature(function)
    missing = [each for each in signature.parameters if each != "self" and not re.search(rf"\b{each}\b", text)]
    assert missing == []
