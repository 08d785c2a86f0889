"""Where a command goes: to a journal in a folder, opened by this process, or to a running service over NATS.

An option that was typed wins over one from the environment; of two from the environment the service wins, because a
service has its journal locked anyway. Two typed ones are refused.
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
    """A folder with a journal, or the URL of a NATS server whose service has one."""

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
        """Decide between the two. Raises ``InvalidRequest`` if both were typed."""
        if data_dir_typed and nats_url_typed:
            raise InvalidRequest("--nats-url", "either a journal (--data-dir) or a service (--nats-url), not both")
        service = None if data_dir_typed else nats_url
        return cls(data_dir=data_dir, nats_url=service, currencies=currencies)

    @property
    def name(self) -> str:
        """What to call it in a message."""
        return self.nats_url or str(self.data_dir)

    @asynccontextmanager
    async def open(self, *, create: bool = False) -> AsyncIterator[Credits]:
        """The interface behind it, for the length of a block.

        Raises ``NotFound`` for a folder without a journal unless ``create`` is set: a read must not leave an empty
        journal behind where someone mistyped a path. Raises ``JournalLocked`` if another process has the journal, and
        ``Unavailable`` if no service answers.
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
