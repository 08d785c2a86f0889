"""How a pool and its history look from outside. The files are called as in ``api``, whose answers they make."""
