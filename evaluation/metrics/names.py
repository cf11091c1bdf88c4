"""Metrics by name: words, direction, range and scale of each, and which a page shows first."""

import difflib
import re
from collections.abc import Collection
from dataclasses import replace

from offsite.errors import InputError
from offsite.evaluation.metrics.entries import METRICS, Metric

# A page speaks first of what compares between sites of different prevalence.
PRIMARY = ("auroc", "quadratic_weighted_kappa", "balanced_accuracy", "macro_f1", "accuracy")
HEADLINE = ("auroc", "quadratic_weighted_kappa", "balanced_accuracy", "macro_f1", "brier")
TASK_HEADLINE = ("sensitivity", "specificity")
_WITH_SHARE = re.compile(r"(.+)_(\d+(?:\.\d+)?)")


def described(name: str) -> Metric:
    """The metric of a name of any table, also of a class, of a task or of a share of cases.

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
    >>> described("accuracy_at_80").label
    'accuracy of the most confident 80 %'
    """
    known = METRICS[base_name(name)]
    if name == known.name:
        return known
    if (shared := _WITH_SHARE.fullmatch(name)) and shared[1] == known.name:
        words = (text.replace("x %", f"{shared[2]} %") for text in (known.label, known.short))
        return replace(known, name=name, label=next(words), short=next(words))
    of = name.removeprefix(f"{known.name}/").removesuffix(f"/{known.name}")
    return replace(
        known,
        name=name,
        label=f"{known.label} for {of}",
        short=f"{known.short}: {of}",
        limits=(0.0, 1.0) if known.name == "brier" else known.limits,
    )


def base_name(name: str) -> str:
    """The catalogue's name of a metric of a class, of a task or of a share of cases.

    Raises
    ------
    InputError
        There is no such metric; the nearest names are told.

    Examples
    --------
    >>> base_name("auroc/mild"), base_name("referable/sensitivity"), base_name("accuracy_at_80")
    ('auroc', 'sensitivity', 'accuracy_at')
    """
    shared = _WITH_SHARE.fullmatch(name)
    first, _, last = name.partition("/")
    for known, rest in (
        (name, "-"),
        (shared[1] if shared else "", "-"),
        (first, last),
        (last, first),
    ):
        if known in METRICS and rest:
            return known
    raise no_metric(f"no metric '{name}'", name.rsplit("/", 1)[-1], METRICS)


def no_metric(problem: str, name: str, known: Collection[str]) -> InputError:
    """The error for a name that is none of those known; the nearest are told."""
    near = difflib.get_close_matches(name, known, cutoff=0.5)
    remedy = f"The nearest are {', '.join(near)}" if near else f"There are {', '.join(known)}"
    return InputError(problem, remedy=remedy, code="unknown_metric")


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
        and name.rsplit("/", 1)[1] in TASK_HEADLINE
    ]
    return [primary, *usual][: 6 - min(2, len(tasks))] + tasks[:2]
