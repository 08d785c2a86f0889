"""Usage events out of somebody's file into a pool: parsed, priced, debited, counted."""
