"""How often intervals of a cross-validation hold the truth, where the truth is known.

Patients are drawn from two normal classes in many dimensions, so the AUROC and the accuracy of any
linear rule are known exactly. Two methods of equal worth (a ridge rule on either half of the
features) go through offsite's folds and tables. Three truths are asked for:

- ``these``: the mean of the K fold models at new patients,
- ``refit``: the model that ships, trained on all patients,
- ``method``: the mean over training cohorts, and of the difference of the two methods (0).

``python benchmarks/cross_validation.py --out build/cross_validation`` writes ``coverage.csv``.
``--thresholds`` writes ``thresholds.csv`` in its place: the sensitivity that a cross-validation tells of
the threshold that it ships, by whose rows a fold's own threshold is chosen, against that of the shipped
model at the shipped threshold at new patients.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from offsite.evaluation.operating_points.choosing import choose_threshold
from offsite.evaluation.predictions.table import Predictions, predictions_of
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.comparison import compare_methods, paired_differences
from offsite.evaluation.tables.per_site import per_site_table
from offsite.evaluation.tables.shared_folds import corrected_variance
from offsite.preprocessing.cohort.folds import patient_folds_of
from offsite.preprocessing.cohort.table import Cohort

METRICS = {"auroc": "auroc", "accuracy": "accuracy"}
FEATURES, RIDGE = 10, 1.0
SENSITIVITY = 0.9
SETTINGS = EvaluationSettings(resamples=200)


def fitted(rows: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float]:
    """A ridge rule: slopes, and the start at which the classes are even."""
    signs = 2.0 * labels - 1
    centre = rows.mean(axis=0)
    inner = (rows - centre).T @ (rows - centre) + RIDGE * np.eye(rows.shape[1])
    slopes = np.linalg.solve(inner, (rows - centre).T @ (signs - signs.mean()))
    return slopes, float(signs.mean() - centre @ slopes)


def truth(rule: tuple[np.ndarray, float], shift: float) -> dict[str, float]:
    """AUROC and accuracy of a rule at new patients: classes at +- shift, unit variance."""
    slopes, start = rule
    length = np.linalg.norm(slopes) + 1e-12
    apart = slopes.sum() * shift / length
    right = 0.5 * (norm.cdf(apart + start / length) + norm.cdf(apart - start / length))
    return {"auroc": float(norm.cdf(np.sqrt(2) * apart)), "accuracy": float(right)}


def experiment(
    generator: np.random.Generator, patients: int, folds: int, repeats: int, shift: float
) -> tuple[dict[str, list[Predictions]], dict[str, dict[str, dict[str, float]]]]:
    """One cohort: the joined folds of each method and repeat, and what is true of its models."""
    labels = np.arange(patients) % 2
    rows = generator.normal(size=(patients, 2 * FEATURES)) + (2 * labels[:, None] - 1) * shift
    names = [f"p{number}" for number in range(patients)]
    table = pd.DataFrame({"image": names, "patient": names, "site": "a"})
    table["label"] = np.array(["c0", "c1"])[labels]
    cohort = Cohort(table=table, classes=("c0", "c1"), path=Path("cohort.csv"))
    seed = int(generator.integers(2**31))
    joined: dict[str, list[Predictions]] = {}
    true: dict[str, dict[str, dict[str, float]]] = {}
    for method, columns in {"one": slice(0, FEATURES), "two": slice(FEATURES, None)}.items():
        own, rules, joined[method] = rows[:, columns], [], []
        for repeat in range(repeats):
            of_patient = patient_folds_of(cohort, folds, [seed, repeat])
            fold = np.array([of_patient[name] for name in names])
            score = np.zeros(patients)
            for number in range(1, folds + 1):
                rule = fitted(own[fold != number], labels[fold != number])
                score[fold == number] = own[fold == number] @ rule[0] + rule[1]
                rules.append(truth(rule, shift))
            share = 1 / (1 + np.exp(-2 * score))
            told = table.assign(split="test", site_role="training", fold=fold)
            joined[method].append(predictions_of(told.assign(prob_c0=1 - share, prob_c1=share)))
        true[method] = {
            "these": pd.DataFrame(rules).mean().to_dict(),
            "refit": truth(fitted(own, labels), shift),
        }
    return joined, true


def run(patients: int, folds: int, repeats: int, shift: float, cohorts: int) -> pd.DataFrame:
    """A row for each cohort, metric, interval and truth."""
    found = []
    trials = [
        experiment(
            np.random.default_rng([patients, folds, repeats, n]), patients, folds, repeats, shift
        )
        for n in range(cohorts)
    ]
    mean = pd.DataFrame([true["one"]["these"] for _, true in trials]).mean()
    for joined, true in trials:
        report = per_site_table(Sites.of(joined["one"][0], SETTINGS))
        plain = compare_methods(joined, "one", SETTINGS, 1.0)
        wide = compare_methods(joined, "one", SETTINGS, corrected_variance(folds, repeats))
        gate = paired_differences(joined["one"][0], joined["two"][0], SETTINGS, METRICS.values())
        for metric, name in METRICS.items():
            own = report[(report["metric"] == name) & (report["site"] == "a")].iloc[0]
            compared = {
                key: table[(table["metric"] == name) & (table["site"] == "a")].set_index("method")
                for key, table in {"plain": plain, "corrected": wide}.items()
            }
            intervals = {"report": own}
            intervals |= {f"compare, {key}": each.loc["one"] for key, each in compared.items()}
            targets = {
                **{key: each[metric] for key, each in true["one"].items()},
                "method": mean[metric],
            }
            for interval, row in intervals.items():
                for target, value in targets.items():
                    found.append(
                        (
                            metric,
                            interval,
                            target,
                            value - row["value"],
                            row["low"] <= value <= row["high"],
                            row["high"] - row["low"],
                        )
                    )
            judged = gate[(gate["metric"] == name) & (gate["site"] == "a")].iloc[0]
            told = {
                key: (row["difference"], row["difference_low"], row["difference_high"])
                for key, row in ((key, each.loc["two"]) for key, each in compared.items())
            }
            told["gate"] = judged["difference"], judged["low"], judged["high"]
            for key, (difference, low, high) in told.items():
                found.append(
                    (
                        metric,
                        f"difference, {key}",
                        "method",
                        -difference,
                        low <= 0 <= high,
                        high - low,
                    )
                )
    table = pd.DataFrame(found, columns=["metric", "interval", "truth", "off", "covered", "width"])
    shown = table.groupby(["metric", "interval", "truth"]).agg(
        covered=("covered", "mean"), off=("off", "mean"), width=("width", "mean")
    )
    facts = {"patients": patients, "folds": folds, "repeats": repeats, "cohorts": cohorts}
    return shown.reset_index().assign(**facts)


def called(
    rows: np.ndarray, labels: np.ndarray, fold: np.ndarray, folds: int, rng: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """Sensitivity and specificity as three ways of choosing each fold's threshold tell them."""
    score, own = np.zeros(len(rows)), np.zeros(len(rows))
    nested = np.zeros(len(rows))
    for number in range(1, folds + 1):
        rest = fold != number
        slopes, start = fitted(rows[rest], labels[rest])
        score[~rest] = rows[~rest] @ slopes + start
        # A fold that keeps patients back to choose its threshold on, as it keeps some for its epoch.
        kept = rest & (rng.random(len(rows)) < 0.2)
        slopes, start = fitted(rows[rest & ~kept], labels[rest & ~kept])
        nested[~rest] = (
            rows[~rest] @ slopes + start - chosen(rows[kept] @ slopes + start, labels[kept])
        )
    for number in range(1, folds + 1):
        others = fold != number
        own[~others] = score[~others] - chosen(score[others], labels[others])
    ways = {"by all folds": score - chosen(score, labels), "by the other folds": own}
    ways["by patients kept back in the fold"] = nested
    ill = labels == 1
    return {
        name: (float((v[ill] >= 0).mean()), float((v[~ill] < 0).mean())) for name, v in ways.items()
    }


