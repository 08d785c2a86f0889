"""A process that moves credits between pools as fast as it can, until it is killed. Started by the tests beside it.

Prints a line for every transfer and atomic batch before it is asked for and after it was acknowledged, unbuffered.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys

from solvent import DebitRequest, Engine, InsufficientCredits, Receipt

POOLS = ["acme", "acme/a", "acme/b", "acme/c"]
CALLERS = 8


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


async def main(directory: str, run: str) -> None:
    async with Engine.open(directory) as engine:
        for pool in POOLS:
            await engine.grant(pool, 1_000, key="first")
        say("ready")

        async def caller(number: int) -> None:
            dice = random.Random(f"{run}-{number}")
            call = 0
            while True:
                key, (source, target) = f"{run}-{number}-{call}", dice.sample(POOLS, 2)
                say(f"asked {key}")
                if call % 2:
                    debits = [DebitRequest(pool=pool, amount="0.001", key=key) for pool in (source, target)]
                    if all(isinstance(answer, Receipt) for answer in await engine.batch(debits, atomic=True)):
                        say(f"both {key} {source} {target}")
                else:
                    try:
                        await engine.transfer(source, target, dice.randint(1, 50), key=key, open_pool=True)
                        say(f"moved {key} {source} {target}")
                    except InsufficientCredits:
                        pass
                call += 1

        await asyncio.gather(*(caller(number) for number in range(CALLERS)))


asyncio.run(main(sys.argv[1], sys.argv[2]))
