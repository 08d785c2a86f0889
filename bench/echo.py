"""``python -m bench.echo URL``: answers every request on ``echo`` with its own body, as plainly as nats-py can."""

from __future__ import annotations

import asyncio
import sys

import nats
from nats.aio.msg import Msg

from .loops import run


async def serve(url: str) -> None:
    connection = await nats.connect(url)

    async def answer(message: Msg) -> None:
        await message.respond(message.data)

    await connection.subscribe("echo", cb=answer)
    await connection.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    run(serve(sys.argv[1]))
