"""A process that debits as fast as it can and says so, until it is killed. Started by the tests beside it.

Prints a line of JSON for every debit before it is asked for and after it was acknowledged, unbuffered, so that what
was printed is exactly what a caller would have known at the moment of the kill.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Literal

import msgspec

from solvent.engine.api.answers import to_wire
from solvent.engine.engine import Engine
from solvent.engine.settings import Settings
from solvent.engine.values.errors import InsufficientCredits

POOLS = 20
CALLERS = 32


def say(**what: object) -> None:
    os.write(1, msgspec.json.encode(what) + b"\n")


async def main(directory: str, run: str, usage: Literal["on demand", "always"]) -> None:
    # A small resident limit, so that kills also strike while pools wake and leave.
    settings = Settings(resident_max=POOLS // 2 + CALLERS, usage=usage)
    async with Engine.open(directory, settings=settings) as engine:
        say(ready=True)
        # At once, in one or two flushes: on a slow machine most kills would strike before the first debit else.
        await asyncio.gather(*(engine.grant(f"customer/{pool}", "40", key=f"{run}-grant") for pool in range(POOLS)))

        async def caller(number: int) -> None:
            call = 0
            while True:
                pool, key = f"customer/{(number * 7 + call) % POOLS}", f"{run}-{number}-{call}"
                say(asked=key, pool=pool)
                try:
                    receipt = await engine.debit(pool, "0.5", key=key, dimensions={"caller": number})
                    say(acknowledged=key, receipt=to_wire(receipt))
                except InsufficientCredits:
                    say(refused=key)
                call += 1

        await asyncio.gather(*(caller(number) for number in range(CALLERS)))


asyncio.run(main(sys.argv[1], sys.argv[2], "always" if sys.argv[3:] == ["always"] else "on demand"))
