"""How often the intervals of the per-site table hold the truth: docs/evaluation/coverage.md.

    python benchmarks/evaluation_intervals.py [--trials 500] [--cache FILE] [--minutes 15]

Hospitals of 10 to 200 patients are simulated, of two classes and of five grades, with one image of a
patient or three that share what is hard about the patient. A setting that is in the cache is not
counted again, so that a run that was cut off, or whose minutes are up, goes on.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from functools import cache
from itertools import permutations
from pathlib import Path

import numpy as np

from offsite.evaluation.metrics.calibration_error import (
    equal_mass_bins,
    expected_error,
    simulated_shares,
)
from offsite.evaluation.metrics.catalogue import measure
from offsite.evaluation.metrics.ranking import Ranking, auroc_and_precision
from offsite.evaluation.predictions.tasks import Task
from offsite.evaluation.settings import EvaluationSettings, TaskSettings
from offsite.evaluation.statistics.estimates import FEWEST_PATIENTS
from offsite.evaluation.statistics.intervals import estimate
from offsite.evaluation.statistics.measured import Request
from offsite.evaluation.statistics.resampling import point_and_draws
from offsite.evaluation.statistics.site import Site
from offsite.files import read_json, write_json

PATIENTS = (10, 20, 50, 200)
# Shares of the classes; the task is the last class of two, and the two severest of five grades.
KINDS = {
    "two classes, .1": (0.9, 0.1),
    "two classes, .3": (0.7, 0.3),
    "five grades": (0.45, 0.2, 0.2, 0.1, 0.05),
}
IMAGES = (1, 3)
SETTINGS = EvaluationSettings(resamples=400, minimum_rows=2)
_POPULATION = 400_000
_PER_CLASS = {
    "auroc": "auroc",
    "auprc": "auprc",
    "balanced_accuracy": "sensitivity",
    "macro_f1": "f1",
}
_BAND = "ece, noise band"
_SHOWN = (
    *("auroc", "auroc_ovo", "auprc", "accuracy", "balanced_accuracy", "macro_f1"),
    *("quadratic_weighted_kappa", "linear_weighted_kappa", "brier", "log_loss"),
    *("task/auroc", "task/auprc", "task/auprc_at_reference", "task/brier"),
    *("task/sensitivity", "task/specificity", "task/ppv", "task/npv", "task/prevalence", _BAND),
)


def request_of(shares: tuple[float, ...]) -> Request:
    """What is measured of a model with so many classes."""
    classes = tuple(f"c{label}" for label in range(len(shares)))
    severe = np.arange(len(shares)) >= (1 if len(shares) == 2 else len(shares) - 2)
    named = tuple(name for name, use in zip(classes, severe, strict=True) if use)
    task = Task(
        name="task", members=severe, settings=TaskSettings(positive_classes=named, threshold=0.4)
    )
    return Request(classes=classes, tasks=[task], references={"task": 0.2})


def sample_of(
    patients: int, images: int, shares: tuple[float, ...], rng: np.random.Generator
) -> Site:
    """Patients of one class each; with several images an effect of the patient moves all of them."""
    classes, units = len(shares), np.repeat(np.arange(patients), images)
    truth = rng.choice(classes, patients, p=shares)
    own = rng.normal(size=(patients, classes)) if images > 1 else np.zeros((patients, classes))
    logits = 1.5 * np.eye(classes)[truth][units] + own[units] + np.log(shares)
    logits = logits + rng.normal(size=logits.shape)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return Site(
        labels=truth[units],
        probabilities=odds / odds.sum(axis=1, keepdims=True),
        units=units,
    )


@cache
def truths(shares: tuple[float, ...], images: int) -> dict[str, float]:
    """Every metric in a very large hospital, and what its means over classes are made of."""
    rng = np.random.default_rng([7, len(shares), images])
    # Areas of images of one patient do not count at a hospital of so many.
    whole = sample_of(_POPULATION // images, images, shares, rng)
    point = np.ones((1, whole.n_units), dtype=np.uint8)
    measured = measure(whole, request_of(shares))
    known = {each.name: float(each.values[0]) for each in measured}
    called = whole.probabilities.argmax(axis=1)
    for label in range(whole.classes):
        of, said = whole.labels == label, called == label
        known[f"f1/c{label}"] = float(2 * (of & said).sum() / (of.sum() + said.sum()))
    for one, other in permutations(range(whole.classes), 2):
        rows = np.isin(whole.labels, (one, other))
        scores, units = whole.probabilities[rows, one], whole.units[rows]
        ranking = Ranking.of(scores, whole.labels[rows] == one, units)
        known[f"{one} > {other}"] = float(auroc_and_precision(ranking, point)[0][0])
    return known


def truth_of(name: str, sample: Site, known: dict[str, float]) -> float:
    """Of a mean over classes that of the classes there are, as the table says beside it."""
    counts = sample.class_counts
    enough = np.flatnonzero((counts >= 2) & (len(sample) - counts >= 2))
    if name == "auroc_ovo":
        pairs = permutations(enough.tolist(), 2)
        return float(np.mean([known[f"{one} > {other}"] for one, other in pairs]))
    if name not in _PER_CLASS or (sample.classes == 2 and name in ("auroc", "auprc")):
        return known[name]
    used = enough if name in ("auroc", "auprc") else np.flatnonzero(counts > 0)
    return float(np.mean([known[f"{_PER_CLASS[name]}/c{label}"] for label in used]))


def in_the_band(sample: Site, rng: np.random.Generator) -> bool:
    """Whether a calibrated model's error is no larger than the page says noise alone gives."""
    p = sample.probabilities[:, -1]
    bins = equal_mass_bins(p, rng.random(len(sample)) < p, 15)
    null = expected_error(bins, simulated_shares(bins, p, 200, rng))
    return bool(expected_error(bins, bins.observed) <= np.quantile(null, 0.95))


