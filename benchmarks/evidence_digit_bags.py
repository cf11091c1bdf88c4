"""Which method helps under imbalance: bags of real handwritten digits, the default and its rivals.

    python benchmarks/evidence_digit_bags.py [--stage own]

A bag holds 20 to 40 digits. Class 0 has none of the digits 3 and 8; class 1 has four to eight 3s,
class 2 four to eight 8s. No image is in two of training, validation and test. Of the first class there are 120
training bags, of the others 1 / ratio of that. The shifted site scans worse: the digits are blurred, dimmed, moved
by a quarter of a pixel and noisier. The settings are the defaults with one rate for all layers (40 epochs, batches of 16 bags, no site jitter but
in the rows that say so); the 64 pixels are read as they are. Each method has the rate that was settled for it on
bags of [colon tiles](real_tiles.md): nothing is chosen here. "Calibrated": a slope and an offset for each class are
fitted on 60 labelled bags of the shifted site, made of validation digits. Since 5e-4 is slow for pixels that are read
as they are, each method is then given the best of four rates on digits of settling seeds (same site, ratio 10), and
all are run again on test seeds of their own. An earlier recipe on these bags, each
method at one rate for all, is told in [trials](sc_mil_trials.md).
"""

from pathlib import Path

import numpy as np
import pandas as pd
from evidence import (
    Cell,
    arguments,
    markdown,
    mean_and_spread,
    paired,
    run_cells,
    scores_of,
    write_page,
)
from mil_runs import COLON_RATES, BagSet, Recipe, predict, probabilities, thinned, train
from scipy.ndimage import gaussian_filter, shift
from sklearn.datasets import load_digits

from offsite.evaluation.calibration.calibrators import fit_calibrator
from offsite.pathology.settings import ScMilSettings

FIRST, CONTROL = "sc_mil", "logit_adjustment_views"
"""The default, and itself without contrast."""
RIVALS = ("cross_entropy", "balanced_sampling", "ldam_drw", "logit_adjustment")
METHODS = (FIRST, CONTROL, *RIVALS)
RATIOS, SEEDS = (10, 20), range(500, 510)
FURTHER_RATIOS, FURTHER_SEEDS = (5, 1), SEEDS[:3]
OWN_RATES = (5e-4, 1e-3, 2e-3, 4e-3)
SETTLING_SEEDS, OWN_SEEDS = range(100, 103), range(510, 520)
JITTERED, JITTER = (FIRST, CONTROL, "balanced_sampling", "logit_adjustment"), 0.8
JITTERED_SEEDS = SEEDS[:5]
"""At ratio 20 these come with a site jitter too, at the rate they have without."""
METRICS = {
    "auroc": "AUROC, same site", "shifted_auroc": "AUROC, shifted site",
    "macro_f1": "macro-F1, same site", "shifted_macro_f1": "macro-F1, shifted site",
    "shifted_calibrated_macro_f1": "macro-F1, shifted site, calibrated",
}  # fmt: skip
KEYS = (3, 8)
BAGS = {"train": 120, "val": 20, "test": 60}  # of each class, before thinning
VERSION = 5


def make_bags(split: str, seed: int, shifted: bool = False) -> BagSet:
    """Make the bags of a split; the digits of the splits do not overlap."""
    images, digits = load_digits(return_X_y=True)
    order = np.random.default_rng([seed, 0]).permutation(len(digits))
    part = {"train": order[:900], "val": order[900:1200], "test": order[1200:]}[split]
    rng = np.random.default_rng([seed, list(BAGS).index(split), int(shifted)])
    others = part[~np.isin(digits[part], KEYS)]
    bags, labels, truth = [], [], []
    for label in range(3):
        for _ in range(BAGS[split]):
            positive = int(rng.integers(4, 9)) if label else 0
            size = int(rng.integers(20, 41))
            chosen = rng.choice(others, size - positive)
            if label:
                keys = part[digits[part] == KEYS[label - 1]]
                chosen = np.concatenate([chosen, rng.choice(keys, positive)])
            rows = images[chosen]
            bags.append(_other_site(rows, rng) if shifted else rows)
            labels.append(label)
            truth.append(np.arange(size) >= size - positive)
    return BagSet([bag.astype(np.float32) for bag in bags], np.array(labels), truth)


