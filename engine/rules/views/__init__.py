"""The answers made from a pool and its history. Each file has the name of the ``api`` file whose answers it makes."""
