"""One thread that writes; a disk that stays slow holds the pipeline back."""

import queue
import threading
from collections.abc import Callable

from offsite.workflows.predict.passage import Passage

# Cases that may wait to be written: a disk that pauses for a moment stops nobody.
_WAITING = 64


class Writer:
    """Writes cases in the order that they come in."""

    def __init__(self, write: Callable[[Passage], None]) -> None:
        self._write = write
        self._queue: queue.Queue[Passage | None] = queue.Queue(maxsize=_WAITING)
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="write")
        self._thread.start()

    @property
    def stopped(self) -> bool:
        """Whether a case could not be written."""
        return self._fault is not None

    def put(self, passage: Passage) -> None:
        """Have a case written."""
        self._queue.put(passage)

    def close(self) -> None:
        """Wait until all is written."""
        self._queue.put(None)
        self._thread.join()

    def raise_fault(self) -> None:
        """Raise what stopped it."""
        if self._fault is not None:
            raise self._fault

    def _work(self) -> None:
        while (passage := self._queue.get()) is not None:
            if self._fault is None:
                try:
                    self._write(passage)
                except BaseException as error:
                    self._fault = error
