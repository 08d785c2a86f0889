"""The benchmark harness: Solvent beside its peers and the raw limits, in one run."""
