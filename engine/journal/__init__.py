"""How events last: frames, group commit, the protocol of a journal, and the stores that fulfil it."""
