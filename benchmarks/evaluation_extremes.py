"""How often the worst and the best site's intervals hold their truth: docs/evaluation/coverage.md.

    python benchmarks/evaluation_extremes.py [--trials 500] [--cache FILE] [--minutes 15] [--only PART]

Two parts. Hospitals with patients: `_worst` and `_gap` of the per-site table. Hospitals on the logit
scale, where sites are combined, each with its true value and an estimate with a standard error: the
interval of the site that seems worst, as measured and drawn towards the others. What is in the cache
is not counted again. The slow tests of statistical truth run the second part.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from offsite.evaluation.metrics.separation import separation
from offsite.evaluation.metrics.thresholds import shares_at
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.sites import GAP, WORST, Site
from offsite.evaluation.tables.meta_analysis import shrunken_table
from offsite.evaluation.tables.schemas import SCHEMAS
from offsite.evaluation.tables.summaries import worst_and_gap
from offsite.files import read_json, write_json

# Sites, and the deviation between them on the logit scale; errors are 0.15 to 0.5.
SETTINGS = tuple((sites, tau) for sites in (5, 10, 20) for tau in (0.0, 0.2, 0.5))

# Hospitals, the patients of each (three of ten are ill), and the deviation of their shifts.
HOSPITALS = tuple(
    (sites, patients, deviation)
    for sites in (3, 5, 10)
    for patients in (20, 50, 200)
    for deviation in (0.0, 0.3, 0.6)
)
_CUT, _SHIFT, _METRICS = 0.3, 1.3, ("sensitivity", "auroc")


def hospital(name: str, patients: int, shift: float, rng: np.random.Generator) -> tuple[Site, dict]:
    """A site whose ill patients score N(shift, 1) and the others N(0, 1), and what is measured."""
    ill = rng.random(patients) < 0.3
    scores = shift * ill + rng.normal(size=patients)
    site = Site(
        name=name,
        role="held_out",
        labels=ill.astype(np.int64),
        probabilities=np.column_stack([-scores, scores]),
        units=np.arange(patients),
    )
    measured = [
        *separation(("auroc", "auprc"), site, scores, ill, 2),
        *shares_at(site, scores >= _CUT, ill),
    ]
    return site, {each.name: each for each in measured}


def summaries(sites: int, patients: int, deviation: float, trials: int) -> dict[str, list[int]]:
    """(trials with an interval, of them that hold the truth) of each metric's `_worst` and `_gap`."""
    found = {f"{metric} {name}": [0, 0] for metric in _METRICS for name in (WORST, GAP)}
    settings = EvaluationSettings(resamples=100, minimum_rows=2)
    for seed in range(trials):
        rng = np.random.default_rng([sites, patients, round(100 * deviation), seed])
        shifts = _SHIFT + deviation * rng.normal(size=sites)
        measured = [hospital(str(k), patients, shift, rng) for k, shift in enumerate(shifts)]
        true = {"sensitivity": norm.cdf(shifts - _CUT), "auroc": norm.cdf(shifts / np.sqrt(2))}
        for metric in _METRICS:
            truths = {WORST: true[metric].min(), GAP: np.ptp(true[metric])}
            for told in worst_and_gap(metric, measured, settings):
                name, low, high = told["site"], told["low"], told["high"]
                if low is not None and high is not None:
                    found[f"{metric} {name}"][0] += 1
                    found[f"{metric} {name}"][1] += int(low <= truths[name] <= high)
    return found