def chosen(score: np.ndarray, labels: np.ndarray) -> float:
    """The threshold that ships, of these rows; without an ill one everybody is called."""
    found = choose_threshold(score, labels == 1, np.arange(len(score)), SENSITIVITY)
    return -np.inf if found is None else found


def thresholds(patients: int, folds: int, shift: float, cohorts: int) -> pd.DataFrame:
    """A row for each way: what it tells, how far from the truth on average, and how far in one cohort."""
    found = []
    for number in range(cohorts):
        rng = np.random.default_rng([patients, folds, number, 7])
        labels = (np.arange(patients) % 3 == 0).astype(int)
        rows = rng.normal(size=(patients, FEATURES)) + (2 * labels[:, None] - 1) * shift
        fold = np.zeros(patients, dtype=int)
        for label in (0, 1):
            of_label = np.flatnonzero(labels == label)
            fold[of_label] = rng.permutation(np.arange(len(of_label)) % folds) + 1
        score = np.zeros(patients)
        for number_of_fold in range(1, folds + 1):
            rest = fold != number_of_fold
            slopes, start = fitted(rows[rest], labels[rest])
            score[~rest] = rows[~rest] @ slopes + start
        slopes, start = fitted(rows, labels)
        length = np.linalg.norm(slopes)
        apart, cut = slopes.sum() * shift / length, (chosen(score, labels) - start) / length
        true = norm.cdf(apart - cut), norm.cdf(apart + cut)
        for way, told in called(rows, labels, fold, folds, rng).items():
            for name, value, truth_ in zip(("sensitivity", "specificity"), told, true, strict=True):
                found.append((name, way, value, truth_))
    table = pd.DataFrame(found, columns=["metric", "threshold", "told", "truth"])
    table["off"] = table["told"] - table["truth"]
    shown = table.groupby(["metric", "threshold"], sort=False).agg(
        told=("told", "mean"), truth=("truth", "mean"), off=("off", "mean"),
        typical=("off", lambda values: float(np.sqrt((values**2).mean()))),
    )  # fmt: skip
    return shown.reset_index().assign(patients=patients, folds=folds, cohorts=cohorts)


def main() -> None:
    """Simulate the cohorts and print the table of coverage, or of thresholds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/cross_validation"))
    parser.add_argument("--cohorts", type=int, default=400)
    parser.add_argument("--patients", type=int, nargs="+", default=[60, 150])
    parser.add_argument("--repeats", type=int, nargs="+", default=[1, 5])
    parser.add_argument(
        "--thresholds", action="store_true", help="Thresholds in place of intervals."
    )
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.thresholds:
        parts = [thresholds(patients, 5, 0.35, asked.cohorts) for patients in asked.patients]
    else:
        parts = [
            run(patients, 5, repeats, 0.2, asked.cohorts)
            for patients in asked.patients
            for repeats in asked.repeats
        ]
    whole = pd.concat(parts, ignore_index=True)
    name = "thresholds.csv" if asked.thresholds else "coverage.csv"
    whole.to_csv(asked.out / name, index=False, lineterminator="\n")
    print(whole.round(3).to_string())


if __name__ == "__main__":
    main()
