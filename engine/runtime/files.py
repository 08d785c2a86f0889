"""The files in a data folder. The journal is the truth; every other file can be deleted and is rebuilt from it."""

from __future__ import annotations

from typing import Final

JOURNAL_NAME: Final = "journal.db"
"""The journal, the only truth: all events, in frames."""
LOCK_NAME: Final = "lock"
"""The lock file, held by the engine that has the folder open."""
INDEX_NAME: Final = "index.db"
SNAPSHOTS_NAME: Final = "snapshots.db"
USAGE_NAME: Final = "usage.db"
REBUILT_NAME: Final = "usage-rebuilt.db"
"""The usage file while it is being rebuilt. It then replaces ``USAGE_NAME``."""
REFUSALS_NAME: Final = "refusals.db"
"""The counts of refusals, for usage. A refusal leaves no trace in the journal, so these are lost with the file."""
