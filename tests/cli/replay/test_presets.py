"""Each preset on a made-up file in the documented shape of what people export, and the dry run that shows it."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from solvent.engine.rules.rates import parse_card
from solvent.transports.cli.replay.presets import PRESETS
from tests.cli.conftest import Cli

EXPORTS = Path(__file__).parent / "exports"
ON_ACME = ("--pool", "acme")
OCTOBER = "2026-10-01T00:00:00"

Event = tuple[str, str, str | None, str | None, str]
"""(pool, key, metric, quantity, amount)"""

CASES: dict[str, tuple[str, tuple[str, ...], list[Event], dict[str, Any]]] = {
    "openai-usage": (
        "openai-usage.json",
        (*ON_ACME, "--rates", "example"),
        [
            ("acme", "#input_tokens", "input_tokens", "1000", "0.001"),
            ("acme", "#output_tokens", "output_tokens", "500", "0.001"),
            ("acme", "#input_tokens", "input_tokens", "2000000", "6"),
            ("acme", "#output_tokens", "output_tokens", "1000000", "6"),
        ],
        {"model": "example-small", "project": "proj_made_up"},
    ),
    "anthropic-usage": (
        "anthropic-usage.json",
        (*ON_ACME, "--rates", "example"),
        [
            ("acme", "#input_tokens", "input_tokens", "1500", "0.0045"),
            ("acme", "#output_tokens", "output_tokens", "500", "0.003"),
            ("acme", "#cache_read_tokens", "cache_read_tokens", "200", "0.00002"),
            ("acme", "#cache_write_5m_tokens", "cache_write_5m_tokens", "500", "0.000625"),
            ("acme", "#cache_write_1h_tokens", "cache_write_1h_tokens", "1000", "0.0015"),
            ("acme", "#web_searches", "web_searches", "10", "0.1"),
        ],
        {
            "model": "example-large",
            "workspace": "wrkspc_made_up",
            "api_key": "apikey_made_up",
            "service_tier": "standard",
            "context_window": "0-200k",
        },
    ),
    "litellm-spend": (
        "litellm-spend.json",
        (*ON_ACME, "--rates", "example"),
        [
            ("acme", "chatcmpl-made-up-1#input_tokens", "input_tokens", "10", "0.00001"),
            ("acme", "chatcmpl-made-up-1#output_tokens", "output_tokens", "20", "0.00004"),
        ],
        {"model": "example-small", "user": "u1", "team": "t1", "api_key": "hash-of-a-key", "call_type": "acompletion"},
    ),
    "litellm-spend as it is": (
        "litellm-spend.json",
        (*ON_ACME, "--amount-column", "spend", "--round", "half-even"),
        [("acme", "chatcmpl-made-up-1", None, None, "0.000034")],
        {"model": "example-small", "user": "u1", "team": "t1", "api_key": "hash-of-a-key", "call_type": "acompletion"},
    ),
    "langfuse-observations": (
        "langfuse-observations.json",
        ("--customer-column", "metadata.customer", "--rates", "example"),
        [
            ("acme", "obs-made-up-1#input_tokens", "input_tokens", "300", "0.0003"),
            ("acme", "obs-made-up-1#output_tokens", "output_tokens", "100", "0.0002"),
        ],
        {"model": "example-small", "name": "answer", "trace": "trace-1", "environment": "production"},
    ),
    "openmeter-events": (
        "openmeter-events.jsonl",
        ("--quantity-column", "data.tokens", "--rates", "example"),
        [
            ("customer-1", "", "prompt", "123456", "0.246912"),
            ("customer-1", "", "prompt", "4", "0.000008"),
        ],
        {"model": "example-small", "provider": "made-up"},
    ),
    "openmeter-events counted": (
        "openmeter-events.jsonl",
        ("--count", "--price", "prompt=0.5"),
        [("customer-1", "", "prompt", "1", "0.5"), ("customer-1", "", "prompt", "1", "0.5")],
        {"tokens": "123456", "model": "example-small", "provider": "made-up"},
    ),
    "stripe-meter-events": (
        "stripe-meter-events.jsonl",
        ("--rates", "example"),
        [
            ("cus_made_up", "identifier_123", "ai_search_api", "25", "0.5"),
            ("cus_made_up", "identifier_124", "ai_search_api", "5", "0.1"),
        ],
        {"region": "eu"},
    ),
    "lago-events": (
        "lago-events.json",
        ("--quantity-column", "properties.gb", "--rates", "example"),
        [("sub_1234567890", "transaction_1234567890", "storage", "10", "0.5")],
        {"region.name": "eu"},
    ),
    "lago-events as sent": (
        "lago-events.jsonl",
        ("--quantity-column", "properties.gb", "--rates", "example"),
        [
            ("sub_1234567890", "t-1", "api_call", "12", "0.012"),
            ("sub_1234567890", "t-2", "api_call", "0.5", "0.0005"),
        ],
        {},
    ),
    "aws-cur": (
        "aws-cur.csv",
        ("--source", "cur-2026-10"),
        [("222222222222", "cur-2026-10:1", "BoxUsage:t3.micro", "1", "0.0104")],
        {"product": "AmazonEC2", "operation": "RunInstances", "resource": "i-made-up", "zone": "us-east-1a"},
    ),
    "aws-cur by rates": (
        "aws-cur.csv",
        ("--source", "cur-2026-10", "--rates", "example", "--round", "up"),
        [
            ("222222222222", "cur-2026-10:1", "BoxUsage:t3.micro", "1", "0.01"),
            ("222222222222", "cur-2026-10:2", "TimedStorage-ByteHrs", "0.000000278", "0.000001"),
        ],
        {"product": "AmazonEC2", "operation": "RunInstances", "resource": "i-made-up", "zone": "us-east-1a"},
    ),
    "aws-cur2": (
        "aws-cur2.csv",
        ("--source", "cur2-2026-10"),
        [("222222222222", "cur2-2026-10:1", "BoxUsage:t3.micro", "1", "0.0104")],
        {"product": "AmazonEC2", "operation": "RunInstances", "resource": "i-made-up", "zone": "us-east-1a"},
    ),
    "azure-llm": (
        "azure_llm_code.csv",
        (*ON_ACME, "--source", "traces"),
        [
            ("acme", "traces:1#input_tokens", "input_tokens", "4808", "0.14424"),
            ("acme", "traces:1#output_tokens", "output_tokens", "10", "0.0006"),
            ("acme", "traces:2#input_tokens", "input_tokens", "3180", "0.0954"),
        ],
        {"feature": "code"},
    ),
}


def test_every_preset_has_a_file() -> None:
    assert {case.split()[0] for case in CASES} == set(PRESETS)


@pytest.mark.parametrize("case", CASES)
def test_a_preset_reads_what_people_export(cli: Cli, case: str) -> None:
    preset, (name, options, expected, dimensions) = case.split()[0], CASES[case]
    words: tuple[str | Path, ...] = (EXPORTS / name, "--preset", preset, *options, "--json")
    shown = cli("replay", *words, "--dry-run")
    assert (shown.code, shown.json["bad_lines"], shown.json["bad"]) == (0, 0, [])
    found = [
        (each["pool"], key, each["metric"], each["quantity"], each["amount"])
        for each, (_, key, *_) in zip(shown.json["first"], expected, strict=True)
    ]
    assert found == expected
    assert all(each["key"].endswith(key) for each, (_, key, *_) in zip(shown.json["first"], expected, strict=True))
    assert len({each["key"] for each in shown.json["first"]}) == len(expected)
    assert shown.json["first"][0]["dimensions"] == dimensions
    assert shown.json["first"][0]["occurred_at"] is not None

    for pool in {pool for pool, *_ in expected}:
        cli("grant", pool, "1000", "--key", "order")
    booked = cli("replay", *words, "--backfill")
    assert (booked.code, booked.json["booked"]) == (0, len(expected))
    assert Decimal(booked.json["amount_booked"]) == Decimal(shown.json["amount"])
    again = cli("replay", *words, "--backfill")
    assert (again.json["booked"], again.json["already_there"]) == (0, len(expected))


def test_a_bucket_that_has_grown_since_is_a_conflict(cli: Cli, tmp_path: Path) -> None:
    cli("grant", "acme", "1000", "--key", "order")
    words = ("--preset", "openai-usage", *ON_ACME, "--rates", "example", "--backfill", "--json")
    assert cli("replay", EXPORTS / "openai-usage.json", *words).code == 0
    page = json.loads((EXPORTS / "openai-usage.json").read_text())
    page["data"][0]["results"][0]["output_tokens"] += 1
    (tmp_path / "later.json").write_text(json.dumps(page))
    later = cli("replay", tmp_path / "later.json", *words)
    assert (later.code, later.json["refused"], later.json["already_there"]) == (5, {"idempotency_conflict": 1}, 3)


@pytest.mark.parametrize("preset", [name for name, preset in PRESETS.items() if preset.rates])
def test_a_rate_card_to_start_from_is_one(preset: str) -> None:
    assert parse_card(PRESETS[preset].rates).rates


def test_the_page_on_replay_has_the_cards() -> None:
    page = (Path(__file__).parents[3] / "docs" / "replay.md").read_text()
    found: dict[str, Any] = {}
    for names, card in re.findall(r"^(`[^\n]*`):\n\n```json\n(.*?)```", page, flags=re.MULTILINE | re.DOTALL):
        for name in re.findall(r"`([\w-]+)`", names):
            found[name] = json.loads(card)
    assert found == {name: list(preset.rates) for name, preset in PRESETS.items() if preset.rates}
    for name in PRESETS:
        assert f"`{name}`" in page


def test_made_up_prices_are_booked_only_if_they_are_asked_for(cli: Cli) -> None:
    cli("grant", "acme", "1000", "--key", "order")
    words = ("replay", EXPORTS / "openai-usage.json", "--preset", "openai-usage", *ON_ACME, "--backfill", "--json")
    refused = cli(*words)
    assert (refused.code, refused.json["error"]["field"]) == (2, "--price")
    assert "--rates FILE" in refused.json["error"]["message"]
    shown = cli(*words, "--dry-run").json
    assert (shown["events"], shown["example_prices"]) == (4, True)
    assert cli(*words, "--rates", "example").json["booked"] == 4


@pytest.mark.parametrize(
    ("preset", "name", "options", "field"),
    [
        ("openmeter-events", "openmeter-events.jsonl", ("--rates", "example"), "--quantity-column"),
        ("lago-events", "lago-events.json", ("--rates", "example"), "--quantity-column"),
        ("aws-cur", "aws-cur.csv", (), "--id-column"),
        ("azure-llm", "azure_llm_code.csv", ON_ACME, "--id-column"),
        ("langfuse-observations", "langfuse-observations.json", ("--rates", "example"), "--pool"),
    ],
)
def test_what_a_preset_cannot_know_is_asked_for(
    cli: Cli, preset: str, name: str, options: tuple[str, ...], field: str
) -> None:
    refused = cli("replay", EXPORTS / name, "--preset", preset, *options, "--dry-run", "--json")
    assert (refused.code, refused.json["error"]["field"]) == (2, field)


def test_what_is_typed_wins_over_the_preset(cli: Cli) -> None:
    name = EXPORTS / "openai-usage.json"
    shown = cli(
        *("replay", name, "--preset", "openai-usage", *ON_ACME, "--dry-run", "--json"),
        *("--metric", "calls=results.num_model_requests", "--price", "calls=0.5", "--source", "october"),
        *("--dim-column", "model=results.project_id"),
    ).json
    assert [(each["key"], each["amount"]) for each in shown["first"]] == [
        ("october:1[0]#calls", "2.5"),
        ("october:1[1]#calls", "20"),
    ]
    assert shown["first"][1]["dimensions"] == {
        "model": "proj_made_up",
        "project": "proj_made_up",
        "batch": False,
        "service_tier": "default",
    }
    assert shown["example_prices"] is False


# The dry run


def test_a_dry_run_writes_nothing_and_needs_no_journal(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "usage.csv"
    rows = "".join(
        f"e{number},{'x' if number % 5 == 4 else number},{'big' if number % 2 else 'small'}\n" for number in range(60)
    )
    path.write_text("id,n,model\n" + rows)
    card = tmp_path / "card.json"
    card.write_text(
        '[{"metric": "n", "credits": 1}, {"metric": "n", "match": {"model": "big"}, "credits": 5, "per": 2}]'
    )
    words = ("replay", path, "--pool", "acme", "--id-column", "id", "--metric", "n=n", "--dim-column", "model=model")
    shown = cli(*words, "--rates", card, "--dry-run", "--json")
    assert shown.code == 2, "there are bad records"
    found = shown.json
    assert not (tmp_path / "journal").exists()
    assert (found["dry_run"], found["lines"], found["events"], found["free"], found["bad_lines"]) == (
        True,
        60,
        47,
        1,
        12,
    )
    good = [number for number in range(60) if number % 5 != 4]
    by_price = {each["price"]["credits"]: each for each in found["prices"]}
    assert {name: (each["events"], each["quantity"], each["amount"]) for name, each in by_price.items()} == {
        "1": (23, str(sum(n for n in good if not n % 2)), str(sum(n for n in good if not n % 2))),
        "5": (24, str(sum(n for n in good if n % 2)), str(Decimal(sum(n for n in good if n % 2)) * 5 / 2)),
    }
    assert by_price["5"]["price"] == {"credits": "5", "per": "2", "match": {"model": "big"}}
    assert len(found["first"]) == len(found["bad"]) == 10
    assert found["bad"][0] == {
        "record": 5,
        "line": 6,
        "reason": "n: expected a decimal number such as \"12.5\", got 'x'",
    }
    assert Decimal(found["amount"]) == sum(Decimal(each["amount"]) for each in found["prices"])

    people = cli(*words, "--rates", card, "--dry-run")
    for words_shown in (
        "nothing is written",
        "2.5",
        "5 per 2 where model=big",
        "47 debits",
        "usage.csv:6:",
        "(record 5)",
    ):
        assert words_shown in people.out
    assert "✓" not in people.out


def test_a_dry_run_of_a_file_that_breaks_off_says_so(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "usage.csv"
    path.write_text('id,n\na,1\nb,"2\n')
    words = ("replay", path, "--pool", "acme", "--id-column", "id", "--amount-column", "n", "--dry-run")
    shown = cli(*words, "--json")
    assert (shown.code, shown.json["events"], shown.json["complete"]) == (2, 1, False)
    assert "record 2" in shown.json["broken"]["message"]
    assert "record 2, which begins in line 3" in cli(*words).err
