"""The process that keeps usage and answers questions about it. It is started, not imported."""
