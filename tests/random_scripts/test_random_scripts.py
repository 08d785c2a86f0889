"""Everything that a pool can do, together: random scripts against the model, three pools of one customer at a time.

The model is in tests/model, one file for each heading of docs/credits.md. A script that fails is shortened and printed.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import get_args

import msgspec
import pytest

from solvent.engine.rules.events import Event
from tests.model.branches import Branch

from .mistakes import MISTAKES, paid_credits_burn_first, scripts_to_find
from .outcomes import OF_STREAMS, answers, missing
from .script import SEQUELS, WEIGHTS, script_of
from .shrinking import failure_of, report, run_script, shortened
from .tracing import traced

SCRIPTS = 320 * int(os.environ.get("SOLVENT_TEST_EXAMPLES", "1"))
"""Of 100 commands and more each: 30,000 random commands a run."""
FIRST = 280
"""Of these, those that have to meet everything."""
SCRIPTS_TO_FIND_A_MISTAKE = 150
EVERYTHING = Counter([*answers(), *get_args(Branch)])


@pytest.mark.parametrize("seed", range(FIRST, SCRIPTS))
def test_whatever_is_asked_of_three_pools_is_what_the_model_predicts(seed: int) -> None:
    run_script(seed)


def test_the_first_scripts_meet_everything_that_a_pool_can_answer() -> None:
    """The same, and what makes all of it worth something: in one test, so that any number of workers can run it."""
    met: Counter[str] = Counter()
    with traced() as tracer:
        for seed in range(FIRST):
            met += run_script(seed)
    assert missing(met) == [], "no script meets this: see tests/random_scripts/script.py"
    assert tracer.missing() == [], "no script executes these statements of the rules"


def test_whatever_is_never_met_is_missed() -> None:
    for name in EVERYTHING.keys() - OF_STREAMS:
        assert missing(EVERYTHING - Counter([name])) == [name]


def test_an_event_that_is_new_is_missed_until_a_script_meets_it() -> None:
    planted = msgspec.defstruct("Planted", [("at", int)])
    assert missing(EVERYTHING, answers(events=(*get_args(Event), planted))) == ["Planted"]


def test_scripts_that_leave_something_out_do_not_meet_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WEIGHTS, "capture", 0)
    for kind, sequels in list(SEQUELS.items()):
        monkeypatch.setitem(SEQUELS, kind, tuple(sequel for sequel in sequels if sequel != "capture"))
    met: Counter[str] = Counter()
    with traced() as tracer:
        for seed in range(5):
            met += run_script(seed)
    assert {"Captured", "Conflict: hold_captured", "a capture of all"} <= set(missing(met))
    statements = [statement for statement in tracer.missing() if statement.startswith("holds.py")]
    assert any("captured = Captured(" in statement for statement in statements)


def test_what_happens_in_streams_alone_exists() -> None:
    assert set(answers()) >= OF_STREAMS, "an exception from nothing"


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_the_rules_is_found(name: str) -> None:
    found = scripts_to_find(MISTAKES[name], most=SCRIPTS_TO_FIND_A_MISTAKE)
    assert found is not None, f"{SCRIPTS_TO_FIND_A_MISTAKE} scripts do not find it"
    print(f"{name}: found by script {found}")


def test_a_script_that_fails_is_shortened_and_can_be_run_again() -> None:
    with pytest.MonkeyPatch.context() as patch:
        paid_credits_burn_first(patch)
        failing = next(steps for steps in map(script_of, range(100)) if failure_of(steps))
        short = shortened(failing, shrink_s=60)
        assert failure_of(short) is not None
        # Two grants that expire together, and a debit that one of them alone could pay.
        assert len(short) <= 4
        text = report(short)
        assert all(repr(step) in text.replace("KEEP", "<Keep.KEEP: 0>") for step in short)
        assert "the model writes" in text or "assert" in text
    assert failure_of(short) is None, "without the mistake there is no failure"
