"""Which ingredient helps under imbalance: bags of real handwritten digits, ten methods.

A bag holds 20 to 40 digits. Class 0 has none of the digits 3 and 8; class 1 has four to eight 3s,
class 2 four to eight 8s. No image is in two of training, validation and test.
The shifted site scans worse: the digits are blurred, dimmed, moved by a quarter of a pixel and
noisier. Classes 1 and 2 are thinned in training alone. Contrast has temperature 0.1 and every method
a site jitter of 0.8, but for the rows that say otherwise. Learning rate, epochs, weight decay,
temperature and jitter were settled on seeds of their own, the last two shown below. "Calibrated": a
slope and an offset for each class are fitted on 60 labelled bags of the shifted site, made of
validation digits. Five seeds; fifteen at ratio 20, where seeds differ more than methods.
"""

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
from mil_runs import BagSet, Recipe, predict, probabilities, thinned, train
from scipy.ndimage import gaussian_filter, shift
from sklearn.datasets import load_digits

from offsite.evaluation.calibration.calibrators import fit_calibrator
from offsite.pathology.settings import ScMilSettings

RATIOS = (20, 10, 5, 1)
MORE_SEEDS = 3  # times as many at the first ratio
TEMPERATURE, JITTER = 0.1, 0.8
METHODS = (
    "cross_entropy", "weighted", "balanced_sampling", "focal", "ldam_drw", "balanced_softmax",
    "two_stage", "class_aware_batches", "sc_mil_random_batches", "sc_mil",
)  # fmt: skip
VARIANTS = {  # at the first ratio alone: method, temperature, jitter
    "sc_mil, temperature 1": ("sc_mil", 1.0, JITTER),
    "sc_mil, no jitter": ("sc_mil", TEMPERATURE, 0.0),
    "cross_entropy, no jitter": ("cross_entropy", TEMPERATURE, 0.0),
}
SETTLING = ("cross_entropy", "class_aware_batches", "ldam_drw", "sc_mil")
SETTLING_SEEDS = range(100, 108)
METRICS = {
    "auroc": "AUROC, same site", "shifted_auroc": "AUROC, shifted site",
    "macro_f1": "macro-F1, same site", "shifted_macro_f1": "macro-F1, shifted site",
    "shifted_calibrated_macro_f1": "macro-F1, shifted site, calibrated",
}  # fmt: skip
KEYS = (3, 8)
BAGS = {"train": 120, "val": 20, "test": 60}  # of each class, before thinning
VERSION = 4


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
    training = make_bags("train", seed)
    training = training.take(thinned(training.labels, cell["ratio"], seed))
    given = {"contrast": {"temperature": cell["temperature"]}, "site_jitter": cell["jitter"]}
    recipe = Recipe(
        model=ScMilSettings.model_validate(given), epochs=120, learning_rate=3e-3,
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


def cell_of(method: str, ratio: int, seed: int, temperature: float, jitter: float) -> Cell:
    """Return everything that a result depends on, as one cell."""
    return {
        "method": method, "ratio": ratio, "seed": seed, "temperature": temperature,
        "jitter": jitter, "version": VERSION, "model": ScMilSettings.model_validate({}).digest()[:12],
    }  # fmt: skip


def comparison(table: pd.DataFrame) -> list[str]:
    """Return the tables of the methods, and the paired differences."""
    known = {settings: name for name, settings in VARIANTS.items()}
    settings = zip(table["method"], table["temperature"], table["jitter"], strict=True)
    table = table.assign(method=[known.get(one, one[0]) for one in settings])
    parts = []
    for metric, name in METRICS.items():
        wide = table.groupby(["method", "ratio"])[metric].apply(mean_and_spread).unstack()
        order = [m for m in (*METHODS, *VARIANTS) if m in wide.index]
        wide = wide.reindex(order).fillna("–").rename_axis("method")
        parts += [f"## {name}: mean ± sd over seeds, by imbalance ratio", markdown(wide)]
    rivals = (
        "cross_entropy",
        "class_aware_batches",
        "sc_mil_random_batches",
        "ldam_drw",
        *VARIANTS,
    )
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
    """Return the table of jitters and temperatures."""
    rows = {}
    for (method, temperature), part in table.groupby(["method", "temperature"], sort=False):
        name = f"{method}, temperature {temperature:g}" if method == "sc_mil" else method
        rows[name] = {
            f"{METRICS[metric]}, jitter {jitter:g}": mean_and_spread(of_jitter[metric])
            for metric in ("auroc", "shifted_auroc")
            for jitter, of_jitter in part.groupby("jitter")
        }
    seeds = f"seeds {SETTLING_SEEDS[0]} to {SETTLING_SEEDS[-1]}"
    return [f"## Settling, ratio 20, {seeds}", markdown(pd.DataFrame(rows).T)]


def main() -> None:
    """Run the cells that are missing and write the page."""
    given = arguments("digit_bags")
    first, *others = RATIOS
    cells = [
        *(
            cell_of(method, first, seed, temperature, jitter)
            for seed in range(MORE_SEEDS * given.seeds)
            for method, temperature, jitter in (
                *((m, TEMPERATURE, JITTER) for m in METHODS), *VARIANTS.values(),
            )
        ),
        *(
            cell_of(method, ratio, seed, TEMPERATURE, JITTER)
            for ratio in others for seed in range(given.seeds) for method in METHODS
        ),
    ]  # fmt: skip
    trials = [
        cell_of(method, first, seed, temperature, jitter)
        for seed in SETTLING_SEEDS for jitter in (0.0, JITTER) for method in SETTLING
        for temperature in ((1.0, TEMPERATURE) if method == "sc_mil" else (TEMPERATURE,))
    ]  # fmt: skip
    table = run_cells(given.out, cells, run, given.minutes, given.workers)
    tried = run_cells(given.out, trials, run, given.minutes, given.workers)
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
