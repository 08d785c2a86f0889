"""The lowest layer, next to the machine: file names, SQLite errors, pacing, the collector. Knows nothing of credits."""
