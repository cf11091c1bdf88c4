"""A metric of one site: what is asked, its point estimate and draws, and what it rests on."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from offsite.evaluation.predictions.roles import Roles, roles_of
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.predictions.tasks import Task, tasks_of
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.composed import Share
from offsite.evaluation.statistics.delong import Placements, averaged
from offsite.evaluation.statistics.estimates import Reason
from offsite.evaluation.statistics.site import Site

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
    share : (numpy.ndarray, numpy.ndarray) or None
        Of a share: the rows' booleans and units, for an exact interval.
    bounds : callable or None
        Its interval at a confidence, where that is made from neither a share nor an area nor draws.
    scale : str
        Of an interval from the spread of the draws: ``log`` (losses) or ``fisher`` (kappas).
    rarer : int or None
        Patients on the rarer of the sides that it rests on, where there are sides and it has
        neither ``share`` nor ``placements`` to count them by.
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
    share: Share | None = None
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


def request_of(
    predictions: Predictions, settings: EvaluationSettings, only: Iterable[str] | None = None
) -> Request:
    """What the settings ask to be measured, or ``only`` so named, with each task's reference prevalence."""
    tasks = tasks_of(predictions.classes, settings)
    return Request(
        classes=predictions.classes,
        tasks=tasks,
        references=reference_prevalences(predictions, tasks),
        minimum_of_class=settings.minimum_of_class,
        ordered=settings.ordered is not False,
        only=None if only is None else frozenset(only),
    )


def reference_prevalences(predictions: Predictions, tasks: list[Task]) -> dict[str, float]:
    """Prevalence at which sites are compared: stated, or that of validation, or of test rows.

    A task without any positive or any negative row has none.
    """
    roles = roles_of(predictions.table)
    return {
        task.name: prevalence
        for task in tasks
        if (prevalence := _reference(predictions.labels, roles, task)) is not None
    }


def _reference(labels: np.ndarray, roles: Roles, task: Task) -> float | None:
    if task.settings.reference_prevalence is not None:
        return task.settings.reference_prevalence
    for rows in (roles.calibrate, roles.test):
        known = labels[rows & (labels >= 0)]
        if len(known) and 0 < (share := float(task.members[known].mean())) < 1:
            return share
    return None


def included_classes(site: Site, minimum: int) -> np.ndarray:
    """C booleans: classes with enough rows, and with enough rows of other classes."""
    counts = site.class_counts
    return (counts >= minimum) & (len(site) - counts >= minimum)


def share(
    name: str,
    values: np.ndarray,
    site: Site,
    hits: np.ndarray,
    among: np.ndarray | slice = slice(None),
    *,
    positive: int | None = None,
    detail: str = "",
) -> Measured:
    """A share of hits (N booleans) among some of a site's rows.

    ``positive`` of these rows are truly positive, whether they are hits or not; ``None`` for a
    share that has no positive class.
    """
    found = hits[among]
    return Measured(
        name=name,
        values=values,
        n=len(found),
        n_positive=positive,
        share=(found, site.units[among]),
        detail=detail,
        undefined=Reason.NO_SAMPLES,
    )


def macro(
    name: str,
    values: np.ndarray,
    site: Site,
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
        n=len(site),
        classes_defined=int(included.sum()),
        classes=site.classes,
        placements=averaged(known) if known and len(known) == len(areas) else None,
        bounds=bounds,
        rarer=rarer,
        undefined=_why(site),
    )


def _why(site: Site) -> Reason:
    several = (site.class_counts > 0).sum() >= 2
    return Reason.TOO_FEW if several else Reason.SINGLE_CLASS
