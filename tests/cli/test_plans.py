"""Allowances and recurring grants on the command line, on a journal and on a service."""

from __future__ import annotations

from pathlib import Path

import pytest

from solvent.engine.runtime.files import JOURNAL_NAME

from .conftest import Cli, check_named
from .test_service import serving


def test_a_pool_is_opened_with_nothing_in_it(cli: Cli) -> None:
    opened = cli("open-pool", "acme/site", "--json")
    assert (opened.code, opened.json["id"], opened.json["balance"], opened.json["version"]) == (0, "o1", "0", 1)
    assert cli("open-pool", "acme/site", "--json").json["replayed"]
    assert "nothing was to change" in cli("open-pool", "acme/site").out
    assert "opening recorded" in cli("open-pool", "acme/other").out
    assert [pool["pool"] for pool in cli("pools", "acme", "--json").json["pools"]] == ["acme/other", "acme/site"]
    assert cli("debit", "acme/site", "1", "--json").json["error"]["top_up"] == "1"


def test_an_allowance_covers_before_grants_do_and_receipts_say_so(cli: Cli) -> None:
    words = ("set-allowance", "acme", "free", "5", "--window", "day", "--time-zone", "Asia/Tokyo")
    set_ = cli(*words, "--json")
    assert (set_.code, set_.json["id"], set_.json["replayed"]) == (0, "f2", False)
    assert "nothing was to change" in cli(*words).out
    cli("grant", "acme", "10", "--key", "g")

    asked = cli("check", "acme", "8", "--json").json
    assert (asked["allowed"], asked["available"], asked["covered"]) == (
        True, "15", [{"allowance": "free", "amount": "5"}]
    )  # fmt: skip
    shown = cli("check", "acme", "20").out
    assert "by free" in shown
    assert "allowance resets" in shown
    assert "free, " in shown
    assert "15:00:00 UTC" in shown, "midnight of Tokyo"

    paid = cli("debit", "acme", "8", "--key", "a", "--json").json
    assert (paid["amount"], paid["covered"], paid["balance"]) == ("3", "5", "7")
    assert paid["allowances"] == [{"allowance": "free", "amount": "5"}]
    again = [line.split() for line in cli("debit", "acme", "8", "--key", "a").out.splitlines()]
    assert ["covered", "5"] in again
    assert ["by", "free", "5"] in again
    assert ["from", "g3", "3"] in again
    assert "covered" not in cli("debit", "acme", "1", "--key", "b").out, "there is nothing left of it"
    assert cli("verify", "--json").json["problems"] == []


def test_an_allowance_of_a_metric_counts_its_quantity_for_each_value(cli: Cli) -> None:
    terms = ("--rolling", "18000", "--metric", "tokens", "--each", "user", "--match", "plan=team", "--match", "beta:=1")
    assert cli("set-allowance", "acme", "tok", "1000", *terms).code == 0
    assert "each user" in cli("allowances", "acme").out
    team = ("--dim", "plan=team", "--dim", "beta:=1", "--dim", "user=u7")
    free = cli("debit", "acme", "0.5", "--metric", "tokens", "--quantity", "400", *team, "--json").json
    assert (free["amount"], free["covered"]) == ("0", "0.5")
    metered = cli("check", "acme", "1.2", "--metric", "tokens", "--quantity", "600", *team, "--json").json
    assert (metered["allowed"], metered["covered"][0]["amount"]) == (True, "1.2")
    assert cli("check", "acme", "1.2", *team, "--json").json["allowed"] is False, "no metric, no allowance"
    assert "by tok" in cli("check", "acme", "1.2", "--metric", "tokens", "--quantity", "600", *team).out

    (listed,) = cli("allowances", "acme", "--json").json["allowances"]
    assert (listed["amount"], listed["rolling_s"], listed["window"]) == ("1000", 18_000, None)
    assert (listed["metric"], listed["each"], listed["match"]) == ("tokens", "user", {"plan": "team", "beta": 1})
    (count,) = listed["counts"]
    assert (count["value"], count["used"], count["left"]) == ("u7", "400", "600")
    shown = cli("allowances", "acme").out
    assert "any 5 h" in shown
    assert "1,000 tokens" in shown
    assert "user=u7" in shown
    assert "████░░░░░░░░" in shown, "400 of 1,000"

    assert "removal recorded" in cli("remove-allowance", "acme", "tok").out
    assert cli("allowances", "acme", "--json").json["allowances"] == []
    assert cli("remove-allowance", "acme", "tok", "--json").json["replayed"]
    assert cli("verify", "--json").json["problems"] == []


def test_a_plan_grants_by_itself_until_it_is_cancelled(cli: Cli) -> None:
    terms = ("--period", "year", "--every", "2", "--roll-over", "1200.5", "--cost-basis", "USD=0.1", "--priority", "40")
    set_ = cli("set-recurring", "acme", "pro", "1000", *terms, "--time-zone", "Europe/Paris", "--json")
    assert (set_.code, set_.json["id"]) == (0, "p2")
    assert cli("balance", "acme", "--json").json["available"] == "1000"
    (plan,) = cli("recurring", "acme", "--json").json["recurring"]
    assert (plan["amount"], plan["period"], plan["every"], plan["roll_over"]) == ("1000", "year", 2, "1200.5")
    assert (plan["cost_basis"], plan["priority"]) == ({"per_credit": "0.1", "currency": "USD"}, 40)
    assert (plan["prorate"], plan["ends_at"], plan["last_grant"]) == (False, None, "g3")
    shown = cli("recurring", "acme").out
    for text in ("2 years", "Europe/Paris", "up to 1,200.5", "0.1 USD", "in full", "never"):
        assert text in shown

    cli("debit", "acme", "300", "--key", "a")
    assert "cancellation recorded" in cli("cancel-recurring", "acme", "pro", "--at-once").out
    balance = cli("balance", "acme", "--json").json
    assert (balance["available"], balance["voided"], balance["spent"]) == ("0", "700", "300")
    assert cli("recurring", "acme", "--json").json["recurring"] == []
    assert cli("verify", "--json").json["problems"] == []


