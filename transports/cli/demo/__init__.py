"""``solvent demo``: a newcomer's first sight of Solvent, every figure in it measured while they watch."""
