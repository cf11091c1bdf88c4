"""Bring pixels to another size."""

import cv2
import numpy as np


def area_reduced(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring an image to ``size`` (width, height) by area averaging; unchanged if it has it.

    Examples
    --------
    >>> area_reduced(np.array([[0, 100], [100, 200]], np.uint8), (1, 1)).tolist()
    [[100]]
    """
    if (image.shape[1], image.shape[0]) == size:
        return image
    smaller = size[0] <= image.shape[1] and size[1] <= image.shape[0]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