def _other_site(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    pictures = rows.reshape(-1, 8, 8)
    blurred = gaussian_filter(pictures, (0, 0.35, 0.35))
    moved = shift(blurred, (0, 0.25, 0.0), order=1)
    noisy = 0.85 * moved + rng.normal(0, 1.0, moved.shape)
    return np.clip(noisy, 0, 16).reshape(rows.shape)


def run(cell: Cell) -> dict[str, float | None]:
    """Train one method on the digit bags of a seed and score it at both sites."""
    seed = cell["seed"]
    training, held = (
        bags.take(thinned(bags.labels, cell["ratio"], seed))
        for bags in (make_bags("train", seed), make_bags("val", seed))
    )
    recipe = Recipe(
        model=ScMilSettings(site_jitter=cell["jitter"], first_layer_power=0.0),
        learning_rate=cell["rate"], weight_decay=1e-4, instances=512,
    )  # fmt: skip
    model = train(cell["method"], recipe, training, held, 3, seed)
    scores: dict[str, float | None] = {}
    for prefix, shifted in (("", False), ("shifted_", True)):
        test = make_bags("test", seed, shifted)
        found = predict(model, test)
        scores |= scores_of(test.labels, probabilities(found), prefix)
    site = make_bags("val", seed, shifted=True)
    logits = np.stack([bag.logits for bag in predict(model, site)])
    calibrator = fit_calibrator("platt", logits, site.labels)
    again = calibrator.apply(np.stack([bag.logits for bag in found]))
    return scores | scores_of(test.labels, again, "shifted_calibrated_")


def cell_of(
    method: str, ratio: int, seed: int, jitter: float = 0.0, rate: float | None = None
) -> Cell:
    """Return everything that a result depends on, as one cell."""
    return {
        "method": method, "ratio": ratio, "seed": seed, "rate": rate or COLON_RATES[method], "jitter": jitter,
        "version": VERSION,
    }  # fmt: skip


def settled(tried: pd.DataFrame) -> pd.DataFrame:
    """Return the score of each method (a row) at each rate: AUROC and macro-F1 at the training site."""
    scored = tried.assign(score=(tried["auroc"] + tried["macro_f1"]) / 2)
    return scored.groupby(["method", "rate"])["score"].mean().unstack().reindex(list(METHODS))


def at_own_rates(out: Path, minutes: float, workers: int) -> list[str]:
    """Run and tell the methods at the rates that are settled for them on digits."""
    trials = [
        cell_of(name, RATIOS[0], seed, rate=rate)
        for seed in SETTLING_SEEDS for name in METHODS for rate in OWN_RATES
    ]  # fmt: skip
    tried = run_cells(out, trials, run, minutes, workers)
    if len(tried) < len(trials):
        return [f"{len(tried)} of {len(trials)} cells of settling have been run."]
    rates = {str(name): float(rate) for name, rate in settled(tried).idxmax(axis=1).items()}
    cells = [
        cell_of(name, ratio, seed, rate=rates[name])
        for seed in OWN_SEEDS for ratio in RATIOS for name in METHODS
    ]  # fmt: skip
    table = run_cells(out, cells, run, minutes, workers)
    shown = settled(tried).map("{:.3f}".format)
    shown.columns = [f"{rate:g}" for rate in shown.columns]
    return [
        "# At rates that are settled on digits",
        f"Seeds {OWN_SEEDS[0]} to {OWN_SEEDS[-1]}; {len(table)} of {len(cells)} cells have been run.",
        *comparison(table),
        f"## Settling: rates, ratio {RATIOS[0]}, seeds {SETTLING_SEEDS[0]} to {SETTLING_SEEDS[-1]}, mean of"
        " AUROC and macro-F1 at the same site",
        markdown(shown.rename_axis("method")),
    ]


def comparison(table: pd.DataFrame) -> list[str]:
    """Return a table for each metric and ratio: the methods, and what SC-MIL is ahead of each by.

    Seeds count that all methods have been run on.
    """
    if table.empty:
        return []
    plain = table[table["method"].isin(METHODS)]
    counts = plain.groupby(["ratio", "seed"])["method"].transform("nunique")
    table = pd.concat([plain[counts == len(METHODS)], table[~table["method"].isin(METHODS)]])
    parts = []
    for metric, title in METRICS.items():
        for ratio in (*RATIOS, *FURTHER_RATIOS):
            part = table[table["ratio"] == ratio]
            if part.empty:
                continue
            best = part.groupby("method")[metric].mean().reindex(RIVALS).idxmax()
            names = [
                name
                for name in (*METHODS, *map(_jittered, JITTERED))
                if name in set(part["method"])
            ]
            rows = {
                name + (" (the best rival)" if name == best else ""): {
                    "mean ± sd": mean_and_spread(part.loc[part["method"] == name, metric]),
                    "sc_mil minus it": "" if name == FIRST else paired(part, metric, FIRST, name, ["seed"]),
                    "seeds": (part["method"] == name).sum(),
                }
                for name in names
            }  # fmt: skip
            parts += [
                f"## {title}, ratio {ratio}",
                markdown(pd.DataFrame(rows).T.rename_axis("method")),
            ]
    return parts


def _jittered(name: str) -> str:
    return f"{name}, jitter {JITTER:g}"


def main() -> None:
    """Run the cells that are missing and write the page."""
    given = arguments("digit_bags", ("--stage", {"choices": ("colon", "own"), "default": "colon"}))
    cells = [
        *(cell_of(name, ratio, seed) for seed in SEEDS for ratio in RATIOS for name in METHODS),
        *(cell_of(name, RATIOS[-1], seed, JITTER) for seed in JITTERED_SEEDS for name in JITTERED),
        *(cell_of(name, ratio, seed)
          for seed in FURTHER_SEEDS for ratio in FURTHER_RATIOS for name in METHODS),
    ]  # fmt: skip
    asked = given.minutes if given.stage == "colon" else 0
    table = run_cells(given.out, cells, run, asked, given.workers)
    with_jitter = table["jitter"] > 0
    table.loc[with_jitter, "method"] = table.loc[with_jitter, "method"].map(_jittered)
    parts = [(__doc__ or "").strip().split("\n\n", 2)[2].replace("\n", " "), *comparison(table)]
    parts.append(
        "Differences are paired over seeds, with 95 % t intervals; the best rival is the one of the highest"
        f" mean in the table. {len(table)} of {len(cells)} cells have been run, seeds {SEEDS[0]} to"
        f" {SEEDS[-1]}, at ratios {FURTHER_RATIOS[0]} and {FURTHER_RATIOS[1]} the first"
        f" {len(FURTHER_SEEDS)}, with jitter the first {len(JITTERED_SEEDS)}."
        f" CPU: {table['cpu_seconds'].sum() / 60:.0f} minutes on one core."
    )
    parts += at_own_rates(given.out, given.minutes if given.stage == "own" else 0, given.workers)
    command = "python benchmarks/evidence_digit_bags.py [--stage own]"
    write_page(given.table, "Evidence: digit bags", parts, command)


if __name__ == "__main__":
    main()
