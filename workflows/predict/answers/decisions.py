"""From evidence to what a reader should do. Pure rules; docs/predict.md tells them in words."""

import math
from dataclasses import dataclass

from offsite.training.prediction.codes import Code, Decision, Status
from offsite.workflows.package.schema import DecisionRules, OperatingPoint, SiteProfile

TRAINING = "the training images"
_FOREIGN = frozenset({Code.OUT_OF_DISTRIBUTION, Code.EMPTY_SET})


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of one answered case.

    Attributes
    ----------
    positive : float
        Calibrated probability of a class that calls for referral, 0..1.
    urgent : float or None
        The same of an urgent class; None where the model has none.
    sets : dict of int to (tuple of str or None)
        Prediction set by level in percent; None where it could not be calibrated.
    ood_percentile, trunk_percentile : float or None
        Distance from the known images as a percentile of theirs, 0..100: by the embedding, and by
        what the pretrained part sees.
    known_images : str
        Which these are.
    calibrated_site : bool
        Whether the model was calibrated at this site.
    """

    positive: float
    urgent: float | None
    sets: dict[int, tuple[str, ...] | None]
    ood_percentile: float | None
    calibrated_site: bool
    trunk_percentile: float | None = None
    known_images: str = TRAINING


@dataclass(frozen=True, kw_only=True)
class CaseDecision:
    """What should be done, and why.

    ``referable`` and ``urgent`` are ``yes``, ``no`` or ``indeterminate``: the thresholds alone,
    whatever else stands against the answer; what is urgent is referable too.
    """

    decision: Decision
    status: Status
    code: Code
    reasons: tuple[str, ...]
    referable: str
    urgent: str


def decide(evidence: Evidence, rules: DecisionRules, profile: SiteProfile) -> CaseDecision:
    """Decide one answered case.

    In this order: on an image unlike all that the model knows its numbers mean nothing, so a
    person looks; an urgent finding stays urgent, also where the set holds both answers, because
    the careful side of that doubt is the earlier look; any other doubt goes to a person; then the
    threshold decides; and 'no referral' is never given at a site where nobody checked it, unless
    the rules of the model say so.
    """
    referable = _over(evidence.positive, profile.referral)
    urgent = _over(evidence.urgent, profile.urgent)
    if urgent == "yes":
        referable = "yes"  # each threshold is set by itself; whoever is urgent is also referred
    doubts = _doubts(evidence, rules, referable)
    reasons = [text for _, text in doubts]
    foreign = any(code in _FOREIGN for code, _ in doubts)
    if urgent == "yes" and not foreign:
        decision, code = Decision.URGENT, doubts[0][0] if doubts else Code.OK
        reasons.insert(0, "the urgent threshold is reached")
    elif doubts:
        decision, code = Decision.HUMAN_REVIEW, doubts[0][0]
        if urgent == "yes":
            reasons.append("the urgent threshold is reached")
    elif referable == "yes":
        decision, code = Decision.REFER, Code.OK
        reasons.insert(0, "the referral threshold is reached")
    elif evidence.calibrated_site or rules.uncalibrated_site == "warn":
        decision, code = Decision.NO_REFERRAL, Code.OK
        reasons.insert(0, "under the referral threshold")
    else:
        decision, code = Decision.HUMAN_REVIEW, Code.UNCALIBRATED_SITE
        reasons.insert(0, "under the referral threshold, which was never checked at this site")
    if not evidence.calibrated_site and code is not Code.UNCALIBRATED_SITE:
        reasons.append("not locally calibrated")
    reasons += _unchecked(evidence, rules, profile)
    status = Status.OK if code is Code.OK else Status.REVIEW
    return CaseDecision(
        decision=decision,
        status=status,
        code=code,
        reasons=tuple(reasons),
        referable=referable,
        urgent=urgent if evidence.urgent is not None else "",
    )


def _unchecked(evidence: Evidence, rules: DecisionRules, profile: SiteProfile) -> list[str]:
    """What nobody could check of this case, because the model lacks what it takes."""
    lacks = []
    if evidence.ood_percentile is None and evidence.trunk_percentile is None:
        lacks.append("not compared with the training images: the model has no detector")
    if evidence.sets.get(rules.ambiguous_set) is None:
        lacks.append("no prediction set: the model could not be calibrated for it")
    if evidence.urgent is not None and profile.urgent is None:
        lacks.append("urgency not judged: the site has no urgent threshold")
    elif evidence.calibrated_site and profile.urgent is not None and profile.urgent.inherited:
        lacks.append("the urgent threshold is that of other sites")
    return lacks


def _over(value: float | None, point: OperatingPoint | None) -> str:
    if value is None or point is None or not math.isfinite(value):
        return "indeterminate"
    return "yes" if value >= point.threshold else "no"


def _foreign(evidence: Evidence, limit: float) -> str:
    """Why the case is unlike the known images, by either distance; empty where by none."""
    # Not ">=": a percentile that is no number is a doubt too.
    percentile, by_trunk = evidence.ood_percentile, evidence.trunk_percentile
    if percentile is not None and not percentile < limit:
        return f"unlike {evidence.known_images} (percentile {percentile:.1f})"
    if by_trunk is not None and not by_trunk < limit:
        return f"unlike {evidence.known_images} by its features (percentile {by_trunk:.1f})"
    return ""


def _doubts(evidence: Evidence, rules: DecisionRules, referable: str) -> list[tuple[Code, str]]:
    doubts = []
    if text := _foreign(evidence, rules.ood_percentile):
        doubts.append((Code.OUT_OF_DISTRIBUTION, text))
    members = evidence.sets.get(rules.ambiguous_set)
    if members is not None and not members:
        doubts.append((Code.EMPTY_SET, f"no class fits at {rules.ambiguous_set} %"))
    elif members is not None:
        positive = [name in rules.positive for name in members]
        named = f"({', '.join(members)})"
        if any(positive) and not all(positive):
            text = f"the {rules.ambiguous_set} % set holds both answers {named}"
            doubts.append((Code.AMBIGUOUS, text))
        elif all(positive) and referable == "no":
            # A threshold for some sensitivity may lie over a probability that is high by itself.
            level = f"{rules.ambiguous_set} % set"
            text = (
                f"under the referral threshold, but the {level} holds only what it is for {named}"
            )
            doubts.append((Code.AMBIGUOUS, text))
    if referable == "indeterminate":
        doubts.append((Code.NO_THRESHOLD, "the model has no referral threshold"))
    return doubts
