"""Photographs of the retina in DICOM: one frame, in colour or grey."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from offsite.children.budget import room_for
from offsite.errors import InputError
from offsite.preprocessing.formats.dicom_series import WHOLE_SLIDE
from offsite.preprocessing.formats.kinds import is_deflated
from offsite.preprocessing.fundus.refusals import (
    A_SLIDE,
    check_size,
    damaged,
    unsupported,
    wrong_kind,
)

_COLOURS = ("RGB", "YBR_", "MONOCHROME")


def dicom_pixels(path: Path) -> np.ndarray:
    """Return the picture of a DICOM photograph as uint8, H x W x 3, RGB.

    Raises
    ------
    InputError
        Codes of `offsite.preprocessing.fundus.reading.read_photograph`: it holds no single picture,
        its compression has no decoder here, or pydicom (the extra ``dicom``) is not installed.
    """
    data = _read(path)
    try:
        _check(data, path)
        with room_for(int(data.Columns) * int(data.Rows)):
            pixels = np.asarray(data.pixel_array)  # YBR has become RGB
    except (InputError, MemoryError):
        raise
    except Exception as error:
        raise _cannot_be_read(path, error) from error
    pixels = _eight_bits(pixels, int(data.BitsStored))
    if data.PhotometricInterpretation == "MONOCHROME1":
        pixels = 255 - pixels
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise wrong_kind(path, "the DICOM file holds no colour photograph")
    return np.ascontiguousarray(pixels)


def _read(path: Path) -> Any:
    try:
        from pydicom import dcmread
    except ImportError:
        raise unsupported(path, "DICOM needs the extra: pip install 'offsite[dicom]'") from None
    try:
        if is_deflated(path):
            raise unsupported(path, "a deflated DICOM file: of what size is not known")
        return dcmread(path)
    except (InputError, MemoryError):
        raise
    except Exception as error:
        raise _cannot_be_read(path, error) from error


def _cannot_be_read(path: Path, error: Exception) -> InputError:
    return damaged(path, f"the DICOM file cannot be read ({type(error).__name__})")


def _eight_bits(pixels: np.ndarray, stored: int) -> np.ndarray:
    if stored == 8 and pixels.dtype == np.uint8:
        return pixels
    levels = pixels.astype(np.float32) * (255 / (2**stored - 1))
    return np.clip(levels, 0, 255).round().astype(np.uint8)


def _check(data: Any, path: Path) -> None:
    from pydicom.pixels import get_decoder

    if "PixelData" not in data:
        raise InputError(
            "the DICOM file holds no picture",
            file=path,
            remedy="Give the photograph itself",
            code="not_an_image",
        )
    if data.get("SOPClassUID") == WHOLE_SLIDE:
        raise wrong_kind(path, A_SLIDE)
    if int(data.get("NumberOfFrames", 1) or 1) > 1:
        raise unsupported(path, "several pictures in one DICOM file")
    check_size(path, int(data.Columns), int(data.Rows))
    colour = str(data.PhotometricInterpretation)
    if not colour.startswith(_COLOURS):
        raise unsupported(path, f"DICOM with colours as {colour}")
    syntax = data.file_meta.TransferSyntaxUID
    if syntax.is_compressed and not get_decoder(syntax).is_available:
        raise unsupported(path, f"no decoder for DICOM with {syntax.name} is installed")
