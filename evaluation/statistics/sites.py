"""The rows of each site, their patients and their draws: what every table starts from."""

from collections.abc import Iterator
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
from offsite.evaluation.statistics.rows import POOLED, Rows, side_by_side, together
from offsite.evaluation.statistics.samples import Sample, joined, sample_at, unit_codes

ALL = "all"
WORST, GAP = "_worst", "_gap"


@dataclass(frozen=True, kw_only=True, eq=False)
class Site:
    """One site's test rows.

    Attributes
    ----------
    name, role : str
        Site, and ``training`` or ``held_out``.
    images : int
        Test images, labelled or not.
    sample : Sample
        The labelled ones.
    draws : tuple of numpy.ndarray
        Of each site in it: uint8, (1 + resamples) x its units: a row of ones, then the draws.
    """

    name: str
    role: str
    images: int
    sample: Sample
    draws: tuple[np.ndarray, ...]

    @property
    def counts(self) -> np.ndarray:
        """The draws of all units; of several sites put together when asked for, and not kept."""
        return side_by_side(self.draws)

    def why_not(self, minimum: int) -> Reason:
        """Why fewer than ``minimum`` labelled rows give no metric; ``OK`` where there are enough."""
        return Reason.OK if self.sample.n >= minimum else self.lacking

    @property
    def lacking(self) -> Reason:
        """What a site that could not be measured lacks."""
        if self.images == 0:
            return Reason.NO_SAMPLES
        return Reason.TOO_FEW if self.sample.n else Reason.NO_LABELS


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
        """Every site with a test image, training sites first.

        The draws of a site depend on the seed and its name alone.
        """
        return [self._site(name, role, index) for name, role, index in self._places]

    @cached_property
    def pools(self) -> list[Site]:
        """The sites of each role as one, and all of them last; drawn within sites."""
        return pools_of(self.single)

    def with_probabilities(self, predictions: Predictions) -> "Sites":
        """The same rows and draws with the probabilities of other predictions of these rows."""
        other = replace(self, predictions=predictions)
        single = []
        for site, (_, _, index) in zip(self.single, self._places, strict=True):
            p = predictions.probabilities[index[predictions.labels[index] >= 0]]
            single.append(replace(site, sample=replace(site.sample, probabilities=p)))
        # cached_property keeps its value in the instance, also of a frozen class.
        other.__dict__["single"] = single
        return other

    def with_rows(self, predictions: Predictions, settings: EvaluationSettings) -> "Sites":
        """The same images, patients and sites with other truths and probabilities."""
        other = replace(self, predictions=predictions, settings=settings)
        other.__dict__["_places"] = self._places
        return other

    @cached_property
    def validation(self) -> Sample:
        """The labelled validation rows of the training sites."""
        of_patients = self.patients if self.settings.unit == "image" else None
        rows = np.flatnonzero(self.roles.calibrate)
        return sample_at(self.predictions, rows, self.units, of_patients)

    @cached_property
    def every(self) -> list[Rows]:
        """All test rows of each site, in the order of :attr:`single`, whose draws they share."""
        pairs = zip(self.single, self._places, strict=True)
        return [self._every(site, index) for site, (_, _, index) in pairs]

    def together(self, role: str) -> Rows:
        """The rows of the sites of a role, drawn within sites."""
        return together(role, [rows for rows in self.every if rows.role == role])

    def shown(self) -> Iterator[Rows]:
        """Each role that has sites as one, then each site."""
        for role in (TRAINING, HELD_OUT):
            if any(rows.role == role for rows in self.every):
                yield self.together(role)
        yield from self.every

    @cached_property
    def names(self) -> np.ndarray:
        """The site of each row, N names."""
        return self.predictions.table["site"].to_numpy(dtype=str)

    def of_share(self, hits: np.ndarray, units: np.ndarray) -> dict[str, Any]:
        """Value and exact interval of a share of rows with these units, as cells of a table."""
        bounds = self.share_interval(hits, units)
        return _cells(float(hits.mean()), bounds, len(np.unique(units)))

    def of_draws(
        self, values: np.ndarray, units: int, *, loss: bool = False, rarer: int | None = None
    ) -> dict[str, Any]:
        """Value and interval of an estimate and its draws of so many units, as cells of a table.

        ``rarer`` patients are on the rarer of the sides that it rests on, where it has sides.
        """
        bounds = self.interval(values[1:], units)
        if loss:
            asked = (self.settings.confidence, self.settings.minimum_defined)
            bounds = spread_interval(values, units, "log", *asked)
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

    def interval(self, draws: np.ndarray, units: int) -> tuple[float, float] | None:
        """Expanded percentile interval of draws of so many units; ``None`` where there is none."""
        return percentile_interval(
            draws, units, self.settings.confidence, self.settings.minimum_defined
        )

    @cached_property
    def _places(self) -> list[tuple[str, str, np.ndarray]]:
        """(name, role, row indices) of every site with test rows, training sites first."""
        names, test = self.names, np.flatnonzero(self.roles.test)
        return [
            (name, role, test[(names[test] == name) & (self.roles.site_role[test] == role)])
            for name, role in self.roles.test_sites(names)
        ]

    def _site(self, name: str, role: str, index: np.ndarray) -> Site:
        of_patients = self.patients if self.settings.unit == "image" else None
        sample = sample_at(self.predictions, index, self.units, of_patients)
        counts = self._drawn(name, sample.units, sample.labels)
        return Site(name=name, role=role, images=len(index), sample=sample, draws=(counts,))

    def _every(self, site: Site, index: np.ndarray) -> Rows:
        units, patients = (
            np.unique(of[index], return_inverse=True)[1] for of in (self.units, self.patients)
        )
        labels = self.predictions.labels[index]
        # Where all rows have labels these are the very draws of the sample.
        whole = site.sample.n == len(index)
        counts = site.draws[0] if whole else self._drawn(site.name, units, labels)
        return Rows(
            name=site.name,
            role=site.role,
            index=index,
            units=units,
            patients=patients,
            draws=(counts,),
        )

    def _drawn(self, name: str, units: np.ndarray, labels: np.ndarray) -> np.ndarray:
        generator = generator_of(self.settings.seed, self.draws, name)
        resamples, stratified = self.settings.resamples, self.settings.stratified
        return point_and_draws(units, labels, resamples, generator, stratified=stratified)


def _cells(value: float, bounds: tuple[float, float] | None, rarer: int | None) -> dict[str, Any]:
    few = rarer is not None and rarer < FEWEST_PATIENTS
    low, high = (None, None) if few or bounds is None else bounds
    reason = Reason.OK if bounds else Reason.INTERVAL_UNSTABLE
    reason = Reason.TOO_FEW if few else reason
    return {"value": value, "low": low, "high": high, "reason": reason.value}


def groups_of(sites: list[Site]) -> list[tuple[str, list[Site]]]:
    """Sites by role (roles without a site are left out), and all of them last; none of none."""
    parts = [(role, [site for site in sites if site.role == role]) for role in (TRAINING, HELD_OUT)]
    return [(role, members) for role, members in parts if members] + (
        [(ALL, sites)] if sites else []
    )


def pools_of(sites: list[Site]) -> list[Site]:
    """One site for each of :func:`groups_of`."""
    return [pooled(role, members) for role, members in groups_of(sites)]


def pooled(role: str, sites: list[Site]) -> Site:
    """The rows of several sites as one, drawn within sites."""
    return Site(
        name=POOLED,
        role=role,
        images=sum(site.images for site in sites),
        sample=joined([site.sample for site in sites]),
        draws=tuple(part for site in sites for part in site.draws),
    )
