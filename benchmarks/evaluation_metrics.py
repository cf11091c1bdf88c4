"""Bootstrap intervals per site beside a loop over scikit-learn, in one run.

    python benchmarks/evaluation_metrics.py

20,000 images of 5 sites, 1,000 draws. The loop is timed for a few draws, stated in the output,
and multiplied up; both sides resample the same counts, and the largest difference of the draws
they share is printed. Process seconds on one thread.
"""

from side_by_side import line, timed  # isort: skip (before NumPy: it asks for one thread)

from dataclasses import replace

import numpy as np
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    cohen_kappa_score,
    f1_score,
    roc_auc_score,
)

from offsite.evaluation.metrics import confusion
from offsite.evaluation.metrics.calibration_error import Bins, equal_mass_bins
from offsite.evaluation.metrics.ranking import Ranking, auroc_and_precision
from offsite.evaluation.metrics.scoring import brier_rows
from offsite.evaluation.statistics.delong import auroc_interval, placements
from offsite.evaluation.statistics.resampling import draw_counts, weighted_sums
from offsite.evaluation.statistics.site import Site

SITES, ROWS, RESAMPLES, CLASSES, BINS = 5, 4000, 1000, 5, 15
LOOP_DRAWS = 8  # at each site; all of them take minutes
IMAGES_A_PATIENT = 4


def binary_site(seed: int, per_patient: int = 1) -> tuple[Site, np.ndarray]:
    """Two classes with continuous probabilities, and whether each row is positive."""
    rng = np.random.default_rng(seed)
    positive = rng.random(ROWS) < 0.3
    p = 1 / (1 + np.exp(-(rng.normal(size=ROWS) + 1.5 * positive - 1)))
    sample = Site(
        labels=positive.astype(np.int64),
        probabilities=np.column_stack([1 - p, p]),
        units=np.arange(ROWS) // per_patient,
    )
    return sample, positive


def draws(sample: Site, seed: int) -> np.ndarray:
    """Return a sample's bootstrap counts, the same on both sides."""
    return draw_counts(sample.n_units, RESAMPLES, np.random.default_rng(100 + seed))


def ece_of_draws(bins: Bins, sums: np.ndarray) -> np.ndarray:
    """Calibration error of each draw from sums of rows, probabilities and positives per bin."""
    size, predicted, observed = np.split(sums, 3, axis=1)
    return np.abs(observed - predicted).sum(axis=1) / size.sum(axis=1)


def probability_metrics() -> None:
    """Time AUROC, average precision, Brier score and calibration error."""
    sites = [binary_site(seed) for seed in range(SITES)]
    bins = [equal_mass_bins(s.probabilities[:, 1], positive, BINS) for s, positive in sites]

    def ours() -> np.ndarray:
        found = []
        for seed, (sample, positive) in enumerate(sites):
            counts, p = draws(sample, seed), sample.probabilities[:, 1]
            ranking = Ranking.of(p, positive, sample.units)
            membership = np.eye(len(bins[seed].sizes))[bins[seed].of_row]
            brier = brier_rows(sample.probabilities, sample.labels)
            columns = np.hstack(
                [
                    membership,
                    membership * p[:, None],
                    membership * positive[:, None],
                    brier[:, None],
                ]
            )
            sums = replace(sample, draws=(counts,)).totals(columns)
            both = auroc_and_precision(ranking, counts)
            found.append([*both, sums[:, -1] / ROWS, ece_of_draws(bins[seed], sums[:, :-1])])
        return np.array(found)

    def loop() -> np.ndarray:
        found = []
        for seed, (sample, positive) in enumerate(sites):
            values = []
            for draw in draws(sample, seed)[:LOOP_DRAWS]:
                rows = np.repeat(np.arange(ROWS), draw)
                y, p, place = positive[rows], sample.probabilities[rows, 1], bins[seed].of_row[rows]
                gaps = [abs(y[place == b].sum() - p[place == b].sum()) for b in range(BINS)]
                values.append(
                    [
                        roc_auc_score(y, p),
                        average_precision_score(y, p),
                        brier_score_loss(y, p),
                        sum(gaps) / ROWS,
                    ]
                )
            found.append(np.transpose(values))
        return np.array(found)

    drawing = sum(timed(lambda s=site: draws(s[0], 0))[0] for site in sites)
    slow, theirs = timed(loop)
    fast, mine = timed(ours)
    slow = (slow - drawing) * RESAMPLES / LOOP_DRAWS
    difference = float(np.abs(theirs - mine[..., :LOOP_DRAWS]).max())
    line("AUROC + AP + Brier + ECE, draws included", slow, fast, f"differ by {difference:.1e}")


