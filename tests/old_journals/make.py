"""Write down what a version of Solvent leaves behind in its data folders, and what it answers of them.

Run it with the version whose files are to be kept, in a checkout of it, with public names alone:

    cp -r tests/old_journals OLD_CHECKOUT/tests/
    cd OLD_CHECKOUT && .venv/bin/python -m tests.old_journals.make NAME

Then copy ``OLD_CHECKOUT/tests/old_journals/NAME`` here: the tests take each folder that they find. It has

- ``closed.tar.xz``: a data folder whose engine was closed, with all of its caches up to date;
- ``killed.tar.xz``: one whose processes were all killed: the journal's log is there, and the caches are behind;
- for each of them what the same version answers, a line of JSON for each question, and every command with its receipt
  (``xzcat killed.jsonl.xz | grep 'ledger acme'``).

Add one when the number of a format is raised (see docs/formats.md), and never change one that is here.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import lzma
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from solvent import Engine, connect

from .questions import Answers, collected, cursors, past, present, usage
from .story import Book, Clock, last_moments, served, story

SETTLE_S: Final = 3.5
"""Real seconds in which pools that are due are woken, and caches and refusals are written."""
CURRENCIES: Final = {"tokens": 0, "eur": 2, "gold/bars": 9}
EXPORTED: Final = ("journal.jsonl", "ledger.jsonl", "manifest.json")
HERE: Final = Path(__file__).parent


def solvent(*words: str | Path) -> str:
    """What ``solvent`` prints when it is called with these words."""
    done = subprocess.run(
        [sys.executable, "-m", "solvent", *map(str, words)], check=False, text=True, stdout=subprocess.PIPE
    )
    if done.returncode:
        raise RuntimeError(f"solvent {words} ended with {done.returncode}: {done.stdout}")
    return done.stdout


async def begin(folder: Path, commands: list[Answers]) -> None:
    """The first entries, which ``solvent serve`` writes, with what it notes for itself."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "solvent", "serve", "--json", "--nats-port", "0", "--data-dir", str(folder)),
        *("--environment", "default", "--environment", "staging"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    url = json.loads(await process.stdout.readline())["ready"]
    async with connect(url) as credits:
        await served(Book(credits, Clock(), commands))
        await asyncio.sleep(SETTLE_S)
    process.terminate()
    await process.wait()


async def write(folder: Path, out: Path, *, kill: bool) -> None:
    """Have everything happen in ``folder``. To be killed, say when, and wait for it; else stop in order."""
    commands: list[Answers] = []
    await begin(folder, commands)
    clock = Clock()
    async with Engine.open(folder, currencies=CURRENCIES, now_us=clock.now_us) as engine:
        book = Book(engine, clock, commands)
        await story(book)
        await collected(usage(engine))
        await asyncio.sleep(SETTLE_S)
        await last_moments(book)
        out.write_text(json.dumps({"now": clock.now.isoformat(), "commands": commands}, ensure_ascii=False))
        if kill:
            print("now", flush=True)
            await asyncio.sleep(3_600)
        await asyncio.sleep(SETTLE_S)
        await collected(usage(engine))


def written(folder: Path, out: Path, *, kill: bool) -> None:
    """Run ``write`` in processes of its own, and with ``kill`` end all of them at once."""
    words = [sys.executable, "-m", "tests.old_journals.make", "--write", str(folder), str(out)]
    process = subprocess.Popen(
        [*words, *(["--kill"] if kill else [])], start_new_session=True, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    if kill and process.stdout.readline() == "now\n":
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    elif process.wait():
        raise RuntimeError(f"the writer ended with {process.returncode}")


async def answered(folder: Path, clock: Clock) -> tuple[Answers, Answers]:
    """What is answered of a folder, and cursors. It is asked twice, a while apart: nothing may be due any more."""
    answers: list[Answers] = []
    kept: Answers = {}
    for _ in range(2):
        async with Engine.open(folder, now_us=clock.now_us) as engine:
            answers.append({
                **await collected(past(engine)),
                **await collected(present(engine)),
                **await collected(usage(engine)),
            })  # fmt: skip
            await asyncio.sleep(SETTLE_S)
            kept = await cursors(engine)
    if answers[0] != answers[1]:
        different = [question for question in answers[0] if answers[0][question] != answers[1][question]]
        raise RuntimeError(f"the answers change: {different}")
    return answers[1], kept


def recorded(folder: Path, said: Answers) -> dict[str, Any]:
    """Everything that this version says of a copy of ``folder``."""
    with tempfile.TemporaryDirectory() as scratch:
        copy, exported = Path(scratch) / "copy", Path(scratch) / "exported"
        shutil.copytree(folder, copy)
        clock = Clock()
        clock.now = datetime.fromisoformat(said["now"])
        answers, kept = asyncio.run(answered(copy, clock))
        heads = Path(scratch) / "heads.json"
        verified = json.loads(solvent("verify", "--json", "--data-dir", copy, "--heads", heads))
        del verified["seconds"]
        solvent("export", exported, "--json", "--data-dir", copy)
        return {
            "now": said["now"],
            "commands": said["commands"],
            "answers": answers,
            "cursors": kept,
            "verified": verified,
            "heads": json.loads(heads.read_text()),
            "exported": {name: hashlib.sha256((exported / name).read_bytes()).hexdigest() for name in EXPORTED},
        }


def packed(folder: Path, archive: Path) -> None:
    """Pack ``folder`` small, without the names of people and machines."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(archive, "w:xz", preset=9) as tar:
        tar.add(folder, arcname=".", filter=plain)


def lines_of(record: dict[str, Any]) -> str:
    """A record as lines of JSON, each with where it belongs."""
    lines: list[Any] = [["now", record["now"]]]
    lines += [["commands", each] for each in record["commands"]]
    for part in ("answers", "cursors", "verified", "exported"):
        lines += [[part, name, value] for name, value in record[part].items()]
    lines.append(["heads", record["heads"]])
    return "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)


def make(target: Path) -> None:
    """Make both folders and their records in ``target``."""
    target.mkdir()
    for name in ("closed", "killed"):
        with tempfile.TemporaryDirectory() as scratch:
            folder, out = Path(scratch) / "journal", Path(scratch) / "said.json"
            written(folder, out, kill=name == "killed")
            packed(folder, target / f"{name}.tar.xz")
            record = recorded(folder, json.loads(out.read_text()))
        (target / f"{name}.jsonl.xz").write_bytes(lzma.compress(lines_of(record).encode(), preset=9))


def main() -> None:
    """Do what the arguments say."""
    if sys.argv[1] == "--write":
        asyncio.run(write(Path(sys.argv[2]), Path(sys.argv[3]), kill="--kill" in sys.argv))
    else:
        make(HERE / sys.argv[1])


if __name__ == "__main__":
    main()
