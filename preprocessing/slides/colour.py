"""Bring a scanner's colours to sRGB by the profile that the file embeds."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms

AS_SCANNED = "as_scanned"
SRGB = "srgb"
COLOURS = (AS_SCANNED, SRGB)


def srgb_transform(
    profile: ImageCms.ImageCmsProfile | None,
) -> Callable[[np.ndarray], np.ndarray] | None:
    """A function from the profile's RGB to sRGB (H x W x 3, uint8); None without a profile.

    Relative colorimetric with black-point compensation; safe to call from several threads.
    """
    if profile is None:
        return None
    flags = ImageCms.Flags.NOCACHE | ImageCms.Flags.BLACKPOINTCOMPENSATION
    transform = ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        "RGB",
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=flags,
    )

    def apply(pixels: np.ndarray) -> np.ndarray:
        moved = ImageCms.applyTransform(Image.fromarray(pixels), transform)
        assert moved is not None
        return np.asarray(moved)

    return apply
