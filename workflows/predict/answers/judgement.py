"""From logits to calibrated probabilities, prediction sets, OOD percentile and a decision."""

from typing import Any

import numpy as np

from offsite.evaluation.conformal.sets import ConformalSets
from offsite.training.prediction.contract import ModelAnswer
from offsite.workflows.package.folder import Package
from offsite.workflows.package.heads import head_of
from offsite.workflows.package.schema import POOLED, OperatingPoint
from offsite.workflows.package.temperature import tempered
from offsite.workflows.predict.answers.decisions import TRAINING, CaseDecision, Evidence, decide
from offsite.workflows.predict.answers.likeness import Likeness

LEVELS = (90, 95)


class Judge:
    """Everything in a package that stands between the network's answer and the reader.

    Parameters
    ----------
    package : Package
        A verified package. What it lacks is not made up: without calibration the probabilities
        are the softmax and said to be uncalibrated, without a detector there is no percentile.
    """

    def __init__(self, package: Package) -> None:
        self.record = package.record
        self._likeness = Likeness(package)
        self._sets = {
            site: ConformalSets.from_arrays(arrays)
            for site in package.record.profiles
            if (arrays := package.arrays(f"conformal/{site}"))
        }
        self._calibration = package.arrays("calibration")
        self._heads = {
            site: head
            for site in package.record.profiles
            if (head := head_of(package.arrays(f"head/{site}"))) is not None
        }

    def judge(self, answer: ModelAnswer, site: str) -> tuple[dict[str, Any], CaseDecision]:
        """Judge one answer at one site; returns the columns of the result and the decision."""
        logits = np.asarray(answer.logits, dtype=np.float64)[None]
        name, profile = self.record.profile_of(site)
        probabilities, calibrated = self._probabilities(
            self._of_site(answer, name, logits), profile.calibration
        )
        sets = {level: self._prediction_set(probabilities, name, level) for level in LEVELS}
        rules, classes = self.record.decision, self.record.classes
        positive = self._share(probabilities, rules.positive)
        urgent = self._share(probabilities, rules.urgent) if rules.urgent else None
        by_embedding, by_trunk = self._likeness.percentiles(answer, name)
        evidence = Evidence(
            positive=positive,
            urgent=urgent,
            sets=sets,
            ood_percentile=by_embedding,
            trunk_percentile=by_trunk,
            known_images="the site's own images" if self._likeness.is_local(name) else TRAINING,
            calibrated_site=name != POOLED
            and not (profile.referral and profile.referral.inherited),
        )
        decided = decide(evidence, rules, profile)
        columns = {
            "site_profile": name,
            "logits": [round(float(value), 6) for value in answer.logits],
            "prediction": classes[int(probabilities.argmax())],
            "probabilities": dict(zip(classes, map(_rounded, probabilities), strict=True)),
            "calibrated": calibrated,
            "referable": decided.referable,
            "referable_probability": _rounded(positive),
            **_point("referable", profile.referral),
            "urgent": decided.urgent,
            "urgent_probability": None if urgent is None else _rounded(urgent),
            **_point("urgent", profile.urgent),
            **{f"set_{level}": sets[level] for level in LEVELS},
            "ood_percentile": evidence.ood_percentile,
            "trunk_percentile": evidence.trunk_percentile,
        }
        return columns, decided

    def _of_site(self, answer: ModelAnswer, name: str, logits: np.ndarray) -> np.ndarray:
        """The logits by the site's own head, where it has one."""
        head = self._heads.get(name)
        if head is None or answer.embedding is None:
            return logits
        return head.logits(np.asarray(answer.embedding, dtype=np.float64)[None])

    def _probabilities(self, logits: np.ndarray, calibration: str) -> tuple[np.ndarray, bool]:
        temperature = self._calibration.get(f"{calibration}/temperature")
        known = 1.0 if temperature is None else float(temperature)
        return tempered(logits, known)[0], temperature is not None

    def _prediction_set(
        self, probabilities: np.ndarray, site: str, level: int
    ) -> tuple[str, ...] | None:
        sets = self._sets.get(site, self._sets.get(POOLED))
        if sets is None:
            return None
        predicted = sets.predict(probabilities[None], np.array([site]), level / 100)
        members = zip(self.record.classes, predicted.members[0], strict=True)
        return tuple(name for name, member in members if member)

    def _share(self, probabilities: np.ndarray, names: tuple[str, ...]) -> float:
        return float(sum(probabilities[self.record.classes.index(name)] for name in names))


def _rounded(value: float) -> float:
    # Six decimals: what another batch size or machine may change lies below them.
    return round(float(value), 6)


def _point(name: str, point: OperatingPoint | None) -> dict[str, Any]:
    return {
        f"{name}_threshold": point.threshold if point else None,
        f"{name}_threshold_origin": point.origin if point else "",
    }
