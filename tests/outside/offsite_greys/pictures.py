"""Grey picture files: the one way from a file to what the network reads, in training and later."""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from offsite.errors import InputError

LEAST_SIDE = 8


def read_picture(path: Path, side: int) -> np.ndarray:
    """Return a picture as float32, ``side`` x ``side``, 0..1.

    Raises
    ------
    InputError
        Code ``unreadable_image`` or ``too_small``.
    """
    try:
        with Image.open(path) as image:
            size = image.size
            grey = image.convert("L").resize((side, side), Image.Resampling.BOX)
    except (OSError, ValueError) as error:
        raise InputError(
            "cannot be read as a picture", file=path, remedy="Export it again as PNG",
            code="unreadable_image",
        ) from error  # fmt: skip
    if min(size) < LEAST_SIDE:
        raise InputError(
            f"{size[0]} x {size[1]} px is too small", file=path, remedy="Give the whole picture",
            code="too_small",
        )  # fmt: skip
    return np.asarray(grey, np.float32) / 255


def trial() -> str:
    """Read a picture that was just written; return what reads it, as `offsite doctor` tells it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trial.png"
        Image.new("L", (16, 16), 51).save(file)
        if not np.allclose(read_picture(file, 8), 0.2):
            raise RuntimeError("a picture is read with other greys than were written")
    return f"Pillow {Image.__version__}"
