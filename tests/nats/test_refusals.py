"""What NATS refuses is answered at once, and the error says whether anything can have happened."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from solvent import (
    DebitRequest,
    Engine,
    NoService,
    NotPermitted,
    Receipt,
    SolventError,
    Unavailable,
    connect,
)
from solvent.transports.nats.client import Client
from solvent.transports.nats.launcher import NatsServerUnavailable, nats_server
from solvent.transports.nats.refusals import Denial, parse_denial
from solvent.transports.nats.service import serving

from .conftest import DEADLINE_S, NatsProcess, Served, nats_process, served_in, service_process, until

AT_ONCE_S = 1.0
ACME = '["solvent.v1.default.acme.>"]'
INBOX = '["_INBOX.>"]'


def config(publish: str, subscribe: str, *, service: str = "{}", password: str = "app") -> str:
    """The service may do everything, unless ``service`` says otherwise; the application may not."""
    return (
        "authorization { users = [\n"
        f"  {{user: service, password: service, permissions: {service}}}\n"
        f"  {{user: app, password: {password}, permissions: {{publish: {publish}, subscribe: {subscribe}}}}}\n"
        "] }\n"
    )


def url_of(server: NatsProcess, user: str) -> str:
    return server.url.replace("nats://", f"nats://{user}:{user}@")


@asynccontextmanager
async def permitted(tmp_path: Path, publish: str, subscribe: str = INBOX) -> AsyncIterator[tuple[NatsProcess, Served]]:
    """A service with 1,000 credits of some customers, at a server that permits this much to the user ``app``."""
    async with (
        nats_process(tmp_path, config(publish, subscribe)) as server,
        served_in(tmp_path / "journal", url=url_of(server, "service")) as served,
    ):
        for pool in ("acme", "acme/web", "globex", "initech"):
            await served.engine.grant(pool, "1000", key="g")
        yield server, served


async def debit_all(client: Client, pools: list[str]) -> list[Receipt | BaseException]:
    """One debit of each pool, all in one turn of the loop."""
    debits = (client.debit(pool, "1", key=f"k{number}") for number, pool in enumerate(pools))
    return list(await asyncio.gather(*debits, return_exceptions=True))


@pytest.mark.parametrize("gather", ["environment", "customer", "off"])
async def test_what_may_not_be_published_is_refused_at_once(tmp_path: Path, gather: str) -> None:
    async with (
        permitted(tmp_path, ACME) as (server, served),
        connect(url_of(server, "app"), gather=gather) as client,  # type: ignore[arg-type]
    ):
        async with asyncio.timeout(AT_ONCE_S):
            for call in (client.debit("globex", "1", key="k"), client.balance("globex"), client.pools()):
                with pytest.raises(NotPermitted) as refused:
                    await call
                assert refused.value.action == "publish"
                assert "nothing was applied" in refused.value.message
                assert not refused.value.outcome_unknown
                assert not refused.value.retry_safe
            assert refused.value.subject == "solvent.v1.default.-.pools"
            assert (await client.debit("acme", "1", key="k")).amount == Decimal(1)
        assert (await served.engine.balance("globex")).spent == 0


async def test_a_name_that_differs_only_in_case_is_another(tmp_path: Path) -> None:
    """nats-py passes denials on in lower case."""
    async with permitted(tmp_path, ACME) as (server, _), connect(url_of(server, "app"), gather="off") as client:
        async with asyncio.timeout(AT_ONCE_S):
            answers = await debit_all(client, ["acme", "Acme", "acme", "ACME", "acme"])
        assert [type(answer) for answer in answers] == [Receipt, NotPermitted, Receipt, NotPermitted, Receipt]


@pytest.mark.parametrize("pools", [["acme"] * 8, ["acme", "acme/web"] * 4])
async def test_debits_that_coincide_need_only_the_permissions_of_their_customer(
    tmp_path: Path, pools: list[str]
) -> None:
    async with permitted(tmp_path, ACME) as (server, _), connect(url_of(server, "app")) as client:
        async with asyncio.timeout(AT_ONCE_S):
            answers = await debit_all(client, pools)
        assert all(isinstance(answer, Receipt) for answer in answers), answers
        assert client.messages_sent == 1


async def test_debits_of_several_customers_are_sent_for_each_where_that_is_all_that_is_permitted(
    tmp_path: Path,
) -> None:
    two = '["solvent.v1.default.acme.>", "solvent.v1.default.globex.>"]'
    async with permitted(tmp_path, two) as (server, served), connect(url_of(server, "app")) as client:
        async with asyncio.timeout(AT_ONCE_S):
            answers = await debit_all(client, ["acme", "globex", "initech"] * 3)
            kinds = [type(answer) for answer in answers]
            assert kinds == [Receipt, Receipt, NotPermitted] * 3
            # One message was denied, three were sent instead.
            assert client.messages_sent == 4
            requests = [DebitRequest(pool=pool, amount="1", key=f"l{n}") for n, pool in enumerate(["acme", "globex"])]
            again = await client.batch(requests)
            assert all(isinstance(answer, Receipt) for answer in again), again
            assert client.messages_sent == 6
        assert (await served.engine.balance("acme")).spent == Decimal(4)
        assert (await served.engine.balance("initech")).spent == 0


async def test_of_many_requests_to_one_subject_those_before_the_denial_are_answered(tmp_path: Path) -> None:
    """The permission is taken away while requests are under way: who is told "nothing", has nothing."""
    everything = '["solvent.>"]'
    async with permitted(tmp_path, everything) as (server, served):
        async with connect(url_of(server, "app"), gather="off") as client:
            asking: list[asyncio.Future[Receipt]] = []
            told: list[Receipt | SolventError] = []
            server.reload(config('["nothing"]', INBOX))
            async with asyncio.timeout(DEADLINE_S):
                number = 0
                while not any(each.done() and each.exception() is not None for each in asking):
                    asking += [
                        asyncio.ensure_future(client.debit("acme", "0.01", key=f"k{number + each}"))
                        for each in range(20)
                    ]
                    number += 20
                    await asyncio.sleep(0)
                for each in await asyncio.gather(*asking, return_exceptions=True):
                    assert isinstance(each, (Receipt, NotPermitted)), each
                    told.append(each)
        applied = {entry.key for entry in (await served.engine.ledger("acme", limit=1_000)).entries}
        for number, outcome in enumerate(told):
            if isinstance(outcome, Receipt):
                assert f"k{number}" in applied
            elif not outcome.outcome_unknown:
                assert f"k{number}" not in applied, "told that nothing was applied"
        assert isinstance(told[-1], NotPermitted)


async def test_without_the_permission_to_hear_answers_nothing_is_sent(tmp_path: Path) -> None:
    async with permitted(tmp_path, '["solvent.>"]', '["other.>"]') as (server, served):
        async with asyncio.timeout(AT_ONCE_S):
            with pytest.raises(NotPermitted) as refused:
                async with connect(url_of(server, "app")):
                    pytest.fail("connected, but no answer could ever arrive")
            assert refused.value.action == "subscribe"
            assert refused.value.subject.startswith("_INBOX.")
            assert "nothing was applied" in refused.value.message
            assert "inbox_prefix" in refused.value.message
        # With a prefix that is permitted, all is well.
        async with connect(url_of(server, "app"), inbox_prefix="other") as client, asyncio.timeout(AT_ONCE_S):
            await client.debit("acme", "1", key="k")
        assert (await served.engine.balance("acme")).spent == Decimal(1)


async def test_an_inbox_that_is_taken_away_fails_what_is_under_way_and_takes_no_more(tmp_path: Path) -> None:
    async with (
        nats_process(tmp_path, config('["solvent.>"]', INBOX)) as server,
        service_process(tmp_path / "journal", url_of(server, "service")) as service,
        connect(url_of(server, "app")) as client,
    ):
        await client.grant("acme", "10", key="g")
        service.running.send_signal(signal.SIGSTOP)
        sent = client.messages_sent
        asking = asyncio.ensure_future(client.debit("acme", "1", key="k"))
        await until(lambda: client.messages_sent > sent)
        await client._nats.flush()
        server.reload(config('["solvent.>"]', '["other.>"]'))
        async with asyncio.timeout(DEADLINE_S):
            with pytest.raises(NotPermitted) as refused:
                await asking
            assert refused.value.outcome_unknown
            service.running.send_signal(signal.SIGCONT)
            with pytest.raises(NotPermitted) as later:
                await client.debit("acme", "2", key="l")
            assert not later.value.outcome_unknown
            (answer,) = await client.batch([DebitRequest(pool="acme", amount="2", key="m")])
            assert isinstance(answer, NotPermitted)
            # A client with its permissions back is told what became of the first.
            server.reload(config('["solvent.>"]', INBOX))
            await until(lambda: _is_heard(server))
            async with connect(url_of(server, "app")) as other:
                assert (await other.debit("acme", "1", key="k")).replayed
                assert (await other.balance("acme")).spent == Decimal(1)


async def _is_heard(server: NatsProcess) -> bool:
    try:
        async with connect(url_of(server, "app")):
            return True
    except (NotPermitted, NatsServerUnavailable):
        return False


async def test_without_a_service_a_request_is_refused_at_once() -> None:
    async with nats_server() as url, connect(url) as client, asyncio.timeout(AT_ONCE_S):
        outcomes = await asyncio.gather(
            client.debit("acme", "1", key="k"),
            client.debit("globex", "1", key="k"),
            client.balance("acme"),
            client.pools(),
            return_exceptions=True,
        )
        for outcome in outcomes:
            assert isinstance(outcome, NoService), outcome
            assert isinstance(outcome, Unavailable)
            assert outcome.environment == "default"
            assert "nothing was applied" in outcome.message
            assert outcome.retry_safe
            assert not outcome.outcome_unknown


async def test_a_mistyped_environment_is_refused_at_once_and_named(tmp_path: Path) -> None:
    async with (
        nats_server() as url,
        Engine.open(tmp_path / "journal") as engine,
        serving(engine, url, environments=["prod"]),
        connect(url) as client,
        asyncio.timeout(AT_ONCE_S),
    ):
        await client.grant("prod@acme", "10", key="g")
        for _ in range(2):
            with pytest.raises(NoService, match="'prdo'"):
                await client.debit("prdo@acme", "1", key="k")
        await client.debit("prod@acme", "1", key="k")


async def test_a_service_that_was_there_is_waited_for_once(tmp_path: Path) -> None:
    """Its restart disturbs nobody. After that, an answer does not take the whole time of each request."""
    async with nats_server() as url, connect(url, timeout_s=0.5) as client:
        loop = asyncio.get_running_loop()
        async with served_in(tmp_path / "journal", url=url):
            await client.grant("acme", "10", key="g")
        start = loop.time()
        with pytest.raises(NoService, match="nothing was applied"):
            await client.debit("acme", "1", key="k")
        assert loop.time() - start > 0.4
        start = loop.time()
        with pytest.raises(NoService):
            await client.debit("acme", "1", key="k")
        assert loop.time() - start < 0.4
        async with served_in(tmp_path / "journal", url=url) as served:
            await client.debit("acme", "1", key="k")
            assert (await served.engine.balance("acme")).spent == Decimal(1)
        asking = asyncio.ensure_future(client.debit("acme", "1", key="l"))
        await asyncio.sleep(0)
        async with served_in(tmp_path / "journal", url=url):
            assert (await asking).balance == Decimal(8)


async def test_a_request_that_a_service_may_have_got_is_unknown_though_it_went_away_since(tmp_path: Path) -> None:
    async with (
        nats_server() as url,
        service_process(tmp_path / "journal", url) as service,
        connect(url, timeout_s=3.0) as client,
    ):
        await client.grant("acme", "10", key="g")
        service.running.send_signal(signal.SIGSTOP)
        sent = client.messages_sent
        asking = asyncio.ensure_future(client.debit("acme", "1", key="k"))
        await until(lambda: client.messages_sent > sent)
        await client._nats.flush()
        await service.kill()
        with pytest.raises(Unavailable) as unknown:
            await asking
        assert not isinstance(unknown.value, NoService)
        assert unknown.value.outcome_unknown
        assert client.messages_sent >= sent + 2, "its second copy was not even sent"


async def test_what_could_not_be_sent_was_not_applied(tmp_path: Path) -> None:
    async with nats_process(tmp_path) as server, connect(server.url, timeout_s=0.5) as client:
        await server.kill()
        await until(lambda: not client._nats.is_connected)
        with pytest.raises(NatsServerUnavailable, match="nothing was applied") as refused:
            await client.debit("acme", "1", key="k")
        assert not refused.value.outcome_unknown
        assert refused.value.retry_safe


async def test_credentials_that_are_refused_are_no_outage(tmp_path: Path) -> None:
    async with permitted(tmp_path, '["solvent.>"]') as (server, _):
        wrong = server.url.replace("nats://", "nats://app:secret-word@")
        with pytest.raises(NotPermitted, match="Authorization Violation") as refused:
            async with connect(wrong):
                pytest.fail("connected with a wrong password")
        assert refused.value.action == "connect"
        assert "secret-word" not in refused.value.message
        async with connect(url_of(server, "app")) as client:
            await client.debit("acme", "1", key="k")
            server.reload(config('["solvent.>"]', INBOX, password="another"))
            await until(lambda: not client._nats.is_connected)
            start = asyncio.get_running_loop().time()
            with pytest.raises(NotPermitted, match="nothing was applied") as later:
                await client.debit("acme", "1", key="l")
            assert later.value.action == "connect"
            assert asyncio.get_running_loop().time() - start < 3


async def test_a_service_that_may_not_hear_requests_does_not_start(tmp_path: Path) -> None:
    denied = '{publish: ">", subscribe: ["_INBOX.>", "$SRV.>"]}'
    async with (
        nats_process(tmp_path, config(ACME, INBOX, service=denied)) as server,
        Engine.open(tmp_path / "journal") as engine,
    ):
        with pytest.raises(NotPermitted, match=r"solvent\.v1") as refused:
            async with serving(engine, url_of(server, "service")):
                pytest.fail("it serves, and hears nothing")
        assert refused.value.action == "subscribe"


async def test_a_refused_request_gives_its_place_back(tmp_path: Path) -> None:
    async with (
        permitted(tmp_path, ACME) as (server, _),
        connect(url_of(server, "app"), outstanding_max=4) as client,
    ):
        for _ in range(3):
            for answer in await debit_all(client, ["globex", "initech", "globex", "initech"]):
                assert isinstance(answer, NotPermitted), answer
        assert client.requests._outstanding == 0
        assert isinstance(await client.debit("acme", "1", key="k"), Receipt)


def test_a_denial_is_read_as_the_server_writes_it() -> None:
    line = b"-ERR 'Permissions Violation for Publish to \"a.B\"'\r\nPONG\r\n"
    assert parse_denial(line) == Denial("publish", "a.B")
    line = b'-ERR \'Permissions Violation for Subscription to "a.\\"b\\\\c.>" using queue "q"\'\r\n'
    assert parse_denial(line) == Denial("subscribe", 'a."b\\c.>')
    assert parse_denial(b"-ERR 'Stale Connection'\r\n") is None
