"""Builds the wheel and the sdist, installs the wheel in a clean environment, and runs what it brings.

A script, not a test: it needs the network for the dependencies and takes half a minute. Exits non-zero with a reason.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("actors", "engine", "transports")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="solvent-package-") as scratch:
        built = Path(scratch, "dist")
        run(sys.executable, "-m", "build", "--outdir", str(built), str(ROOT))
        wheel = only(built.glob("*.whl"))
        check_wheel(wheel)
        check_sdist(only(built.glob("*.tar.gz")))
        check_installed(wheel, Path(scratch, "clean"))
    print("packaging: wheel and sdist hold all modules; the wheel installs one top-level name and runs")


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


def check_installed(wheel: Path, environment: Path) -> None:
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel))
    version = run(str(environment / "bin" / "solvent"), "--version", cwd=environment)
    expect(wheel.name.split("-")[1] in version, f"solvent --version says {version!r}")
    script = "import solvent.engine.engine, solvent.actors, solvent.transports; print(solvent.engine.__name__)"
    expect(
        run(str(python), "-c", script, cwd=environment).strip() == "solvent.engine", "the imports are not one package"
    )
    found = run(
        str(python),
        "-c",
        "import importlib.util as u; print([n for n in 'engine actors transports'.split() if u.find_spec(n)])",
        cwd=environment,
    )
    expect(found.strip() == "[]", f"bare names can be imported: {found}")


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
