"""``python -m workflows`` is ``offsite``."""

from workflows.cli import main

if __name__ == "__main__":
    main()
