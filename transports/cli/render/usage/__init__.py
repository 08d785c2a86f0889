"""Answers about usage as tables, bars, sparklines and files."""
