"""``python -m offsite`` is ``offsite``."""

from offsite.workflows.cli import main

if __name__ == "__main__":
    main()
