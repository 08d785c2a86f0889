"""What happened in the old journals: each kind of entry, in small pools with names that say what they are about.

The clock stands still but for ``Book.wait``, so that everything can be asked for again at the same moment. Where many
keys are needed, the pools are called ``busy``.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any, Final

from solvent import Credits, SolventError

from .questions import Answers, command, plain_error

BEGIN: Final = datetime.fromisoformat("2026-01-05T09:00:00+00:00")
"""A Monday. What ``solvent serve`` writes has the time at which the files are made, which is later."""
ENCODED: Final = "qa%2F1@caf%C3%A9 %40 50%25%2F2/a%3Ab%20c:gold%2Fbars".replace(" ", "%20")
"""Each id has something that must be percent-encoded, and one a letter beyond ASCII."""
PER_ROUND: Final = 120
ROUNDS: Final = 10


class Clock:
    """The time, as the story says."""

    def __init__(self) -> None:
        self.now = BEGIN

    def now_us(self) -> int:
        return (self.now - datetime.fromisoformat("1970-01-01T00:00:00+00:00")) // timedelta(microseconds=1)


class Book:
    """Does commands, and keeps each with what it was answered."""

    def __init__(self, credits: Credits, clock: Clock, commands: list[Answers]) -> None:
        self.credits = credits
        self.clock = clock
        self.commands = commands

    def wait(self, **span: float) -> None:
        """Let so many ``days``, ``hours``, ... go by."""
        self.clock.now += timedelta(**span)

    def after(self, **span: float) -> str:
        """The moment so much later, as text."""
        return (self.clock.now + timedelta(**span)).isoformat()

    async def do(self, verb: str, **arguments: Any) -> Any:
        """The answer to a command, or its error, as plain JSON."""
        try:
            answer = await command(self.credits, verb, arguments)
        except SolventError as error:
            answer = plain_error(error)
        self.commands.append({"verb": verb, "arguments": arguments, "answer": answer})
        return answer

    async def done(self, verb: str, **arguments: Any) -> str:
        """The id of what a command made, which must not be refused."""
        answer = await self.do(verb, **arguments)
        if "error" in answer:
            raise ValueError(f"{verb} {arguments} was answered {answer}")
        return str(answer["id"])

    async def refused(self, verb: str, **arguments: Any) -> None:
        """Do a command that must be refused."""
        answer = await self.do(verb, **arguments)
        if "error" not in answer:
            raise ValueError(f"{verb} {arguments} was answered {answer}")

    async def looked_at(self, pool: str) -> None:
        """Have a pool write down what time did to it."""
        await self.credits.balance(pool)


async def served(book: Book) -> None:
    """What happened while ``solvent serve`` had the folder, so that it notes what it has published."""
    await book.done("grant", pool="served", amount="10", key="order")
    await book.done("set_alerts", pool="served", low=["8", "50%"])
    await book.done("debit", pool="served", amount="6.000001", key="job", dimensions={"model": "gpt-4"})
    await book.done("grant", pool="staging@served", amount="3", key="order")
    await book.done("set_alerts", pool="staging@served", low=["1"])
    await book.done("debit", pool="staging@served", amount="2.5", key="job")


async def story(book: Book) -> None:
    """Everything but the last moments."""
    await grants(book)
    await debits(book)
    await holds(book)
    await reversals(book)
    await budgets(book)
    await allowances(book)
    await recurring(book)
    await alerts(book)
    await recharges(book)
    await rates(book)
    await transfers(book)
    await names_and_scales(book)
    await batches(book)
    await busy(book)


async def grants(book: Book) -> None:
    """All terms of grants, and all ends that a grant can come to."""
    await book.done(
        "grant",
        pool="acme",
        amount="100",
        key="order-1",
        cost_basis={"per_credit": "0.0125", "currency": "USD"},
        name="first order",
        comment="paid by card",
        metadata={"invoice": "4711", "seats": 3, "trial": False},
    )
    welcome = await book.done(
        "grant", pool="acme", amount="20.5", key="welcome", category="promotional", expires_at=book.after(days=20)
    )
    later = await book.done(
        "grant",
        pool="acme",
        amount="30",
        key="later",
        priority=10,
        effective_at=book.after(days=5),
        name="in five days",
    )
    never = await book.done("grant", pool="acme", amount="7", key="never", effective_at=book.after(days=400))
    short = await book.done("grant", pool="acme", amount="1.25", key="short", expires_at=book.after(hours=1))
    await book.done("update_grant", pool="acme", grant=later, key="change-1", priority=60, metadata={"why": "swapped"})
    await book.done("update_grant", pool="acme", grant=welcome, key="change-2", expires_at=book.after(days=25))
    await book.done("update_grant", pool="acme", grant=short, key="change-3", expires_at=None)
    await book.done("update_grant", pool="acme", grant=short, key="change-4", expires_at=book.after(hours=2))
    taken = await book.done("grant", pool="acme", amount="50", key="mistake", priority=100)
    await book.done("void_grant", pool="acme", grant=taken)
    await book.done("void_grant", pool="acme", grant=never)
    await book.refused("update_grant", pool="acme", grant=taken, key="change-5", priority=1)
    await book.refused("grant", pool="acme", amount="101", key="order-1")
    await book.done("open_pool", pool="opened")
    book.wait(hours=3)
    await book.looked_at("acme")


async def debits(book: Book) -> None:
    """Plain, partial, free and metered debits; some that are refused, and some from long ago."""
    model = {"model": "gpt-4", "user": "u1"}
    await book.done("debit", pool="acme", amount="3", key="job-1")
    await book.done(
        "debit", pool="acme", amount="19.123456", key="job-2", metric="tokens", quantity="1234.5", dimensions=model
    )
    typed = {"tier": 1, "cached": True, "share": 0.25, "user": "u2"}
    await book.done("debit", pool="acme", amount="0.000001", key="job-3", dimensions=typed)
    await book.done("debit", pool="acme", amount="1", key="job-4", dimensions={**typed, "tier": "1", "cached": False})
    await book.done("debit", pool="acme", amount="2", key="job-5", occurred_at=book.after(days=-300), metric="seconds")
    await book.done(
        "debit", pool="acme", amount="0.5", key="trace", occurred_at="2021-07-14T06:30:00Z", backfill=True, quantity=9
    )
    await book.refused("debit", pool="acme", amount="0.5", key="too old", occurred_at="2021-07-14T06:30:00Z")
    for _ in range(3):
        await book.refused("debit", pool="acme", amount="100000", key="too much", dimensions={"user": "u3"})
    await book.refused("debit", pool="acme", amount="100000", key="too much, too", metric="tokens", quantity=1)
    await book.refused("debit", pool="nobody", amount="1", key="job")
    await book.refused("debit", pool="acme", amount="4", key="job-1")
    await book.done("grant", pool="acme/small", amount="2", key="g")
    await book.done("debit", pool="acme/small", amount="5", key="part", partial=True, dimensions=model)
    await book.refused("debit", pool="acme/small", amount="5", key="nothing left", partial=True)
    for day in range(30):
        book.wait(hours=1)
        await book.done(
            "grant",
            pool=f"spiky/{day % 3}",
            amount="40",
            key=f"g{day}",
            cost_basis={"per_credit": "1", "currency": "EUR"},
        )
        amount = "30" if day == 27 else "1.5"
        await book.done(
            "debit",
            pool=f"spiky/{day % 3}",
            amount=amount,
            key=f"job-{day}",
            occurred_at=book.after(days=day - 34),
            dimensions={"user": f"u{day % 5}", "model": ["gpt-4", "gpt-3", "small"][day % 3]},
        )
    for at in ("2025-10-25T23:30:00Z", "2025-10-26T00:30:00Z", "2025-10-26T22:30:00Z", "2025-10-27T22:59:59.999999Z"):
        # A day of 25 hours in Paris.
        await book.done("debit", pool="spiky/0", amount="0.1", key=f"at {at}", occurred_at=at)
    await book.done("grant", pool="spiky", amount="100", key="g", expires_at=book.after(days=200))
    await book.done("debit", pool="spiky", amount="12", key="job", dimensions={"user": "u1"})


async def holds(book: Book) -> None:
    """All ends that a hold can come to."""
    await book.done("grant", pool="holds", amount="50", key="g1", cost_basis={"per_credit": "0.5", "currency": "EUR"})
    await book.done("grant", pool="holds", amount="10", key="g2", priority=1, expires_at=book.after(days=2))
    who = {"user": "u1", "model": "gpt-4"}
    equal = await book.done("hold", pool="holds", amount="4", key="equal", dimensions=who)
    less = await book.done("hold", pool="holds", amount="8", key="less", metric="tokens", dimensions=who)
    more = await book.done("hold", pool="holds", amount="1", key="more", ttl_s=600)
    back = await book.done("hold", pool="holds", amount="2.5", key="back", ttl_s=90.5)
    await book.done("hold", pool="holds", amount="3", key="forgotten", ttl_s=60, dimensions={"user": "u9"})
    await book.done("capture", pool="holds", hold=equal, amount="4")
    await book.done(
        "capture", pool="holds", hold=less, amount="5.5", quantity="640", occurred_at=book.after(minutes=-5)
    )
    await book.done("capture", pool="holds", hold=more, amount="3.75", metric="seconds", quantity=12)
    await book.done("release", pool="holds", hold=back)
    await book.refused("release", pool="holds", hold=equal)
    book.wait(minutes=2)
    await book.looked_at("holds")
    beyond = await book.done("hold", pool="holds", amount="1", key="beyond")
    await book.done("capture", pool="holds", hold=beyond, amount="1000")
    await book.done("grant", pool="holds", amount="6", key="g3", expires_at=book.after(hours=2))
    outlived = await book.done("hold", pool="holds", amount="5", key="outlived", ttl_s=86_400)
    spent = await book.done("hold", pool="holds", amount="1", key="spent late", ttl_s=86_400)
    book.wait(hours=3)
    await book.looked_at("holds")
    await book.done("release", pool="holds", hold=outlived)
    await book.done("capture", pool="holds", hold=spent, amount="0.5")
    await book.refused("hold", pool="holds", amount="1000", key="too much", dimensions={"user": "u9"})
    book.wait(days=3)
    await book.looked_at("holds")
    await book.done("grant", pool="holds", amount="9", key="g4")


async def reversals(book: Book) -> None:
    """In parts, of a capture with something beyond its hold, and of what a grant had paid that is over."""
    await book.done("grant", pool="back", amount="10", key="g1", cost_basis={"per_credit": "2", "currency": "USD"})
    await book.done("grant", pool="back", amount="10", key="g2", priority=1, expires_at=book.after(days=1))
    debit = await book.done("debit", pool="back", amount="12", key="job-1", dimensions={"user": "u1"}, metric="calls")
    await book.done("reverse", pool="back", debit=debit, key="refund-1", amount="1.5")
    await book.done("reverse", pool="back", debit=debit, key="refund-2", amount="0.75")
    hold = await book.done("hold", pool="back", amount="1", key="hold", dimensions={"user": "u2"})
    await book.done("capture", pool="back", hold=hold, amount="4", quantity=7)
    await book.done("reverse", pool="back", debit=debit, key="refund-3", amount="4")
    book.wait(days=2)
    await book.looked_at("back")
    await book.done("reverse", pool="back", debit=debit, key="refund-4")
    captured = next(each["answer"]["id"] for each in reversed(book.commands) if each["verb"] == "capture")
    await book.done("reverse", pool="back", debit=captured, key="refund-5", amount="3.5")
    await book.refused("reverse", pool="back", debit=debit, key="refund-6")
    await book.refused("reverse", pool="back", debit=captured, key="refund-7", amount="2")


async def budgets(book: Book) -> None:
    """Of all windows, for all values of a dimension, some that warn, one of holds; changed, removed, and in the way."""
    pool, script = "limits", {"source": "script", "user": "u1"}
    await book.done("grant", pool=pool, amount="1000", key="g")
    await book.done(
        "set_budget",
        pool=pool,
        name="bots",
        amount="10",
        window="day",
        time_zone="Europe/Paris",
        match={"source": "script"},
    )
    await book.done("set_budget", pool=pool, name="per user", amount="50", window="month", each="user", holds_max=2)
    await book.done("set_budget", pool=pool, name="nudge", amount="1", window="hour", mode="warn")
    await book.done("set_budget", pool=pool, name="ever", amount="500", window="total")
    await book.done("set_budget", pool=pool, name="burst", amount="40", window="minute", time_zone="Asia/Kolkata")
    await book.done("set_budget", pool=pool, name="gone", amount="2", window="week")
    await book.done("remove_budget", pool=pool, name="gone")
    debit = await book.done("debit", pool=pool, amount="9", key="job-1", dimensions=script)
    for number in range(2):
        await book.refused("debit", pool=pool, amount="2", key=f"over-{number}", dimensions=script)
    await book.done("reverse", pool=pool, debit=debit, key="refund", amount="4")
    await book.done("debit", pool=pool, amount="2", key="job-2", dimensions=script)
    for number in range(2):
        await book.done("hold", pool=pool, amount="1", key=f"hold-{number}", dimensions={"user": "u2"}, ttl_s=3_600)
    await book.refused("hold", pool=pool, amount="1", key="hold-2", dimensions={"user": "u2"})
    await book.done("set_budget", pool=pool, name="ever", amount="600", window="total")
    await book.done("set_budget", pool=pool, name="nudge", amount="1", window="day", mode="warn")
    for tier in (1, "1", True, 0.5):
        await book.done("debit", pool=pool, amount="1.5", key=f"tier-{tier!r}", dimensions={"tier": tier, "user": "u4"})
    await book.done("set_budget", pool=pool, name="by tier", amount="3", window="week", each="tier")
    await book.done("debit", pool=pool, amount="2", key="tiered", dimensions={"tier": 1})
    await book.refused("debit", pool=pool, amount="2", key="tiered, too", dimensions={"tier": 1})
    book.wait(days=1)
    await book.done("debit", pool=pool, amount="8", key="job-3", dimensions=script)


async def allowances(book: Book) -> None:
    """By the calendar and rolling, of credits and of a metric; kept by holds, given back, changed and removed."""
    pool, user = "free", {"user": "u1"}
    await book.done(
        "set_allowance", pool=pool, name="tokens", amount="1000", window="day", each="user", metric="tokens"
    )
    await book.done("set_allowance", pool=pool, name="burst", amount="5", rolling_s=18_000)
    await book.done(
        "set_allowance", pool=pool, name="monthly", amount="2", window="month", time_zone="America/New_York", match=user
    )
    await book.done("set_allowance", pool=pool, name="gone", amount="1", window="week")
    await book.done("remove_allowance", pool=pool, name="gone")
    await book.done(
        "debit", pool=pool, amount="3", key="all free", metric="tokens", quantity=600, dimensions={"user": "u7"}
    )
    await book.done("grant", pool=pool, amount="20", key="g")
    mixed = await book.done("debit", pool=pool, amount="9", key="mixed", dimensions=user)
    hold = await book.done("hold", pool=pool, amount="2", key="hold", metric="tokens", dimensions={"user": "u8"})
    await book.done("capture", pool=pool, hold=hold, amount="3", quantity=1_200)
    await book.done("reverse", pool=pool, debit=mixed, key="refund-1", amount="8.5")
    kept = await book.done("hold", pool=pool, amount="1", key="kept", dimensions=user)
    await book.done("release", pool=pool, hold=kept)
    await book.done("set_allowance", pool=pool, name="burst", amount="6", rolling_s=18_000)
    await book.refused("debit", pool=pool, amount="100", key="too much", dimensions=user)
    for hour in range(4):
        book.wait(hours=1, minutes=7)
        await book.done("debit", pool=pool, amount="1.5", key=f"hourly-{hour}", dimensions={"user": f"u{hour % 2}"})
    await book.done("debit", pool=pool, amount="0.75", key="at midnight", dimensions=user)


async def recurring(book: Book) -> None:
    """All periods and ways to roll over; in part, replaced, ended, cancelled, missed, and one that is full."""
    usd = {"per_credit": "0.01", "currency": "USD"}
    await book.done(
        "set_recurring",
        pool="plan/pro",
        name="pro",
        amount="1000",
        period="month",
        anchor="2025-12-31T00:00:00+01:00",
        time_zone="Europe/Paris",
        roll_over="200",
        cost_basis=usd,
    )
    await book.done("debit", pool="plan/pro", amount="650", key="job-1")
    await book.done("set_recurring", pool="plan/all", name="all", amount="10", period="week", every=2, roll_over="all")
    await book.done("set_recurring", pool="plan/none", name="none", amount="5", period="day", category="promotional")
    await book.done("debit", pool="plan/none", amount="1", key="job-1")
    await book.done(
        "set_recurring",
        pool="plan/part",
        name="part",
        amount="31",
        period="month",
        anchor="2026-01-01T00:00:00Z",
        prorate=True,
        priority=20,
    )
    await book.done(
        "set_recurring",
        pool="plan/ended",
        name="ended",
        amount="4",
        period="week",
        starts_at=book.after(days=3),
        ends_at=book.after(days=20),
    )
    await book.done("set_recurring", pool="plan/changed", name="changed", amount="7", period="week", roll_over="3")
    await book.done("set_recurring", pool="plan/changed", name="changed", amount="8", period="week", roll_over="2")
    await book.done("set_recurring", pool="plan/changed", name="rhythm", amount="1", period="week")
    await book.done("set_recurring", pool="plan/changed", name="rhythm", amount="1", period="month")
    await book.done("set_recurring", pool="plan/cancelled", name="at once", amount="6", period="year")
    await book.done("set_recurring", pool="plan/cancelled", name="at the end", amount="9", period="month")
    await book.done("debit", pool="plan/cancelled", amount="2", key="job-1")
    await book.done("cancel_recurring", pool="plan/cancelled", name="at once", at_once=True)
    await book.done("cancel_recurring", pool="plan/cancelled", name="at the end")
    await book.done("grant", pool="plan/full", amount="9000000000000", key="g")
    await book.done(
        "set_recurring", pool="plan/full", name="full", amount="200000000000", period="day", roll_over="all"
    )
    for day in (1, 1, 6, 10, 14):
        book.wait(days=day)
        for name in ("pro", "all", "none", "part", "ended", "changed", "cancelled", "full"):
            await book.looked_at(f"plan/{name}")
    await book.done("debit", pool="plan/pro", amount="100", key="job-2", dimensions={"user": "u1"})
    await book.done("debit", pool="plan/none", amount="1", key="job-2")


async def alerts(book: Book) -> None:
    """One of each kind, some of them twice."""
    pool = "loud"
    await book.done("grant", pool=pool, amount="100", key="g1", expires_at=book.after(days=10))
    await book.done("set_budget", pool=pool, name="per user", amount="10", window="day", each="user")
    await book.done(
        "set_alerts", pool=pool, low=["50%", "20", "10"], expiring_within_s=86_400, budget_percents=[50, 100]
    )
    await book.done("debit", pool=pool, amount="45", key="a")
    await book.done("debit", pool=pool, amount="6", key="b", dimensions={"user": "u1"})
    await book.done("debit", pool=pool, amount="4", key="c", dimensions={"user": "u1"})
    await book.done("hold", pool=pool, amount="5", key="h", ttl_s=60)
    book.wait(minutes=5)
    await book.looked_at(pool)
    await book.done("debit", pool=pool, amount="45", key="d")
    await book.done("grant", pool=pool, amount="30", key="g2", expires_at=book.after(days=3))
    await book.done("debit", pool=pool, amount="25", key="e")
    await book.done("set_alerts", pool=pool, low=["20", "10", "2.5"], expiring_within_s=2 * 86_400)
    book.wait(days=2)
    await book.looked_at(pool)
    await book.done("debit", pool=pool, amount="4", key="f")
    book.wait(days=2)
    await book.looked_at(pool)
    await book.done("grant", pool=pool, amount="3", key="g3")
    await book.done("debit", pool=pool, amount="3", key="g")


async def recharges(book: Book) -> None:
    """Requests that are granted in full and in part, refused, timed out, granted by the pool, stopped by a month."""
    usd = {"per_credit": "0.01", "currency": "USD"}
    rule = {"below": "20", "target": "100", "timeout_s": 3_600, "cost_basis": usd}
    pool = "recharge"
    await book.done("grant", pool=pool, amount="30", key="g")
    await book.done("set_alerts", pool=pool, recharge=rule)
    await book.done("debit", pool=pool, amount="15", key="a")
    await book.done("grant_recharge", pool=pool, recharge=await asked(book, pool), comment="by hand")
    await book.done("debit", pool=pool, amount="90", key="b")
    await book.done("grant_recharge", pool=pool, recharge=await asked(book, pool), amount="5", cost_basis=usd)
    await book.done("refuse_recharge", pool=pool, recharge=await asked(book, pool))
    await book.refused("grant_recharge", pool=pool, recharge="q1")
    book.wait(hours=2)
    await book.looked_at(pool)
    timed_out = await asked(book, pool)
    book.wait(hours=2)
    await book.looked_at(pool)
    await book.refused("refuse_recharge", pool=pool, recharge=timed_out)
    await book.done("grant_recharge", pool=pool, recharge=await asked(book, pool), expires_at=book.after(days=90))
    by_itself = {"below": "5", "target": "10", "grants": True, "monthly_max": "25", "time_zone": "Asia/Tokyo"}
    await book.done("grant", pool="recharge/itself", amount="10", key="g")
    await book.done("set_alerts", pool="recharge/itself", low=["1"], recharge=by_itself)
    for number in range(4):
        await book.do("debit", pool="recharge/itself", amount="7", key=f"d{number}", partial=True)


async def asked(book: Book, pool: str) -> str:
    """The recharge request of a pool that is open."""
    request = (await book.credits.alerts(pool)).open_recharge
    if request is None:
        raise ValueError(f"{pool} asks for nothing")
    return request.id


async def rates(book: Book) -> None:
    """Cards of two currencies and environments, past and future ones; what they price, and what they do not."""
    tokens = {"metric": "input_tokens", "credits": "10", "per": 1_000_000}
    exact = {"metric": "input_tokens", "match": {"model": "gpt-4"}, "credits": "30.5", "per": "1000000"}
    free = {"metric": "pings", "credits": "0"}
    await book.done("set_rates", rates=[tokens, free])
    await book.done("set_rates", rates=[tokens, exact, free], effective_at=book.after(hours=1))
    await book.done("set_rates", rates=[{"metric": "calls", "credits": "0.07"}], currency="eur")
    await book.done("set_rates", rates=[{**tokens, "credits": "1"}], environment="staging")
    await book.done("grant", pool="acme", amount="50", key="order-2")
    model = {"model": "gpt-4", "user": "u2"}
    await book.done("report", pool="acme", metric="input_tokens", quantity=120_000, key="ev-1", dimensions=model)
    book.wait(hours=2)
    await book.done("report", pool="acme", metric="input_tokens", quantity="120000.5", key="ev-2", dimensions=model)
    await book.done("report", pool="acme", metric="pings", quantity=3, key="ev-3", dimensions={"user": "u2"})
    await book.refused("report", pool="acme", metric="unheard of", quantity=3, key="ev-4")
    await book.refused("report", pool="acme", metric="input_tokens", quantity=10**12, key="ev-5", dimensions=model)
    await book.done("grant", pool="acme/api:eur", amount="12.34", key="order-1")
    await book.done("report", pool="acme/api:eur", metric="calls", quantity="12.5", key="ev-1")
    await book.done("grant", pool="staging@acme", amount="5", key="order-1")
    await book.done("report", pool="staging@acme", metric="input_tokens", quantity=999_999, key="ev-1")
    await book.done("report", pool="staging@acme", metric="input_tokens", quantity=10**7, key="ev-2", partial=True)
    await book.done("set_rates", rates=[tokens], effective_at=book.after(days=300))


async def transfers(book: Book) -> None:
    """Blocks with their terms, there and back, by three resources."""
    await book.done(
        "grant", pool="acme/web", amount="3", key="g", category="promotional", expires_at=book.after(days=60)
    )
    await book.done("transfer", source="acme", target="acme/web", amount="8.5", key="split-1", open_pool=True)
    await book.done("debit", pool="acme/web", amount="4", key="job-1", dimensions={"user": "u1"})
    await book.done("transfer", source="acme/web", target="acme/app", amount="6", key="split-1", open_pool=True)
    await book.done("transfer", source="acme/app", target="acme", amount="1.000001", key="back-1")
    await book.refused("transfer", source="acme/app", target="acme", amount="1000", key="back-2")
    await book.done("debit", pool="acme/app", amount="0.5", key="job-1")


async def names_and_scales(book: Book) -> None:
    """Names that are percent-encoded, other environments, and currencies with 0, 2 and 9 decimal places."""
    await book.done(
        "grant", pool="acme:tokens", amount="1000000", key="g", cost_basis={"per_credit": "0.001", "currency": "JPY"}
    )
    await book.done("debit", pool="acme:tokens", amount=12_345, key="job-1", dimensions={"model": "small"})
    await book.refused("debit", pool="acme:tokens", amount="0.5", key="job-2")
    await book.done("debit", pool="acme/api:eur", amount="0.01", key="job-1", dimensions={"user": "u1"})
    await book.done("grant", pool=ENCODED, amount="1.000000001", key="schlüssel / 1 %20", name="Übertrag № 1")
    await book.done(
        "debit", pool=ENCODED, amount="0.000000002", key="k", dimensions={"größe %": "a/b", "none": "", "日本": "語 😀"}
    )
    hold = await book.done("hold", pool=ENCODED, amount="0.5", key="h")
    await book.done("capture", pool=ENCODED, hold=hold, amount="0.25")


async def batches(book: Book) -> None:
    """Plain and atomic, done and refused."""
    await book.done("grant", pool="batch", amount="10", key="g")
    debits = [["debit", {"pool": "batch", "amount": amount, "key": f"plain-{amount}"}] for amount in (4, 5, 6)]
    await book.do("batch", requests=debits, atomic=False)
    held = await book.done("hold", pool="batch", amount="0.5", key="h1")
    freed = await book.done("hold", pool="batch", amount="0.25", key="h2")
    debit = await book.done("debit", pool="batch", amount="0.125", key="d")
    mixed = [
        ["grant", {"pool": "batch/site", "amount": "3", "key": "g", "expires_at": book.after(days=100)}],
        ["debit", {"pool": "batch/site", "amount": "1", "key": "d", "dimensions": {"user": "u1"}}],
        ["report", {"pool": "batch/site", "metric": "pings", "quantity": 2, "key": "r"}],
        ["hold", {"pool": "batch/site", "amount": "0.5", "key": "h", "ttl_s": 60}],
        ["capture", {"pool": "batch", "hold": held, "amount": "0.4"}],
        ["release", {"pool": "batch", "hold": freed}],
        ["reverse", {"pool": "batch", "debit": debit, "key": "refund"}],
    ]
    await book.do("batch", requests=mixed, atomic=False)
    both = [
        ["debit", {"pool": "batch", "amount": "0.5", "key": "both"}],
        ["debit", {"pool": "batch/site", "amount": "0.5", "key": "both"}],
    ]
    await book.do("batch", requests=both, atomic=True)
    one_too_large = [["debit", {"pool": "batch", "amount": "1000", "key": "all"}], both[1]]
    await book.do("batch", requests=one_too_large, atomic=True)
    book.wait(minutes=2)
    await book.looked_at("batch/site")


async def busy(book: Book) -> None:
    """So many keys that they are filed in several segments, some of them merged, and a pool with a long history."""
    names = ["busy", *(f"busy/n-{number}" for number in range(6))]
    for name in names:
        await book.done("grant", pool=name, amount="1000", key="g")
    for turn in range(ROUNDS):
        requests = [
            [
                "debit",
                {
                    # Every other one is of the first pool.
                    "pool": names[0 if place % 2 else place // 2 % len(names)],
                    "amount": f"0.{place % 9 + 1}",
                    "key": f"{turn}-{place}",
                    "dimensions": {"user": f"u{place % 7}", "turn": turn},
                },
            ]
            for place in range(PER_ROUND)
        ]
        await book.do("batch", requests=requests, atomic=False)
        book.wait(seconds=30)
        # A segment has what came in half a second or so.
        await asyncio.sleep(0.7)


async def last_moments(book: Book) -> None:
    """What is still open at the end: holds, a recharge, grants and plans to come, and windows that are half used."""
    book.wait(hours=1)
    now = {"user": "u1", "model": "gpt-4"}
    await book.done("grant", pool="acme", amount="11", key="last", expires_at=book.after(days=30))
    await book.done("grant", pool="acme", amount="12", key="to come", effective_at=book.after(days=30))
    await book.done("debit", pool="acme", amount="2.25", key="last job", dimensions=now, metric="tokens", quantity=5)
    await book.done("hold", pool="acme", amount="3.5", key="open", dimensions=now, ttl_s=86_400)
    await book.done("hold", pool="free", amount="1", key="open", metric="tokens", dimensions={"user": "u1"})
    await book.done("hold", pool="limits", amount="2", key="open", dimensions={"user": "u2", "source": "script"})
    await book.done("debit", pool="limits", amount="3", key="last job", dimensions={"user": "u2", "tier": 1})
    await book.done("debit", pool="free", amount="1.5", key="last job", metric="tokens", quantity=10, dimensions=now)
    await book.do("debit", pool="recharge", amount="90", key="last job", partial=True)
    await asked(book, "recharge")
    await book.done("transfer", source="acme", target="acme/web", amount="1", key="last split")
    await book.do(
        "batch",
        requests=[
            ["debit", {"pool": "batch", "amount": "0.1", "key": "last"}],
            ["hold", {"pool": "batch/site", "amount": "0.2", "key": "last", "ttl_s": 3_600}],
        ],
        atomic=True,
    )
    await book.refused("debit", pool="acme", amount="100000", key="refused last", dimensions={"user": "u3"})
