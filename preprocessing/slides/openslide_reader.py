"""The reader of record: OpenSlide, with a fresh handle after every error."""

import threading
from collections.abc import Mapping

import cv2
import numpy as np
import openslide
from PIL import ImageCms

from offsite.errors import InputError
from offsite.preprocessing.slides.formats import REMEDY, NotThisFormat
from offsite.preprocessing.slides.region import Region, UnreadableRegion


class OpenSlideReader:
    """Reads every format OpenSlide knows.

    An OpenSlide handle that met a damaged tile stays in error for good, so it is replaced.
    """

    name = "openslide"

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._handle: openslide.OpenSlide | None = openslide.OpenSlide(path)
        self.downsamples: tuple[float, ...] = self._handle.level_downsamples
        self.level_dimensions: tuple[tuple[int, int], ...] = self._handle.level_dimensions
        self.properties: Mapping[str, str] = dict(self._handle.properties)

    @property
    def handle(self) -> openslide.OpenSlide:
        """The open OpenSlide object; a new one if the last met an error."""
        with self._lock:
            if self._handle is None:
                self._handle = openslide.OpenSlide(self._path)
            return self._handle

    @property
    def colour_profile(self) -> ImageCms.ImageCmsProfile | None:
        """The embedded profile."""
        profile: ImageCms.ImageCmsProfile | None = self.handle.color_profile
        return profile

    def read(self, x: int, y: int, level: int, width: int, height: int) -> Region:
        """Read a rectangle; coordinates and size in px of the level."""
        factor = self.downsamples[level]
        handle = self.handle
        try:
            image = handle.read_region(
                (round(x * factor), round(y * factor)), level, (width, height)
            )
        except openslide.OpenSlideError as error:
            with self._lock:
                if self._handle is handle:
                    self._handle = None
            raise UnreadableRegion(self._path, str(error)) from error
        return on_white(np.asarray(image))

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            if self._handle is not None:
                self._handle.close()
            self._handle = None


def open_with_openslide(path: str) -> OpenSlideReader:
    """Open a file that OpenSlide knows.

    Raises
    ------
    NotThisFormat
        It knows no such format.
    InputError
        Code ``cannot_open``: it knows the format, and the file is damaged.
    """
    try:
        return OpenSlideReader(path)
    except openslide.OpenSlideUnsupportedFormatError as error:
        raise NotThisFormat(str(error)) from error
    except openslide.OpenSlideError as error:
        reason = str(error).replace(path, "the file")
        raise InputError(
            f"the slide cannot be opened ({reason})",
            file=path,
            remedy=REMEDY,
            code="cannot_open",
        ) from error


def on_white(rgba: np.ndarray) -> Region:
    """Composite RGBA pixels (not premultiplied) on white; transparent means no data."""
    pixels = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)
    alpha = rgba[..., 3]
    if alpha.size == 0 or alpha.min() == 255:
        return Region(pixels, None)
    valid = alpha > 0
    share = alpha[..., None].astype(np.float32) / 255
    mixed = pixels * share + 255 * (1 - share)
    return Region(np.rint(mixed).astype(np.uint8), valid)
