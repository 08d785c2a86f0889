"""The verbs of ``solvent``, by what a person does with them."""
