"""What a person sees on the terminal: messages on standard error, data on standard output."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

messages = Console(stderr=True, highlight=False)
data = Console(highlight=False)

Advance = Callable[..., None]


def say(text: str) -> None:
    """Write a message for people to standard error."""
    messages.print(text, soft_wrap=True)


@contextmanager
def stage(name: str, total: int) -> Iterator[Advance]:
    """Announce a stage of ``total`` items and time it; yields a function to call for each item.

    On a terminal one line is kept up to date; elsewhere a line is written at each quarter.
    """
    start = time.monotonic()
    done = 0

    def advance(*_: Any) -> None:
        nonlocal done
        done += 1
        if messages.is_terminal:
            messages.print(f"{name:<9} {done} of {total}", end="\r")
        elif 4 * done // total > 4 * (done - 1) // total and done < total:
            say(f"{name:<9} {done} of {total}")

    yield advance
    seconds = time.monotonic() - start
    say(f"[bold]{name:<9}[/bold] {total} done in {seconds:.1f} s")
