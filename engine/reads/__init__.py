"""Answers read from the journal rather than from a live pool: ledger, events, costs, totals."""
