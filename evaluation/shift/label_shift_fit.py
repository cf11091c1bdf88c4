"""Is it label shift at all? Whether some class prior explains what the model says at a site.

EM and BBSE assume that images of a class look the same everywhere. Where they do not, both return
a prior with full confidence, and a wrong one; so the assumption is tested first.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.optimize import nnls

from offsite.evaluation.shift.two_sample import TwoSample


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceOutputs:
    """What a model says of the classes of its source, as they are and in draws of patients.

    Outputs are binned by predicted class and by confidence over or under the source's median for
    it.

    Attributes
    ----------
    medians : numpy.ndarray
        C, the medians.
    table : numpy.ndarray
        Bins x classes that have rows: rows of each.
    drawn : numpy.ndarray
        B x bins x classes: the same in each draw.
    """

    medians: np.ndarray
    table: np.ndarray
    drawn: np.ndarray

    @classmethod
    def of(
        cls,
        probabilities: np.ndarray,
        labels: np.ndarray,
        totals: Callable[[np.ndarray], np.ndarray],
    ) -> Self:
        """From n x C probabilities with n labels, all known.

        ``totals`` gives sums of n x K cells over the source in each draw of its patients, B x K.
        """
        medians = _medians(probabilities)
        classes = np.unique(labels)
        shape = (2 * probabilities.shape[1], len(classes))
        cells = np.zeros((len(labels), shape[0] * shape[1]))
        of_row = _bins(probabilities, medians) * shape[1] + np.searchsorted(classes, labels)
        cells[np.arange(len(labels)), of_row] = 1.0
        drawn = totals(cells).reshape(-1, *shape)
        return cls(medians=medians, table=cells.sum(axis=0).reshape(shape), drawn=drawn)

    def label_shift_test(
        self, target: np.ndarray, *, cases: int, generator: np.random.Generator
    ) -> TwoSample | None:
        """Misfit of the best mixture of the source's classes to the target's outputs.

        Under label shift the target's shares are ``H q`` with ``H`` the source's shares by true
        class; the statistic is the chi-square distance to the best ``q``, per patient. Its null
        takes the draws of the source's patients and draws the target from the fitted mixture, as
        many cases as it has patients, which is careful where patients have several images (our
        construction).

        Parameters
        ----------
        target : numpy.ndarray
            Probabilities, m x C.
        cases : int
            Patients of the target.
        generator : numpy.random.Generator
            Draws the target.

        Returns
        -------
        TwoSample or None
            ``None`` where either side is empty.
        """
        if not self.table.size or len(target) == 0:
            return None
        counts = np.bincount(_bins(target, self.medians), minlength=len(self.table))
        observed, mixture = _misfit(self.table, counts / len(target))
        again = generator.multinomial(cases, mixture, size=len(self.drawn)) / cases
        null = [_misfit(*both)[0] for both in zip(self.drawn, again, strict=True)]
        return TwoSample.of(np.r_[observed, null])


def _medians(probabilities: np.ndarray) -> np.ndarray:
    """Median confidence of the rows predicted to be each class, C; 1 where there are none."""
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    values = [confidence[predicted == label] for label in range(probabilities.shape[1])]
    return np.array([np.median(of_class) if len(of_class) else 1.0 for of_class in values])


def _bins(probabilities: np.ndarray, medians: np.ndarray) -> np.ndarray:
    predicted = probabilities.argmax(axis=1)
    return 2 * predicted + (probabilities.max(axis=1) > medians[predicted])


def _misfit(counts: np.ndarray, shares: np.ndarray) -> tuple[float, np.ndarray]:
    """Chi-square distance of the shares from the best mixture of the columns, and that mixture.

    Half a case is added to every cell, so that a bin the source never filled is unlikely, not
    impossible.
    """
    smoothed = counts + 0.5
    columns = smoothed / smoothed.sum(axis=0)
    scale = np.sqrt(columns.mean(axis=1))
    prior = nnls(columns / scale[:, None], shares / scale)[0]
    prior = prior / prior.sum() if prior.sum() > 0 else np.full(len(prior), 1 / len(prior))
    mixture = columns @ prior
    return float(((shares - mixture) ** 2 / mixture).sum()), mixture / mixture.sum()
