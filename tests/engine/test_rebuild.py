"""A usage file holds all environments: a rebuild that one asks for keeps no other from its answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

from solvent import Engine

DEBITS = 3_000
DEADLINE_S = 60.0


async def test_a_rebuild_for_one_environment_answers_another_and_is_joined_by_it(tmp_path: Path) -> None:
    async with Engine.open(tmp_path) as engine:
        for pool in ("acme", "staging@acme"):
            await engine.grant(pool, DEBITS, key="g")
        for number in range(0, DEBITS, 100):
            await asyncio.gather(
                *(
                    engine.debit(pool, 1, key=f"k{each}", dimensions={"user": f"u{each % 7}"})
                    for each in range(number, number + 100)
                    for pool in ("acme", "staging@acme")
                )
            )
        await engine.usage("staging@acme", period="today", consistent=True)
        begun = await engine.rebuild_usage(environment="default")
        assert begun.rebuilt is not None
        joined = await engine.rebuild_usage(environment="staging")
        assert joined.rebuilt is not None
        assert joined.rebuilt >= begun.rebuilt, "it was begun again"
        answered = 0
        async with asyncio.timeout(DEADLINE_S):
            while True:
                usage = await engine.usage("staging@acme", period="today", group_by=["user"], consistent=True)
                assert usage.total.credits == DEBITS
                status = await engine.usage_status(environment="staging")
                if status.rebuilt is None:
                    break
                answered += 1
        assert status.failure is None
        assert status.position >= begun.journal
        for pool in ("acme", "staging@acme"):
            assert (await engine.usage(pool, period="today", consistent=True)).total.credits == DEBITS
