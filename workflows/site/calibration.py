"""A new site: local cases against what the package promises, and the package set for the site.

Labelled cases give checks and a local threshold, temperature and prediction sets, all with
intervals; unlabelled ones an alarm and an estimate of the prior, and no setting.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from offsite.evaluation.conformal.sets import ConformalSets
from offsite.evaluation.new_site.checks import (
    ShareCheck,
    check_coverage,
    check_sensitivity,
    shift_alarm,
)
from offsite.evaluation.new_site.settings import local_prior
from offsite.evaluation.settings import ConformalSettings
from offsite.evaluation.statistics.estimates import Estimate
from offsite.workflows.package.fitting import LEAST_BIN, under
from offsite.workflows.package.folder import Package
from offsite.workflows.package.heads import arrays_of_head
from offsite.workflows.package.schema import ModelRecord, SiteProfile
from offsite.workflows.package.temperature import tempered
from offsite.workflows.package.trunk_distance import SCORES
from offsite.workflows.predict.answers.likeness import EMBEDDING_SCORES
from offsite.workflows.site.cases import (
    ADVISED_CASES,
    LocalCases,
    check_enough_labels,
    check_site_name,
)
from offsite.workflows.site.local_settings import (
    DEFAULT_SENSITIVITY,
    LocalSettings,
    decided_groups,
    positive_patients,
    scores_of,
    temperature_of,
    too_few_positives,
)
from offsite.workflows.site.own_images import own_scores
from offsite.workflows.site.planning import local_plan, plan_sentences
from offsite.workflows.site.refitting import refit_at


@dataclass
class SiteCalibration:
    """What local cases say, and the package set for the site (None without labels)."""

    report: dict[str, Any]
    record: ModelRecord | None = None
    reference: dict[str, np.ndarray] = field(default_factory=dict)


def calibrate_site(
    package: Package, cases: LocalCases, site: str, *, refit: bool = False
) -> SiteCalibration:
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
        return SiteCalibration(report)
    check_enough_labels(len(labelled.labels), site)
    report["checks"] |= _checks(package, labelled, site)
    report["plan"] = _plan(package.record, labelled, site, report["checks"])
    if not refit:
        return _set(package, labelled, site, report)
    judged = refit_at(package, labelled, site)
    report["refit"] = judged.report
    few = too_few_positives(package.record, labelled)
    if judged.adopted and few:  # the thresholds that would be inherited are of the other head
        report["refit"] |= {
            "adopted": False,
            "why": f"of {', '.join(few)}, {site} has too few cases to set a threshold for the head",
        }
    if not judged.adopted or few:
        return _set(package, labelled, site, report)
    answered = replace(labelled, logits=judged.refit.left_out)
    refitted = under(f"head/{site}", arrays_of_head(judged.refit.head))
    return _set(package, answered, site, report, refitted | own_scores(package, labelled, site))


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
    checks: dict[str, Any] = {}
    for what, classes, point in decided_groups(record, profile):
        if point is None:
            continue
        scores, positive = scores_of(record, probabilities, cases.labels, classes)
        target = point.target_sensitivity or DEFAULT_SENSITIVITY
        check = check_sensitivity(scores, positive, point.threshold, target, cases.patients)
        checks[f"sensitivity of {what} at {point.threshold:.3f}"] = shown(check)
    arrays = package.arrays(f"conformal/{name}") or package.arrays("conformal/_pooled")
    if arrays:
        sets = ConformalSets.from_arrays(arrays)
        sites = np.full(len(cases.labels), site)
        for level in (0.9, 0.95):
            members = sets.predict(probabilities, sites, level).members
            check = check_coverage(members, cases.labels, level, cases.patients)
            checks[f"coverage of the {level:.0%} sets"] = shown(check)
    return checks


def _plan(
    record: ModelRecord, cases: LocalCases, site: str, checks: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """How many patients it takes to state what is decided, by what was seen of these."""
    rows, patients = [], len(np.unique(cases.patients))
    for what, classes, point in decided_groups(record, record.profile_of(site)[1]):
        target = (point.target_sensitivity if point else None) or DEFAULT_SENSITIVITY
        seen = [
            c["value"] for name, c in checks.items() if name.startswith(f"sensitivity of {what} ")
        ]
        sensitivity = target if not seen or seen[0] is None else seen[0]
        positives = positive_patients(record, cases, classes)
        rows += local_plan(what, sensitivity, target, positives, patients)
    return rows


def _set(
    package: Package,
    cases: LocalCases,
    site: str,
    report: dict[str, Any],
    refitted: Mapping[str, np.ndarray] | None = None,
) -> SiteCalibration:
    record = package.record
    settings = LocalSettings(package, cases, site, refitted=refitted is not None)
    reference = {k: v for k, v in package.reference.items() if not _of_site(k, site)}
    reference |= refitted or {}
    reference[f"calibration/{site}/temperature"] = np.array(settings.temperature)
    notes = settings.notes
    if len(cases.labels) >= LEAST_BIN:
        conformal = ConformalSettings(ordered=record.ordinal, by_class=False, by_site=False)
        sites = np.full(len(cases.labels), site)
        sets = ConformalSets.fit(settings.probabilities, cases.labels, sites, conformal)
        reference |= under(f"conformal/{site}", sets.to_arrays())
        # Local cases are too few for each class; the pooled sets of the model may hold for each.
        notes.append("the coverage of the local sets holds over all classes together, not for each")
    notes += plan_sentences(report["plan"])
    if len(cases.labels) < ADVISED_CASES:
        notes.append(f"{len(cases.labels)} local cases, fewer than {ADVISED_CASES}: wide intervals")
    profile = SiteProfile(
        role="onboarded",
        n=len(cases.labels),
        patients=len(np.unique(cases.patients)),
        referral=settings.points["referral"],
        urgent=settings.points["urgent"],
        calibration=site,
        notes=tuple(notes),
        refit=report.get("refit"),
    )
    report |= {
        "temperature": _estimate(settings.estimate),
        "profile": profile.model_dump(mode="json"),
    }
    changed = {
        "version": "",  # it is another model than the version it was made from
        "profiles": {**record.profiles, site: profile},
        "fingerprints": {**record.fingerprints, f"before {site}": package.digest},
    }
    made = ModelRecord.model_validate({**record.model_dump(), **changed})
    return SiteCalibration(report, made, reference)


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
    shares = local_prior(probabilities, counts / counts.sum(), cases.patients)
    return {name: _estimate(share) for name, share in zip(record.classes, shares, strict=True)}


def _of_site(name: str, site: str) -> bool:
    kinds = ("calibration", "conformal", "head", EMBEDDING_SCORES, SCORES)
    return name.startswith(tuple(f"{kind}/{site}/" for kind in kinds))


def report_path(folder: Path) -> Path:
    """Where the report of a site is written."""
    return folder / "site.json"
