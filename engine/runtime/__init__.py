"""What touches the machine below all else: file names, errors of SQLite, pacing, the collector. Knows no credits."""
