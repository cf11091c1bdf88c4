"""Items of an iterator, read by a thread while the reader works on the one before."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")


def read_ahead(items: Iterable[Item], depth: int) -> Iterator[Item]:
    """Yield the items, read by a thread up to ``depth`` (>= 1) of them ahead.

    An error of ``items`` is raised where they are used; a reader that leaves early ends the thread.
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
    left = threading.Event()

    def put(what: tuple[str, Any]) -> bool:
        while not left.is_set():
            try:
                ready.put(what, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def read() -> None:
        try:
            for item in items:
                if not put(("item", item)):
                    return
            put(("end", None))
        except BaseException as error:  # it is raised where the items are used
            put(("error", error))

    thread = threading.Thread(target=read, name="read-ahead", daemon=True)
    thread.start()
    try:
        while (message := ready.get())[0] == "item":
            yield message[1]
        if message[0] == "error":
            raise message[1]
    finally:
        left.set()
        thread.join()
