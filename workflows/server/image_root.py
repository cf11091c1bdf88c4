"""The one folder that a served model reads images from."""

import os
from pathlib import Path

from offsite.errors import InputError
from offsite.training.prediction.codes import Code
from offsite.training.prediction.contract import Rejected

IMAGES = "OFFSITE_SERVE_IMAGES"
_LONGEST_NAME = 4096


class ImageRoot:
    """A folder, and what lies in it.

    Whoever asks a server names paths, and must not learn what else lies on its disks: a name that
    leads out of the folder, by ``..``, a link or otherwise, has the same answer as one that is not
    there.

    Parameters
    ----------
    folder : path
        Where the images lie.

    Raises
    ------
    InputError
        There is no such folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).resolve()
        if not self.folder.is_dir():
            raise InputError(
                "no such folder of images",
                file=folder,
                remedy=f"Name the folder that images are served from ({IMAGES}, or --images)",
                code="no_images_folder",
            )

    @classmethod
    def of_environment(cls) -> "ImageRoot":
        """Return the folder that ``OFFSITE_SERVE_IMAGES`` names.

        Raises
        ------
        InputError
            It names none: a server that reads every path would tell of every file.
        """
        named = os.environ.get(IMAGES, "")
        if not named:
            raise InputError(
                "a served model reads images from one folder, and none is named",
                remedy=f"Set {IMAGES} to the folder, or use `offsite model serve --images FOLDER`",
                code="no_images_folder",
            )
        return cls(named)

    def path_of(self, name: str) -> Path:
        """Return the path of an image; relative names are of the folder.

        Raises
        ------
        Rejected
            Code ``not_available``: not there, not in the folder, or not readable.
        """
        try:
            if len(name) > _LONGEST_NAME:
                raise ValueError("longer than any path")
            path = (self.folder / name).resolve(strict=True)
            if path.is_relative_to(self.folder) and path.is_file() and os.access(path, os.R_OK):
                return path
        except (OSError, ValueError, RuntimeError):
            pass
        raise Rejected(Code.NOT_AVAILABLE, "there is no image of this name that may be read")
