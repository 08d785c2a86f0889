"""Live pools: one actor each, on one partition's journal and projections."""
