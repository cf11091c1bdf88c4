"""Do intervals hold what they promise? Simulated hospitals whose truth is known."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import expit, logit
from scipy.stats import norm

from offsite.evaluation.metrics.calibration_error import (
    equal_mass_bins,
    expected_error,
    simulated_shares,
)
from offsite.evaluation.metrics.recalibration import slope_and_intercept
from offsite.evaluation.metrics.scoring import brier_rows
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.binomial import clustered_interval, exact_interval
from offsite.evaluation.statistics.delong import auroc_interval, placements
from offsite.evaluation.statistics.intervals import percentile_interval
from offsite.evaluation.statistics.random_effects import random_effects
from offsite.evaluation.statistics.resampling import draw_counts, weighted_sums
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.comparison import paired_differences
from offsite.evaluation.tables.meta_analysis import meta_table
from offsite.evaluation.tables.per_site import per_site_table

pytestmark = pytest.mark.slow

# 95 % ± 2 % over 1,000 trials lies 2.9 standard errors away from an exact interval.
LOW, HIGH = 0.93, 0.97
TRIALS = 1000


def covered(interval: tuple[float, float] | None, truth: float) -> bool:
    return interval is not None and interval[0] <= truth <= interval[1]


class Hospital:
    """Patients with several images each: their effect moves all their scores.

    A positive patient's images score N(shift + patient, 1), a negative one's N(patient, 1) with
    patient ~ N(0, spread^2); the area under the curve over images of different patients is
    Phi(shift / sqrt(2 (1 + spread^2))).
    """

    def __init__(self, seed: int, patients: int, images: int, shift: float, spread: float) -> None:
        rng = np.random.default_rng(seed)
        self.rng = rng
        self.units = np.repeat(np.arange(patients), images)
        ill = rng.random(patients) < 0.4
        self.positive = ill[self.units]
        effects = spread * rng.normal(size=patients)
        self.scores = shift * self.positive + effects[self.units] + rng.normal(size=len(self.units))
        self.patients = patients

    @staticmethod
    def area(shift: float, spread: float) -> float:
        return float(norm.cdf(shift / np.sqrt(2 * (1 + spread**2))))


@pytest.mark.parametrize(("patients", "images"), [(40, 3), (150, 8)])
def test_clustered_auroc_intervals_cover_where_intervals_by_image_do_not(
    patients: int, images: int
) -> None:
    shift, spread = 1.5, 1.0
    truth = Hospital.area(shift, spread)
    hits = np.zeros(2)
    for seed in range(TRIALS):
        site = Hospital(seed, patients, images, shift, spread)
        by_patient = auroc_interval(placements(site.scores, site.positive, site.units))
        by_image = auroc_interval(placements(site.scores, site.positive))
        hits += covered(by_patient, truth), covered(by_image, truth)
    assert LOW <= hits[0] / TRIALS <= HIGH
    assert hits[1] / TRIALS < 0.85


def test_clustered_sensitivity_intervals_cover_where_intervals_by_image_do_not() -> None:
    shift, spread, threshold = 1.5, 1.0, 0.8
    truth = float(norm.cdf((shift - threshold) / np.sqrt(1 + spread**2)))
    hits = np.zeros(2)
    for seed in range(TRIALS):
        site = Hospital(seed, 100, 6, shift, spread)
        caught = (site.scores >= threshold)[site.positive]
        by_patient = clustered_interval(caught, site.units[site.positive])
        by_image = exact_interval(caught.sum(), len(caught))
        hits += covered(by_patient, truth), covered(by_image, truth)
    assert LOW <= hits[0] / TRIALS <= HIGH
    assert hits[1] / TRIALS < 0.85


@pytest.mark.parametrize(("patients", "images"), [(20, 3), (120, 6)])
def test_expanded_percentile_intervals_of_the_patient_bootstrap_cover(
    patients: int, images: int
) -> None:
    """The Brier score of a logistic model that knows nothing of the patient."""
    shift, spread = 1.0, 1.0

    def expected(score: float, truth: int) -> float:
        density = norm.pdf(score, shift * truth, np.sqrt(1 + spread**2))
        return float(density * (expit(score) - truth) ** 2)

    truth = sum(
        weight * quad(expected, -10, 12, args=(side,))[0] for side, weight in ((0, 0.6), (1, 0.4))
    )
    hits = np.zeros(2)
    for seed in range(TRIALS):
        site = Hospital(seed, patients, images, shift, spread)
        p = expit(site.scores)
        rows = brier_rows(np.column_stack([1 - p, p]), site.positive.astype(int))
        columns = np.column_stack([rows, np.ones(len(rows))])
        for place, units in enumerate((site.units, np.arange(len(rows)))):
            number = int(units.max()) + 1
            sums = np.zeros((number, 2))
            np.add.at(sums, units, columns)
            totals = weighted_sums(draw_counts(number, 400, site.rng), sums)
            hits[place] += covered(percentile_interval(totals[:, 0] / totals[:, 1], number), truth)
    assert LOW - 0.01 * (patients == 20) <= hits[0] / TRIALS <= HIGH
    assert hits[1] / TRIALS < 0.88


def test_calibration_slope_intervals_cover_with_clusters() -> None:
    hits = 0
    for seed in range(TRIALS):
        rng = np.random.default_rng(seed)
        units = np.repeat(np.arange(150), 3)
        margin = rng.normal(size=450) + np.repeat(rng.normal(size=150), 3)
        y = rng.random(450) < expit(margin)
        hits += covered(slope_and_intercept(expit(2 * margin), y, units)["slope"][1:3], 0.5)
    assert LOW <= hits / TRIALS <= HIGH


def test_the_consistency_band_holds_calibrated_models() -> None:
    inside = 0
    for seed in range(TRIALS):
        rng = np.random.default_rng(seed)
        p = rng.beta(1, 3, 120)
        bins = equal_mass_bins(p, rng.random(120) < p, 15)
        null = expected_error(bins, simulated_shares(bins, p, 400, rng))
        inside += expected_error(bins, bins.observed) <= np.quantile(null, 0.95)
    assert LOW <= inside / TRIALS <= HIGH


@pytest.mark.parametrize(("k", "tau"), [(5, 0.5), (8, 0.2), (10, 0.3), (20, 0.6)])
def test_prediction_intervals_cover_the_next_of_simulated_hospitals(k: int, tau: float) -> None:
    """Effects on the logit scale: hospitals of different size around 2, the next one drawn anew."""
    hits = np.zeros(2)
    trials = 1500
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        errors = rng.uniform(0.1, 0.4, k)
        effects = 2 + tau * rng.normal(size=k) + errors * rng.normal(size=k)
        found = random_effects(effects, errors)
        new = 2 + tau * rng.normal()
        hits += covered(found.prediction_interval(), new), covered(found.mean_interval(), new)
    assert LOW <= hits[0] / trials <= HIGH
    # The interval of the mean is not what to expect at a hospital.
    assert hits[1] / trials < 0.8


def hospitals(seed: int, sizes: list[int], tau: float) -> tuple[Predictions, float]:
    """Two-class predictions at hospitals whose separation differs, and a new hospital's AUROC."""
    rng = np.random.default_rng(seed)
    tables, scores, labels = [], [], []
    for place, patients in enumerate(sizes):
        area = expit(1.7 + tau * rng.normal())
        shift = np.sqrt(2) * norm.ppf(area)
        truth = (rng.random(2 * patients) < 0.4).astype(int)
        scores.append(rng.normal(size=len(truth)) + shift * truth)
        labels.append(truth)
        tables.append(
            pd.DataFrame(
                {
                    "image": [f"{place}-{row}" for row in range(len(truth))],
                    "patient": [f"p{row // 2}" for row in range(len(truth))],
                    "site": f"h{place}",
                    "site_role": "held_out",
                    "split": "test",
                    "label": np.where(truth, "ill", "well"),
                }
            )
        )
    p = expit(np.concatenate(scores))
    made = Predictions(
        table=pd.concat(tables, ignore_index=True),
        classes=("well", "ill"),
        probabilities=np.column_stack([1 - p, p]),
        labels=np.concatenate(labels).astype(np.int64),
    )
    return made, float(expit(1.7 + tau * rng.normal()))


