"""Options for well-known files, so that they replay without a page of them.

A preset is what one would type: ``options`` has the words by option. What is typed as well wins over its part of the
preset. Its rates are **made up**: they show what a rate card for such a file looks like, and cost what nobody charges.
``docs/replay.md`` says for each preset whose documentation it follows, and what it leaves to whoever runs it.

``azure-llm`` reads the traces of the Azure Public Dataset, "Azure LLM inference trace 2023" (CC-BY 4.0). They are from
2023, so it also lifts the limit on how far back an event may lie. Its prices are those of a large model of that year
with a credit worth a dollar.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from solvent.engine.values.dimensions import DimensionValue
from solvent.engine.values.errors import InvalidRequest

Words: TypeAlias = str | bool | Sequence[str]
Rates: TypeAlias = Sequence[Mapping[str, Any]]


class Preset(NamedTuple):
    """Options of ``replay`` under one name."""

    options: Mapping[str, Words]
    """By the name of the option, with underscores."""
    records: Sequence[str] = ()
    """Where a JSON object may have the records. The first that is there counts; with none, the object is a record."""
    rates: Rates = ()
    """An example of a rate card."""
    feature_words: tuple[str, ...] = ()
    """The file's name holds one of these, which is the value of dimension ``feature``. Empty for no such dimension."""

    def dimensions(self, stem: str, given: Mapping[str, DimensionValue]) -> dict[str, DimensionValue]:
        """Return the fixed dimensions of a file. Raises ``InvalidRequest`` where neither its name nor an option says
        the feature."""
        if "feature" in given or not self.feature_words:
            return dict(given)
        for word in self.feature_words:
            if word in stem.lower():
                return {"feature": word, **given}
        words = " or ".join(self.feature_words)
        raise InvalidRequest("--preset", f"a file with {words} in its name, or --dim feature=...", got=repr(stem)[:60])


NO_PRESET: Final = Preset({})

_MILLION: Final = 1_000_000


def _per_million(metric: str, credits: str, **match: str) -> dict[str, Any]:
    return {"metric": metric, "credits": credits, "per": _MILLION, **({"match": match} if match else {})}


def _tokens(*more: Mapping[str, Any]) -> Rates:
    """A card for models: two prices for every model, and two for one of them."""
    return (
        _per_million("input_tokens", "1"),
        _per_million("output_tokens", "2"),
        _per_million("input_tokens", "3", model="example-large"),
        _per_million("output_tokens", "6", model="example-large"),
        *more,
    )


