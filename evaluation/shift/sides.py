"""A site and what it is compared with: the two sides of every shift statistic."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from offsite.evaluation.alarms import smallest_level
from offsite.evaluation.predictions.roles import TRAINING
from offsite.evaluation.settings import ShiftSettings
from offsite.evaluation.shift.label_shift import BiasCorrectedTemperature, em_prior, total_variation
from offsite.evaluation.shift.label_shift_fit import SourceOutputs
from offsite.evaluation.shift.two_sample import TwoSample
from offsite.evaluation.statistics.delong import Placements, placements
from offsite.evaluation.statistics.site import Site
from offsite.evaluation.statistics.sites import Sites

_ROWS_PER_CLASS = 10
_NULL_UNITS = 1000
DRAWS = 200
"""Of patients, where each asks for an estimate of the prior by EM."""
Cells = dict[str, Any]


def cells_of(found: Cells | TwoSample | str | None) -> Cells:
    """What was found as cells: those of a test, or why there are none."""
    if found is None:
        return {"reason": "too_few"}
    if isinstance(found, str):
        return {"reason": found}
    return {"reason": "ok"} | (found.cells() if isinstance(found, TwoSample) else found)


@dataclass(frozen=True, eq=False)
class Material:
    """What all comparisons of an evaluation share: sites with their draws, and the settings."""

    sites: Sites
    settings: ShiftSettings

    @cached_property
    def _judged(self) -> np.ndarray:
        """Labelled validation rows of training sites (N booleans); of too few the training rows."""
        predictions, roles = self.sites.predictions, self.sites.roles
        known = roles.calibrate & (predictions.labels >= 0)
        enough = known.sum() >= _ROWS_PER_CLASS * len(predictions.classes)
        return known if enough else roles.fit & (predictions.labels >= 0)

    @cached_property
    def calibrated(self) -> np.ndarray:
        """N x C probabilities of all rows, calibrated on validation rows if there are enough."""
        predictions, known = self.sites.predictions, self._judged
        if not (known & self.sites.roles.calibrate).any():
            return predictions.probabilities
        fitted = BiasCorrectedTemperature.fit(
            predictions.probabilities[known], predictions.labels[known]
        )
        return fitted(predictions.probabilities)

    @cached_property
    def prior(self) -> np.ndarray | None:
        """Class frequencies (C) of the rows calibrated on, or else of the training rows, if any."""
        predictions = self.sites.predictions
        counts = np.bincount(predictions.labels[self._judged], minlength=len(predictions.classes))
        return counts / counts.sum() if counts.any() else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """Rows of one side, as indices into the predictions."""

    material: Material
    rows: Site

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labelled(self) -> np.ndarray:
        """N booleans."""
        return self.rows.labels >= 0

    @cached_property
    def calibrated(self) -> np.ndarray:
        """N x C, calibrated on validation rows of the training sites."""
        return self.material.calibrated[self.rows.index]

    @property
    def frequencies(self) -> np.ndarray:
        """Class frequencies of the labelled rows, C."""
        counts = np.bincount(self.rows.labels[self.labelled], minlength=self.rows.classes)
        return counts / max(int(counts.sum()), 1)

    @cached_property
    def areas(self) -> dict[int, Placements]:
        """One-vs-rest AUROC of each class that has rows; of two classes, of the second."""
        known = self.labelled
        labels = self.rows.labels[known]
        units = np.unique(self.rows.units[known], return_inverse=True)[1]
        classes = self.rows.classes
        return {
            c: placements(self.rows.probabilities[known, c], labels == c, units)
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

        return SourceOutputs.of(self.calibrated[known], self.rows.labels[known], totals)

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
        generator = np.random.default_rng([self.material.settings.seed, 5])
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

    def row(
        self,
        kind: str,
        statistic: str,
        found: Cells | TwoSample | str | None,
        *,
        labelled: bool = False,
        transductive: bool = False,
    ) -> Cells:
        """A row of the tables, of all rows or of the labelled ones, with what was found.

        That is cells, a test (``None`` of too few patients), or the reason why there is nothing.
        """
        site, known = self.local.rows, self.local.labelled if labelled else slice(None)
        reference = self.reference
        return site.place | {
            "kind": kind,
            "statistic": statistic,
            "transductive": transductive,
            "n": len(site.units[known]),
            "n_patients": site.patients_among(known),
            "n_reference": int(reference.labelled.sum()) if labelled else len(reference),
            **cells_of(found),
        }

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
            reference = Side(material=material, rows=material.sites.pool(TRAINING, others))
        local = Side(material=material, rows=rows)
        yield Comparison(local=local, reference=reference)
