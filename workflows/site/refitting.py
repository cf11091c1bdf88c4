"""The head of a model refitted with a site's labelled cases, if that helps there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import log_softmax

from offsite.errors import InputError
from offsite.evaluation.new_site.settings import local_temperature
from offsite.training.heads.refit import Refit, gain_bound, refit
from offsite.training.prediction.contract import ModelAnswer, Prepared
from offsite.workflows.package.folder import Package
from offsite.workflows.package.heads import sums_of_head
from offsite.workflows.predict.answers.likeness import trunk_of
from offsite.workflows.site.cases import EMBEDDING, SEEN, LocalCases
from offsite.workflows.site.telling import Telling

SHARE = 0.25


@dataclass(frozen=True, eq=False)
class Judged:
    """A refit and whether it is adopted; ``report`` says why, JSON-able."""

    refit: Refit
    adopted: bool
    report: dict[str, Any]


class WithEmbedding(Telling):
    """A predictor whose answers carry the embedding among their facts, for `refit_at`."""

    def infer(self, batch: Sequence[Prepared]) -> list[ModelAnswer]:
        """Answer as the inner predictor does, the embedding told."""
        return [
            replace(
                answer,
                facts={
                    **answer.facts,
                    EMBEDDING: _listed(answer.embedding),
                    SEEN: _listed(trunk_of(answer)),
                },
            )
            for answer in self.inner.infer(batch)
        ]

    def describe(self) -> dict[str, Any]:
        """Return what the results depend on: answers without embeddings are no answers here."""
        return {**self.inner.describe(), EMBEDDING: True}


def _listed(embedding: np.ndarray | None) -> list[float]:
    return [] if embedding is None else [float(value) for value in embedding]


def check_can_refit(package: Package) -> None:
    """Refuse a package whose head cannot be refitted, before anything is predicted.

    Raises
    ------
    InputError
        Code ``no_sums``, or ``classes_without_order``.
    """
    if sums_of_head(package) is None:
        raise InputError(
            "the package has no sums of its training rows, so its head cannot be refitted",
            file=package.path,
            remedy="Register the run again with this version of offsite, or leave --refit out",
            code="no_sums",
        )
    if len(package.record.classes) > 2 and not package.record.ordinal:
        raise InputError(
            "a refitted head grades, and these classes have no order",
            file=package.path,
            remedy="Set decision.ordinal where the classes are grades, or leave --refit out",
            code="classes_without_order",
        )


def refit_at(package: Package, cases: LocalCases, site: str) -> Judged:
    """Refit the head with labelled local cases and judge it on the half each head did not see.

    It is adopted where the log loss falls, by a one-sided 95 % bound over patients, below that of
    the head as shipped at its best local temperature, and below that of the site's class shares
    alone. The first says that it helps, the second that it knows the cases and not the mixture only.
    """
    sums = sums_of_head(package)
    assert sums is not None
    assert cases.embeddings is not None
    refitted = refit(
        sums.rows,
        cases.embeddings,
        cases.labels,
        cases.patients,
        penalty=sums.penalty,
        share=SHARE,
    )
    temperature = local_temperature(cases.logits, cases.labels, cases.patients).value or 1.0
    after = _loss(refitted.left_out, cases.labels)
    report: dict[str, Any] = {
        "cases": len(cases.labels),
        "patients": len(np.unique(cases.patients)),
        "share_of_weight": SHARE,
        "penalty": sums.penalty,
        "log_loss": float(after.mean()),
        "made_from": package.digest,
    }
    bounds = []
    for name, logits in (
        ("as_shipped", cases.logits / temperature),
        ("class_shares_alone", refitted.shares),
    ):
        before = _loss(logits, cases.labels)
        gain, bound = gain_bound(before, after, cases.patients)
        bounds.append(bound)
        report[name] = {"log_loss": float(before.mean()), "gain": gain, "at_least": bound}
    adopted = min(bounds) > 0
    report["adopted"] = adopted
    report["why"] = _why(bounds, site)
    return Judged(refitted, adopted, report)


def _why(bounds: Sequence[float], site: str) -> str:
    if bounds[0] <= 0:
        return (
            f"on cases of {site} that it was not fitted to, the refitted head is not shown to help"
        )
    if bounds[1] <= 0:
        return f"the refitted head is not shown to know more of a case than how frequent grades are at {site}"
    return f"on cases of {site} that it was not fitted to, the refitted head is better"


def _loss(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.asarray(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels])
