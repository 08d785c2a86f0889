"""The verbs of ``solvent``, one module per subject."""
