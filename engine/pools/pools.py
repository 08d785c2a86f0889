"""All live pools of an engine: passes checked commands to the actor of their pool, and returns the answers.

Transports use ``submit`` and ``submit_all``, which make no coroutine for a command; other code awaits ``ask``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, TypeVar

import anyio

from solvent.actors import ActorError, Answers, Family, Place
from solvent.engine.api.credits import ATOMIC_COMMANDS_MAX, BATCH_COMMANDS_MAX
from solvent.engine.api.receipts import Receipt
from solvent.engine.api.requests import (
    BATCH_REQUESTS,
    BatchRequest,
    CommandRequest,
    DebitRequest,
    SetRatesRequest,
    TransferRequest,
)
from solvent.engine.rules.checking import check, check_debit, check_rates, check_transfer
from solvent.engine.rules.commands import SETTING_COMMANDS, Command, KeyedCommand, Read
from solvent.engine.rules.events import Event, Opened
from solvent.engine.rules.rates import RateBook
from solvent.engine.values.amounts import SCALE_DEFAULT
from solvent.engine.values.errors import InvalidRequest, SolventError, StateConflict, TooLarge, Unavailable
from solvent.engine.values.pool_id import PoolId, currency_of, parse_canonical, parse_pool, rates_stream

from .actor import Message
from .asking import outcome_of, outcomes_of, translate
from .atomic import do_together, transfer
from .batches import BatchQueue
from .partition import Partition
from .services import Services

PARTITION_TIMEOUT_S: Final = 10.0
"""The seconds that a read waits for the journal to be read again after a failure."""

T = TypeVar("T")


class Pools:
    """The pools of one engine."""

    def __init__(self, services: Services, family: Family[Message], streams: Family[Message]) -> None:
        """``family`` has the actors of pools, ``streams`` those of streams, which are only journalled like pools."""
        self.services = services
        self._family = family
        self._streams = streams
        self._scales = services.scales.given
        options = family.options
        self._batches = BatchQueue(family.ask_all, mailbox_max=options.mailbox_max, pending_max=options.pending_max)

    @property
    def resident(self) -> int:
        """The number of pools in memory."""
        return self._family.resident

    def scale_of(self, currency: str) -> int:
        """Return the decimal places of amounts in ``currency``."""
        return self._scales.get(currency, SCALE_DEFAULT)

    async def scale_kept(self, currency: str, pool: str | None = None) -> int:
        """Return the decimal places of ``pool``, a canonical name, or those that all pools of ``currency`` keep.

        Raises ``StateConflict`` if the pools of ``currency`` differ, ``JournalError``.
        """
        scales = self.services.scales
        if pool is not None and len(scales.kept(currency)) > 1:
            opened = await self.find_entry(pool, 1)
            return opened.scale if isinstance(opened, Opened) else scales.of(currency)
        return scales.of_all(currency)

    async def scale_of_pool(self, pool: str) -> int:
        """Return the decimal places of ``pool``, a canonical name."""
        return await self.scale_kept(currency_of(pool), pool)

    def submit(self, pool: PoolId, command: Message) -> asyncio.Future[Any]:
        """Hand a checked command to its pool, without a coroutine.

        The result is the answer, or a ``SolventError`` as a value: a refusal. Pass the finished future to
        ``outcome_of``, which also translates any other error. Raises ``Overloaded``, ``Unavailable``.
        """
        try:
            return self._family.ask(pool.canonical, command)
        except ActorError as error:
            raise translate(error) from None

    def submit_all(self, asks: Sequence[tuple[str, Message, Place]]) -> None:
        """Hand many checked commands to their pools.

        Each comes with the canonical name of its pool and the place for its answer. The commands of one pool keep their
        order. Once all places are filled, read them with ``outcomes_of``. Many are handed over a part at a time.
        """
        if len(asks) > self._batches.small_max:
            self._batches.submit_all(asks)
        else:
            self._family.ask_all(asks)

    def submit_batch(self, asks: Sequence[tuple[str, Message, Place]]) -> None:
        """Hand a slice of a large batch to the pools, as ``submit_all`` does for batches that it sees as a whole."""
        self._batches.submit_all(asks)

    async def ask(self, pool: PoolId, command: Message, kind: type[T]) -> T:
        """Ask a pool, and return its answer, which is a ``kind``. Raises ``SolventError``."""
        return await self._answer_to(self.submit(pool, command), kind)

    async def ask_stream(self, stream: PoolId, command: Message, kind: type[T]) -> T:
        """Ask a stream, which is journalled like a pool: rate cards, or the outbox. Raises ``SolventError``."""
        try:
            future = self._streams.ask(stream.canonical, command)
        except ActorError as error:
            raise translate(error) from None
        return await self._answer_to(future, kind)

    @staticmethod
    async def _answer_to(future: asyncio.Future[Any], kind: type[T]) -> T:
        try:
            answer = await future
        except ActorError:
            answer = outcome_of(future)
        if isinstance(answer, SolventError):
            raise answer
        assert isinstance(answer, kind)  # noqa: S101 - narrows the type: a command has one kind of answer
        return answer

    async def change(self, request: CommandRequest) -> Receipt:
        """Do what ``request`` asks of one pool. Raises ``SolventError``."""
        return await self.ask(*self.command_of(request), Receipt)

    def command_of(self, request: CommandRequest) -> tuple[PoolId, Command]:
        """Return the pool and the checked command of ``request``. Raises ``InvalidRequest``."""
        pool = parse_pool(request.pool)
        return pool, check(request, self.scale_of(pool.currency))

    async def transfer(self, request: TransferRequest) -> Receipt:
        """Move credits between two pools. Raises ``SolventError``."""
        scale = self.scale_of(parse_pool(request.pool).currency)
        source, target, command = check_transfer(request, scale)
        try:
            answer = await transfer(self.services, self._family, source, target, command)
        except ActorError as error:
            raise translate(error) from None
        if isinstance(answer, SolventError):
            raise answer
        return answer

    async def set_rates(self, request: SetRatesRequest) -> Receipt:
        """Set a rate card. Raises ``SolventError``."""
        stream = rates_stream(request.environment, request.currency)
        return await self.ask_stream(stream, check_rates(request), Receipt)

    async def rates(self, environment: str, currency: str) -> RateBook:
        """Return the rate cards of a currency. Raises ``SolventError``."""
        return await self.read_rates(rates_stream(environment, currency).canonical)

    async def read_rates(self, stream: str) -> RateBook:
        """Return the durable rate cards of ``stream``, a canonical name. Raises ``SolventError``."""
        return await self.ask_stream(parse_canonical(stream), Read("rates"), RateBook)

    async def batch(self, requests: Sequence[BatchRequest], *, atomic: bool) -> list[Receipt | SolventError]:
        """Do many commands: each for itself, or ``atomic``, all or none. Raises ``TooLarge``."""
        if len(requests) > BATCH_COMMANDS_MAX:
            raise TooLarge("requests", f"at most {BATCH_COMMANDS_MAX} commands", got=str(len(requests)))
        if atomic:
            return await self.do_together([self._checked(request) for request in requests])
        if not requests:
            return []
        done: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()
        answers = Answers(len(requests), partial(_finish, done))
        asks: list[tuple[str, Message, Place]] = []
        for request, place in zip(requests, answers.places(), strict=True):
            checked = self._checked(request)
            if isinstance(checked, SolventError):
                place.set_result(checked)
            else:
                asks.append((checked[0].canonical, checked[1], place))
        self.submit_all(asks)
        return list(outcomes_of(await done))

    def _checked(self, request: BatchRequest) -> tuple[PoolId, KeyedCommand] | SolventError:
        try:
            if type(request) is DebitRequest:
                # Without the checks of what else a batch may hold: debits come by the thousand.
                pool = parse_pool(request.pool)
                return pool, check_debit(request, self.scale_of(pool.currency))
            if not isinstance(request, BATCH_REQUESTS):
                raise InvalidRequest("requests", "a GrantRequest, DebitRequest, ...", got=type(request).__name__)
            pool, command = self.command_of(request)
        except SolventError as error:
            return error
        assert not isinstance(command, SETTING_COMMANDS)  # noqa: S101 - narrows the type: none of a batch is a setting
        return pool, command

    async def do_together(
        self, commands: Sequence[tuple[PoolId, KeyedCommand] | SolventError]
    ) -> list[Receipt | SolventError]:
        """Do all of ``commands`` or none. In place of a command that failed its check stands its error.

        Raises ``TooLarge``.
        """
        if len(commands) > ATOMIC_COMMANDS_MAX:
            raise TooLarge("requests", f"at most {ATOMIC_COMMANDS_MAX} commands at once", got=str(len(commands)))
        if any(isinstance(each, SolventError) for each in commands):
            refused = StateConflict("batch_refused", "another command of this batch was refused, so none was done")
            return [each if isinstance(each, SolventError) else refused for each in commands]
        given = [each for each in commands if not isinstance(each, SolventError)]
        if len({(pool.environment, pool.customer) for pool, _ in given}) > 1:
            mixed = InvalidRequest("requests", "commands of one customer: an atomic batch is all about one")
            return [mixed] * len(given)
        if not given:
            return []
        try:
            return await do_together(self.services, self._family, given)
        except ActorError as error:
            return [translate(error)] * len(given)
        except SolventError as error:
            return [error] * len(given)

    async def partition(self) -> Partition:
        """Return the current partition. Raises ``Unavailable`` if the journal is not read again in time."""
        with anyio.move_on_after(PARTITION_TIMEOUT_S):
            await self.services.ready.wait()
            return self.services.partition
        raise Unavailable("the journal is being read again after a failure")

    async def find_entry(self, pool: str, version: int) -> Event | None:
        """Return the durable event that made ``version`` of ``pool``, a canonical name. Raises ``JournalError``."""
        return await (await self.partition()).find_entry(pool, version)


def _finish(done: asyncio.Future[Answers], answers: Answers) -> None:
    # If the caller was cancelled, the future is done already.
    if not done.done():
        done.set_result(answers)
