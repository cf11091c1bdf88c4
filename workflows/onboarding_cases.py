"""The local cases of a site: answered, labelled, and enough of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from preprocessing.errors import InputError
from workflows.predict.codes import Status

LEAST_CASES = 20
ADVISED_CASES = 50


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalCases:
    """Answered cases of one site.

    Attributes
    ----------
    logits : numpy.ndarray
        N x C.
    labels : numpy.ndarray
        N class indices, -1 where unlabelled.
    patients : numpy.ndarray
        N names.
    percentiles : numpy.ndarray
        N, OOD percentiles; NaN where unknown.
    unanswered : int
        Cases of the site without an answer.
    """

    logits: np.ndarray
    labels: np.ndarray
    patients: np.ndarray
    percentiles: np.ndarray
    unanswered: int

    @property
    def labelled(self) -> "LocalCases":
        """The labelled ones alone."""
        known = self.labels >= 0
        return replace(
            self,
            logits=self.logits[known],
            labels=self.labels[known],
            patients=self.patients[known],
            percentiles=self.percentiles[known],
        )


def cases_of(
    records: Sequence[dict[str, Any]], labels: Sequence[str], classes: Sequence[str]
) -> LocalCases:
    """Join the records of a prediction run with the labels of its inputs, in the same order.

    Raises
    ------
    InputError
        A case was not reached by the run, or none has an answer.
    """
    if pending := sum(record["status"] == Status.PENDING for record in records):
        raise InputError(
            f"{pending} of {len(records)} cases were not reached by the prediction run",
            remedy="Run the same command again: it goes on where it stopped",
            code="not_reached",
        )
    index = {name: number for number, name in enumerate(classes)}
    kept = [(r, label) for r, label in zip(records, labels, strict=True) if r.get("logits")]
    kept = [(r, label) for r, label in kept if not r["duplicate_of"]]
    if not kept:
        raise InputError("no case has an answer", remedy="See results.csv for the reasons")
    percentiles = [r["ood_percentile"] for r, _ in kept]
    return LocalCases(
        logits=np.array([r["logits"] for r, _ in kept]),
        labels=np.array([index.get(label, -1) for _, label in kept]),
        patients=np.array([r["patient"] or r["case"] for r, _ in kept]),
        percentiles=np.array([np.nan if p is None else p for p in percentiles]),
        unanswered=len(records) - len(kept),
    )


def check_site_name(site: str) -> None:
    """Refuse a name that cannot be the name of a profile."""
    if "/" in site or site.startswith("_"):
        raise InputError(
            f"'{site}' cannot name a profile: what belongs to it is kept under 'site/...'",
            remedy="Name the site without a slash and without a leading underscore",
            code="bad_site_name",
        )


def check_enough_labels(labelled: int, site: str) -> None:
    """Refuse a site with labels, but too few to tell anything."""
    if 0 < labelled < LEAST_CASES:
        raise InputError(
            f"{labelled} labelled cases of {site}: too few to tell anything",
            remedy=f"Label {ADVISED_CASES} to 100 cases, of patients as they come",
            code="too_few_cases",
        )
