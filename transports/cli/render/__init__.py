"""Answers as tables, bars and files, for people."""
