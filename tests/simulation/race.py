"""One caller of a race, in a process of its own: plays over NATS, settles, and writes down what it saw.

``python -m tests.simulation.race URL NAME SEED COMMANDS FILE``
"""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import msgspec

from solvent import connect

from .players import Player

POOLS = ("acme", "acme/a", "acme/b", "globex")


async def main(url: str, name: str, seed: int, commands: int, file: Path) -> None:
    # The monotonic clock is the same in all processes of a machine.
    player = Player(name, POOLS, Random(seed), clock=time.monotonic, now=lambda: datetime.now(UTC), tries=20)
    async with connect(url, timeout_s=2.0) as client:
        await player.play(client, commands, pause_s=0.03)
        await player.settle(client)
    file.write_bytes(msgspec.json.encode(player.history))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5])))