def counted(kind: str, patients: int, images: int, trials: int) -> dict[str, tuple[int, int, int]]:
    """(sites with a value, of them with an interval, of these that hold the truth) by metric."""
    shares = KINDS[kind]
    known, request = truths(shares, images), request_of(shares)
    found = {name: [0, 0, 0] for name in _SHOWN}
    for trial in range(trials):
        rng = np.random.default_rng([patients, images, len(shares), round(100 * shares[-1]), trial])
        sample = sample_of(patients, images, shares, rng)
        counts = point_and_draws(sample.units, sample.labels, SETTINGS.resamples, rng)
        for each in measure(replace(sample, draws=(counts,)), request):
            if each.name not in found or not np.isfinite(each.values[0]):
                continue
            told = estimate(each, sample, SETTINGS)
            has = told.low is not None and told.high is not None
            holds = has and told.low <= truth_of(each.name, sample, known) <= told.high
            for place, yes in enumerate((True, has, holds)):
                found[each.name][place] += yes
        for place, yes in enumerate((True, True, in_the_band(sample, rng))):
            found[_BAND][place] += yes
    return {name: (a, b, c) for name, (a, b, c) in found.items()}


def written(
    found: dict[tuple[str, int, int], dict[str, tuple[int, int, int]]], trials: int, seconds: float
) -> str:
    """The part of the page as Markdown: coverage, and in brackets the share of sites with an interval."""
    error = 100 * np.sqrt(0.05 * 0.95 / trials)
    lines = [
        f"Made by `python benchmarks/evaluation_intervals.py` ({trials:,} hospitals each, standard error "
        f"{error:.1f} % at 95 %; {seconds / 60:.0f} min on one core). Share of 95 % intervals that hold the "
        "truth, in per cent, by patients at the hospital; in brackets the share of hospitals with an "
        f"interval, where it is not all that have a value. With fewer than {FEWEST_PATIENTS} patients on a "
        "side there is none (`too_few`); a column stays empty where fewer than 20 hospitals have one. One "
        "image of a patient, or three that share what is hard about the patient. A mean over classes is that "
        "of the classes that are there. The calibration error has no interval; its line tells how often a "
        "model that is calibrated stays within the band of noise that the page shows. Shares have exact intervals, which hold at "
        "least what they promise: of few patients 98 to 100 %. Those of means of shares and of an AUPRC are "
        "as careful.",
    ]
    if len(found) < len(KINDS) * len(IMAGES) * len(PATIENTS):
        lines[-1] += (
            " What is not counted yet (…) the same command goes on with; the slow tests hold every metric at "
            "10, 20 and 50 patients to no more than three standard errors under 93 % of 150 hospitals."
        )
    for kind in KINDS:
        for images in IMAGES:
            head = f"{kind}, {images} image{'s' * (images > 1)} of a patient"
            lines += ["", f"### {head[0].upper()}{head[1:]}", ""]
            lines.append("| metric | " + " | ".join(map(str, PATIENTS)) + " |")
            lines.append("|---|" + "---:|" * len(PATIENTS))
            if not any((kind, size, images) in found for size in PATIENTS):
                lines[-2:] = ["Not counted yet."]
                continue
            for name in _SHOWN:
                known = [found.get((kind, size, images)) for size in PATIENTS]
                cells = ["…" if counts is None else _cell(counts[name]) for counts in known]
                if any(cell not in ("", "…") for cell in cells):
                    lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _cell(counts: tuple[int, int, int]) -> str:
    valued, having, holding = counts
    if having < 20:
        return "none" if valued and not having else ""
    share = "" if having == valued else f" ({100 * having / valued:.0f})"
    return f"{100 * holding / having:.0f}{share}"


def main() -> None:
    """Count what is not counted yet for as long as there is time, and write the page."""
    from page_parts import COVERAGE, put_part

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=120.0, help="stop after so many")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / "offsite-evaluation-intervals.json",
    )
    arguments = parser.parse_args()
    kept = read_json(arguments.cache) if arguments.cache.is_file() else {}
    found, end = {}, time.monotonic() + 60 * arguments.minutes
    for kind in KINDS:
        for size in PATIENTS:
            for images in IMAGES:
                key = json.dumps([kind, size, images, arguments.trials, sorted(_SHOWN)])
                if key not in kept:
                    if time.monotonic() > end:
                        continue
                    start = time.process_time()
                    made = counted(kind, size, images, arguments.trials)
                    kept[key] = {"seconds": time.process_time() - start, "counts": made}
                    write_json(arguments.cache, kept)
                    print(kind, size, images, f"{kept[key]['seconds']:.0f} s", flush=True)
                counts = kept[key]["counts"]
                found[kind, size, images] = {name: tuple(counts[name]) for name in _SHOWN}
    seconds = sum(entry["seconds"] for entry in kept.values())
    text = written(found, arguments.trials, seconds)
    put_part(COVERAGE, 0, "Every metric of the main table", text)
    print(text)


if __name__ == "__main__":
    main()