def written_summaries(
    found: dict[tuple[int, int, float], dict[str, list[int]]], trials: int
) -> str:
    """The part of the page on `_worst` and `_gap` as Markdown."""
    error = 100 * np.sqrt(0.05 * 0.95 / trials)
    names = [f"{metric} {name}" for metric in _METRICS for name in (WORST, GAP)]
    lines = [
        f"Made by `python benchmarks/evaluation_extremes.py` ({trials:,} trials each, standard error "
        f"{error:.1f} %). Share of 95 % intervals of `_worst` and `_gap` that hold the true worst value, and "
        "the true gap, of so many sites of equal size, in per cent; in brackets the share of trials with an "
        "interval, where it is not all. Three of ten patients are ill, one image each. The bounds of all "
        "sites hold together, and those of a sensitivity are exact: the promise is more than kept, least so "
        "where sites are large and alike.",
        "",
        "| sites | patients each | deviation of the shifts | " + " | ".join(names) + " |",
        "|---:|---:|---:|" + "---:|" * len(names),
    ]
    for (sites, patients, deviation), counts in found.items():
        cells = []
        for name in names:
            having, holding = counts[name]
            share = "" if having == trials else f" ({100 * having / trials:.0f})"
            cells.append(f"{100 * holding / having:.0f}{share}" if having >= 20 else "")
        lines.append(f"| {sites} | {patients} | {deviation:g} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def coverage(sites: int, tau: float, trials: int) -> dict[str, float]:
    """Share of trials in which an interval holds the truth of the site that seems worst or best."""
    hits = {"worst raw": 0, "worst shrunken": 0, "best raw": 0, "best shrunken": 0}
    settings = EvaluationSettings()
    for seed in range(trials):
        rng = np.random.default_rng([sites, round(100 * tau), seed])
        errors = rng.uniform(0.15, 0.5, sites)
        truth = 1.5 + tau * rng.normal(size=sites)
        effects = truth + errors * rng.normal(size=sites)
        table = SCHEMAS["per_site"].frame(
            {"split": "test", "site": f"s{i}", "site_role": "held_out", "metric": "auroc"}
            | {"value": expit(effects[i]), "effect": effects[i], "effect_error": errors[i]}
            | {"reason": "ok"}
            for i in range(sites)
        )
        drawn = shrunken_table(table, settings).query("site_role == 'held_out'").set_index("site")
        for word, place in (("worst", int(effects.argmin())), ("best", int(effects.argmax()))):
            width = norm.ppf(0.975) * errors[place]
            hits[f"{word} raw"] += abs(effects[place] - truth[place]) <= width
            row = drawn.loc[f"s{place}"]
            hits[f"{word} shrunken"] += row["low"] <= expit(truth[place]) <= row["high"]
    return {name: count / trials for name, count in hits.items()}


def written(trials: int) -> tuple[str, dict[tuple[int, float], dict[str, float]]]:
    """The part on the site that seems worst or best as Markdown, and its numbers."""
    found = {(sites, tau): coverage(sites, tau, trials) for sites, tau in SETTINGS}
    lines = [
        f"Made by `python benchmarks/evaluation_extremes.py` ({trials:,} trials each, standard error "
        f"{100 * np.sqrt(0.05 * 0.95 / trials):.1f} %). Of several sites the one that seems worst is so "
        "partly by chance. Its own 95 % interval (*as measured*) then holds its truth less often than "
        "95 %, the more so the more sites there are and the less they differ; the interval of the "
        "estimate drawn towards the others does not have that fault. The page shows both.",
        "",
        "| sites | deviation between sites (logit) | worst, as measured | worst, drawn | best, as measured "
        "| best, drawn |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {sites} | {tau:g} | "
        + " | ".join(f"{100 * share:.1f} %" for share in shares.values())
        + " |"
        for (sites, tau), shares in found.items()
    ]
    return "\n".join([*lines, ""]), found


def main() -> None:
    """Simulate what is not counted yet, print and write the page's parts."""
    from page_parts import COVERAGE, put_part

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=120.0, help="stop after so many")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / "offsite-evaluation-extremes.json",
    )
    parser.add_argument("--only", choices=("summaries", "drawn"), help="one part of the page")
    arguments = parser.parse_args()
    if arguments.only != "summaries":
        drawn, _ = written(arguments.trials)
        put_part(COVERAGE, 2, "The site that seems worst, or best", drawn)
        print(drawn)
    if arguments.only == "drawn":
        return
    kept = read_json(arguments.cache) if arguments.cache.is_file() else {}
    end = time.monotonic() + 60 * arguments.minutes
    for setting in HOSPITALS:
        key = json.dumps([*setting, arguments.trials])
        if key not in kept:
            if time.monotonic() > end:
                print("time is up: run it again to go on")
                return
            kept[key] = summaries(*setting, arguments.trials)
            write_json(arguments.cache, kept)
            print(*setting, flush=True)
    found = {setting: kept[json.dumps([*setting, arguments.trials])] for setting in HOSPITALS}
    text = written_summaries(found, arguments.trials)
    put_part(COVERAGE, 1, "The worst site and the gap", text)
    print(text)


if __name__ == "__main__":
    main()
