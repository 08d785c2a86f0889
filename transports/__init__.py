"""The edges: bytes on one side, typed values on the other. Imports ``engine``; nothing imports it but ``solvent``."""
