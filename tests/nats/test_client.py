"""The client: few messages for many commands, an answer or a typed error for every caller, and no hanging."""

from __future__ import annotations

import asyncio
import json
import signal
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from solvent import (
    DebitRequest,
    HoldRequest,
    InsufficientCredits,
    InvalidRequest,
    NotFound,
    Overloaded,
    Receipt,
    SolventError,
    TooLarge,
    Unavailable,
    connect,
)
from solvent.engine.api.requests import BatchRequest
from solvent.engine.values.dimensions import Dimensions
from solvent.transports.nats.client import Client
from solvent.transports.nats.launcher import NatsServerUnavailable, nats_server
from solvent.transports.nats.multiplexer import GATHERED_MAX

from .conftest import DEADLINE_S, Served, raw_connection, served_in, service_process, until

CALLERS = 64


@pytest.fixture
async def url(served: Served) -> str:
    """Where 1,000 credits of ``acme`` and of its competitors are served."""
    for customer in ("acme", "globex", "initech", "staging@acme"):
        await served.engine.grant(customer, "1000", key="g")
    return served.url


async def debit_all(client: Client, pools: list[str]) -> list[Receipt]:
    return list(await asyncio.gather(*(client.debit(pool, "1", key=f"k{n}") for n, pool in enumerate(pools))))


