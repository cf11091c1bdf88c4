"""Thresholds chosen on the training sites' validation rows, to be carried elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from offsite.evaluation.predictions.roles import roles_of
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.predictions.tasks import Task, tasks_of
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.binomial import clustered_interval
from offsite.evaluation.statistics.estimates import Reason
from offsite.evaluation.statistics.samples import Sample, sample_of

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


def choose_thresholds(predictions: Predictions, settings: EvaluationSettings) -> list[Threshold]:
    """A threshold for each task by each rule: the stated one and two chosen on validation rows.

    Only validation rows of training sites are looked at; without any the chosen ones are ``None``.
    """
    rows = predictions.select(roles_of(predictions.table).calibrate)
    return thresholds_on(sample_of(rows, settings.unit), predictions.classes, settings)


def thresholds_on(
    sample: Sample,
    classes: tuple[str, ...],
    settings: EvaluationSettings,
    rules: Sequence[Rule] = RULES,
) -> list[Threshold]:
    """As :func:`choose_thresholds`, on the validation rows themselves and by some rules."""
    return [
        _threshold(task, rule, sample, settings)
        for task in tasks_of(classes, settings)
        for rule in rules
    ]


def shipped_thresholds(predictions: Predictions, settings: EvaluationSettings) -> dict[str, float]:
    """The threshold of each task by its name: as packages ship it, else as stated."""
    found = {}
    for cut in choose_thresholds(predictions, settings):
        if cut.value is not None and cut.rule in ("stated", PACKAGED):
            found[cut.task] = cut.value  # the stated one comes first
    return found


def _threshold(task: Task, rule: Rule, sample: Sample, settings: EvaluationSettings) -> Threshold:
    target = task.settings.target_sensitivity
    value: float | None = task.settings.threshold
    known, reason = 0, Reason.OK
    if rule != "stated":
        positive = task.positive(sample.labels)
        known = int(positive.sum())
        value = choose_threshold(
            task.scores(sample.probabilities),
            positive,
            sample.units,
            target,
            confidence=confidence_of(rule, settings.confidence),
        )
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
