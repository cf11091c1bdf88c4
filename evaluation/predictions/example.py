"""A small table of predictions to start from: three hospitals, one of them never trained on."""

import numpy as np
import pandas as pd
from scipy.special import expit

_SITES = {"north": 0.0, "south": 0.2, "west": 0.9}
_HELD_OUT = "west"
_PATIENTS = 120


def example_predictions() -> pd.DataFrame:
    """A row per image, with every column that evaluation asks for; the same on any machine.

    Examples
    --------
    >>> table = example_predictions()
    >>> list(table.columns)
    ['image', 'patient', 'site', 'split', 'label', 'prob_benign', 'prob_malignant']
    >>> table["site"].nunique(), len(table)
    (3, 600)
    """
    rng = np.random.default_rng(0)
    parts = []
    for site, further in _SITES.items():
        patients = np.repeat(np.arange(1, _PATIENTS + 1), 1 if site == _HELD_OUT else 2)
        ill = (rng.random(_PATIENTS) < 0.4)[patients - 1]
        score = expit(2.4 * (1 - further) * (ill - 0.5) + rng.normal(size=len(patients)))
        split = np.array(["train", "train", "val", "test", "test"])[patients % 5]
        parts.append(
            pd.DataFrame(
                {
                    "image": [f"{site}-{number:03d}.png" for number in range(len(patients))],
                    "patient": [f"{site}-{patient:03d}" for patient in patients],
                    "site": site,
                    "split": "test" if site == _HELD_OUT else split,
                    "label": np.where(ill, "malignant", "benign"),
                    "prob_benign": (1 - score).round(4),
                    "prob_malignant": score.round(4),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
