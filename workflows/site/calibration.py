"""A new site: local cases against what the package promises, and the package set for the site.

Labelled cases give checks and a local threshold, temperature and prediction sets, all with
intervals; unlabelled ones an alarm and an estimate of the prior, and no setting.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from offsite.evaluation.conformal.sets import ConformalSets
from offsite.evaluation.conformal.settings import ConformalSettings
from offsite.evaluation.new_site.checks import (
    ShareCheck,
    check_coverage,
    check_sensitivity,
    shift_alarm,
)
from offsite.evaluation.new_site.settings import local_prior, local_temperature, local_threshold
from offsite.evaluation.statistics.estimates import Estimate
from offsite.training.heads.refit import GradedHead
from offsite.workflows.package.fitting import LEAST_BIN, operating_point, under
from offsite.workflows.package.folder import Package
from offsite.workflows.package.heads import arrays_of_head
from offsite.workflows.package.schema import ModelRecord, OperatingPoint, SiteProfile
from offsite.workflows.package.temperature import tempered
from offsite.workflows.site.cases import (
    ADVISED_CASES,
    LocalCases,
    check_enough_labels,
    check_site_name,
)
from offsite.workflows.site.refitting import refit_at

LEAST_POSITIVES = 10
DEFAULT_SENSITIVITY = 0.9


@dataclass
class Onboarded:
    """What local cases say, and the package set for the site (None without labels)."""

    report: dict[str, Any]
    record: ModelRecord | None = None
    reference: dict[str, np.ndarray] = field(default_factory=dict)


def onboard(package: Package, cases: LocalCases, site: str, *, refit: bool = False) -> Onboarded:
    """Check a package at a site, and set it for the site where there are labels.

    With ``refit`` the head is fitted again with the labelled cases, and used at the site if they
    show that it helps; what is set for the site then rests on answers that did not see their case.

    Raises
    ------
    InputError
        The site has labels, but too few to tell anything; or its name has a slash.
    """
    check_site_name(site)
    report: dict[str, Any] = {
        "site": site,
        "cases": len(cases.labels),
        "unanswered": cases.unanswered,
        "patients": len(np.unique(cases.patients)),
        "checks": _alarms(package, cases),
    }
    labelled = cases.labelled
    report["labelled"] = len(labelled.labels)
    if not len(labelled.labels):
        report["prior"] = _prior(package, cases)
        report["banner"] = f"Not locally calibrated: {site} has no labelled cases."
        return Onboarded(report)
    check_enough_labels(len(labelled.labels), site)
    report["checks"] |= _checks(package, labelled, site)
    if not refit:
        return _set(package, labelled, site, report)
    judged = refit_at(package, labelled, site)
    report["refit"] = judged.report
    if not judged.adopted:
        return _set(package, labelled, site, report)
    answered = replace(labelled, logits=judged.refit.left_out)
    return _set(package, answered, site, report, judged.refit.head)


def _alarms(package: Package, cases: LocalCases) -> dict[str, Any]:
    limit = package.record.decision.ood_percentile
    known = ~np.isnan(cases.percentiles)
    flags = cases.percentiles[known] >= limit
    alarm = shift_alarm(flags, 1 - limit / 100, cases.patients[known])
    return {f"unlike the training images (percentile {limit:g} or more)": shown(alarm)}


def _checks(package: Package, cases: LocalCases, site: str) -> dict[str, Any]:
    """What the package promises against what it does here, before anything local is set."""
    record = package.record
    name, profile = record.profile_of(site)
    probabilities = tempered(cases.logits, temperature_of(package, profile.calibration))
    found: dict[str, Any] = {}
    for what, classes, point in _groups(record, profile):
        if point is None:
            continue
        scores, positive = _sides(record, probabilities, cases.labels, classes)
        target = point.target_sensitivity or DEFAULT_SENSITIVITY
        check = check_sensitivity(scores, positive, point.threshold, target, cases.patients)
        found[f"sensitivity of {what} at {point.threshold:.3f}"] = shown(check)
    arrays = package.arrays(f"conformal/{name}") or package.arrays("conformal/_pooled")
    if arrays:
        sets = ConformalSets.from_arrays(arrays)
        sites = np.full(len(cases.labels), site)
        for level in (0.9, 0.95):
            members = sets.predict(probabilities, sites, level).members
            check = check_coverage(members, cases.labels, level, cases.patients)
            found[f"coverage of the {level:.0%} sets"] = shown(check)
    return found


def _set(
    package: Package,
    cases: LocalCases,
    site: str,
    report: dict[str, Any],
    head: GradedHead | None = None,
) -> Onboarded:
    record, notes = package.record, []
    reference = {k: v for k, v in package.reference.items() if not _of_site(k, site)}
    if head is not None:
        reference |= under(f"head/{site}", arrays_of_head(head))
    temperature = local_temperature(cases.logits, cases.labels, cases.patients)
    if temperature.value is None:
        pooled_one = temperature_of(package, record.profile_of("")[1].calibration)
        used = pooled_one if head is None else 1.0  # the pooled one is of the head as shipped
        notes.append(f"no local temperature ({temperature.reason}): the pooled one is used")
    else:
        used = temperature.value
    reference[f"calibration/{site}/temperature"] = np.array(used)
    probabilities = tempered(cases.logits, used)
    points: dict[str, OperatingPoint | None] = {"referral": None, "urgent": None}
    pooled = record.profile_of("")[1]
    for what, classes, point in _groups(record, pooled):
        points[what] = _local_point(record, cases, probabilities, classes, point, site, notes, what)
    if len(cases.labels) >= LEAST_BIN:
        settings = ConformalSettings(ordered=record.ordinal, by_class=False, by_site=False)
        sites = np.full(len(cases.labels), site)
        sets = ConformalSets.fit(probabilities, cases.labels, sites, settings)
        reference |= under(f"conformal/{site}", sets.to_arrays())
        # Local cases are too few for each class; the pooled sets of the model may hold for each.
        notes.append("the coverage of the local sets holds over all classes together, not for each")
    if len(cases.labels) < ADVISED_CASES:
        notes.append(f"{len(cases.labels)} local cases, fewer than {ADVISED_CASES}: wide intervals")
    profile = SiteProfile(
        role="onboarded",
        n=len(cases.labels),
        patients=len(np.unique(cases.patients)),
        referral=points["referral"],
        urgent=points["urgent"],
        calibration=site,
        notes=tuple(notes),
        refit=report.get("refit"),
    )
    report |= {"temperature": _estimate(temperature), "profile": profile.model_dump(mode="json")}
    changed = {
        "version": "",  # it is another model than the version it was made from
        "profiles": {**record.profiles, site: profile},
        "fingerprints": {**record.fingerprints, f"before {site}": package.digest},
    }
    made = ModelRecord.model_validate({**record.model_dump(), **changed})
    return Onboarded(report, made, reference)


def _local_point(
    record: ModelRecord,
    cases: LocalCases,
    probabilities: np.ndarray,
    classes: Sequence[str],
    pooled: OperatingPoint | None,
    site: str,
    notes: list[str],
    what: str,
) -> OperatingPoint | None:
    scores, positive = _sides(record, probabilities, cases.labels, classes)
    target = (pooled.target_sensitivity if pooled else None) or DEFAULT_SENSITIVITY
    found = local_threshold(scores, positive, target)
    ill = len(np.unique(cases.patients[positive]))
    if ill < LEAST_POSITIVES or found.value is None:
        notes.append(
            f"no local {what} threshold: {ill} patients with a positive case, fewer than"
            f" {LEAST_POSITIVES}"
        )
        return None
    patients = np.unique(cases.patients, return_inverse=True)[1]
    origin = f"sensitivity {target:g} on {len(scores)} local cases of {site}"[:200]
    point = operating_point(scores, positive, patients, found.value, origin, target)
    return point.model_copy(update={"interval": (found.low, found.high)})


def temperature_of(package: Package, calibration: str) -> float:
    """The temperature of a profile; 1 where none was fitted."""
    found = package.reference.get(f"calibration/{calibration}/temperature")
    return 1.0 if found is None else float(found)


def shown(check: ShareCheck) -> dict[str, Any]:
    """A check as plain values."""
    return {
        **_estimate(check.estimate),
        "target": check.target,
        "p_value": check.p_value,
        "verdict": check.verdict.value,
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "n": estimate.n,
        "reason": estimate.reason.value,
    }


def _prior(package: Package, cases: LocalCases) -> dict[str, Any]:
    record = package.record
    counts = np.zeros(len(record.classes))
    for part in record.cohort:
        if part.role == "training":
            counts += [part.classes.get(name, 0) for name in record.classes]
    if not (counts > 0).all():
        return {"reason": "the package does not say how frequent each class was in training"}
    profile = record.profile_of("")[1]
    probabilities = tempered(cases.logits, temperature_of(package, profile.calibration))
    found = local_prior(probabilities, counts / counts.sum(), cases.patients)
    return {name: _estimate(one) for name, one in zip(record.classes, found, strict=True)}


def _groups(
    record: ModelRecord, profile: SiteProfile
) -> list[tuple[str, tuple[str, ...], OperatingPoint | None]]:
    found = [("referral", record.decision.positive, profile.referral)]
    if record.decision.urgent:
        found.append(("urgent", record.decision.urgent, profile.urgent))
    return found


def _sides(
    record: ModelRecord, probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    members = np.isin(np.array(record.classes), classes)
    return np.minimum(probabilities[:, members].sum(axis=1), 1.0), members[labels]


def _of_site(name: str, site: str) -> bool:
    return name.startswith((f"calibration/{site}/", f"conformal/{site}/", f"head/{site}/"))


def report_path(folder: Path) -> Path:
    """Where the report of an onboarding is written."""
    return folder / "onboarding.json"
