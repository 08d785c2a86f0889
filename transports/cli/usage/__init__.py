"""The parts of ``solvent usage``: its options, which go together, its calls, and the wait for the usage file."""
