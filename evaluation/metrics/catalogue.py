"""All metrics of one sample, for its point estimate and every draw in one pass."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from evaluation.estimates import Reason
from evaluation.metrics import confusion, scoring
from evaluation.metrics.ranking import Ranking, auroc_and_precision
from evaluation.resampling import weighted_sums
from evaluation.samples import Sample
from evaluation.tasks import Task


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """One metric of one sample.

    Attributes
    ----------
    name : str
        As in the tables.
    values : numpy.ndarray
        float64, a value for each row of counts; NaN where that draw leaves it undefined.
    n, n_positive : int, int or None
        Rows it rests on; the positive ones of them.
    classes_defined, classes : int or None
        Of a macro average.
    hits, units : numpy.ndarray or None
        Of a share: the rows' booleans and units, for an exact interval.
    higher_is_better : bool or None
        ``None``: neither (a prevalence).
    detail : str
        What else there is to say, such as the threshold.
    undefined : Reason
        Why there is no value, where the point is NaN.
    """

    name: str
    values: np.ndarray
    n: int
    n_positive: int | None = None
    classes_defined: int | None = None
    classes: int | None = None
    hits: np.ndarray | None = None
    units: np.ndarray | None = None
    higher_is_better: bool | None = True
    detail: str = ""
    undefined: Reason = Reason.SINGLE_CLASS


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """What to measure.

    Attributes
    ----------
    classes : tuple of str
        Class names in order.
    tasks : list of Task
        Binary tasks.
    references : dict of str to float
        Reference prevalence of each task.
    minimum_of_class : int
        Fewest rows of a class, and of the others, for it to count.
    """

    classes: tuple[str, ...]
    tasks: list[Task]
    references: dict[str, float]
    minimum_of_class: int = 2


def measure(sample: Sample, counts: np.ndarray, request: Request) -> list[Measured]:
    """Every metric of the request on a sample with at least one row.

    Parameters
    ----------
    sample : Sample
        Labelled rows.
    counts : numpy.ndarray
        B x units, how often each unit counts; a row of ones gives the plain metric.
    request : Request
        Classes, tasks and minima.
    """
    return [
        *_of_ranking(sample, counts, request),
        *_of_calls(sample, counts, request),
        *_of_probabilities(sample, counts),
        *(found for task in request.tasks for found in _of_task(sample, counts, task, request)),
    ]


def included_classes(sample: Sample, minimum: int) -> np.ndarray:
    """C booleans: classes with enough rows, and enough rows of other classes."""
    found = sample.class_counts
    return (found >= minimum) & (sample.n - found >= minimum)


def _of_ranking(sample: Sample, counts: np.ndarray, request: Request) -> Iterator[Measured]:
    included = included_classes(sample, request.minimum_of_class)
    if sample.classes == 2:
        positive = sample.labels == 1
        both = _ranked(sample, counts, sample.probabilities[:, 1], positive, included[1])
        for name, values in zip(("auroc", "auprc"), both, strict=True):
            yield _binary(name, values, positive)
        return
    by_class = [
        _ranked(sample, counts, sample.probabilities[:, index], sample.labels == index, use)
        for index, use in enumerate(included)
    ]
    for place, name in enumerate(("auroc", "auprc")):
        values = np.stack([both[place] for both in by_class], axis=1)
        yield _macro(name, confusion.mean_over(values, included), sample, included)
        for index, label in enumerate(request.classes):
            yield _binary(f"{name}/{label}", values[:, index], sample.labels == index)
    yield _macro("auroc_ovo", _one_against_one(sample, counts, included), sample, included)


def _ranked(
    sample: Sample, counts: np.ndarray, scores: np.ndarray, positive: np.ndarray, use: bool
) -> tuple[np.ndarray, np.ndarray]:
    if not use:
        nothing = np.full(len(counts), np.nan)
        return nothing, nothing
    return auroc_and_precision(Ranking.of(scores, positive, sample.units), counts)


def _one_against_one(sample: Sample, counts: np.ndarray, included: np.ndarray) -> np.ndarray:
    """Hand and Till's (2001) M over the included classes."""
    pairs = list(combinations(np.flatnonzero(included), 2))
    total = np.zeros(len(counts))
    for one, other in pairs:
        rows = np.isin(sample.labels, (one, other))
        for positive in (one, other):
            ranking = Ranking.of(
                sample.probabilities[rows, positive],
                sample.labels[rows] == positive,
                sample.units[rows],
            )
            total += auroc_and_precision(ranking, counts)[0]
    return total / (2 * len(pairs)) if pairs else np.full(len(counts), np.nan)


