"""A file that was made of a patient's image, and how it is removed where offsite made it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class HeldFile:
    """A file that holds something of an image.

    Attributes
    ----------
    path : Path
    what : str
        In the singular, as in ``"prepared picture"``.
    remove : callable or None
        Removes it; raises `offsite.errors.InputError` where somebody else has written into it. None:
        offsite did not make it, and does not remove it.
    """

    path: Path
    what: str
    remove: Callable[[], object] | None = None
