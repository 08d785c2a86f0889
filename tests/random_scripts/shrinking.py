"""What becomes of a script: it is run, and one that fails is shortened and printed as it can be run again."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Sequence

from solvent.engine.values.terms import KEEP

from .run import Run
from .script import Step, script_of

SHRINK_S = 20.0
"""How long a script that fails is shortened."""


def run_script(seed: int) -> Counter[str]:
    """Run the script of a seed. Returns what it met. Raises ``AssertionError`` with a short script that fails too."""
    steps = script_of(seed)
    run = Run()
    try:
        run.run(steps)
    except Exception:  # noqa: BLE001 - whatever a script comes to is reported with it
        raise AssertionError(f"seed {seed}, {report(shortened(steps))}") from None
    return run.met


def failure_of(steps: Sequence[Step]) -> tuple[Exception, Run] | None:
    """Return what goes wrong with a script; ``None`` if nothing does."""
    run = Run()
    try:
        run.run(steps)
    except Exception as error:  # noqa: BLE001 - whatever a script comes to is reported with it
        return error, run
    return None


def shortened(steps: list[Step], *, shrink_s: float = SHRINK_S) -> list[Step]:
    """Return a script that fails, with as few of ``steps`` as dropping some of them can reach."""
    give_up_at = time.monotonic() + shrink_s
    first = failure_of(steps)
    assert first is not None, "the same script passes when it is run again"
    # Steps that say what they are about stay the same when others are dropped.
    if failure_of(first[1].done) is not None:
        steps = first[1].done
    size = len(steps)
    while size and time.monotonic() < give_up_at:
        place, before = 0, len(steps)
        while place < len(steps) and time.monotonic() < give_up_at:
            fewer = steps[:place] + steps[place + size :]
            if failure_of(fewer) is not None:
                steps = fewer
            else:
                place += size
        size = 1 if size == 1 and len(steps) < before else size // 2
    return steps


def report(steps: Sequence[Step]) -> str:
    """Return a script that fails as text: its steps, what was asked, and the error."""
    failure = failure_of(steps)
    assert failure is not None, "the same script passes when it is run again"
    error, run = failure
    script = "\n".join(f"    {step!r}," for step in steps).replace(repr(KEEP), "KEEP")
    asked = "\n".join(f"    {line}" for line in run.trace)
    trace = "".join(traceback.format_exception(error)[-3:])
    return f"shortened to {len(steps)} steps:\n{script}\nasked:\n{asked}\n{trace}"
