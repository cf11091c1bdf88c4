"""Which ingredient helps under imbalance: bags of real handwritten digits, ten methods.

A bag holds 20 to 40 digits. Class 0 has none of the digits 3 and 8; class 1 has four to eight 3s,
class 2 four to eight 8s. No image is in two of training, validation and test.
The shifted site scans worse: the digits are blurred, dimmed, moved by a quarter of a pixel and
noisier. Classes 1 and 2 are thinned in training alone.
"""

import numpy as np
from evidence import arguments, markdown, mean_and_spread, paired, run_cells, scores_of, write_page
from mil_runs import BagSet, Recipe, predict, probabilities, thinned, train
from scipy.ndimage import gaussian_filter, shift
from sklearn.datasets import load_digits

from pathology.sc_mil import ScMilSettings

RATIOS = (1, 5, 10, 20)
METHODS = (
    "cross_entropy", "weighted", "balanced_sampling", "focal", "ldam_drw", "balanced_softmax",
    "two_stage", "sc_mil_random_batches", "sc_mil", "class_aware_batches",
)  # fmt: skip
KEYS = (3, 8)
BAGS = {"train": 120, "val": 20, "test": 60}  # of each class, before thinning
VERSION = 1


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


def run(cell: dict) -> dict[str, float | None]:
    seed = cell["seed"]
    training = make_bags("train", seed)
    training = training.take(thinned(training.labels, cell["ratio"], seed))
    model = train(cell["method"], recipe(), training, make_bags("val", seed), 3, seed)
    scores: dict[str, float | None] = {}
    for prefix, shifted in (("", False), ("shifted_", True)):
        test = make_bags("test", seed, shifted)
        scores |= scores_of(test.labels, probabilities(predict(model, test)), prefix)
    return scores


def recipe() -> Recipe:
    return Recipe(model=ScMilSettings.model_validate({}), epochs=30)


def main() -> None:
    given = arguments("digit_bags")
    settings = {"version": VERSION, "model": recipe().model.digest()[:12]}
    cells = [
        {"method": method, "ratio": ratio, "seed": seed, **settings}
        for ratio in sorted(RATIOS, reverse=True)
        for seed in range(given.seeds)
        for method in METHODS
    ]
    table = run_cells(given.out, cells, run, given.minutes)
    parts = [(__doc__ or "").strip().split("\n\n", 1)[1].replace("\n", " ")]
    names = {
        "auroc": "AUROC, same site", "shifted_auroc": "AUROC, shifted site",
        "macro_f1": "macro-F1, same site", "shifted_macro_f1": "macro-F1, shifted site",
    }  # fmt: skip
    for metric, name in names.items():
        wide = table.groupby(["method", "ratio"])[metric].apply(mean_and_spread).unstack()
        wide = wide.reindex([m for m in METHODS if m in wide.index]).rename_axis("method")
        parts += [f"## {name}: mean ± sd over seeds, by imbalance ratio", markdown(wide)]
    rows = {
        f"{name}, ratio {ratio}": {
            f"{a} − {b}": paired(table[table["ratio"] == ratio], metric, a, b, ["seed"])
            for a, b in (
                ("sc_mil", "cross_entropy"), ("sc_mil", "class_aware_batches"),
                ("sc_mil", "sc_mil_random_batches"),
            )
        }
        for metric, name in names.items() for ratio in (20, 10)
    }  # fmt: skip
    import pandas as pd

    parts += ["## Paired differences (95 % t interval over seeds)", markdown(pd.DataFrame(rows).T)]
    parts.append(f"CPU: {table['cpu_seconds'].sum() / 60:.0f} minutes on one core.")
    write_page(
        given.table, "Evidence: digit bags", parts, "python benchmarks/evidence_digit_bags.py"
    )


if __name__ == "__main__":
    main()
