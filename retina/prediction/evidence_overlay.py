"""What spoke for referral, laid over the view of a photograph."""

import cv2
import numpy as np

from offsite.preprocessing.fundus.field_of_view import FieldOfView
from offsite.preprocessing.tinting import tinted

# The network's map has some ten places a side: a finer overlay would show no more.
OVERLAY_PX = 192
# Log-odds that get the strongest colour at least, so that where nothing speaks nothing is painted.
_LEAST_TOP = 4.0
_SHOWN = 0.1


def evidence_overlay(
    view: tuple[int, int], photograph: tuple[int, int], field: FieldOfView, evidence: np.ndarray
) -> np.ndarray:
    """Return a transparent picture (uint8, RGBA) of the shape of the view, at most `OVERLAY_PX`.

    Parameters
    ----------
    view, photograph : (int, int)
        Height and width in px of the view and of the whole photograph that it shows.
    field : FieldOfView
        Where the retina lies in the photograph; the evidence covers its bounding square.
    evidence : numpy.ndarray
        float32, h x w: of `offsite.retina.evidence_map.evidence_maps`.
    """
    factor = min(1.0, OVERLAY_PX / max(view))
    height, width = (max(1, round(side * factor)) for side in view)
    step = photograph[1] / width, photograph[0] / height
    corner = field.centre_x - field.radius_x, field.centre_y - field.radius_y
    scale = evidence.shape[1] / (2 * field.radius_x), evidence.shape[0] / (2 * field.radius_y)
    # From a px of the overlay to a point of the map.
    (a, b), (c, d) = (
        (s * t, (0.5 * t - o) * s - 0.5) for s, t, o in zip(scale, step, corner, strict=True)
    )
    spread = cv2.warpAffine(
        np.ascontiguousarray(evidence, np.float32),
        np.array([[a, 0, b], [0, c, d]]),
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    levels = np.clip(spread / max(float(np.quantile(evidence, 0.99)), _LEAST_TOP), 0, 1)
    x = (((np.arange(width) + 0.5) * step[0]) - field.centre_x) / field.radius_x
    y = (((np.arange(height) + 0.5) * step[1]) - field.centre_y) / field.radius_y
    inside = x[None] ** 2 + y[:, None] ** 2 <= 1
    return tinted(levels, inside & (levels > _SHOWN))