def _of_calls(sample: Sample, counts: np.ndarray, request: Request) -> Iterator[Measured]:
    called = sample.probabilities.argmax(axis=1)
    cells = confusion.cell_indicators(sample.labels, called, sample.classes)
    shape = (len(counts), sample.classes, sample.classes)
    table = weighted_sums(counts, sample.unit_sums(cells)).reshape(shape)
    present = sample.class_counts > 0
    several = present if present.sum() >= 2 else np.zeros_like(present)
    right = called == sample.labels
    yield _share("accuracy", confusion.accuracy(table), right, sample.units)
    for name, function in (
        ("balanced_accuracy", confusion.balanced_accuracy),
        ("macro_f1", confusion.macro_f1),
    ):
        yield _macro(name, function(table, several), sample, present)
    if sample.classes > 2:
        for name, power in (("quadratic_weighted_kappa", 2), ("linear_weighted_kappa", 1)):
            kappa = confusion.weighted_kappa(table, power)
            yield Measured(name=name, values=kappa, n=sample.n)
    sensitivities = confusion.sensitivities(table)
    shares = table.sum(axis=-1) / np.maximum(table.sum(axis=(-2, -1)), 1)[:, None]
    for index, label in enumerate(request.classes):
        own = sample.labels == index
        yield _share(f"sensitivity/{label}", sensitivities[:, index], right[own], sample.units[own])
        yield _share(f"prevalence/{label}", shares[:, index], own, sample.units, better=None)


def _of_probabilities(sample: Sample, counts: np.ndarray) -> Iterator[Measured]:
    rows = np.stack(
        [
            scoring.brier_rows(sample.probabilities, sample.labels),
            scoring.log_loss_rows(sample.probabilities, sample.labels),
            np.ones(sample.n),
        ],
        axis=1,
    )
    sums = weighted_sums(counts, sample.unit_sums(rows))
    for place, name in enumerate(("brier", "log_loss")):
        values = confusion.ratio(sums[:, place], sums[:, 2])
        yield Measured(name=name, values=values, n=sample.n, higher_is_better=False)


def _of_task(
    sample: Sample, counts: np.ndarray, task: Task, request: Request
) -> Iterator[Measured]:
    scores, positive = task.scores(sample.probabilities), task.positive(sample.labels)
    n_positive, minimum = int(positive.sum()), request.minimum_of_class
    enough = min(n_positive, sample.n - n_positive) >= minimum
    ranking = Ranking.of(scores, positive, sample.units)
    nothing = np.full(len(counts), np.nan)
    if sample.classes > 2:
        both = auroc_and_precision(ranking, counts) if enough else (nothing, nothing)
        for name, values in zip(("auroc", "auprc"), both, strict=True):
            yield _binary(f"{task.name}/{name}", values, positive)
    if task.name in request.references:
        reference = request.references[task.name]
        values = auroc_and_precision(ranking, counts, reference)[1] if enough else nothing
        detail = f"prevalence {reference:.3g}"
        yield _binary(f"{task.name}/auprc_at_reference", values, positive, detail)
    yield from _at_threshold(sample, counts, task, scores, positive)


def _at_threshold(
    sample: Sample, counts: np.ndarray, task: Task, scores: np.ndarray, positive: np.ndarray
) -> Iterator[Measured]:
    threshold = task.settings.threshold
    flagged = scores >= threshold
    indicators = [
        positive & flagged,
        positive & ~flagged,
        ~positive & flagged,
        (scores - positive) ** 2,
    ]
    columns = np.stack([*indicators, np.ones(sample.n)], axis=1).astype(np.float64)
    caught, missed, alarms, squares, total = weighted_sums(counts, sample.unit_sums(columns)).T
    cleared = total - caught - missed - alarms
    detail = f"threshold {threshold:.4g}"
    shares = {
        "sensitivity": (caught, caught + missed, flagged, positive),
        "specificity": (cleared, cleared + alarms, ~flagged, ~positive),
        "ppv": (caught, caught + alarms, positive, flagged),
        "npv": (cleared, cleared + missed, ~positive, ~flagged),
    }
    yield _share(
        f"{task.name}/prevalence",
        confusion.ratio(caught + missed, total),
        positive,
        sample.units,
        better=None,
    )
    yield Measured(
        name=f"{task.name}/brier",
        values=confusion.ratio(squares, total),
        n=sample.n,
        n_positive=int(positive.sum()),
        higher_is_better=False,
    )
    for name, (top, bottom, hit, among) in shares.items():
        yield _share(
            f"{task.name}/{name}",
            confusion.ratio(top, bottom),
            hit[among],
            sample.units[among],
            detail=detail,
        )


def _share(
    name: str,
    values: np.ndarray,
    hits: np.ndarray,
    units: np.ndarray,
    *,
    better: bool | None = True,
    detail: str = "",
) -> Measured:
    return Measured(
        name=name,
        values=values,
        n=len(hits),
        n_positive=int(hits.sum()),
        hits=hits,
        units=units,
        higher_is_better=better,
        detail=detail,
        undefined=Reason.NO_SAMPLES,
    )


def _macro(name: str, values: np.ndarray, sample: Sample, included: np.ndarray) -> Measured:
    return Measured(
        name=name,
        values=values,
        n=sample.n,
        classes_defined=int(included.sum()),
        classes=sample.classes,
        undefined=_why(sample),
    )


def _binary(name: str, values: np.ndarray, positive: np.ndarray, detail: str = "") -> Measured:
    n_positive = int(positive.sum())
    one_sided = n_positive in (0, len(positive))
    return Measured(
        name=name,
        values=values,
        n=len(positive),
        n_positive=n_positive,
        detail=detail,
        undefined=Reason.SINGLE_CLASS if one_sided else Reason.TOO_FEW,
    )


def _why(sample: Sample) -> Reason:
    several = (sample.class_counts > 0).sum() >= 2
    return Reason.TOO_FEW if several else Reason.SINGLE_CLASS
