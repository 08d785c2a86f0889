"""Judges a journal without the code that wrote it, and saves what is sound of a damaged one."""
