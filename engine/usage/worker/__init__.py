"""The process that stores usage and answers questions about it. It is started, not imported."""
