"""Where the credits went: a projection of the journal, kept and queried by a process of its own."""
