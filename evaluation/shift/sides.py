"""A site and what it is compared with: the two sides of every shift statistic."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from offsite.evaluation.alarms import smallest_level
from offsite.evaluation.predictions.roles import TRAINING
from offsite.evaluation.shift.label_shift import BiasCorrectedTemperature, em_prior, total_variation
from offsite.evaluation.shift.label_shift_fit import SourceOutputs
from offsite.evaluation.shift.settings import ShiftSettings
from offsite.evaluation.statistics.delong import Placements, placements
from offsite.evaluation.statistics.rows import Rows, together
from offsite.evaluation.statistics.sites import Sites

_ROWS_PER_CLASS = 10
_NULL_UNITS = 1000
DRAWS = 200
"""Of patients, where each asks for an estimate of the prior by EM."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """What all comparisons of an evaluation share.

    Attributes
    ----------
    sites : Sites
        Rows, draws, confidence.
    settings : ShiftSettings
        Permutations, limits and seed.
    calibrated : numpy.ndarray
        N x C probabilities of all rows, calibrated on validation rows of the training sites.
    prior : numpy.ndarray or None
        Class frequencies (C) of the rows that ``calibrated`` is calibrated on; where there are
        too few of them, those of the training rows. ``None`` where no such row has a label.
    """

    sites: Sites
    settings: ShiftSettings
    calibrated: np.ndarray
    prior: np.ndarray | None

    @classmethod
    def of(cls, sites: Sites, settings: ShiftSettings) -> "Material":
        """Calibrate the probabilities of all rows."""
        predictions, roles = sites.predictions, sites.roles
        probabilities = predictions.probabilities
        known = roles.calibrate & (predictions.labels >= 0)
        if known.sum() >= _ROWS_PER_CLASS * len(predictions.classes):
            fitted = BiasCorrectedTemperature.fit(probabilities[known], predictions.labels[known])
            probabilities = fitted(probabilities)
        else:
            known = roles.fit & (predictions.labels >= 0)
        counts = np.bincount(predictions.labels[known], minlength=len(predictions.classes))
        return cls(
            sites=sites,
            settings=settings,
            calibrated=probabilities,
            prior=counts / counts.sum() if counts.any() else None,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """Rows of one side, as indices into the predictions."""

    material: Material
    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def labels(self) -> np.ndarray:
        """N class indices, -1 where there is none."""
        return self.material.sites.predictions.labels[self.rows.index]

    @property
    def labelled(self) -> np.ndarray:
        """N booleans."""
        return self.labels >= 0

    @cached_property
    def probabilities(self) -> np.ndarray:
        """N x C, as the model gives them."""
        return self.material.sites.predictions.probabilities[self.rows.index]

    @cached_property
    def calibrated(self) -> np.ndarray:
        """N x C, calibrated on validation rows of the training sites."""
        return self.material.calibrated[self.rows.index]

    @property
    def frequencies(self) -> np.ndarray:
        """Class frequencies of the labelled rows, C."""
        counts = np.bincount(self.labels[self.labelled], minlength=self.probabilities.shape[1])
        return counts / max(int(counts.sum()), 1)

    @cached_property
    def areas(self) -> dict[int, Placements]:
        """One-vs-rest AUROC of each class that has rows; of two classes, of the second."""
        known = self.labelled
        labels = self.labels[known]
        units = np.unique(self.rows.units[known], return_inverse=True)[1]
        classes = self.probabilities.shape[1]
        return {
            c: placements(self.probabilities[known, c], labels == c, units)
            for c in (range(classes) if classes > 2 else (1,))
            if 0 < (labels == c).sum() < len(labels)
        }

    @cached_property
    def outputs(self) -> SourceOutputs:
        """What the model says of the classes here, for tests of what it says elsewhere."""
        known, level = self.labelled, self.material.settings.misfit_level
        draws = 1 + max(DRAWS, int(np.ceil(2 / level)))

        def totals(cells: np.ndarray) -> np.ndarray:
            whole = np.zeros((len(self), cells.shape[1]))
            whole[known] = cells
            return self.rows.totals(whole, draws)[1:]

        return SourceOutputs.of(self.calibrated[known], self.labels[known], totals)

    def prior_null(self, model: np.ndarray, units: int) -> float:
        """95 % quantile of the distance by EM of samples of these rows, so many patients each.

        Past a thousand patients it falls as one over the root of their number, as that of any
        mean: the null of a thousand serves all larger sites that are compared with these rows.

        Parameters
        ----------
        model : numpy.ndarray
            C, the prior that calibrated probabilities stand for.
        units : int
            Patients of the site that is compared.
        """
        wanted = min(units, self.rows.n_units)
        size = min(wanted, _NULL_UNITS)
        if size not in self._nulls:
            self._nulls[size] = self._drawn_null(model, size)
        return float(self._nulls[size] * np.sqrt(size / wanted))

    @cached_property
    def _nulls(self) -> dict[int, float]:
        return {}

    def _drawn_null(self, model: np.ndarray, size: int) -> float:
        generator = np.random.default_rng(np.random.SeedSequence([self.material.settings.seed, 5]))
        # Of many patients some stand for all: a few times as many as are drawn.
        few = min(self.rows.n_units, max(4 * size, 2 * _NULL_UNITS))
        place = np.full(self.rows.n_units, -1)
        chosen = generator.choice(len(place), few, replace=False)
        place[chosen] = np.arange(few)
        rows = np.flatnonzero(place[self.rows.units] >= 0)
        drawn = generator.multinomial(size, np.full(few, 1 / few), size=DRAWS)
        weights = drawn[:, place[self.rows.units[rows]]]
        priors = em_prior(self.calibrated[rows], model, weights)
        return float(np.quantile(total_variation(priors, self.frequencies), 0.95))

    def sample(self, limit: int, generator: np.random.Generator) -> np.ndarray:
        """Places of at most ``limit`` rows, at random without replacement, sorted."""
        if len(self) <= limit:
            return np.arange(len(self))
        return np.sort(generator.choice(len(self), size=limit, replace=False))

    def features(self, places: np.ndarray) -> np.ndarray:
        """Embeddings of some of the rows."""
        embeddings = self.material.sites.predictions.embeddings
        assert embeddings is not None  # who asks has looked
        return embeddings[self.rows.index[places]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """A test site against its reference.

    A held-out site is compared with the test rows of all training sites, a training site with
    those of the other training sites.
    """

    local: Side
    reference: Side

    @property
    def sides(self) -> tuple[Side, Side]:
        """The site, and what it is compared with."""
        return self.local, self.reference

    @property
    def settings(self) -> ShiftSettings:
        """Permutations, limits and seed."""
        return self.local.material.settings

    @property
    def sites(self) -> Sites:
        """Draws and confidence."""
        return self.local.material.sites

    @property
    def permutations(self) -> int:
        """So many that the least p-value can still be an alarm among all of the page."""
        level = smallest_level(self.sites.settings.alarm_level, len(self.sites.every))
        return max(self.settings.permutations, int(np.ceil(1 / level)))


def comparisons(material: Material) -> Iterator[Comparison]:
    """One comparison for each site with test rows, training sites first, then by name.

    What is computed of the reference of the held-out sites is computed once, as it is one side;
    a training site's own is let go with its comparison.
    """
    training = [rows for rows in material.sites.every if rows.role == TRAINING]
    whole = Side(material=material, rows=material.sites.together(TRAINING))
    for rows in material.sites.every:
        reference = whole
        if rows.role == TRAINING:
            others = [other for other in training if other is not rows]
            reference = Side(material=material, rows=together(TRAINING, others))
        local = Side(material=material, rows=rows)
        yield Comparison(local=local, reference=reference)
