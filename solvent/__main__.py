"""``python -m solvent`` is ``solvent``."""

from solvent.transports.cli.main import main

if __name__ == "__main__":
    main()
