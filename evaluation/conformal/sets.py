"""Prediction sets with stated coverage: by class and site, contiguous for grades, "refer" if unsure.

Mondrian (bin-wise) split conformal prediction (Vovk, Gammerman and Shafer 2005): each candidate
class has the threshold of its own bin, so coverage is promised within bins, not on average only.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from offsite.errors import InputError
from offsite.evaluation.settings import ConformalSettings

_BY_ROW = ("members", "refer", "local", "bin_rows")
_OPTIONS = ("ordered", "by_class", "by_site", "minimum_bin")


@dataclass(frozen=True, kw_only=True, eq=False)
class PredictionSets:
    """Sets of N rows.

    Attributes
    ----------
    members : numpy.ndarray
        N x C booleans.
    refer : numpy.ndarray
        N booleans: a bin was too small for the level, so its class cannot be ruled out.
    local : numpy.ndarray
        N x C booleans: the class was judged by the site's own bin, not by its parent.
    bin_rows : numpy.ndarray
        N x C, calibration rows of the bin used.
    effective : numpy.ndarray or None
        C, what the rows of each class are worth where they are weighted by likeness to a site.
    """

    members: np.ndarray
    refer: np.ndarray
    local: np.ndarray
    bin_rows: np.ndarray
    effective: np.ndarray | None = None

    @property
    def sizes(self) -> np.ndarray:
        """Classes in each set, N."""
        return self.members.sum(axis=1)

    @classmethod
    def empty(cls, rows: int, classes: int) -> Self:
        """Sets of N rows without a member, to be filled by :meth:`put`."""
        return cls(
            members=np.zeros((rows, classes), dtype=bool),
            refer=np.zeros(rows, dtype=bool),
            local=np.zeros((rows, classes), dtype=bool),
            bin_rows=np.zeros((rows, classes), dtype=np.int64),
        )

    def put(self, rows: np.ndarray, own: "PredictionSets") -> None:
        """Put the sets of some rows (N booleans) in their places."""
        for name in _BY_ROW:
            getattr(self, name)[rows] = getattr(own, name)

    def select(self, rows: np.ndarray) -> "PredictionSets":
        """The sets of some rows."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _BY_ROW})


