"""The numbers say what happened, each event in its own counter and in no other."""

from __future__ import annotations

import asyncio

import pytest

from solvent.actors import (
    Actor,
    ActorCrashed,
    ActorFailed,
    ActorSystem,
    DeadlineExceeded,
    Mail,
    MailboxFull,
    Options,
    Statistics,
    Supervision,
)


class Obeys(Actor[str]):
    def receive(self, batch: list[Mail[str]]) -> None:
        for mail in batch:
            if mail.message == "crash":
                raise ValueError
            if mail.message == "answer":
                mail.reply(None)


async def test_every_event_is_counted_where_it_belongs() -> None:
    options = Options(mailbox_max=3, resident_max=1, idle_after_s=10, supervision=Supervision(restarts_max=1))
    async with ActorSystem(stop_timeout_s=0) as system:
        family = system.register("obeys", lambda key: Obeys(), options)
        for _ in range(3):
            family.tell("a", "nothing")
        for _ in range(2):
            with pytest.raises(MailboxFull):
                family.tell("a", "one too many")
        await asyncio.sleep(1)  # three delivered in one batch
        await family.ask("a", "answer")
        await asyncio.sleep(20)  # passivated
        for _ in range(2):  # restarted, then given up
            with pytest.raises(ActorCrashed):
                await family.ask("a", "crash")
        with pytest.raises(ActorFailed):
            family.tell("a", "in vain")
        with pytest.raises(DeadlineExceeded):
            await family.ask("b", "nothing", timeout_s=1)  # delivered; b is busy with it for good
        with pytest.raises(DeadlineExceeded):
            await family.ask("c", "answer", timeout_s=1)  # without a seat, a dead letter
        family.ask("d", "answer").cancel()  # another
        await asyncio.sleep(1)
        waits = family.ask("e", "answer")
        assert family.statistics() == Statistics(
            resident=1,
            queued=0,
            pending=2,
            activations=3,
            passivations=1,
            crashes=2,
            restarts=1,
            given_up=1,
            delivered=7,
            refused=2,
            expired=2,
            dead_letters=2,
            batch_max=3,
        )
        await asyncio.sleep(0)
        assert family.statistics().queued == 1
        waits.cancel()
