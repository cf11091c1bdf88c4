"""How often the intervals of the per-site table hold the truth: docs/evaluation/intervals.md.

    python benchmarks/evaluation_intervals.py [--trials 400] [--cache FOLDER]

Hospitals of 10 to 200 patients are simulated, of two classes and of five grades, with one image of a
patient or three that share what is hard about the patient. A setting that is in the cache is not
counted again, so that a run that was cut off goes on.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from offsite.evaluation.metrics.catalogue import measure
from offsite.evaluation.predictions.tasks import Task
from offsite.evaluation.settings import EvaluationSettings, TaskSettings
from offsite.evaluation.statistics.intervals import estimate
from offsite.evaluation.statistics.measured import Request
from offsite.evaluation.statistics.resampling import point_and_draws
from offsite.evaluation.statistics.samples import Sample
from offsite.files import read_json, write_json

PAGE = Path(__file__).parents[1] / "docs" / "evaluation" / "intervals.md"
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
_SHOWN = (
    *("auroc", "auprc", "accuracy", "balanced_accuracy", "macro_f1"),
    *("quadratic_weighted_kappa", "linear_weighted_kappa", "brier", "log_loss"),
    *("task/sensitivity", "task/specificity", "task/ppv", "task/npv", "task/prevalence"),
)


def request_of(shares: tuple[float, ...]) -> Request:
    """What is measured of a model with so many classes."""
    classes = tuple(f"c{label}" for label in range(len(shares)))
    severe = np.arange(len(shares)) >= (1 if len(shares) == 2 else len(shares) - 2)
    named = tuple(name for name, use in zip(classes, severe, strict=True) if use)
    task = Task(
        name="task", members=severe, settings=TaskSettings(positive_classes=named, threshold=0.4)
    )
    return Request(classes=classes, tasks=[task], references={})


def sample_of(
    patients: int, images: int, shares: tuple[float, ...], rng: np.random.Generator
) -> Sample:
    """Patients of one class each; with several images an effect of the patient moves all of them."""
    classes, units = len(shares), np.repeat(np.arange(patients), images)
    truth = rng.choice(classes, patients, p=shares)
    own = rng.normal(size=(patients, classes)) if images > 1 else np.zeros((patients, classes))
    logits = 1.5 * np.eye(classes)[truth][units] + own[units] + np.log(shares)
    logits = logits + rng.normal(size=logits.shape)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return Sample(
        labels=truth[units],
        probabilities=odds / odds.sum(axis=1, keepdims=True),
        units=units,
        n_units=patients,
    )


def truths(shares: tuple[float, ...], images: int) -> dict[str, float]:
    """Every metric in a very large hospital; macro averages by class."""
    rng = np.random.default_rng([7, len(shares), images])
    # Areas of images of one patient do not count at a hospital of so many.
    whole = sample_of(_POPULATION // images, images, shares, rng)
    point = np.ones((1, whole.n_units), dtype=np.uint8)
    return {each.name: float(each.values[0]) for each in measure(whole, point, request_of(shares))}


def truth_of(name: str, sample: Sample, known: dict[str, float]) -> float:
    """Of a mean over classes that of the classes there are, as the table says beside it."""
    counts = sample.class_counts
    enough = (counts >= 2) & (sample.n - counts >= 2)
    parts = {
        "auroc": ("auroc", enough),
        "auprc": ("auprc", enough),
        "balanced_accuracy": ("sensitivity", counts > 0),
    }
    if name not in parts or (sample.classes == 2 and name != "balanced_accuracy"):
        return known[name]
    metric, used = parts[name]
    return float(np.mean([known[f"{metric}/c{label}"] for label in np.flatnonzero(used)]))


def counted(kind: str, patients: int, images: int, trials: int) -> dict[str, tuple[int, int, int]]:
    """(sites with a value, of them with an interval, of these that hold the truth) by metric."""
    shares = KINDS[kind]
    known, request = truths(shares, images), request_of(shares)
    found = {name: [0, 0, 0] for name in _SHOWN}
    for trial in range(trials):
        rng = np.random.default_rng([patients, images, len(shares), round(100 * shares[-1]), trial])
        sample = sample_of(patients, images, shares, rng)
        counts = point_and_draws(sample.units, sample.labels, SETTINGS.resamples, rng)
        for each in measure(sample, counts, request):
            if each.name not in found or not np.isfinite(each.values[0]):
                continue
            told = estimate(each, sample, SETTINGS)
            has = told.low is not None and told.high is not None
            holds = has and told.low <= truth_of(each.name, sample, known) <= told.high
            for place, yes in enumerate((True, has, holds)):
                found[each.name][place] += yes
    return {name: (a, b, c) for name, (a, b, c) in found.items()}


def written(
    found: dict[tuple[str, int, int], dict[str, tuple[int, int, int]]], trials: int, seconds: float
) -> str:
    """The page as Markdown: coverage, and in brackets the share of sites with an interval."""
    error = 100 * np.sqrt(0.05 * 0.95 / trials)
    lines = [
        "# Coverage of the intervals",
        "",
        f"Made by `python benchmarks/evaluation_intervals.py` ({trials:,} hospitals each, standard error "
        f"{error:.1f} % at 95 %; {seconds / 60:.0f} min on one core). Share of 95 % intervals that hold the "
        "truth, in per cent, by patients at the hospital; in brackets the share of hospitals with an "
        "interval, where it is not all that have a value. One image of a patient, or three that share what "
        "is hard about the patient. A mean over classes is that of the classes that are there.",
    ]
    for kind in KINDS:
        for images in IMAGES:
            head = f"{kind}, {images} image{'s' * (images > 1)} of a patient"
            lines += ["", f"## {head[0].upper()}{head[1:]}", ""]
            lines.append("| metric | " + " | ".join(map(str, PATIENTS)) + " |")
            lines.append("|---|" + "---:|" * len(PATIENTS))
            for name in _SHOWN:
                cells = [_cell(found[kind, size, images][name]) for size in PATIENTS]
                if any(cells):
                    lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _cell(counts: tuple[int, int, int]) -> str:
    valued, having, holding = counts
    if not having:
        return "" if not valued else "none"
    share = "" if having == valued else f" ({100 * having / valued:.0f})"
    return f"{100 * holding / having:.0f}{share}"


def main() -> None:
    """Count what is not counted yet, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / "offsite-evaluation-intervals.json",
    )
    arguments = parser.parse_args()
    cache = read_json(arguments.cache) if arguments.cache.is_file() else {}
    found = {}
    for kind in KINDS:
        for size in PATIENTS:
            for images in IMAGES:
                key = json.dumps([kind, size, images, arguments.trials])
                if key not in cache:
                    start = time.process_time()
                    made = counted(kind, size, images, arguments.trials)
                    cache[key] = {"seconds": time.process_time() - start, "counts": made}
                    write_json(arguments.cache, cache)
                    print(kind, size, images, f"{cache[key]['seconds']:.0f} s", flush=True)
                counts = cache[key]["counts"]
                found[kind, size, images] = {name: tuple(counts[name]) for name in _SHOWN}
    seconds = sum(entry["seconds"] for entry in cache.values())
    text = written(found, arguments.trials, seconds)
    PAGE.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
