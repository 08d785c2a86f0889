"""The connection's own ways to send and to hear: nothing is lost, overtaken or sent twice on them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError, MaxPayloadError, OutboundBufferLimitError

from solvent.transports.nats.connection import Connection, connect_nats
from solvent.transports.nats.launcher import nats_server

from .conftest import nats_process, until


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with nats_server() as url:
        yield url


@pytest.fixture
async def connection(url: str) -> AsyncIterator[Connection]:
    connection = await connect_nats(url, name="test")
    yield connection
    await connection.close()


class Ear:
    """Takes messages directly while ``willing``; the others come to it the usual way."""

    def __init__(self) -> None:
        self.willing = True
        self.heard: list[bytes] = []
        self.messages: list[Msg] = []

    def take(self, subject: str, reply: str, data: bytes, headers: bytes | None) -> bool:
        if self.willing and headers is None:
            self.heard.append(b"%b %b %b" % (subject.encode(), reply.encode(), data))
            return True
        return False

    async def otherwise(self, message: Msg) -> None:
        self.messages.append(message)


async def test_what_a_turn_sends_arrives_in_order_with_what_is_published(connection: Connection) -> None:
    ear = Ear()
    await connection.subscribe_directly("here.>", ear.take, otherwise=ear.otherwise)
    connection.send("here.1", b"a", reply="answers")
    connection.send("here.2", b"")
    await connection.publish("here.3", b"c")
    connection.send("here.4", b"d\r\nMSG", reply="answers")
    await connection.flush()
    assert ear.heard == [b"here.1 answers a", b"here.2  ", b"here.3  c", b"here.4 answers d\r\nMSG"]
    assert not ear.messages


async def test_what_was_sent_before_a_flush_has_come_back_when_it_is_over(connection: Connection) -> None:
    ear = Ear()
    await connection.subscribe_directly("here", ear.take, otherwise=ear.otherwise)
    for sent in range(1, 301):
        connection.send("here", b"x" * 10_000)
        await connection.flush()
        assert len(ear.heard) == sent


async def test_headers_arrive_and_what_is_not_taken_goes_the_usual_way(connection: Connection) -> None:
    ear = Ear()
    await connection.subscribe_directly("here", ear.take, otherwise=ear.otherwise)
    connection.send("here", b"body", headers={"Nats-Service-Error-Code": "402", "Nats-Service-Error": "no"})
    ear.willing = False
    connection.send("here", b"second")
    await connection.flush()
    await until(lambda: len(ear.messages) == 2)
    assert [message.data for message in ear.messages] == [b"body", b"second"]
    assert ear.messages[0].headers == {"Nats-Service-Error-Code": "402", "Nats-Service-Error": "no"}
    assert not ear.heard


async def test_after_unsubscribing_nothing_is_heard(connection: Connection) -> None:
    ear = Ear()
    subscription = await connection.subscribe_directly("here", ear.take, otherwise=ear.otherwise)
    await subscription.unsubscribe()
    connection.send("here", b"x")
    await connection.flush()
    assert not ear.heard
    assert not connection._direct


async def test_much_at_once_is_written_in_pieces_and_arrives_whole(tmp_path: Path) -> None:
    """Many times what may wait, and a server that rests in between, so that some of it meets a full socket."""
    async with nats_process(tmp_path) as server, AsyncExitStack() as stack:
        sender = await connect_nats(server.url, name="sender", pending_size=1 << 20)
        stack.push_async_callback(sender.close)
        receiver = await connect_nats(server.url, name="receiver")
        stack.push_async_callback(receiver.close)
        ear = Ear()
        await receiver.subscribe_directly("here", ear.take, otherwise=ear.otherwise)
        await receiver.flush()
        server.signal(signal.SIGSTOP)
        stack.callback(server.signal, signal.SIGCONT)
        sent = refused = 0
        for number in range(400):
            try:
                sender.send("here", b"%06d" % number + bytes(100_000))
                sent += 1
            except OutboundBufferLimitError:
                refused += 1
                server.signal(signal.SIGCONT)
                await asyncio.sleep(0.005)
        await sender.flush()
        await until(lambda: len(ear.heard) == sent)
        numbers = [int(each[6:12]) for each in ear.heard]
        assert numbers == sorted(numbers)
        assert sent + refused == 400
        assert refused, "the socket was never full: nothing was tried"


async def test_what_cannot_be_sent_is_said_at_once(connection: Connection) -> None:
    with pytest.raises(MaxPayloadError):
        connection.send("here", bytes(connection.max_payload + 1))
    await connection.close()
    with pytest.raises(ConnectionClosedError):
        connection.send("here", b"x")
    # Due from before, perhaps: there is nothing to write to.
    connection.write()
