"""Commands that arrived together, handed to their pools."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, Protocol

from solvent.actors import Place
from solvent.engine.rules.commands import SETTING_COMMANDS, Command, KeyedCommand
from solvent.engine.values.errors import InvalidRequest, SolventError
from solvent.engine.values.pool_id import PoolId

from .bodies import Address, CommandBody

INTERNAL: Final = "an internal error: the service's log says more"
log = logging.getLogger(__name__)


class Live(Protocol):
    """The live pools of an engine, as far as needed here."""

    def scale_of(self, currency: str) -> int:
        """Return the decimal places of amounts in ``currency``."""
        ...

    def submit_all(self, asks: Sequence[tuple[str, Command, Place]]) -> None:
        """Hand many checked commands to their pools, each with the canonical name of its pool and a place."""

    def submit_batch(self, asks: Sequence[tuple[str, Command, Place]]) -> None:
        """Do the same for a slice of a large batch."""


def submit_all(
    live: Live,
    commands: Sequence[CommandBody | SolventError],
    places: Sequence[Place],
    address: Address,
    *,
    large: bool = False,
) -> None:
    """Check the commands sent to ``address``, and hand them to their pools. Each has a place for its answer.

    ``large`` says that they are a slice of a large batch. What cannot be done is answered in its place, a bug of ours
    too, which is logged.
    """
    asks: list[tuple[str, Command, Place]] = []
    for place, body in zip(places, commands, strict=True):
        try:
            if isinstance(body, SolventError):
                raise body
            pool, command = body.command(address, live.scale_of)
        except SolventError as error:
            place.set_result(error)
        except Exception:  # the supervisor of requests: logged, and answered
            log.exception("a command of a batch failed")
            place.set_result(SolventError(INTERNAL))
        else:
            asks.append((pool.canonical, command, place))
    (live.submit_batch if large else live.submit_all)(asks)


def check_together(
    live: Live, commands: Sequence[CommandBody | InvalidRequest], address: Address
) -> list[tuple[PoolId, KeyedCommand] | SolventError]:
    """Check the commands of an atomic batch. In the place of one that is bad stands its error."""
    checked: list[tuple[PoolId, KeyedCommand] | SolventError] = []
    for body in commands:
        try:
            if isinstance(body, InvalidRequest):
                raise body
            pool, command = body.command(address, live.scale_of)
            if isinstance(command, SETTING_COMMANDS):
                raise InvalidRequest("op", "a command with a key: an atomic batch takes no settings")
            checked.append((pool, command))
        except SolventError as error:
            checked.append(error)
    return checked
