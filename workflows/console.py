"""What a person sees on the terminal: messages on standard error, data on standard output."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

messages = Console(stderr=True, highlight=False)
data = Console(highlight=False)

Progress = Callable[[int, int], None]


def say(text: str) -> None:
    """Write a message for people to standard error."""
    messages.print(text, soft_wrap=True)


@contextmanager
def stage(name: str) -> Iterator[Progress]:
    """Announce a stage and time it; yields ``progress(done, total)``.

    On a terminal one line is updated in place; elsewhere a line is written at each tenth.
    """
    start = time.monotonic()
    shown = [-1]

    def progress(done: int, total: int) -> None:
        tenth = 10 * done // max(total, 1)
        if messages.is_terminal:
            messages.print(f"{name:<10} {done}/{total}", end="\r")
        elif tenth != shown[0]:
            shown[0] = tenth
            say(f"{name:<10} {done}/{total}")

    say(f"[bold]{name}[/bold]") if not messages.is_terminal else None
    yield progress
    say(f"[bold]{name:<10}[/bold] done in {time.monotonic() - start:.1f} s")
    sys.stderr.flush()