async def test_debits_of_one_turn_travel_in_one_message(url: str) -> None:
    async with connect(url) as client:
        receipts = await debit_all(client, ["acme", "globex", "initech", "acme"] * (CALLERS // 4))
        assert client.messages_sent == 1
        assert {receipt.amount for receipt in receipts} == {Decimal(1)}
        assert (await client.balance("acme")).spent == Decimal(CALLERS // 2)


async def test_environments_do_not_share_a_message(url: str) -> None:
    async with connect(url) as client:
        await debit_all(client, ["acme", "staging@acme"] * (CALLERS // 2))
        assert client.messages_sent == 2
        assert (await client.balance("staging@acme")).spent == Decimal(CALLERS // 2)


@pytest.mark.parametrize(("gather", "messages"), [("customer", 3), ("off", CALLERS)])
async def test_gathering_can_be_narrowed_or_turned_off(
    url: str, gather: Literal["customer", "off"], messages: int
) -> None:
    async with connect(url, gather=gather) as client:
        await debit_all(client, ["acme", "globex", "initech", "acme"] * (CALLERS // 4))
        assert client.messages_sent == messages
        assert (await client.balance("acme")).spent == Decimal(CALLERS // 2)


@pytest.mark.parametrize("gather", ["environment", "customer", "off"])
async def test_a_client_of_one_customer_publishes_nothing_for_others(
    url: str, gather: Literal["environment", "customer", "off"]
) -> None:
    """What NATS permissions for one customer have to allow."""
    async with raw_connection(url) as raw, connect(url, gather=gather) as client:
        seen: list[str] = []

        async def note(message: object) -> None:
            seen.append(getattr(message, "subject", ""))

        await raw.subscribe("solvent.>", cb=note)
        await raw.flush()
        await debit_all(client, ["acme"] * 8)
        await client.balance("acme")
        await until(lambda: any(subject.endswith("balance") for subject in seen))
        assert {subject.rpartition(".")[0] for subject in seen} == {"solvent.v1.default.acme"}


async def test_a_lone_debit_is_sent_at_once_by_itself(url: str) -> None:
    async with raw_connection(url) as raw, connect(url) as client:
        requests = await raw.subscribe("solvent.v1.default.acme.debit")
        await raw.flush()
        await client.debit("acme", "1", key="k")
        request = await requests.next_msg(timeout=DEADLINE_S)
        assert json.loads(request.data) == {"amount": "1", "key": "k", "op": "debit", "customer": "acme"}
        assert client.messages_sent == 1


async def test_a_receipt_is_the_same_whether_its_debit_travelled_alone_or_with_others(url: str) -> None:
    dimensions: Dimensions = {"model": "gpt-4", "cached": False, "shard": 7, "share": 0.5}
    async with connect(url) as client:
        alone = await client.debit("acme", "0.25", key="k", dimensions=dimensions)
        together = await asyncio.gather(
            *(client.debit("acme", "0.25", key="k", dimensions=dimensions) for _ in range(3)),
            client.debit("acme", "0.25", key="another", dimensions=dimensions),
        )
        again = await client.debit("acme", "0.25", key="another", dimensions=dimensions)
    assert {alone.scale, together[0].scale} == {9, 6}
    for receipt in together[:3]:
        assert receipt.replayed
        assert msgspec.structs.replace(receipt, replayed=False) == alone
        assert (receipt.amount, receipt.balance, receipt.recorded_at) == (
            alone.amount,
            alone.balance,
            alone.recorded_at,
        )
        assert receipt.allocations == alone.allocations
    assert msgspec.structs.replace(again, replayed=False) == together[3] != alone
    assert hash(msgspec.structs.replace(together[0], replayed=False)) == hash(alone)


async def test_what_a_caller_does_to_its_dimensions_afterwards_changes_nothing(url: str) -> None:
    dimensions = {"user": "u1"}
    async with connect(url) as client:
        first = client.batch([DebitRequest(pool="acme", amount="1", key="k1", dimensions=dimensions)])
        task = asyncio.ensure_future(first)
        await asyncio.sleep(0)
        dimensions["user"] = "u2"
        await task
        entries = (await client.ledger("acme")).entries
    assert entries[0].dimensions == {"user": "u1"}


async def test_debits_that_follow_one_another_are_not_held_back(url: str) -> None:
    """Gathering waits for no timer: 50 lone debits take the time of 50 round trips."""
    async with connect(url) as client:
        start = asyncio.get_running_loop().time()
        for number in range(50):
            await client.debit("acme", "1", key=f"k{number}")
        assert asyncio.get_running_loop().time() - start < 50 * 0.05
        assert client.messages_sent == 50


async def test_many_commands_travel_in_several_messages(url: str) -> None:
    async with connect(url) as client:
        requests = [DebitRequest(pool="acme", amount="0.1", key=f"k{number}") for number in range(4_500)]
        answers = await client.batch(requests)
        assert client.messages_sent == -(-4_500 // GATHERED_MAX)
        done = [answer for answer in answers if isinstance(answer, Receipt)]
        assert all(isinstance(answer, (Receipt, Overloaded)) for answer in answers)
        assert [answer.version for answer in done] == sorted(answer.version for answer in done)
        assert (await client.balance("acme")).spent == Decimal("0.1") * len(done)


async def test_a_batch_has_every_answer_in_its_place(url: str) -> None:
    """Receipts, refusals of the pool, of the gateway and of the client itself, side by side."""
    async with connect(url, outstanding_max=6) as client:
        requests: list[BatchRequest] = [
            DebitRequest(pool="acme", amount="1", key="k1"),
            DebitRequest(pool="acme", amount="5000", key="k2"),
            DebitRequest(pool="acme", amount=0.5, key="k3"),  # type: ignore[arg-type]
            DebitRequest(pool="acme", amount="-1", key="k4"),
            DebitRequest(pool="acme", amount="1", key="k5", dimensions={"a": float("nan")}),
            DebitRequest(pool="nobody", amount="1", key="k6"),
            DebitRequest(pool="acme", amount="1", key="k7", dimensions={"n" * 129: "x"}),
            HoldRequest(pool="acme", amount="1", key="k8"),
            DebitRequest(pool="acme", amount="1", key="one too many"),
        ]
        answers = await client.batch(requests)
    assert [type(answer) for answer in answers] == [
        Receipt,
        InsufficientCredits,
        InvalidRequest,
        InvalidRequest,
        InvalidRequest,
        NotFound,
        InvalidRequest,
        Receipt,
        Overloaded,
    ]
    assert [answer.field for answer in answers if isinstance(answer, InvalidRequest)] == [
        "amount",
        "amount",
        "dimensions.a",
        "dimensions",
    ]


async def test_beyond_the_outstanding_limit_a_command_is_overloaded_at_once(url: str) -> None:
    async with connect(url, outstanding_max=10) as client:
        callers = [asyncio.ensure_future(client.debit("acme", "1", key=f"k{number}")) for number in range(10)]
        await asyncio.sleep(0)
        start = asyncio.get_running_loop().time()
        with pytest.raises(Overloaded) as refused:
            await client.debit("acme", "1", key="one too many")
        with pytest.raises(Overloaded):
            await client.balance("acme")
        assert asyncio.get_running_loop().time() - start < 0.1
        assert 0 < refused.value.retry_after < 1
        await asyncio.gather(*callers)
        # The places are free again.
        await client.debit("acme", "1", key="one too many")
        assert (await client.balance("acme")).spent == Decimal(11)


async def test_a_caller_that_asks_again_at_once_does_not_stop_the_loop(url: str) -> None:
    """Nobody should do this, and who does should not wait for ever for what his own haste prevents."""

    async def hasten(client: Client) -> None:
        while True:
            try:
                await client.debit("acme", "1", key="k")
            except Overloaded:
                continue
            return

    async with connect(url, outstanding_max=1) as client:
        other = asyncio.ensure_future(client.debit("acme", "1", key="other"))
        await asyncio.sleep(0)
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(other, hasten(client))
        assert (await client.balance("acme")).spent == Decimal(2)


@pytest.mark.parametrize("gather", ["environment", "off"])
async def test_places_are_free_again_after_answers_of_every_kind(
    url: str, gather: Literal["environment", "off"]
) -> None:
    async with connect(url, outstanding_max=8, gather=gather) as client:
        for turn in range(5):
            requests = [("acme", "1"), ("acme", "5000"), ("nobody", "1"), ("acme", "x")] * 2
            answers = await asyncio.gather(
                *(client.debit(pool, amount, key=f"{turn}-{n}") for n, (pool, amount) in enumerate(requests)),
                return_exceptions=True,
            )
            assert not any(isinstance(answer, Overloaded) for answer in answers), turn
            with pytest.raises(NotFound):
                await client.balance("nobody")


async def test_a_service_that_comes_back_in_time_answers_what_was_asked_before(tmp_path: Path) -> None:
    async with nats_server() as url, connect(url) as client:
        async with served_in(tmp_path / "journal", url=url):
            await client.grant("acme", "1", key="g")
        asking = [asyncio.ensure_future(client.grant("acme", "1", key=f"g{number}")) for number in range(3)]
        sent = client.messages_sent
        await until(lambda: client.messages_sent >= sent + 2)
        async with served_in(tmp_path / "journal", url=url) as served:
            await asyncio.gather(*asking)
            assert (await served.engine.balance("acme")).granted == Decimal(4)


async def test_closing_the_client_fails_what_is_under_way() -> None:
    async with nats_server() as url:
        async with connect(url) as client:
            under_way: list[asyncio.Future[Any]] = []
            under_way += [asyncio.ensure_future(client.debit("acme", "1", key=f"k{number}")) for number in range(9)]
            await until(lambda: client.messages_sent > 0)
            # Asked for in the turn in which the client is closed: never sent.
            under_way += [asyncio.ensure_future(client.balance("acme")), asyncio.ensure_future(client.pools())]
            await asyncio.sleep(0)
        async with asyncio.timeout(1):
            outcomes = await asyncio.gather(*under_way, return_exceptions=True)
        assert all(isinstance(outcome, Unavailable) for outcome in outcomes), outcomes


async def test_a_closed_client_takes_nothing_more(url: str) -> None:
    async with connect(url) as client:
        await client.debit("acme", "1", key="k")
    async with asyncio.timeout(1):
        for call in (client.debit("acme", "1", key="l"), client.balance("acme"), client.pools()):
            with pytest.raises(Unavailable) as refused:
                await call
            assert "nothing was done" in refused.value.message


async def test_an_error_leaves_the_block_of_a_client_as_it_is(url: str) -> None:
    with pytest.raises(InsufficientCredits):
        async with connect(url) as client:
            await client.debit("acme", "5000", key="k")


async def test_a_caller_that_is_cancelled_disturbs_no_other(url: str) -> None:
    async with connect(url) as client:
        callers = [asyncio.ensure_future(client.debit("acme", "1", key=f"k{number}")) for number in range(CALLERS)]
        await asyncio.sleep(0)
        for caller in callers[::4]:
            caller.cancel()
        while not client.messages_sent:
            await asyncio.sleep(0)
        for caller in callers[1::4]:
            caller.cancel()
        outcomes = await asyncio.gather(*callers, return_exceptions=True)
        for number, outcome in enumerate(outcomes):
            assert isinstance(outcome, asyncio.CancelledError if number % 4 < 2 else Receipt), (number, outcome)
        # A command that was under way stays under way: asked again with its key, it is answered once.
        for number in range(CALLERS):
            await client.debit("acme", "1", key=f"k{number}")
        assert (await client.balance("acme")).spent == Decimal(CALLERS)


async def test_a_caller_with_a_deadline_of_its_own_is_let_go(url: str) -> None:
    async with nats_server() as url, raw_connection(url) as deaf, connect(url) as client:
        await deaf.subscribe("solvent.>")
        await deaf.flush()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.debit("acme", "1", key="k")


@pytest.mark.slow
async def test_a_refusal_is_not_believed_while_another_copy_may_be_granted(tmp_path: Path) -> None:
    """A service that is slow hears a request twice, and a grant in between: what it refused first, it grants then."""
    async with (
        nats_server() as url,
        service_process(tmp_path / "journal", url) as service,
        connect(url) as client,
        raw_connection(url) as raw,
    ):
        await client.grant("acme", "1", key="g")
        service.running.send_signal(signal.SIGSTOP)
        copies = client.messages_sent
        asking = [asyncio.ensure_future(client.debit("acme", "2", key=f"k{number}")) for number in range(2)]
        await until(lambda: client.messages_sent == copies + 1)
        commands = [{"op": "grant", "customer": "acme", "amount": "3", "key": "top-up"}]
        # On the subject of the debits, so that it is heard between their copies.
        await client._nats.publish("solvent.v1.default.acme.batch", json.dumps({"commands": commands}).encode())
        await until(lambda: client.messages_sent == copies + 2)
        await raw.flush()
        service.running.send_signal(signal.SIGCONT)
        outcomes = await asyncio.gather(*asking, return_exceptions=True)

        granted = {f"k{n}" for n, outcome in enumerate(outcomes) if isinstance(outcome, Receipt)}
        refused = {f"k{n}" for n, outcome in enumerate(outcomes) if isinstance(outcome, InsufficientCredits)}
        entries = (await client.ledger("acme")).entries
        assert {entry.key for entry in entries if entry.kind == "debit"} == granted == {"k0", "k1"} - refused
        assert granted, "the second copies were not heard after the grant: nothing was shown"


async def test_a_nats_that_is_not_there_is_told_at_once() -> None:
    start = asyncio.get_running_loop().time()
    with pytest.raises(NatsServerUnavailable) as refused:
        async with connect("nats://127.0.0.1:1"):
            pytest.fail("connected to nobody")
    assert isinstance(refused.value, SolventError)
    assert asyncio.get_running_loop().time() - start < 5


async def test_a_usage_answer_that_is_too_large_for_a_message_says_what_to_do(served: Served) -> None:
    async with connect(served.url) as client:
        await client.grant("acme", 100_000, key="g")
        for turn in range(2):
            await asyncio.gather(
                *(
                    served.engine.debit("acme", 1, key=f"{turn}-{number}", dimensions={"user": f"{turn}-{number:>100}"})
                    for number in range(2_000)
                )
            )
        with pytest.raises(TooLarge) as refusal:
            await client.usage("acme", period="today", group_by=["user"], consistent=True)
        assert refusal.value.field == "top"
        usage = await client.usage("acme", period="today", group_by=["user"], top=5, consistent=True)
        assert len(usage.lines) == 6
        assert usage.total.credits == 4_000
        # Lines of which the shortest would not fit are not even made.
        minutes: dict[str, Any] = {"period": "today", "window": "minute", "group_by": ["user"], "fill_empty": True}
        with pytest.raises(TooLarge, match="8,640 lines do not fit") as refusal:
            await client.usage("acme", **minutes, top=5, consistent=True)
        assert refusal.value.field == "top"