def test_a_cancelled_plan_leaves_what_it_granted(cli: Cli) -> None:
    cli("set-recurring", "acme", "seat", "50", "--period", "month", "--category", "promotional")
    assert cli("cancel-recurring", "acme", "seat", "--json").json["replayed"] is False
    assert cli("cancel-recurring", "acme", "seat", "--json").json["replayed"] is True
    assert cli("balance", "acme", "--json").json["available"] == "50"


def test_a_plan_can_begin_later_and_in_part(cli: Cli) -> None:
    later = ("--starts-at", "2998-12-31T00:00:00Z", "--ends-at", "2999-06-01T00:00:00Z", "--anchor")
    words = ("set-recurring", "acme", "trial", "31", "--period", "month", *later, "2998-12-01T00:00:00Z", "--prorate")
    assert "recurring grant recorded" in cli(*words).out
    assert cli("balance", "acme", "--json").json["available"] == "0"
    shown = cli("recurring", "acme").out
    for text in ("2998-12-31 00:00:00", "2999-06-01 00:00:00", "in part", "none"):
        assert text in shown


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ("set-allowance acme a 5", "window"),
        ("set-allowance acme a 5 --window day --rolling 60", "window"),
        ("set-allowance acme a 5 --window minute", "window"),
        ("set-allowance acme a 5 --rolling 61", "rolling_s"),
        ("set-allowance acme a x --window day", "amount"),
        ("set-allowance acme a 5 --window day --match user", "--match"),
        ("set-allowance acme a 5 --window day --time-zone Mars", "time_zone"),
        ("set-recurring acme a 5 --period fortnight", "period"),
        ("set-recurring acme a 5 --period day --every 0", "every"),
        ("set-recurring acme a 5 --period day --cost-basis 0.1", "--cost-basis"),
        ("set-recurring acme a 5 --period day --roll-over some", "roll_over"),
        ("set-recurring acme a 5 --period day --anchor yesterday", "anchor"),
        ("set-recurring acme a 5 --period day --priority 101", "priority"),
        ("check acme 5 --quantity x", "quantity"),
        ("open-pool a/b/c", "pool"),
    ],
)
def test_wrong_terms_are_named_and_write_nothing(cli: Cli, words: str, field: str) -> None:
    cli("open-pool", "acme")
    check_named(cli, words, field)
    assert cli("balance", "acme", "--json").json["version"] == 1
    assert len(cli("pools", "--json").json["pools"]) == 1


@pytest.mark.parametrize(
    "words", ["set-recurring acme a 5", "set-allowance acme a 5 --rolling x", "set-allowance acme a"]
)
def test_what_is_missing_or_no_number_is_wrong_usage(cli: Cli, words: str) -> None:
    assert cli(*words.split()).code == 2


@pytest.mark.parametrize("verb", ["allowances", "recurring", "remove-allowance x", "cancel-recurring x"])
def test_a_pool_or_a_journal_that_is_not_there_is_4(cli: Cli, tmp_path: Path, verb: str) -> None:
    name, *more = verb.split()
    none = cli(name, "acme", *more, "--json")
    assert (none.code, none.json["error"]["what"]) == (4, "journal")
    assert not (tmp_path / "journal").exists()
    cli("open-pool", "other")
    assert (tmp_path / "journal" / JOURNAL_NAME).is_file()
    unknown = cli(name, "acme", *more, "--json")
    assert (unknown.code, unknown.json["error"]["what"]) == (4, "pool")


def test_the_same_verbs_work_on_a_service(cli: Cli, tmp_path: Path) -> None:
    with serving(tmp_path / "journal", "--nats-port", "0") as (_, url):
        service = ("--nats-url", url, "--json")
        assert cli("open-pool", "acme", *service).json["id"] == "o1"
        assert cli("set-allowance", "acme", "free", "5", "--window", "month", *service).json["id"] == "f2"
        assert cli("set-recurring", "acme", "pro", "100", "--period", "month", *service).json["id"] == "p3"
        assert (
            cli("check", "acme", "6", "--metric", "m", "--quantity", "1", *service).json["covered"][0]["amount"] == "5"
        )
        paid = cli("debit", "acme", "8", "--key", "a", *service).json
        assert (paid["amount"], paid["covered"], paid["balance"]) == ("3", "5", "97")
        (free,) = cli("allowances", "acme", *service).json["allowances"]
        assert (free["window"], free["counts"][0]["left"]) == ("month", "0")
        assert cli("recurring", "acme", *service).json["recurring"][0]["last_grant"] == "g4"
        assert cli("cancel-recurring", "acme", "pro", "--at-once", *service).code == 0
        assert cli("remove-allowance", "acme", "free", *service).code == 0
        refused = cli("debit", "acme", "1", "--key", "b", *service)
        assert (refused.code, refused.json["error"]["code"]) == (3, "insufficient_credits")
