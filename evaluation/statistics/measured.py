"""A metric of one sample: its point estimate, its draws, and what it rests on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from offsite.evaluation.predictions.tasks import Task
from offsite.evaluation.statistics.delong import Placements, averaged
from offsite.evaluation.statistics.estimates import Reason
from offsite.evaluation.statistics.samples import Sample

Bounds = Callable[[float], tuple[float, float]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """One metric of one sample.

    Attributes
    ----------
    name : str
        As in the tables.
    values : numpy.ndarray
        float64, a value for each row of counts; NaN where that draw leaves it undefined.
    n, n_positive : int, int or None
        Rows it rests on; the positive ones of them.
    classes_defined, classes : int or None
        Of a macro average.
    placements : Placements or None
        Of an AUROC, or a mean of several: the parts of its variance.
    hits, units : numpy.ndarray or None
        Of a share: the rows' booleans and units, for an exact interval.
    bounds : callable or None
        Its interval at a confidence, where that is made from neither a share nor an area nor draws.
    scale : str
        Of an interval from the spread of the draws: ``log`` (losses) or ``fisher`` (kappas).
    rarer : int or None
        Patients on the rarer of the sides that it rests on, where there are sides and it has
        neither ``hits`` nor ``placements`` to count them by.
    detail : str
        What else there is to say, such as the threshold.
    undefined : Reason
        Why there is no value, where the point is NaN.
    """

    name: str
    values: np.ndarray
    n: int
    n_positive: int | None = None
    classes_defined: int | None = None
    classes: int | None = None
    placements: Placements | None = None
    hits: np.ndarray | None = None
    units: np.ndarray | None = None
    bounds: Bounds | None = None
    scale: Literal["", "log", "fisher"] = ""
    rarer: int | None = None
    detail: str = ""
    undefined: Reason = Reason.SINGLE_CLASS


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """What to measure.

    Attributes
    ----------
    classes : tuple of str
        Class names in order.
    tasks : list of Task
        Binary tasks.
    references : dict of str to float
        Reference prevalence of each task.
    minimum_of_class : int
        Fewest rows of a class, and of the others, for it to count.
    ordered : bool
        Whether classes are grades, so that there are kappas.
    only : frozenset of str or None
        The metrics to give, by name; ``None``: all.
    """

    classes: tuple[str, ...]
    tasks: list[Task]
    references: dict[str, float]
    minimum_of_class: int = 2
    ordered: bool = True
    only: frozenset[str] | None = None

    def wants(self, *names: str) -> bool:
        """Whether any of these metrics is asked for."""
        return self.only is None or not self.only.isdisjoint(names)


def included_classes(sample: Sample, minimum: int) -> np.ndarray:
    """C booleans: classes with enough rows, and with enough rows of other classes."""
    counts = sample.class_counts
    return (counts >= minimum) & (sample.n - counts >= minimum)


def share(
    name: str,
    values: np.ndarray,
    hits: np.ndarray,
    units: np.ndarray,
    *,
    positive: int | None = None,
    detail: str = "",
) -> Measured:
    """A share of rows: hits among the rows it is taken over, and their units.

    ``positive`` of these rows are truly positive, whether they are hits or not; ``None`` for a
    share that has no positive class.
    """
    return Measured(
        name=name,
        values=values,
        n=len(hits),
        n_positive=positive,
        hits=hits,
        units=units,
        detail=detail,
        undefined=Reason.NO_SAMPLES,
    )


def macro(
    name: str,
    values: np.ndarray,
    sample: Sample,
    included: np.ndarray,
    *,
    areas: Sequence[Placements | None] = (),
    bounds: Bounds | None = None,
    rarer: int | None = None,
) -> Measured:
    """An average over the included classes: of AUROCs (their parts), or of something with bounds."""
    known = [area for area in areas if area is not None]
    return Measured(
        name=name,
        values=values,
        n=sample.n,
        classes_defined=int(included.sum()),
        classes=sample.classes,
        placements=averaged(known) if known and len(known) == len(areas) else None,
        bounds=bounds,
        rarer=rarer,
        undefined=_why(sample),
    )


def _why(sample: Sample) -> Reason:
    several = (sample.class_counts > 0).sum() >= 2
    return Reason.TOO_FEW if several else Reason.SINGLE_CLASS
