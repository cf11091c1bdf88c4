"""Which inputs are being read: what a run that was killed leaves, so that the next one knows.

A file that ends whatever reads it, the run included, would end every run after it. An input that
was being read when a run was killed is therefore read after all others, alone; one with which
`DEATHS` runs ended is not read again.
"""

from contextlib import suppress
from pathlib import Path

from offsite.files import BOOKKEEPING, is_plain_file
from offsite.ownership import refuse_link
from offsite.training.prediction.items import Item

DEATHS = 3
_FOLDER = f"{BOOKKEEPING}reading"


class Journal:
    """A small file for each input that is being read, with the number of runs that ended with it.

    Parameters
    ----------
    output : Path
        Folder of the run.
    """

    def __init__(self, output: Path) -> None:
        self._folder = output / _FOLDER
        self._begun: set[str] = set()

    def deaths(self, item: Item) -> int:
        """Return with how many runs the reading of an input ended; 0 for nearly all."""
        file = self._folder / item.case
        if item.case in self._begun or not is_plain_file(file):
            return 0
        try:
            return int(file.read_text(encoding="ascii")[:3] or 0) + 1
        except (OSError, ValueError):  # cut short by the very death
            return 1

    def begin(self, item: Item) -> None:
        """Write down that an input is about to be read."""
        deaths = self.deaths(item)
        self._begun.add(item.case)
        refuse_link(self._folder)
        self._folder.mkdir(exist_ok=True)
        # Not synced: what counts is the end of a process and not that of the machine.
        (self._folder / item.case).write_text(str(deaths), encoding="ascii")

    def end(self, item: Item) -> None:
        """Write down that the input's row is written."""
        (self._folder / item.case).unlink(missing_ok=True)
        self._begun.discard(item.case)

    def forget(self, item: Item) -> None:
        """Try an input as if no run had ended with it."""
        (self._folder / item.case).unlink(missing_ok=True)

    def close(self) -> None:
        """Leave nothing behind of inputs that no run was killed with."""
        for case in list(self._begun):
            (self._folder / case).unlink(missing_ok=True)
        self._begun.clear()
        with suppress(OSError):  # not there, or another part is at work
            self._folder.rmdir()
