"""The files in a data folder, and the number of the format of each.

The journal is the truth; every other file can be deleted and is rebuilt from it, except the counts of refusals. A file
with a lower number than the one here is read as it is, or rebuilt; one with a higher number was written by a newer
Solvent, and is refused and left alone (``NewerFormat``). ``docs/formats.md`` says what each number stands for, and when
one is raised.
"""

from __future__ import annotations

from typing import Final

JOURNAL_NAME: Final = "journal.db"
"""The only truth: all events, in frames."""
JOURNAL_FORMAT: Final = 2
"""In the file, as SQLite's ``user_version``, and in the trailer of each frame, where it also says which rules held when
the frame was written (``rules_of``)."""
END_NAME: Final = "journal.end"
"""The newest frame of the journal, as the process that writes has seen it flushed. It may lag, and never leads."""
END_FORMAT: Final = 1
"""In each line of the file. A line with another number is not read."""
ACCEPTED_NAME: Final = "journal.accepted"
"""The losses that somebody has accepted with ``solvent accept-loss``, a line of JSON for each."""
LOCK_NAME: Final = "lock"
"""The lock file, held by the engine that has the folder open."""
INDEX_NAME: Final = "index.db"
INDEX_FORMAT: Final = 8
"""In the table ``setting``, as ``schema``."""
SNAPSHOTS_NAME: Final = "snapshots.db"
SNAPSHOTS_FORMAT: Final = 6
"""In the table ``setting``, behind the identity of the journal, and at the beginning of each snapshot."""
USAGE_NAME: Final = "usage.db"
USAGE_FORMAT: Final = 2
"""In the table ``setting``, as ``schema``."""
REBUILT_NAME: Final = "usage-rebuilt.db"
"""The usage file while it is being rebuilt. It then replaces ``USAGE_NAME``."""
REFUSALS_NAME: Final = "refusals.db"
"""Counts of refusals for usage. A refusal leaves no trace in the journal, so these are lost with the file."""
REFUSALS_FORMAT: Final = 1
"""As SQLite's ``user_version``. The first files had no number: a 0 stands for 1."""
