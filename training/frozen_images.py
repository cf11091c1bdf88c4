"""The labelled images of a job as a frozen, pretrained network sees them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd


@dataclass(frozen=True, eq=False)
class FrozenImages:
    """What a frozen network reads of images.

    Attributes
    ----------
    table : pandas.DataFrame
        A row per image that could be read and has a label: ``image, slide, patient, site, label``,
        and ``content``, equal for identical pictures alone.
    features : numpy.ndarray
        N x D.
    pictures : tuple of (Path or None)
        A picture of each to show a person, where there is one.
    unread : int
        Labelled images that could not be read, or are not fit to be graded.
    """

    table: pd.DataFrame
    features: np.ndarray
    pictures: tuple[Path | None, ...]
    unread: int
