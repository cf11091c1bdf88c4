"""How a run ends before its end: politely at first, at once when asked again."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from offsite.children.limits import Limits
from offsite.children.pool import HERE, Children
from offsite.training.prediction.contract import OpensElsewhere, Predictor

_ENDING = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def opened_elsewhere(
    predictor: Predictor, workers: int, limits: Limits
) -> Iterator[Callable[[], None]]:
    """Let a predictor open files in children; yields what ends them at once."""
    if not isinstance(predictor, OpensElsewhere):
        yield lambda: None
        return
    with Children(workers, limits) as children:
        predictor.open_at(children)
        try:
            yield children.close
        finally:
            predictor.open_at(HERE)


@contextmanager
def stoppable() -> Iterator[None]:
    """Make a polite kill (SIGTERM, as schedulers send it) the same as Ctrl-C; a second one kills."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        for name in _ENDING:
            signal.signal(name, signal.SIG_DFL)  # a second one ends it at once
        raise KeyboardInterrupt

    before = {name: signal.signal(name, stop) for name in _ENDING}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
