"""Debits one pool many times without waiting for any answer. Started by the test beside it.

``gathered`` is Solvent's client, with its own limit out of the way; ``raw`` is nats-py, a message a debit and nothing
sent twice. Prints one line of JSON with what was answered.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter

import nats
from nats.aio.msg import Msg

from solvent import SolventError, connect


async def gathered(url: str, pool: str, debits: int) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    async with connect(url, outstanding_max=2 * debits, timeout_s=60) as client:

        async def debit(number: int) -> None:
            try:
                await client.debit(pool, "0.01", key=f"gathered-{number}")
                outcomes["receipt"] += 1
            except SolventError as error:
                outcomes[error.code] += 1

        await asyncio.gather(*(debit(number) for number in range(debits)))
    return outcomes


async def raw(url: str, pool: str, debits: int) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    done = asyncio.Event()

    async def receive(message: Msg) -> None:
        failed = bool(message.headers)
        outcomes[json.loads(message.data)["error"]["code"] if failed and message.data else "receipt"] += 1
        if failed and not message.data:
            outcomes["nobody there"] += 1
        if outcomes.total() >= debits:
            done.set()

    connection = await nats.connect(url)
    try:
        inbox = connection.new_inbox()
        await connection.subscribe(inbox, cb=receive)
        for number in range(debits):
            payload = b'{"amount":"0.01","key":"raw-%d"}' % number
            await connection.publish(f"solvent.v1.default.{pool}.debit", payload, reply=inbox)
        async with asyncio.timeout(60):
            await done.wait()
    finally:
        await connection.close()
    return outcomes


async def main(kind: str, url: str, pool: str, debits: int) -> None:
    start = time.perf_counter()
    outcomes = await (gathered if kind == "gathered" else raw)(url, pool, debits)
    print(json.dumps({"outcomes": outcomes, "seconds": round(time.perf_counter() - start, 2)}))


asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
