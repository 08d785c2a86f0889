"""Run random scripts, more than the tests do, or measure how soon they find mistakes.

``python -m tests.random_scripts --scripts 5000`` runs so many, up to the first that fails.
``python -m tests.random_scripts --mistakes`` plants each mistake and counts the scripts that it takes to find it.
"""

from __future__ import annotations

import argparse
import sys
from statistics import median

from .mistakes import MISTAKES, scripts_to_find
from .shrinking import run_script

STARTS = range(0, 50_000, 10_000)
"""Where searches for a mistake begin: the median of several says more than one."""


def main() -> None:
    options = argparse.ArgumentParser(prog="tests.random_scripts", description=__doc__)
    options.add_argument("--first", type=int, default=0, help="the first seed")
    options.add_argument("--scripts", type=int, default=1_000, help="how many seeds at most")
    options.add_argument("--mistakes", action="store_true", help="plant each mistake and look for it")
    chosen = options.parse_args()
    if chosen.mistakes:
        find_mistakes(chosen.first, chosen.scripts)
        return
    for seed in range(chosen.first, chosen.first + chosen.scripts):
        try:
            run_script(seed)
        except AssertionError as failure:
            sys.exit(str(failure))
    print(f"{chosen.scripts} scripts, none failed")


def find_mistakes(first: int, most: int) -> None:
    print(f"scripts to find a mistake (median of {len(STARTS)} searches, the longest)")
    for name, mistake in MISTAKES.items():
        found = [scripts_to_find(mistake, first=first + start, most=most) or most for start in STARTS]
        print(f"  {name:50} {median(found):5} {max(found):5}", flush=True)


if __name__ == "__main__":
    main()
