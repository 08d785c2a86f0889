"""Usage, or where the credits went: a projection of the journal, kept and queried in a separate process."""
