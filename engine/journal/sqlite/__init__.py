"""A journal in one SQLite file, written by a separate process."""
