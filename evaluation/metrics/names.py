"""The catalogue of metrics: words, direction, range and scale, and which a page shows first."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from offsite.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric, for all who show, compare, combine or bound it.

    Attributes
    ----------
    name : str
        As in the tables.
    label, short : str
        In a sentence, and as a column's heading.
    limits : (float, float)
        The range it can take.
    higher : bool or None
        Whether more is better; ``None``: neither, as for a prevalence.
    scale : str
        On which sites are combined: ``logit`` for shares and areas, ``fisher`` for kappas, ``log``
        for losses.
    """

    name: str
    label: str
    short: str
    limits: tuple[float, float] = (0.0, 1.0)
    higher: bool | None = True
    scale: Literal["logit", "fisher", "log"] = "logit"


def _kappa(name: str, label: str, short: str) -> Metric:
    return Metric(name=name, label=label, short=short, limits=(-1.0, 1.0), scale="fisher")


def _loss(name: str, label: str, short: str, most: float) -> Metric:
    return Metric(
        name=name, label=label, short=short, limits=(0.0, most), higher=False, scale="log"
    )


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(name="auroc", label="AUROC", short="AUROC"),
        Metric(name="auroc_ovo", label="AUROC over pairs of classes", short="AUROC, pairs"),
        Metric(name="auprc", label="AUPRC", short="AUPRC"),
        Metric(
            name="auprc_at_reference",
            label="AUPRC at reference prevalence",
            short="AUPRC, ref.",
        ),
        Metric(name="accuracy", label="accuracy", short="Accuracy"),
        Metric(name="balanced_accuracy", label="balanced accuracy", short="Balanced accuracy"),
        Metric(name="macro_f1", label="macro-F1", short="Macro-F1"),
        _kappa("quadratic_weighted_kappa", "quadratic weighted kappa", "Weighted kappa"),
        _kappa("linear_weighted_kappa", "linear weighted kappa", "Linear kappa"),
        Metric(name="sensitivity", label="sensitivity", short="Sensitivity"),
        Metric(name="specificity", label="specificity", short="Specificity"),
        Metric(name="ppv", label="positive predictive value", short="PPV"),
        Metric(name="npv", label="negative predictive value", short="NPV"),
        Metric(name="prevalence", label="prevalence", short="Prevalence", higher=None),
        _loss("brier", "Brier score", "Brier", 2.0),
        _loss("log_loss", "log loss", "Log loss", math.inf),
    )
}
"""Every metric there is. Of a class it is called ``<metric>/<class>``, of a task ``<task>/<metric>``."""
# A page speaks first of what compares between sites of different prevalence.
PRIMARY = (
    "auroc",
    "quadratic_weighted_kappa",
    "balanced_accuracy",
    "macro_f1",
    "accuracy",
)
HEADLINE = ("auroc", "quadratic_weighted_kappa", "balanced_accuracy", "macro_f1", "brier")
_TASK_HEADLINE = ("sensitivity", "specificity")


def described(name: str) -> Metric:
    """The metric of a name of the per-site table, also of a class or a task.

    Raises
    ------
    InputError
        There is no such metric; the nearest names are told.

    Examples
    --------
    >>> described("referable/sensitivity").label
    'sensitivity for referable'
    >>> described("auroc/mild").short
    'AUROC: mild'
    >>> described("referable/brier").limits  # of two classes it is the square of one difference
    (0.0, 1.0)
    """
    if name in METRICS:
        return METRICS[name]
    first, _, last = name.partition("/")
    known, of = (METRICS[first], last) if first in METRICS else (METRICS.get(last), first)
    if known is None or not of:
        near = difflib.get_close_matches(name.rsplit("/", 1)[-1], METRICS, cutoff=0.5)
        raise InputError(
            f"no metric '{name}'",
            remedy=f"The nearest are {', '.join(near)}"
            if near
            else f"There are {', '.join(METRICS)}",
            code="unknown_metric",
        )
    return replace(
        known,
        name=name,
        label=f"{known.label} for {of}",
        short=f"{known.short}: {of}",
        limits=(0.0, 1.0) if known.name == "brier" else known.limits,
    )


def primary_metric(names: list[str], wanted: str | None = None) -> str:
    """The metric a page is about: the one asked for, else the first known, else the first."""
    if wanted in names:
        return str(wanted)
    return next((name for name in PRIMARY if name in names), names[0])


def headline_metrics(names: list[str], primary: str) -> list[str]:
    """The few metrics of the first table: the primary one, then the usual ones, then tasks'."""
    usual = [name for name in HEADLINE if name in names and name != primary]
    tasks = [
        name
        for name in names
        if "/" in name
        and name.split("/")[0] not in METRICS
        and name.rsplit("/", 1)[1] in _TASK_HEADLINE
    ]
    return [primary, *usual][: 6 - min(2, len(tasks))] + tasks[:2]
