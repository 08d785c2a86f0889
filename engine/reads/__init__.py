"""Answers read from the journal instead of a live pool: ledger, events, costs, totals."""
