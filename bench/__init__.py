"""The benchmark harness: Solvent next to its peers and the raw limits, in one run."""
