"""What the words mean: amounts, times, windows, ids, dimensions, errors. Pure, and imports nothing of Solvent."""
