"""A client that asks as fast as it can, and is killed with its requests under way. Started by the tests beside it.

Prints a line of JSON before each request and after each answer, unbuffered.
"""

from __future__ import annotations

import asyncio
import os
import sys

import msgspec

from solvent import DebitRequest, SolventError, connect

CALLERS = 32


def say(**what: object) -> None:
    os.write(1, msgspec.json.encode(what) + b"\n")


async def main(url: str, run: str) -> None:
    async with connect(url) as client:

        async def caller(number: int) -> None:
            call = 0
            while True:
                key = f"{run}-{number}-{call}"
                say(asked=key, kind=number % 3)
                try:
                    if number % 3 == 0:
                        await client.debit("acme/a", "1", key=key)
                    elif number % 3 == 1:
                        await client.transfer("acme/a", "acme/b", "1", key=key, open_pool=True)
                    else:
                        both = [DebitRequest(pool=f"acme/{name}", amount="1", key=key) for name in "ab"]
                        await client.batch(both, atomic=True)
                    say(acknowledged=key)
                except SolventError as error:
                    say(error=str(error))
                call += 1

        await asyncio.gather(*(caller(number) for number in range(CALLERS)))


asyncio.run(main(*sys.argv[1:3]))
