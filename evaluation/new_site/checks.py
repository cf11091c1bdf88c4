"""A new site: what 50 to 100 labelled local cases can tell, and what unlabelled ones can.

Labelled cases give exact checks, and local settings (`offsite.evaluation.new_site.settings`); unlabelled cases
give an alarm and an estimate of the prior, never a calibration.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from offsite.evaluation.statistics.binomial import at_most, effective_counts, exact_interval
from offsite.evaluation.statistics.estimates import Estimate, Reason

_LEVEL = 0.05


class CheckResult(StrEnum):
    """What a check of a share against a target says."""

    HOLDS = "holds"
    UNCLEAR = "unclear"
    FAILS = "fails"
    UNDEFINED = "undefined"


@dataclass(frozen=True, kw_only=True)
class ShareCheck:
    """A share of local cases against the share that was promised.

    Attributes
    ----------
    estimate : Estimate
        The local share with its exact 95 % interval.
    target : float
        What was promised, 0..1.
    p_value : float or None
        Exact binomial probability of so few (for an alarm: so many) successes were the target
        true.
    verdict : CheckResult
        ``holds``: the whole interval is on the good side of the target; ``fails``: ``p_value``
        is under 0.05; else ``unclear``, where more cases are needed to tell.
    """

    estimate: Estimate
    target: float
    p_value: float | None
    verdict: CheckResult


def check_sensitivity(
    scores: np.ndarray,
    positive: np.ndarray,
    threshold: float,
    target: float,
    patients: np.ndarray,
) -> ShareCheck:
    """Whether the carried threshold still finds the wanted share of positives.

    Parameters
    ----------
    scores : numpy.ndarray
        N probabilities of the positive side.
    positive : numpy.ndarray
        N booleans.
    threshold : float
        A case is called positive at or over it.
    target : float
        Sensitivity promised, 0..1.
    patients : numpy.ndarray
        N names; cases of a patient count as far as they agree.
    """
    called = np.asarray(scores)[positive] >= threshold
    return _check(called, np.asarray(patients)[positive], target, n_positive=len(called))


def check_coverage(
    members: np.ndarray,
    labels: np.ndarray,
    target: float,
    patients: np.ndarray,
) -> ShareCheck:
    """Whether the carried prediction sets (N x C booleans) still hold the truth often enough.

    Parameters
    ----------
    members : numpy.ndarray
        N x C booleans.
    labels : numpy.ndarray
        N class indices; unlabelled rows (-1) are left out.
    target, patients
        Coverage promised, 0..1, and N names, as of :func:`check_sensitivity`.
    """
    known = np.asarray(labels) >= 0
    rows = np.flatnonzero(known)
    covered = np.asarray(members)[rows, np.asarray(labels)[rows]]
    return _check(covered, np.asarray(patients)[rows], target)


def shift_alarm(flags: np.ndarray, expected: float, patients: np.ndarray) -> ShareCheck:
    """Whether a frozen detector flags more unlabelled cases than in distribution; exact binomial.

    The verdict ``fails`` is the alarm.

    Parameters
    ----------
    flags : numpy.ndarray
        N booleans: over the detector's frozen threshold.
    expected : float
        Share flagged in distribution (one minus the share the threshold keeps).
    patients : numpy.ndarray
        N names.
    """
    return _check(np.asarray(flags), np.asarray(patients), expected, few_is_bad=False)


def _check(
    hits: np.ndarray,
    patients: np.ndarray,
    target: float,
    *,
    few_is_bad: bool = True,
    n_positive: int | None = None,
) -> ShareCheck:
    counts: dict[str, Any] = {"n": len(hits), "n_positive": n_positive}
    if len(hits) == 0:
        nothing = Estimate(value=None, reason=Reason.NO_SAMPLES, **counts)
        return ShareCheck(
            estimate=nothing, target=target, p_value=None, verdict=CheckResult.UNDEFINED
        )
    successes, trials = effective_counts(hits, patients)
    low, high = exact_interval(successes, trials)
    counts["n_patients"] = len(np.unique(patients))
    estimate = Estimate(value=float(hits.mean()), low=low, high=high, **counts)
    if few_is_bad:
        p_value, good = at_most(successes, trials, target), low >= target
    else:
        p_value, good = 1 - at_most(successes - 1, trials, target), high <= target
    verdict = CheckResult.HOLDS if good else CheckResult.UNCLEAR
    if p_value < _LEVEL:
        verdict = CheckResult.FAILS
    return ShareCheck(estimate=estimate, target=target, p_value=p_value, verdict=verdict)
