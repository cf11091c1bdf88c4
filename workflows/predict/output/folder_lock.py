"""Two runs never write the same rows: a second one is told so at once."""

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from offsite.errors import InputError

_WHOLE = ".lock"


@contextmanager
def locked(output: Path, part: str) -> Iterator[None]:
    """Hold an output folder for a whole run, or for one part (``i/n``) of a run in n parts.

    Parts of the same n stand beside one another; everything else excludes everything else.

    Raises
    ------
    InputError
        Code ``folder_in_use``.
    """
    output.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        if not part:
            _hold(output, _WHOLE, fcntl.LOCK_EX, held)
        else:
            number, _, parts = part.partition("/")
            _hold(output, _WHOLE, fcntl.LOCK_SH, held)
            _hold(output, f"{_WHOLE}-of-{parts}", fcntl.LOCK_SH, held)
            _hold(output, f"{_WHOLE}-{number}-of-{parts}", fcntl.LOCK_EX, held)
            for other in output.glob(f"{_WHOLE}-of-*"):
                if other.name != f"{_WHOLE}-of-{parts}":
                    with ExitStack() as briefly:
                        _hold(output, other.name, fcntl.LOCK_EX, briefly)
        yield


def _hold(output: Path, name: str, how: int, held: ExitStack) -> None:
    file = held.enter_context((output / name).open("w"))
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except OSError:
        raise InputError(
            "another run is writing to this folder",
            file=output,
            remedy="Wait for it, or name another folder",
            code="folder_in_use",
        ) from None
