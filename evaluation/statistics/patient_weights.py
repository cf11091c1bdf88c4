"""Bootstrap weights of rows, whole patients drawn together."""

import numpy as np

from offsite.evaluation.statistics.resampling import draw_counts


def patient_weights(
    patients: np.ndarray, resamples: int, generator: np.random.Generator
) -> np.ndarray:
    """Bootstrap weights of rows, B x N float32: whole patients drawn with replacement."""
    names, codes = np.unique(patients, return_inverse=True)
    return draw_counts(len(names), resamples, generator).astype(np.float32)[:, codes]
