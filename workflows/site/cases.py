"""The local cases of a site: answered, labelled, and enough of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from offsite.errors import InputError
from offsite.training.prediction.codes import Status

LEAST_CASES = 20
EMBEDDING, SEEN = "embedding", "trunk"
"""The facts of a case under which a refit finds what the head read, and what the trunk saw."""
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
    embeddings : numpy.ndarray or None
        N x E, where the prediction told them.
    seen : numpy.ndarray or None
        N x T, the same of what the trunk saw.
    """

    logits: np.ndarray
    labels: np.ndarray
    patients: np.ndarray
    percentiles: np.ndarray
    unanswered: int
    embeddings: np.ndarray | None = None
    seen: np.ndarray | None = None

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
            embeddings=None if self.embeddings is None else self.embeddings[known],
            seen=None if self.seen is None else self.seen[known],
        )


def cases_of(
    records: Sequence[dict[str, Any]],
    labels: Sequence[str],
    classes: Sequence[str],
    *,
    of_patients: bool = False,
) -> LocalCases:
    """Join the records of a prediction run with the labels of its inputs, in the same order.

    With ``of_patients`` each record has the answer for its patient: a patient is then one case,
    labelled by the most severe of its slides, as in training.

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
    patients = [record["patient"] or record["case"] for record in records]
    truths = [index.get(label, -1) for label in labels]
    if of_patients:
        # A slide without an answer has its say in the label: what it shows may have been missed.
        truths = _severest(patients, truths)
    rows = zip(records, patients, truths, strict=True)
    kept = [row for row in rows if row[0].get("logits") and not row[0]["duplicate_of"]]
    unanswered = len(records) - len(kept)
    if of_patients:
        kept = list({row[1]: row for row in reversed(kept)}.values())[::-1]
    if not kept:
        raise InputError("no case has an answer", remedy="See results.csv for the reasons")
    percentiles = [record["ood_percentile"] for record, _, _ in kept]
    facts = [record.get("facts", {}) for record, _, _ in kept]
    return LocalCases(
        logits=np.array([record["logits"] for record, _, _ in kept]),
        labels=np.array([truth for _, _, truth in kept]),
        patients=np.array([patient for _, patient, _ in kept]),
        percentiles=np.array([np.nan if p is None else p for p in percentiles]),
        unanswered=unanswered,
        embeddings=_told(facts, EMBEDDING),
        seen=_told(facts, SEEN),
    )


def _told(facts: Sequence[dict[str, Any]], name: str) -> np.ndarray | None:
    told = [each.get(name) for each in facts]
    return np.array(told) if all(told) else None


def _severest(patients: Sequence[str], truths: Sequence[int]) -> list[int]:
    """The greatest class index of each row's patient; -1 where none of its rows has a label."""
    severest: dict[str, int] = {}
    for patient, truth in zip(patients, truths, strict=True):
        severest[patient] = max(severest.get(patient, -1), truth)
    return [severest[patient] for patient in patients]


def check_site_name(site: str) -> None:
    """Refuse a name that cannot be the name of a profile.

    Examples
    --------
    >>> check_site_name('north')
    >>> check_site_name('_pooled')
    Traceback (most recent call last):
    offsite.errors.InputError: '_pooled' cannot name a profile: what belongs to it is kept under 'site/...'. Name the site without a slash and without a leading underscore
    """
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
