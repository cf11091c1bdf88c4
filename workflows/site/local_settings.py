"""Temperature and thresholds of a site, from its cases or, where these are too few, inherited."""

from collections.abc import Mapping, Sequence

import numpy as np

from offsite.evaluation.new_site.settings import local_temperature, local_threshold
from offsite.workflows.package.fitting import operating_point
from offsite.workflows.package.folder import Package
from offsite.workflows.package.schema import POOLED, ModelRecord, OperatingPoint, SiteProfile
from offsite.workflows.package.temperature import tempered
from offsite.workflows.site.cases import LocalCases

LEAST_POSITIVES = 10
DEFAULT_SENSITIVITY = 0.9


class LocalSettings:
    """What a site's cases set, and what stays as it was there.

    A threshold holds on the probabilities that it was chosen on: where one of them is inherited,
    so is the temperature, and the others are chosen on probabilities of that temperature.
    """

    def __init__(
        self, package: Package, cases: LocalCases, site: str, *, refitted: bool = False
    ) -> None:
        self.record, self.cases, self.site = package.record, cases, site
        self.profile_name, before = self.record.profile_of(site)
        groups = decided_groups(self.record, before)
        few = too_few_positives(self.record, cases)
        self.notes: list[str] = []
        self.estimate = local_temperature(cases.logits, cases.labels, cases.patients)
        # The temperature of before is of the head as shipped.
        known = 1.0 if refitted else temperature_of(package, before.calibration)
        self.temperature = self._temperature(known, few)
        self.probabilities = tempered(cases.logits, self.temperature)
        self.points: dict[str, OperatingPoint | None] = {"referral": None, "urgent": None}
        for what, classes, point in groups:
            if what in few:
                self.points[what] = self._inherited(what, few[what], point)
            else:
                self.points[what] = self._local(classes, point)

    def _temperature(self, before: float, few: Mapping[str, int]) -> float:
        if self.estimate.value is None:
            self.notes.append(f"no local temperature ({self.estimate.reason}): it stays as it was")
            return before
        if few:
            self.notes.append("the temperature stays that of the inherited threshold")
            return before
        return float(self.estimate.value)

    def _inherited(
        self, what: str, positives: int, point: OperatingPoint | None
    ) -> OperatingPoint | None:
        lack = f"{positives} patients with a positive case, fewer than {LEAST_POSITIVES}"
        if point is None:
            self.notes.append(f"no local {what} threshold: {lack}; and none to inherit")
            return None
        self.notes.append(f"no local {what} threshold: {lack}; inherited and not checked here")
        of_others = self.profile_name == POOLED
        return point.model_copy(update={"inherited": point.inherited or of_others})

    def _local(self, classes: Sequence[str], before: OperatingPoint | None) -> OperatingPoint:
        cases = self.cases
        scores, positive = scores_of(self.record, self.probabilities, cases.labels, classes)
        target = (before.target_sensitivity if before else None) or DEFAULT_SENSITIVITY
        threshold = local_threshold(scores, positive, target)
        assert threshold.value is not None  # there are positives
        patients = np.unique(cases.patients, return_inverse=True)[1]
        origin = f"sensitivity {target:g} on {len(scores)} local cases of {self.site}"[:200]
        point = operating_point(scores, positive, patients, threshold.value, origin, target)
        return point.model_copy(update={"interval": (threshold.low, threshold.high)})


def too_few_positives(record: ModelRecord, cases: LocalCases) -> dict[str, int]:
    """Patients with a positive case, by what a threshold cannot be set for."""
    groups = decided_groups(record, record.profile_of("")[1])
    counts = {what: positive_patients(record, cases, classes) for what, classes, _ in groups}
    return {what: patients for what, patients in counts.items() if patients < LEAST_POSITIVES}


def positive_patients(record: ModelRecord, cases: LocalCases, classes: Sequence[str]) -> int:
    """Patients with a case of these classes."""
    index = [record.classes.index(name) for name in classes]
    return len(np.unique(cases.patients[np.isin(cases.labels, index)]))


def temperature_of(package: Package, calibration: str) -> float:
    """The temperature of a profile; 1 where none was fitted."""
    temperature = package.reference.get(f"calibration/{calibration}/temperature")
    return 1.0 if temperature is None else float(temperature)


def decided_groups(
    record: ModelRecord, profile: SiteProfile
) -> list[tuple[str, tuple[str, ...], OperatingPoint | None]]:
    """What is decided: its name, its classes, and the threshold that a profile has for it."""
    groups = [("referral", record.decision.positive, profile.referral)]
    if record.decision.urgent:
        groups.append(("urgent", record.decision.urgent, profile.urgent))
    return groups


def scores_of(
    record: ModelRecord, probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Probability (N) of a group of classes, and which cases (N booleans) belong to it."""
    members = np.isin(np.array(record.classes), classes)
    return np.minimum(probabilities[:, members].sum(axis=1), 1.0), members[labels]
