"""The pictures a person is shown of a case: small, plain, without the metadata of the original."""

import cv2
import numpy as np

VIEW_PX = 1024
THUMB_PX = 144


def shrunk(image: np.ndarray, side: int = VIEW_PX) -> np.ndarray:
    """Return H x W x 3 (uint8) at most ``side`` px on its longer side; never enlarged."""
    height, width = image.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return image
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def jpeg(image: np.ndarray, quality: int = 85) -> bytes:
    """Return H x W x 3 (uint8, RGB) as JPEG without metadata."""
    import simplejpeg

    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=quality))


def png(image: np.ndarray) -> bytes:
    """Return H x W x 4 (uint8, RGBA) as PNG."""
    done, content = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA))
    if not done:
        raise OSError("the picture cannot be encoded")
    return content.tobytes()