@dataclass(frozen=True, kw_only=True, eq=False)
class ConformalSets:
    """Calibrated prediction sets: the calibration scores and how they are binned.

    Attributes
    ----------
    scores : numpy.ndarray
        float64, N: nonconformity of the true class of each calibration row, in increasing order.
    labels, sites : numpy.ndarray
        int64, N: true class, and index into ``site_names``.
    site_names : tuple of str
        Sites with calibration rows.
    classes : int
        C.
    settings : ConformalSettings
        Binning and back-off.
    """

    scores: np.ndarray
    labels: np.ndarray
    sites: np.ndarray
    site_names: tuple[str, ...]
    classes: int
    settings: ConformalSettings

    @classmethod
    def fit(
        cls,
        probabilities: np.ndarray,
        labels: np.ndarray,
        sites: np.ndarray,
        settings: ConformalSettings | None = None,
    ) -> Self:
        """Calibrate on rows that the model was not fitted to.

        Parameters
        ----------
        probabilities : numpy.ndarray
            N x C.
        labels : numpy.ndarray
            N class indices; rows with -1 are left out.
        sites : numpy.ndarray
            N site names.
        settings : ConformalSettings, optional
            Binning and back-off.
        """
        settings = settings or ConformalSettings()
        known = np.asarray(labels) >= 0
        truth = np.asarray(labels)[known]
        scores = nonconformity(probabilities[known], ordered=settings.ordered)
        of_truth = scores[np.arange(len(truth)), truth]
        order = np.argsort(of_truth, kind="stable")
        names, codes = np.unique(np.asarray(sites, dtype=str)[known], return_inverse=True)
        return cls(
            scores=of_truth[order],
            labels=truth[order].astype(np.int64),
            sites=codes[order].astype(np.int64),
            site_names=tuple(str(name) for name in names),
            classes=probabilities.shape[1],
            settings=settings,
        )

    def bin_of(self, site: str, label: int) -> tuple[np.ndarray, bool]:
        """Sorted calibration scores for a class at a site, and whether they are the site's own.

        Too few rows of its own, or a site never seen, give the class over all sites.
        """
        parent = (
            self.labels == label
            if self.settings.by_class
            else np.ones(len(self.labels), dtype=bool)
        )
        if self.settings.by_site and site in self.site_names:
            local = parent & (self.sites == self.site_names.index(site))
            if local.sum() >= self.settings.minimum_bin:
                return self.scores[local], True
        return self.scores[parent], False

    def _bins(self, sites: np.ndarray) -> Iterator[tuple[np.ndarray, int, np.ndarray, bool]]:
        """(which of N rows, class, its sorted scores, whether they are the site's own)."""
        names = np.asarray(sites, dtype=str)
        for site in np.unique(names):
            for label in range(self.classes):
                yield names == site, label, *self.bin_of(str(site), label)

    def predict(self, probabilities: np.ndarray, sites: np.ndarray, level: float) -> PredictionSets:
        """Sets of N rows at coverage ``level``, each judged by the bins of its site.

        An infinite threshold keeps its class in every set and marks the row ``refer``.
        """
        scores = nonconformity(probabilities, ordered=self.settings.ordered)
        thresholds = np.empty_like(scores)
        local = np.zeros(scores.shape, dtype=bool)
        rows = np.zeros(scores.shape, dtype=np.int64)
        for here, label, scores_of_bin, is_local in self._bins(sites):
            thresholds[here, label] = conformal_quantile(scores_of_bin, level)
            local[here, label], rows[here, label] = is_local, len(scores_of_bin)
        members = scores <= thresholds
        return PredictionSets(
            members=contiguous(members) if self.settings.ordered else members,
            refer=np.isinf(thresholds).any(axis=1),
            local=local,
            bin_rows=rows,
        )

    def p_values(self, probabilities: np.ndarray, sites: np.ndarray) -> np.ndarray:
        """How conforming each class is, N x C: ``(#{scores in the bin >= its own} + 1) / (n + 1)``.

        A class is in the set of coverage ``1 - a`` where its p value is over a.
        """
        scores = nonconformity(probabilities, ordered=self.settings.ordered)
        result = np.empty_like(scores)
        for here, label, of_bin, _ in self._bins(sites):
            beyond = len(of_bin) - np.searchsorted(of_bin, scores[here, label], side="left")
            result[here, label] = (beyond + 1) / (len(of_bin) + 1)
        return result

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All of it as arrays by name, for a package's ``reference.npz``."""
        return {
            "scores": self.scores,
            "labels": self.labels,
            "sites": self.sites,
            "site_names": np.array(self.site_names, dtype=np.str_),
            "options": np.array(
                [self.classes, *(getattr(self.settings, name) for name in _OPTIONS)], dtype=np.int64
            ),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Back from ``to_arrays``."""
        names = ("scores", "labels", "sites", "site_names", "options")
        missing = [name for name in names if name not in arrays]
        if missing:
            raise InputError(
                f"the stored prediction sets lack {', '.join(missing)}",
                remedy="Write them by to_arrays",
            )
        classes, *options = (int(number) for number in arrays["options"])
        return cls(
            scores=np.asarray(arrays["scores"], dtype=np.float64),
            labels=np.asarray(arrays["labels"], dtype=np.int64),
            sites=np.asarray(arrays["sites"], dtype=np.int64),
            site_names=tuple(str(name) for name in arrays["site_names"]),
            classes=classes,
            settings=ConformalSettings.model_validate(dict(zip(_OPTIONS, options, strict=True))),
        )


def nonconformity(probabilities: np.ndarray, *, ordered: bool = False) -> np.ndarray:
    """Scores of every class, N x C; larger is less conforming.

    Without order ``1 - p_c`` (Sadinle, Lei and Wasserman 2019). For grades the probability of the
    interval that grows from the most probable grade, by its likelier neighbour, before it reaches
    c (after Lu et al. 2022, without their randomisation): sets are intervals and never empty.

    Examples
    --------
    >>> nonconformity(np.array([[0.7, 0.2, 0.1]])).round(3).tolist()
    [[0.3, 0.8, 0.9]]
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if not ordered:
        return 1.0 - p
    count, classes = p.shape
    padded = np.pad(p, ((0, 0), (1, 1)), constant_values=-1.0)  # the outside is never likelier
    rows, low = np.arange(count), p.argmax(axis=1) + 1
    high, mass = low.copy(), padded[np.arange(count), low]
    scores = np.zeros((count, classes))
    for _ in range(classes - 1):
        down, up = padded[rows, low - 1], padded[rows, high + 1]
        go_down = down > up
        low, high = np.where(go_down, low - 1, low), np.where(go_down, high, high + 1)
        joined = np.where(go_down, low, high) - 1
        scores[rows, joined] = mass
        mass = mass + np.where(go_down, down, up)
    return scores


def conformal_quantile(ordered_scores: np.ndarray, level: float) -> float:
    """The ``ceil((n + 1) level)``-th smallest of n sorted scores; infinite where that is over n.

    Examples
    --------
    >>> conformal_quantile(np.arange(1, 10) / 10, 0.9)
    0.9
    >>> conformal_quantile(np.arange(1, 9) / 10, 0.9)  # too few rows to rule a class out
    inf
    """
    n = len(ordered_scores)
    rank = int(np.ceil((n + 1) * level - 1e-9))
    return float(ordered_scores[rank - 1]) if rank <= n else float("inf")


def contiguous(members: np.ndarray) -> np.ndarray:
    """Sets with the gaps between their least and greatest member filled, N x C.

    Examples
    --------
    >>> contiguous(np.array([[True, False, True, False]])).tolist()
    [[True, True, True, False]]
    """
    from_left = np.logical_or.accumulate(members, axis=1)
    from_right = np.logical_or.accumulate(members[:, ::-1], axis=1)[:, ::-1]
    return from_left & from_right


def coverage_sd(n: int, level: float) -> float | None:
    """Standard deviation of the coverage that n calibration rows give at ``level``.

    Over calibration samples the coverage follows Beta(n + 1 - l, l) with
    ``l = floor((n + 1) (1 - level))`` (Vovk 2012); ``None`` where the threshold is infinite.

    Examples
    --------
    >>> round(coverage_sd(99, 0.9), 3), coverage_sd(8, 0.9)
    (0.03, None)
    """
    misses = int(np.floor((n + 1) * (1 - level) + 1e-9))
    if misses < 1:
        return None
    a, b = n + 1 - misses, misses
    return float(np.sqrt(a * b / ((a + b) ** 2 * (a + b + 1))))
