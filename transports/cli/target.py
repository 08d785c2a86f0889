"""Where a command goes: to a journal in a folder, opened by this process, or to a running service over NATS.

An option on the command line wins over an environment variable. If both come from the environment, the service wins,
because a running service has its journal locked anyway. If both are on the command line, they are refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from solvent.engine.api.credits import Credits
from solvent.engine.engine import Engine
from solvent.engine.runtime.files import JOURNAL_NAME
from solvent.engine.values.errors import InvalidRequest, NotFound
from solvent.transports.nats.client import connect


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A folder with a journal, or the URL of a NATS server with a service."""

    data_dir: Path
    nats_url: str | None
    currencies: Mapping[str, int]

    @classmethod
    def choose(
        cls,
        *,
        data_dir: Path,
        data_dir_typed: bool,
        nats_url: str | None,
        nats_url_typed: bool,
        currencies: Mapping[str, int],
    ) -> Target:
        """Choose one of the two. Raises ``InvalidRequest`` if both were typed."""
        if data_dir_typed and nats_url_typed:
            raise InvalidRequest("--nats-url", "either a journal (--data-dir) or a service (--nats-url), not both")
        service = None if data_dir_typed else nats_url
        return cls(data_dir=data_dir, nats_url=service, currencies=currencies)

    @property
    def name(self) -> str:
        """The name of the target in messages."""
        return self.nats_url or str(self.data_dir)

    @asynccontextmanager
    async def open(self, *, create: bool = False) -> AsyncIterator[Credits]:
        """Open the target for the length of a block.

        Raises ``NotFound`` for a folder without a journal unless ``create`` is set, so that a read with a mistyped path
        leaves no empty journal behind. Raises ``JournalLocked`` if another process has the journal, and ``Unavailable``
        if no service answers.
        """
        if self.nats_url is not None:
            async with connect(self.nats_url) as client:
                yield client
            return
        if not create:
            require_journal(self.data_dir)
        async with Engine.open(self.data_dir, currencies=dict(self.currencies)) as engine:
            yield engine


def require_journal(directory: Path) -> None:
    """Raise ``NotFound`` if there is no journal in ``directory``."""
    if not (directory / JOURNAL_NAME).is_file():
        raise NotFound("journal", str(directory))
