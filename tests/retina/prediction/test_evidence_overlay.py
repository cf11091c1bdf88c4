"""What spoke for referral lies over the retina where the network found it, and nowhere else."""

import numpy as np

from offsite.preprocessing.fundus.field_of_view import FieldOfView
from offsite.retina.prediction.evidence_overlay import OVERLAY_PX, evidence_overlay

# A photograph of 1,200 x 900 px, the retina to the right of the middle.
FIELD = FieldOfView(700.0, 450.0, 400.0, 400.0, 1.0, "circle", (0, 0, 0))


def test_the_place_of_the_evidence_is_where_the_colour_is() -> None:
    evidence = np.full((8, 8), -1.0, np.float32)
    evidence[2, 5] = 20.0
    overlay = evidence_overlay((768, 1024), (900, 1200), FIELD, evidence)
    assert overlay.shape == (OVERLAY_PX * 3 // 4, OVERLAY_PX, 4)
    shown = overlay[..., 3] > 0
    y, x = np.array(np.nonzero(shown)).mean(axis=1) * (1200 / OVERLAY_PX)
    assert abs(x - (300 + 5.5 * 100)) < 15
    assert abs(y - (50 + 2.5 * 100)) < 15
    assert shown.mean() < 0.05


def test_nothing_is_painted_where_nothing_speaks_nor_outside_the_retina() -> None:
    faint = np.full((8, 8), 0.2, np.float32)
    assert not evidence_overlay((90, 120), (900, 1200), FIELD, faint)[..., 3].any()
    everywhere = evidence_overlay((90, 120), (900, 1200), FIELD, np.full((8, 8), 9.0, np.float32))
    assert everywhere.shape == (90, 120, 4)
    assert not everywhere[:, :29, 3].any()
    assert everywhere[45, 70, 3] > 0
