"""The refusal of what was made with other settings than those that are named now."""

from collections.abc import Iterable
from pathlib import Path

from offsite.errors import InputError


def other_settings(file: Path, stage: str, what: str, images: Iterable[str]) -> InputError:
    """Return the error (code ``other_settings``) that names the stage to run again.

    Parameters
    ----------
    file : Path
        The job's configuration.
    what : str
        What was done to the images, as in ``"slides were tiled"``.
    images : iterable of str
        Those that it was done to, at least one.
    """
    names = list(images)
    return InputError(
        f"{len(names)} {what} with other settings ({names[0]}, ...)",
        file=file,
        code="other_settings",
        remedy=f"Run `offsite workflow {stage}` and what follows it again, or restore the settings",
    )
