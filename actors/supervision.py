"""What follows a crash: restart at once, restart later, or give up.

``Supervision`` is the rule and ``CrashLog`` the memory it needs, one log per family. The log holds keys that crashed
within the last ``window_s`` seconds and nothing about any other, so it outlives passivation without growing with the
number of actors. Neither reads a clock: times are the loop's, in seconds, and come in with each call.
"""

from collections import OrderedDict
from dataclasses import dataclass
from math import inf

__all__ = ["CrashLog", "Supervision"]

# Keys remembered at once. When a shared cause kills more actors than this within one window, the longest unharmed
# are forgiven: their next crash starts a new count, which costs a few extra restarts and no memory.
KEYS_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervision:
    """How often, and how soon, a crashed actor is restarted.

    The first restart within ``window_s`` is immediate; the second waits ``backoff_min_s``, and each further one twice
    as long as the one before, up to ``backoff_max_s``. One crash more than ``restarts_max`` within the window gives
    the actor up: its key answers with ``ActorFailed`` until ``window_s`` has passed and its tasks have ended. With
    ``escalate`` giving up also ends the whole system, by raising out of its ``async with``.
    """

    restarts_max: int = 5
    window_s: float = 30.0
    backoff_min_s: float = 0.05
    backoff_max_s: float = 5.0
    escalate: bool = False

    def __post_init__(self) -> None:
        if self.restarts_max < 0:
            raise ValueError(f"restarts_max must not be negative, got {self.restarts_max}")
        if not self.window_s > 0:
            raise ValueError(f"window_s must be positive, got {self.window_s}")
        if not 0 <= self.backoff_min_s <= self.backoff_max_s < inf:
            raise ValueError("backoff must satisfy 0 <= backoff_min_s <= backoff_max_s < inf")

    def backoff_s(self, crashes: int) -> float:
        """Return the wait before the restart that follows the given number (1 or more) of recent crashes."""
        if crashes <= 1:
            return 0.0
        # Capped exponent: 2.0 ** 1024 overflows, and the limit was reached long before.
        return min(self.backoff_max_s, self.backoff_min_s * 2.0 ** min(crashes - 2, 64))


class _Record:
    """One key's recent crashes: when, and whether they were too many."""

    __slots__ = ("crashed_at", "failed_until", "last_cause")

    def __init__(self) -> None:
        self.crashed_at: list[float] = []
        self.failed_until = -inf
        self.last_cause: BaseException | None = None


class CrashLog:
    """The recent crashes of one family, by key, least recently crashed first."""

    def __init__(self, supervision: Supervision) -> None:
        self._supervision = supervision
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def crashed(self, key: str, cause: BaseException, now: float) -> float | None:
        """Note a crash. Return the seconds to wait before the restart, or None: give up."""
        rule = self._supervision
        record = self._records.setdefault(key, _Record())
        self._records.move_to_end(key)
        record.crashed_at = [at for at in record.crashed_at if at > now - rule.window_s]
        record.crashed_at.append(now)
        if len(self._records) > KEYS_MAX:
            self._records.popitem(last=False)
        if len(record.crashed_at) > rule.restarts_max:
            record.failed_until = now + rule.window_s
            record.last_cause = cause
            return None
        return rule.backoff_s(len(record.crashed_at))

    def failure(self, key: str, now: float) -> tuple[BaseException, float] | None:
        """Return (last crash, seconds until the key may be tried again) if it has been given up."""
        record = self._records.get(key)
        if record is None or record.last_cause is None:
            return None
        if record.failed_until > now:
            return record.last_cause, record.failed_until - now
        del self._records[key]  # forgiven: it may crash as often again as any other
        return None

    def forget(self, now: float) -> None:
        """Drop the keys whose last crash is a window or more ago."""
        while self._records and self.due_at() <= now:
            self._records.popitem(last=False)

    def due_at(self) -> float:
        """Return when ``forget`` next has something to do; infinity when the log is empty."""
        if not self._records:
            return inf
        oldest = next(iter(self._records.values()))
        return oldest.crashed_at[-1] + self._supervision.window_s
