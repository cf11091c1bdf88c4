"""The classic multiple-instance sets on their published folds, and with positives thinned.

Bags of instance vectors, not images: Musk1, Elephant, Fox, BrownCreeper, CorelAfrican. The recipe is the default: the
inputs of 9 to 230 numbers are read as they are, and the first layer learns [faster](first_layer.md), in every method.
The rates are those that were settled on colon tiles of as few numbers ([many widths](widths.md)): nothing is chosen
here. Epochs are 40, or as many as make some 450 steps. There is no validation fold: the last epoch is kept.
The folds are the published ones, and have been seen before by two recipes
([trials](one_rate_trials.md)): these are no fresh test bags. Published accuracies on 5 x 10 folds: Ilse et al. 2018 (arXiv
1802.04712, table 1), attention and gated attention, of a network of their own; they give none for the last two sets.
Thinned: one in four positive training bags is kept.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
from evidence import arguments, markdown, paired, run_cells, write_page
from mil_runs import NARROW_RATES, BagSet, Recipe, predict, probabilities, train
from sklearn.metrics import roc_auc_score

from offsite.pathology.settings import ScMilSettings

SETS = ("Musk1", "Elephant", "Fox", "BrownCreeper", "CorelAfrican")
PUBLISHED = {"Musk1": ".892, .900", "Elephant": ".868, .857", "Fox": ".615, .603"}
TEST_TO_TRAINING = 1 / 9
METHODS = tuple(NARROW_RATES)
STEPS, BATCH = 450, 16
VERSION = 5
NONE = "No repeat of the ten folds is whole."
DATA = Path(os.environ.get("OFFSITE_DATA", "shared/data")) / "mil_benchmarks"


def load(name: str) -> tuple[BagSet, np.ndarray]:
    """Return the bags of a set and its folds (5 x bags)."""
    with np.load(DATA / "npz" / f"{name}.npz", allow_pickle=False) as file:
        instances, bag, labels, folds = (file[key] for key in ("X", "bag", "y", "fold"))
    numbers = np.unique(bag)
    bags = [instances[bag == number].astype(np.float32) for number in numbers]
    return BagSet(bags, (labels > 0).astype(np.int64)), folds


def run(cell: dict) -> dict[str, float | None]:
    """Train on nine folds and score the tenth."""
    bags, folds = load(cell["set"])
    fold = folds[cell["repeat"]] - folds.min()
    training, test = np.flatnonzero(fold != cell["fold"]), np.flatnonzero(fold == cell["fold"])
    if cell["thinned"]:
        rng = np.random.default_rng([cell["repeat"], cell["fold"]])
        positive = training[bags.labels[training] == 1]
        keep = rng.permutation(positive)[: max(len(positive) // 4, 2)]
        training = np.sort(np.concatenate([training[bags.labels[training] == 0], keep]))
    steps = -(-len(training) // BATCH)
    recipe = Recipe(
        model=ScMilSettings(first_layer_power=cell["power"]), epochs=int(np.clip(STEPS / steps, 1, 40)),
        learning_rate=cell["rate"], weight_decay=1e-4, batch_size=BATCH, instances=512,
    )  # fmt: skip
    seed = 10 * cell["repeat"] + cell["fold"]
    model = train(cell["method"], recipe, bags.take(training), None, 2, seed)
    held = bags.take(test)
    found = probabilities(predict(model, held))
    defined = 0 < held.labels.sum() < len(held.labels)
    return {
        "accuracy": float((found.argmax(axis=1) == held.labels).mean()),
        "auroc": float(roc_auc_score(held.labels, found[:, 1])) if defined else None,
    }


def rows_of(part: pd.DataFrame, *, published: bool) -> pd.DataFrame:
    """Return the page's row of each set."""
    rows = {}
    for name in (name for name in SETS if (part["set"] == name).any()):
        here = part[part["set"] == name]
        means = here.groupby("method")[["accuracy", "auroc"]].mean()
        rows[name] = {
            "repeats x folds": f"{here['repeat'].nunique()} x 10",
            **({"published accuracy": PUBLISHED.get(name, "–")} if published else {}),
            **{m: f"{means.loc[m, 'accuracy']:.3f} / {means.loc[m, 'auroc']:.3f}" for m in METHODS},
            **{
                f"sc_mil − {other}": paired(
                    here, "auroc", "sc_mil", other, ["repeat", "fold"],
                    test_to_training=TEST_TO_TRAINING,
                )
                for other in METHODS[1:]
            },
        }  # fmt: skip
    return pd.DataFrame(rows).T


def main() -> None:
    """Run the cells that are missing and write the page."""
    given: argparse.Namespace = arguments(
        "mil_benchmarks",
        ("--sets", {"nargs": "*", "choices": SETS, "default": SETS, "help": "sets to run now"}),
        ("--only", {"choices": ("published", "thinned"), "help": "and of these"}),
    )
    cells = [
        {"set": name, "thinned": thin, "repeat": repeat, "fold": fold, "method": method,
         "rate": NARROW_RATES[method], "power": ScMilSettings().first_layer_power, "version": VERSION}
        for repeat in range(given.seeds) for thin in (False, True) for name in SETS
        for fold in range(10) for method in METHODS
    ]  # fmt: skip
    now = [
        cell for cell in cells
        if cell["set"] in given.sets and given.only != ("published" if cell["thinned"] else "thinned")
    ]  # fmt: skip
    run_cells(given.out, now, run, given.minutes, given.workers)
    table = run_cells(given.out, cells, run, 0, given.workers)
    # A repeat counts once all its folds are there, with all methods.
    counted = table.groupby(["set", "thinned", "repeat"])["fold"].transform("size")
    whole = table[counted == 10 * len(METHODS)]
    parts = [(__doc__ or "").strip().split("\n\n", 1)[1].replace("\n", " ")]
    for thin, title in ((False, "As published"), (True, "Positives thinned to a quarter")):
        rows = rows_of(whole[whole["thinned"] == thin], published=not thin)
        parts += [
            f"## {title}: accuracy / AUROC, mean over folds",
            markdown(rows) if len(rows) else NONE,
        ]
    parts.append(
        "Differences are of AUROC, paired by fold. Their 95 % t intervals are widened for the"
        " training bags that folds share (Nadeau & Bengio 2003)."
        f" CPU: {table['cpu_seconds'].sum() / 60:.0f} minutes on one core."
    )
    if len(table) < len(cells):
        parts.append(
            f"{len(table)} of {len(cells)} cells have been run; the command runs the others. A"
            " repeat of the ten folds counts once it is whole."
        )
    command = "OFFSITE_DATA=… python benchmarks/evidence_mil_benchmarks.py"
    write_page(given.table, "Evidence: classic multiple-instance sets", parts, command)


if __name__ == "__main__":
    main()
