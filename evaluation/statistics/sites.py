"""The rows of each site, their patients and their draws: what every table starts from."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from offsite.evaluation.predictions.roles import HELD_OUT, TRAINING, Roles, roles_of
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.binomial import clustered_interval
from offsite.evaluation.statistics.delong import Placements, auroc_interval
from offsite.evaluation.statistics.estimates import FEWEST_PATIENTS, Reason
from offsite.evaluation.statistics.intervals import percentile_interval, spread_interval
from offsite.evaluation.statistics.resampling import generator_of, point_and_draws
from offsite.evaluation.statistics.site import ALL, POOLED, Site, pooled, unit_codes

WORST, GAP = "_worst", "_gap"
_ROLES = (TRAINING, HELD_OUT)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sites:
    """A predictions table as every table of an evaluation reads it; made by :meth:`of`.

    Rows, patients, what is drawn, the draws and the confidence are settled here once, so that no
    two tables of one page can disagree on them. A patient is known by site and number: people of
    two hospitals who have one number are two.

    Attributes
    ----------
    predictions : Predictions
        All rows, N.
    settings : EvaluationSettings
        Unit, draws, confidence and minima.
    roles : Roles
        Which rows may do what.
    units, patients : numpy.ndarray
        N numbers: what is drawn, and whose image it is. The same but where images are drawn.
    draws : str
        Whose draws these are: sets of other images are drawn apart from sites of the same name.
    """

    predictions: Predictions
    settings: EvaluationSettings
    roles: Roles
    units: np.ndarray
    patients: np.ndarray
    draws: str = "site"

    @classmethod
    def of(
        cls,
        predictions: Predictions,
        settings: EvaluationSettings | None = None,
        draws: str = "site",
    ) -> "Sites":
        """The sites of a predictions table under the settings (by default the usual ones)."""
        settings = settings or EvaluationSettings()
        units = unit_codes(predictions, settings.unit)
        return cls(
            predictions=predictions,
            settings=settings,
            roles=roles_of(predictions.table),
            units=units,
            patients=units if settings.unit == "patient" else unit_codes(predictions),
            draws=draws,
        )

    @cached_property
    def single(self) -> list[Site]:
        """The labelled rows of every site with a test image, training sites first.

        The draws of a site depend on the seed and its name alone.
        """
        return [self._drawn(*place, labelled=True) for place in self._places]

    @cached_property
    def every(self) -> list[Site]:
        """All test rows of each site, labelled or not, in the order of :attr:`single`."""
        return [
            self._drawn(*place, labelled=False) if site.unlabelled else site
            for site, place in zip(self.single, self._places, strict=True)
        ]

    @cached_property
    def pools(self) -> list[Site]:
        """The labelled rows of each role as one, and all of them last; drawn within sites."""
        among = {role: [site for site in self.single if site.role == role] for role in _ROLES}
        among[ALL] = self.single
        return [pooled(role, members) for role, members in among.items() if members]

    @property
    def shown(self) -> list[Site]:
        """Every site, then the pools, as most tables show them."""
        return [*self.single, *self.pools]

    @property
    def roles_first(self) -> list[Site]:
        """All rows of each role as one, then those of each site."""
        known = {site.role for site in self.every}
        return [*(self.together(role) for role in _ROLES if role in known), *self.every]

    def together(self, role: str) -> Site:
        """All rows of the sites of a role, drawn within sites."""
        return self.pool(role, [site for site in self.every if site.role == role])

    def pool(self, role: str, members: list[Site]) -> Site:
        """The rows of these sites as one; of none, no rows."""
        nothing = np.empty(0, dtype=np.int64)
        return pooled(role, members) if members else self._drawn(POOLED, role, nothing)

    def with_probabilities(self, predictions: Predictions) -> "Sites":
        """The same rows and draws with the probabilities of other predictions of these rows."""
        other = replace(self, predictions=predictions)
        # cached_property keeps its value in the instance, also of a frozen class.
        other.__dict__["single"] = [
            replace(site, probabilities=predictions.probabilities[site.index])
            for site in self.single
        ]
        return other

    def with_rows(self, predictions: Predictions, settings: EvaluationSettings) -> "Sites":
        """The same images, patients and sites with other truths and probabilities."""
        other = replace(self, predictions=predictions, settings=settings)
        other.__dict__["_places"] = self._places
        return other

    @cached_property
    def validation(self) -> Site:
        """The labelled validation rows of the training sites, not drawn; of folds what they tested."""
        return self.training_rows(self.roles.calibrate | self.roles.crossed)

    def training_rows(self, chosen: np.ndarray) -> Site:
        """The labelled ones among some rows (N booleans) of training sites, not drawn."""
        return self._site("", TRAINING, np.flatnonzero(chosen), labelled=True)

    @cached_property
    def names(self) -> np.ndarray:
        """The site of each row, N names."""
        return self.predictions.table["site"].to_numpy(dtype=str)

    def of_share(self, hits: np.ndarray, units: np.ndarray) -> dict[str, Any]:
        """Value and exact interval of a share of rows with these units, as cells of a table."""
        if not len(hits):
            return {"reason": Reason.NO_SAMPLES.value}
        bounds = self.share_interval(hits, units)
        return _cells(float(hits.mean()), bounds, len(np.unique(units)))

    def of_draws(
        self, values: np.ndarray, units: int, *, loss: bool = False, rarer: int | None = None
    ) -> dict[str, Any]:
        """Value and interval of an estimate and its draws of so many units, as cells of a table.

        ``rarer`` patients are on the rarer of the sides that it rests on, where it has sides.
        """
        asked = (self.settings.confidence, self.settings.minimum_defined)
        bounds = (
            spread_interval(values, units, "log", *asked)
            if loss
            else percentile_interval(values[1:], units, *asked)
        )
        return _cells(float(values[0]), bounds, rarer)

    def of_area(self, area: Placements) -> dict[str, Any]:
        """An AUROC and its interval by placement values; a mean of several has no sides."""
        low, high = auroc_interval(area, self.settings.confidence)
        sides = min(int(area.has_positive.sum()), int(area.has_negative.sum()))
        bounds = (min(low, area.auroc), max(high, area.auroc))
        return _cells(area.auroc, bounds, sides if area.degrees is None else None)

    def share_interval(self, hits: np.ndarray, units: np.ndarray) -> tuple[float, float]:
        """Exact interval of a share of rows with these units, at the confidence of the tables."""
        return clustered_interval(hits, units, self.settings.confidence)

    @cached_property
    def _places(self) -> list[tuple[str, str, np.ndarray]]:
        """(name, role, row indices) of every site with test rows, training sites first."""
        names, test = self.names, np.flatnonzero(self.roles.test)
        return [
            (name, role, test[(names[test] == name) & (self.roles.site_role[test] == role)])
            for name, role in self.roles.test_sites(names)
        ]

    def _site(self, name: str, role: str, index: np.ndarray, *, labelled: bool = False) -> Site:
        """Some rows, or the labelled ones among them, without draws."""
        rows = index[self.predictions.labels[index] >= 0] if labelled else index
        _, first, codes = np.unique(self.units[rows], return_index=True, return_inverse=True)
        patients = np.unique(self.patients[rows][first], return_inverse=True)[1]
        return Site(
            name=name,
            role=role,
            index=rows,
            labels=self.predictions.labels[rows],
            probabilities=self.predictions.probabilities[rows],
            units=codes.astype(np.int64),
            patients=patients if self.settings.unit == "image" else None,
            unlabelled=len(index) - len(rows),
        )

    def _drawn(self, name: str, role: str, index: np.ndarray, *, labelled: bool = False) -> Site:
        site = self._site(name, role, index, labelled=labelled)
        generator = generator_of(self.settings.seed, self.draws, name)
        resamples, stratified = self.settings.resamples, self.settings.stratified
        draws = point_and_draws(
            site.units, site.labels, resamples, generator, stratified=stratified
        )
        return replace(site, draws=(draws,))


def _cells(value: float, bounds: tuple[float, float] | None, rarer: int | None) -> dict[str, Any]:
    few = rarer is not None and rarer < FEWEST_PATIENTS
    low, high = (None, None) if few or bounds is None else bounds
    reason = Reason.OK if bounds else Reason.INTERVAL_UNSTABLE
    reason = Reason.TOO_FEW if few else reason
    return {"value": value, "low": low, "high": high, "reason": reason.value}