PRESETS: Final[Mapping[str, Preset]] = {
    "azure-llm": Preset(
        {
            "time_column": "TIMESTAMP",
            "assume_utc": True,
            "metric": ("input_tokens=ContextTokens", "output_tokens=GeneratedTokens"),
            "price": ("input_tokens=0.00003", "output_tokens=0.00006"),
            "backfill": True,
        },
        feature_words=("conversation", "code"),
    ),
    "openai-usage": Preset(
        {
            # A bucket has no id: it is the same one if it is of the same time, and of the same groups.
            "hash_columns": "start_time,end_time,results.object?,results.project_id?,results.user_id?,"
            "results.api_key_id?,results.model?,results.batch?,results.service_tier?",
            "time_column": "start_time",
            "time_format": "s",
            "metric": ("input_tokens=results.input_tokens", "output_tokens=results.output_tokens"),
            "dim_column": (
                "model=results.model?",
                "project=results.project_id?",
                "user=results.user_id?",
                "api_key=results.api_key_id?",
                "batch=results.batch?",
                "service_tier=results.service_tier?",
            ),
        },
        records=("data",),
        rates=_tokens(),
    ),
    "anthropic-usage": Preset(
        {
            "hash_columns": "starting_at,ending_at,results.workspace_id?,results.api_key_id?,results.account_id?,"
            "results.service_account_id?,results.model?,results.service_tier?,results.context_window?,"
            "results.inference_geo?,results.speed?",
            "time_column": "starting_at",
            "metric": (
                "input_tokens=results.uncached_input_tokens",
                "output_tokens=results.output_tokens",
                "cache_read_tokens=results.cache_read_input_tokens",
                "cache_write_5m_tokens=results.cache_creation.ephemeral_5m_input_tokens",
                "cache_write_1h_tokens=results.cache_creation.ephemeral_1h_input_tokens",
                "web_searches=results.server_tool_use.web_search_requests",
            ),
            "dim_column": (
                "model=results.model?",
                "workspace=results.workspace_id?",
                "api_key=results.api_key_id?",
                "service_tier=results.service_tier?",
                "context_window=results.context_window?",
            ),
        },
        records=("data",),
        rates=_tokens(
            _per_million("cache_read_tokens", "0.1"),
            _per_million("cache_write_5m_tokens", "1.25"),
            _per_million("cache_write_1h_tokens", "1.5"),
            {"metric": "web_searches", "credits": "10", "per": 1000},
        ),
    ),
    "litellm-spend": Preset(
        {
            "id_column": "request_id",
            "time_column": "startTime",
            "assume_utc": True,
            "metric": ("input_tokens=prompt_tokens", "output_tokens=completion_tokens"),
            "dim_column": (
                "model=model?",
                "user=user?",
                "team=team_id?",
                "end_user=end_user?",
                "api_key=api_key?",
                "call_type=call_type?",
            ),
        },
        records=("data",),
        rates=_tokens(),
    ),
    "langfuse-observations": Preset(
        {
            "id_column": "id",
            "only": ("type=GENERATION",),
            "time_column": "startTime",
            "metric": ("input_tokens=usageDetails.input", "output_tokens=usageDetails.output"),
            "dim_column": ("model=model?", "name=name?", "trace=traceId?", "environment=environment?"),
        },
        records=("data",),
        rates=_tokens(),
    ),
    "openmeter-events": Preset(
        {
            # The specification of CloudEvents: source and id together are unique.
            "hash_columns": "source,id",
            "customer_column": "subject",
            "time_column": "time",
            "metric_column": "type",
            "dims_column": "data?",
        },
        records=("event",),
        rates=({"metric": "prompt", "credits": "2", "per": _MILLION}, {"metric": "request", "credits": "0.01"}),
    ),
    "stripe-meter-events": Preset(
        {
            "id_column": "identifier",
            "customer_column": "payload.stripe_customer_id",
            "time_column": "timestamp",
            "metric_column": "event_name",
            "quantity_column": "payload.value",
            "dims_column": "payload",
        },
        records=("data",),
        rates=({"metric": "ai_search_api", "credits": "0.02"},),
    ),
    "lago-events": Preset(
        {
            "id_column": "transaction_id",
            "customer_column": "external_subscription_id",
            "time_column": "timestamp",
            "metric_column": "code",
            "dims_column": "properties?",
        },
        records=("events", "event"),
        rates=({"metric": "storage", "credits": "0.05"}, {"metric": "api_call", "credits": "0.001"}),
    ),
    "aws-cur": Preset(
        {
            "only": ("lineItem/LineItemType=Usage",),
            "customer_column": "lineItem/UsageAccountId",
            "time_column": "lineItem/UsageStartDate",
            "amount_column": "lineItem/UnblendedCost",
            "metric_column": "lineItem/UsageType",
            "quantity_column": "lineItem/UsageAmount",
            "rounding": "half-even",
            "dim_column": (
                "product=lineItem/ProductCode",
                "operation=lineItem/Operation?",
                "resource=lineItem/ResourceId?",
                "zone=lineItem/AvailabilityZone?",
            ),
        },
        rates=(
            {"metric": "BoxUsage:t3.micro", "credits": "0.01"},
            {"metric": "TimedStorage-ByteHrs", "credits": "0.02"},
        ),
    ),
    "aws-cur2": Preset(
        {
            "only": ("line_item_line_item_type=Usage",),
            "customer_column": "line_item_usage_account_id",
            "time_column": "line_item_usage_start_date",
            "assume_utc": True,
            "amount_column": "line_item_unblended_cost",
            "metric_column": "line_item_usage_type",
            "quantity_column": "line_item_usage_amount",
            "rounding": "half-even",
            "dim_column": (
                "product=line_item_product_code",
                "operation=line_item_operation?",
                "resource=line_item_resource_id?",
                "zone=line_item_availability_zone?",
            ),
        },
        rates=(
            {"metric": "BoxUsage:t3.micro", "credits": "0.01"},
            {"metric": "TimedStorage-ByteHrs", "credits": "0.02"},
        ),
    ),
}


def find_preset(name: str) -> Preset:
    """Return a preset by its name. Raises ``InvalidRequest`` naming those that there are."""
    if name not in PRESETS:
        raise InvalidRequest("--preset", f"one of {', '.join(PRESETS)}", got=repr(name)[:40])
    return PRESETS[name]
