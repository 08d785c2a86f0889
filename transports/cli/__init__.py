"""The command line: ``solvent``. Bytes and options on one side, the ``Credits`` interface on the other."""
