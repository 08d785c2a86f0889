"""The basic values: amounts, times, windows, ids, dimensions, errors. Pure; imports nothing else of Solvent."""
