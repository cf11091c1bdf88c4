"""Which ingredient helps under imbalance: bags of real handwritten digits, eleven methods.

A bag holds 20 to 40 digits. Class 0 has none of the digits 3 and 8; class 1 has four to eight 3s,
class 2 four to eight 8s. No image is in two of training, validation and test.
The shifted site scans worse: the digits are blurred, dimmed, moved by a quarter of a pixel and
noisier. Classes 1 and 2 are thinned in training alone. Contrast has temperature 0.1, in the row that
says so 1. Learning rate, epochs and weight decay (the same for all methods) and temperature were
settled on seeds of their own, the rate and the temperature shown last. "Calibrated": a slope and an
offset for each class are fitted on 60 labelled bags of the shifted site, made of validation digits.
Five seeds; fifteen at ratio 20, where seeds differ more than methods.
"""

from typing import Any

import numpy as np
import pandas as pd
from evidence import arguments, markdown, mean_and_spread, paired, run_cells, scores_of, write_page
from mil_runs import BagSet, Recipe, predict, probabilities, thinned, train
from scipy.ndimage import gaussian_filter, shift
from sklearn.datasets import load_digits

from evaluation.calibration import fit_calibrator
from pathology.settings import ScMilSettings

RATIOS = (20, 10, 5, 1)
MORE_SEEDS = 3  # times as many at the first ratio
RATE, TEMPERATURE = 3e-3, 0.1
METHODS = (
    "cross_entropy", "weighted", "balanced_sampling", "focal", "ldam_drw", "balanced_softmax",
    "two_stage", "class_aware_batches", "sc_mil_random_batches", "sc_mil",
)  # fmt: skip
WARM = "sc_mil, temperature 1"
SETTLING = {"cross_entropy": (1.0,), "class_aware_batches": (1.0,), "ldam_drw": (1.0,),
            "sc_mil": (1.0, 0.1)}  # fmt: skip
SETTLING_SEEDS = range(100, 108)
METRICS = {
    "auroc": "AUROC, same site", "shifted_auroc": "AUROC, shifted site",
    "macro_f1": "macro-F1, same site", "shifted_macro_f1": "macro-F1, shifted site",
    "shifted_calibrated_macro_f1": "macro-F1, shifted site, calibrated",
}  # fmt: skip
KEYS = (3, 8)
BAGS = {"train": 120, "val": 20, "test": 60}  # of each class, before thinning
VERSION = 3


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


def run(cell: dict[str, Any]) -> dict[str, float | None]:
    """Train one method on the digit bags of a seed and score it at both sites."""
    seed = cell["seed"]
    training = make_bags("train", seed)
    training = training.take(thinned(training.labels, cell["ratio"], seed))
    given = {"contrast": {"temperature": cell["temperature"]}}
    recipe = Recipe(
        model=ScMilSettings.model_validate(given), epochs=60, learning_rate=cell["rate"],
        weight_decay=0.05,
    )  # fmt: skip
    model = train(cell["method"], recipe, training, make_bags("val", seed), 3, seed)
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


def cell_of(method: str, ratio: int, seed: int, rate: float, temperature: float) -> dict[str, Any]:
    """Return everything that a result hangs on, as one cell."""
    return {
        "method": method, "ratio": ratio, "seed": seed, "rate": rate, "temperature": temperature,
        "version": VERSION, "model": ScMilSettings.model_validate({}).digest()[:12],
    }  # fmt: skip


def comparison(table: pd.DataFrame) -> list[str]:
    """Return the tables of the methods, and the paired differences."""
    warm = (table["method"] == "sc_mil") & (table["temperature"] == 1)
    table = table.assign(method=table["method"].mask(warm, WARM))
    parts = []
    for metric, name in METRICS.items():
        wide = table.groupby(["method", "ratio"])[metric].apply(mean_and_spread).unstack()
        order = [m for m in (*METHODS, WARM) if m in wide.index]
        wide = wide.reindex(order).fillna("–").rename_axis("method")
        parts += [f"## {name}: mean ± sd over seeds, by imbalance ratio", markdown(wide)]
    rivals = ("cross_entropy", "class_aware_batches", "sc_mil_random_batches", "ldam_drw", WARM)
    rows = {
        f"{name}, ratio {ratio}": {
            f"sc_mil − {other}": paired(
                table[table["ratio"] == ratio], metric, "sc_mil", other, ["seed"]
            )
            for other in rivals
        }
        for metric, name in METRICS.items() for ratio in RATIOS[:2]
    }  # fmt: skip
    title = "## Paired differences (95 % t interval over seeds)"
    return [*parts, title, markdown(pd.DataFrame(rows).T)]


def settling(table: pd.DataFrame) -> list[str]:
    """Return the table of learning rates and temperatures."""
    rows = {}
    for (method, temperature), part in table.groupby(["method", "temperature"], sort=False):
        name = f"{method}, temperature {temperature:g}" if method == "sc_mil" else method
        rows[name] = {
            f"{METRICS[metric]}, rate {rate:g}": mean_and_spread(of_rate[metric])
            for metric in ("auroc", "shifted_auroc")
            for rate, of_rate in part.groupby("rate")
        }
    seeds = f"seeds {SETTLING_SEEDS[0]} to {SETTLING_SEEDS[-1]}"
    return [f"## Settling, ratio 20, {seeds}", markdown(pd.DataFrame(rows).T)]


def main() -> None:
    """Run the cells that are missing and write the page."""
    given = arguments("digit_bags")
    cells = [
        cell_of(method, ratio, seed, RATE, temperature)
        for ratio in RATIOS
        for seed in range(given.seeds * (MORE_SEEDS if ratio == RATIOS[0] else 1))
        for method, temperature in (*((m, TEMPERATURE) for m in METHODS), ("sc_mil", 1.0))
    ]
    trials = [
        cell_of(method, RATIOS[0], seed, rate, temperature)
        for method, temperatures in SETTLING.items()
        for temperature in temperatures
        for rate in (1e-3, RATE)
        for seed in SETTLING_SEEDS
    ]
    table = run_cells(given.out, cells, run, given.minutes)
    tried = run_cells(given.out, trials, run, given.minutes)
    minutes = (table["cpu_seconds"].sum() + tried["cpu_seconds"].sum()) / 60
    parts = [
        (__doc__ or "").strip().split("\n\n", 1)[1].replace("\n", " "),
        *comparison(table), *settling(tried),
        f"CPU: {minutes:.0f} minutes on one core.",
    ]  # fmt: skip
    missing = len(cells) + len(trials) - len(table) - len(tried)
    if missing:
        parts.append(f"{missing} cells are still to be run, those of low ratios last.")
    command = "python benchmarks/evidence_digit_bags.py"
    write_page(given.table, "Evidence: digit bags", parts, command)


if __name__ == "__main__":
    main()
