"""The options that several verbs share, each with one wording and one meaning."""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, get_type_hints

import typer

from solvent.engine.values.pool_id import ENVIRONMENT_DEFAULT

from .pairs import parse_currencies
from .target import Target

DATA_DIR_DEFAULT: Final = Path("solvent-data")

DataDir: TypeAlias = Annotated[
    Path,
    typer.Option("--data-dir", "-d", envvar="SOLVENT_DATA_DIR", help="The folder of the journal, to work on directly."),
]
NatsUrl: TypeAlias = Annotated[
    str | None,
    typer.Option("--nats-url", envvar="SOLVENT_NATS_URL", help="Work on the service at this NATS server instead."),
]
Currencies: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--currency",
        metavar="NAME=PLACES",
        help="Decimal places of a currency that is new to this journal, 0 to 9. Default: 6. Repeatable.",
    ),
]
Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON document: the answer, or the error object.")
]
PoolArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="POOL", help="customer or customer/resource, with :currency and environment@ if not the defaults."
    ),
]
AmountArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="AMOUNT", help='Credits as decimal text, such as "12.5".')
]
AsOf: TypeAlias = Annotated[
    str | None, typer.Option(help="The state at this time, ISO 8601 with its zone. Default: now.")
]
Key: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="The idempotency key: repeated with the same key, the command is done once. Default: random, printed."
    ),
]
Dims: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--dim", metavar="NAME=VALUE", help="A dimension; name:=5 for a number or boolean. Repeatable."),
]
NowOrTime: TypeAlias = Annotated[str | None, typer.Option(help="ISO 8601 with its zone. Default: now.")]
NeverOrTime: TypeAlias = Annotated[str | None, typer.Option(help="ISO 8601 with its zone. Default: never.")]
Category: TypeAlias = Annotated[str, typer.Option(help='"paid" or "promotional".')]
Priority: TypeAlias = Annotated[int, typer.Option(help="0 to 100; lower burns first.")]
Comment: TypeAlias = Annotated[str | None, typer.Option(help="A comment for people.")]
Partial: TypeAlias = Annotated[bool, typer.Option("--partial", help="If there are fewer credits, debit those.")]
Quantity: TypeAlias = Annotated[str | None, typer.Option(help="The quantity of the metric, as decimal text.")]
CalendarZone: TypeAlias = Annotated[str, typer.Option(help="The time zone of the windows, such as Europe/Paris.")]
Match: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--match", metavar="NAME=VALUE", help="Count only usage with this dimension, written as --dim. Repeatable."
    ),
]
Missing: TypeAlias = Annotated[
    str, typer.Option(help='Usage without the dimension of --each: "pass", "block" or "count together".')
]
PoolsEnvironment: TypeAlias = Annotated[
    str | None, typer.Option(help=f"The environment of the pools. Default: {ENVIRONMENT_DEFAULT}.")
]
CostBasisOption: TypeAlias = Annotated[
    str | None, typer.Option(metavar="CODE=PRICE", help="The cost of one credit, such as USD=0.0125.")
]
Cursor: TypeAlias = Annotated[str | None, typer.Option(help="The next_cursor of a page, to get the page after it.")]


@dataclass(frozen=True, slots=True)
class Shared:
    """The options that nearly all verbs share: where to work, and how to print the answer."""

    ctx: typer.Context
    data_dir: DataDir = DATA_DIR_DEFAULT
    nats_url: NatsUrl = None
    currency: Currencies = None
    as_json: Json = False

    def target(self) -> Target:
        """Return the target that the options name. Raises ``InvalidRequest``."""
        return Target.choose(
            data_dir=self.data_dir,
            data_dir_typed=_typed(self.ctx, "data_dir"),
            nats_url=self.nats_url or None,
            nats_url_typed=_typed(self.ctx, "nats_url"),
            currencies=parse_currencies(self.currency or ()),
        )


def with_shared_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Return ``verb`` for typer, which reads signatures: each group of options is replaced by its fields.

    A group is a dataclass, such as ``Shared``. Its fields come last if it is the first parameter, as ``Shared`` is.
    """
    shared, *own = _parameters(verb)
    groups: dict[str, tuple[type, list[inspect.Parameter]]] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in (*own, shared):
        group = parameter.annotation
        if isinstance(group, type) and is_dataclass(group):
            groups[parameter.name] = (group, _parameters(group))
            parameters += _parameters(group)
        else:
            parameters.append(parameter)

    @wraps(verb)
    def run(**given: Any) -> None:
        made = {
            name: group(**{field.name: given.pop(field.name) for field in fields})
            for name, (group, fields) in groups.items()
        }
        verb(**given, **made)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameters(of: Callable[..., object]) -> list[inspect.Parameter]:
    """Return the parameters with annotations as types, keyword-only so that one without a default may come last."""
    hints = get_type_hints(of, include_extras=True)
    return [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name])
        for name, parameter in inspect.signature(of).parameters.items()
    ]


def random_key() -> str:
    """Return a key of 96 random bits for a command without one."""
    return f"cli-{secrets.token_hex(12)}"


def _typed(ctx: typer.Context, parameter: str) -> bool:
    source = ctx.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def as_typed(value: str | None) -> Any:
    """Return one of a fixed set of words as typed. The engine checks it, and its error lists the words."""
    return value
