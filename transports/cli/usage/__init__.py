"""What ``solvent usage`` asks: its options, what they mean together, and the wait for the usage file."""
