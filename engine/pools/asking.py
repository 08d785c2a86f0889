"""The outcome of a command that was handed to the actor of a pool: an answer, or a ``SolventError``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from solvent.actors import ActorCrashed, ActorError, ActorFailed, Answers, DeadlineExceeded, MailboxFull
from solvent.engine.values.errors import JournalError, Overloaded, SolventError, Unavailable

from .actor import RETRY_AFTER_S

log = logging.getLogger(__name__)


def outcome_of(future: asyncio.Future[Any]) -> Any:
    """Return the outcome of a finished ``submit``: the answer, or a ``SolventError`` as a value."""
    try:
        return future.result()
    except SolventError as error:
        return error
    except ActorError as error:
        return translate(error)


def outcomes_of(answers: Answers) -> Sequence[Any]:
    """Return the outcomes of ``submit_all``: the answers, with a ``SolventError`` as a value for each "no".

    Any other error is logged, and becomes an ``Unavailable``.
    """
    if not answers.errors:
        return answers.values
    return [_as_value(value) if isinstance(value, BaseException) else value for value in answers.values]


def _as_value(error: BaseException) -> SolventError:
    if isinstance(error, SolventError):
        return error
    if isinstance(error, ActorError):
        return translate(error)
    log.error("a command failed", exc_info=error)
    return Unavailable("internal error, the outcome is unknown: see the log")


def translate(error: ActorError) -> SolventError:
    """Return the error for the caller that corresponds to an error of the actor runtime."""
    match error:
        case MailboxFull() | DeadlineExceeded(delivered=False):
            return Overloaded(retry_after=RETRY_AFTER_S)
        case ActorCrashed(cause=JournalError() as cause) | ActorFailed(cause=JournalError() as cause):
            return cause
        case _ if error.delivered:
            return Unavailable(f"the outcome is unknown, retry with the same key: {error}")
    return Unavailable(f"nothing was done: {error}")