def test_from_predictions_to_the_next_hospital() -> None:
    """The whole way: predictions, per-site table, meta table, the AUROC of a new hospital."""
    settings = EvaluationSettings(resamples=100)
    sizes, hits, trials = [40, 60, 80, 100, 120, 150, 60, 80], 0, 100
    for seed in range(trials):
        made, new = hospitals(seed, sizes, tau=0.6)
        table = per_site_table(Sites.of(made, settings))
        areas = table[table["metric"].eq("auroc")]
        row = meta_table(areas, settings).set_index("site_role").loc["held_out"]
        hits += row["prediction_low"] <= new <= row["prediction_high"]
    # A hundred trials: two standard errors are four hundredths.
    assert 0.9 <= hits / trials <= 0.99


def test_exchanging_models_rejects_five_in_a_hundred_under_the_null() -> None:
    settings, trials = EvaluationSettings(resamples=100), 200
    rejected = 0
    for seed in range(trials):
        made, _ = hospitals(seed, [40], tau=0.0)
        rng = np.random.default_rng(seed)
        pair = []
        for _ in range(2):
            p = expit(logit(made.probabilities[:, 1]) + rng.normal(size=len(made)))
            pair.append(
                Predictions(
                    table=made.table,
                    classes=made.classes,
                    probabilities=np.column_stack([1 - p, p]),
                    labels=made.labels,
                )
            )
        found = paired_differences(*pair, settings)
        row = found[found["metric"].eq("brier") & found["site"].eq("h0")].iloc[0]
        rejected += row["p_value"] <= 0.05
    assert 0.015 <= rejected / trials <= 0.09


def test_the_shrunken_worst_and_best_hold_their_truth_where_the_measured_ones_do_not() -> None:
    _, found = benchmark("evaluation_extremes").written(400)
    for (sites, tau), shares in found.items():
        for word in ("worst", "best"):
            assert shares[f"{word} shrunken"] >= 0.9, (sites, tau)
            if tau <= 0.2 and sites >= 10:
                assert shares[f"{word} raw"] < 0.9, (sites, tau)


@pytest.mark.parametrize("images", [1, 3])
def test_a_page_with_nothing_to_find_says_nothing_in_95_of_100_cases(images: int) -> None:
    pages = 120
    before, after = benchmark("evaluation_alarms").counted(pages, images, first=1000)
    assert before["any"] > 0.5 * pages
    assert after["any"] <= 0.05 * pages + 2.5 * np.sqrt(0.05 * 0.95 * pages)


def benchmark(name: str) -> ModuleType:
    """A module of the benchmarks, which write the pages of these tables."""
    spec = spec_from_file_location(name, Path(__file__).parents[2] / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
