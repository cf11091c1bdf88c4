"""Thresholds chosen on the training sites' validation rows, to be carried elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from offsite.evaluation.predictions.tasks import Task, tasks_of
from offsite.evaluation.statistics.binomial import clustered_interval
from offsite.evaluation.statistics.estimates import Reason
from offsite.evaluation.statistics.site import Site
from offsite.evaluation.statistics.sites import Sites

Rule = Literal["stated", "point", "confident"]
RULES: tuple[Rule, ...] = ("stated", "point", "confident")
# The rule by which a model package chooses its thresholds; the gate judges what is shipped.
PACKAGED: Rule = "point"
CHOSEN = "_chosen"
"""The rows a threshold was chosen on, in place of a site."""
_CANDIDATES = 200


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A threshold of one task.

    Attributes
    ----------
    task : str
        Name of the task.
    rule : str
        ``stated`` in the settings; ``point``: the highest whose sensitivity on the validation
        rows reaches the target; ``confident``: whose one-sided lower Clopper-Pearson bound does.
    target_sensitivity : float
        Wanted sensitivity, 0..1.
    value : float or None
        Positive where the task's probability is at or over it; ``None`` where none can be chosen.
    n_positive : int
        Positive rows it was chosen on.
    reason : str
        ``ok``, or why there is no value.
    """

    task: str
    rule: Rule
    target_sensitivity: float
    value: float | None
    n_positive: int
    reason: str = Reason.OK.value


def choose_thresholds(
    sites: Sites, rules: Sequence[Rule] = RULES, rows: Site | None = None
) -> list[Threshold]:
    """A threshold for each task by each rule: the stated one and two chosen on validation rows.

    Only validation rows of training sites are looked at, of a cross-validation the rows that its
    folds tested, or ``rows`` where they are given; without any the chosen ones are ``None``.
    """
    tasks = tasks_of(sites.predictions.classes, sites.settings)
    known = sites.validation if rows is None else rows
    return [_threshold(task, rule, sites, known) for task in tasks for rule in rules]


def shipped_thresholds(sites: Sites) -> dict[str, float]:
    """The threshold of each task by its name: as packages ship it, else as stated."""
    chosen = choose_thresholds(sites, ("stated", PACKAGED))
    return {cut.task: cut.value for cut in chosen if cut.value is not None}


def _threshold(task: Task, rule: Rule, sites: Sites, rows: Site) -> Threshold:
    target = task.settings.target_sensitivity
    value: float | None = task.settings.threshold
    known, reason = 0, Reason.OK
    if rule != "stated":
        scores, positive = task.scores(rows.probabilities), task.positive(rows.labels)
        known = int(positive.sum())
        confidence = confidence_of(rule, sites.settings.confidence)
        value = choose_threshold(scores, positive, rows.units, target, confidence)
        if value is None:
            reason = Reason.TOO_FEW if known else Reason.NO_SAMPLES
    return Threshold(
        task=task.name,
        rule=rule,
        target_sensitivity=target,
        value=value,
        n_positive=known,
        reason=reason.value,
    )


def confidence_of(rule: Rule, confidence: float) -> float | None:
    """The confidence at which a rule wants the sensitivity; ``None``: the sensitivity itself."""
    return confidence if rule == "confident" else None


def choose_threshold(
    scores: np.ndarray,
    positive: np.ndarray,
    units: np.ndarray,
    target: float,
    confidence: float | None = None,
) -> float | None:
    """The highest threshold that reaches a sensitivity; ``None`` where none does.

    The threshold lies midway between the last positive score it needs and the next lower score,
    so that the smallest change of a probability does not lose that case.

    Parameters
    ----------
    scores, positive, units : numpy.ndarray
        N task probabilities, booleans and unit numbers.
    target : float
        Wanted sensitivity, 0..1.
    confidence : float, optional
        Let the one-sided lower bound at this confidence reach the target, by Clopper and Pearson
        at the effective number of patients; unset: the sensitivity itself.

    Examples
    --------
    >>> scores = np.array([0.9, 0.8, 0.6, 0.4, 0.3, 0.1])
    >>> positive = np.array([True, True, True, False, True, False])
    >>> choose_threshold(scores, positive, np.arange(6), 0.75)
    0.5
    """
    order = np.argsort(-scores[positive], kind="stable")
    ranked, ranked_units = scores[positive][order], units[positive][order]
    needed = max(int(np.ceil(target * len(ranked) - 1e-9)), 1)
    if len(ranked) < needed:
        return None
    if confidence is not None:
        confident = _confident_count(ranked_units, needed, target, confidence)
        if confident is None:
            return None
        needed = confident
    last = ranked[needed - 1]
    lower = scores[scores < last]
    return float((last + lower.max()) / 2) if len(lower) else float(last)


def _confident_count(units: np.ndarray, least: int, target: float, confidence: float) -> int | None:
    """How many of the ranked positives must be caught for the lower bound to reach the target."""
    total = len(units)
    # A grid of counts from the point rule upwards: sensitivity steps of less than 0.1 %.
    for count in np.unique(np.linspace(least, total, _CANDIDATES).round().astype(int)):
        caught = np.arange(total) < count
        if clustered_interval(caught, units, 2 * confidence - 1)[0] >= target:
            return int(count)
    return None
