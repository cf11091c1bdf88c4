"""The pictures a person is shown of a case: small, plain, without the metadata of the original."""

from collections.abc import Sequence

import cv2
import numpy as np

from offsite.preprocessing.shrinking import halved, halvings

VIEW_PX = 1024
THUMB_PX = 144
_NEAR = 1.25


def shrunk(image: np.ndarray, side: int = VIEW_PX) -> np.ndarray:
    """Return H x W x 3 (uint8) of some ``side`` px on its longer side; never enlarged.

    A picture that is at most a quarter larger stays as it is: making it smaller costs more than
    it saves.
    """
    factor = side / max(image.shape[:2])
    if factor >= 1 / _NEAR:
        return image
    # Exact halves first, then a factor below 2, for which linear will do: many times cheaper.
    height, width = (max(1, round(length * factor)) for length in image.shape[:2])
    times = min(halvings(image.shape[0], height), halvings(image.shape[1], width))
    return cv2.resize(halved(image, times), (width, height), interpolation=cv2.INTER_LINEAR)


def jpeg(image: np.ndarray, quality: int = 85) -> bytes:
    """Return H x W x 3 (uint8, RGB) as JPEG without metadata."""
    import simplejpeg

    content = simplejpeg.encode_jpeg(
        np.ascontiguousarray(image), quality=quality, colorsubsampling="420"
    )
    return bytes(content)


def pictures_of(view: np.ndarray) -> dict[str, bytes]:
    """Return the pictures of a case by kind, from its view (H x W x 3, uint8), as JPEG."""
    return {"image": jpeg(view), "thumbnail": jpeg(shrunk(view, THUMB_PX), 80)}


def blended(view: np.ndarray, overlay: np.ndarray, caption: Sequence[str]) -> np.ndarray:
    """Lay an overlay (RGBA) over a view (RGB) of the same shape, with lines of text below."""
    share = overlay[..., 3:].astype(np.float32) / 255
    picture = np.rint(view * (1 - share) + overlay[..., :3] * share).astype(np.uint8)
    strip = np.full((8 + 20 * len(caption), picture.shape[1], 3), 255, np.uint8)
    for line, text in enumerate(caption):
        corner = (6, 20 + 20 * line)
        cv2.putText(
            strip, text, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40, 40, 40), 1, cv2.LINE_AA
        )
    return np.concatenate([picture, strip])


def png(image: np.ndarray) -> bytes:
    """Return H x W x 3 or 4 (uint8, RGB or RGBA) as PNG."""
    code = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
    done, content = cv2.imencode(".png", cv2.cvtColor(image, code))
    if not done:
        raise OSError("the picture cannot be encoded")
    return content.tobytes()