def call_metrics() -> None:
    """Time weighted kappa, macro-F1 and balanced accuracy, draws given and included."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, (SITES, ROWS))
    called = np.clip(labels + rng.integers(-1, 2, (SITES, ROWS)), 0, CLASSES - 1)
    every = np.ones(CLASSES, dtype=bool)
    drawing, counts = timed(
        lambda: [draw_counts(ROWS, RESAMPLES, np.random.default_rng(s)) for s in range(SITES)]
    )

    def ours() -> np.ndarray:
        found = []
        for site in range(SITES):
            cells = confusion.cell_indicators(labels[site], called[site], CLASSES)
            table = weighted_sums(counts[site], cells).reshape(-1, CLASSES, CLASSES)
            found.append(
                [
                    confusion.weighted_kappa(table),
                    confusion.macro_f1(table, every),
                    confusion.balanced_accuracy(table, every),
                ]
            )
        return np.array(found)

    def loop() -> np.ndarray:
        found = []
        for site in range(SITES):
            values = []
            for draw in counts[site][:LOOP_DRAWS]:
                rows = np.repeat(np.arange(ROWS), draw)
                y, p = labels[site][rows], called[site][rows]
                values.append(
                    [
                        cohen_kappa_score(y, p, weights="quadratic"),
                        f1_score(y, p, average="macro"),
                        balanced_accuracy_score(y, p),
                    ]
                )
            found.append(np.transpose(values))
        return np.array(found)

    slow, theirs = timed(loop)
    fast, mine = timed(ours)
    slow *= RESAMPLES / LOOP_DRAWS
    difference = float(np.abs(theirs - mine[..., :LOOP_DRAWS]).max())
    note = f"differ by {difference:.1e}"
    line("kappa + F1 + balanced accuracy, given draws", slow, fast, note)
    line("  the draws included (on our side alone)", slow, fast + drawing, note)


def clustered_auroc() -> None:
    """Time AUROC where whole patients are drawn, and by DeLong."""
    sites = [binary_site(seed, IMAGES_A_PATIENT) for seed in range(SITES)]

    def ours() -> np.ndarray:
        return np.array(
            [
                auroc_and_precision(
                    Ranking.of(sample.probabilities[:, 1], positive, sample.units),
                    draws(sample, seed),
                )[0]
                for seed, (sample, positive) in enumerate(sites)
            ]
        )

    def loop() -> np.ndarray:
        found = []
        for seed, (sample, positive) in enumerate(sites):
            p = sample.probabilities[:, 1]
            of_patient = [np.flatnonzero(sample.units == unit) for unit in range(sample.n_units)]
            values = []
            for draw in draws(sample, seed)[:LOOP_DRAWS]:
                patients = np.repeat(np.arange(sample.n_units), draw)
                rows = np.concatenate([of_patient[patient] for patient in patients])
                values.append(roc_auc_score(positive[rows], p[rows]))
            found.append(values)
        return np.array(found)

    drawing = sum(timed(lambda s=site: draws(s[0], 0))[0] for site in sites)
    grouping = sum(
        timed(lambda s=site: [np.flatnonzero(s[0].units == u) for u in range(s[0].n_units)])[0]
        for site in sites
    )
    slow, theirs = timed(loop)
    fast, mine = timed(ours)
    slow = (slow - drawing - grouping) * RESAMPLES / LOOP_DRAWS
    difference = float(np.abs(theirs - mine[:, :LOOP_DRAWS]).max())
    line("AUROC clustered by patient, draws included", slow, fast, f"differ by {difference:.1e}")
    interval, _ = timed(
        lambda: [
            auroc_interval(placements(s.probabilities[:, 1], positive, s.units))
            for s, positive in sites
        ]
    )
    print(
        f"{'AUROC by DeLong with clusters':<44} {'':>8}   {interval:>8.3f} s {slow / interval:>7.0f}x"
    )


def main() -> None:
    """Time everything and print a line each."""
    rows = SITES * ROWS
    print(f"{rows} images, {SITES} sites, {RESAMPLES} draws; loop extrapolated from {LOOP_DRAWS}")
    print(f"{'':<44} {'loop':>10} {'offsite':>10}")
    probability_metrics()
    call_metrics()
    clustered_auroc()


if __name__ == "__main__":
    main()
