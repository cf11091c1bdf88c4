"""SC-MIL and its rivals on bags of real colon tiles, 1 to 20 to 1: what a default is worth.

    python benchmarks/evidence_real_tiles.py --data FOLDER [--stage settle|test|trials]

A bag holds 29 tiles of normal mucosa and 3 of a tubular, villous or serrated adenoma; which, is asked
(`colon_bags.py`). Tiles are read by EfficientNet-Lite0 at 176 px (`colon_features.py`). Site A gives
training, validation and test tiles, which do not overlap; B is another folder of the same source; C is
B in another laboratory's stain. Of the first class there are 80 training bags, of the others 1 / ratio
of that; 60 test bags of each class and site. The settings are the defaults (40 epochs, batches of 16
bags), inputs `auto`; the rate is each method's own, of four, by three settling seeds.
No slide is named, and the classes differ in stain: 24 numbers of colour alone rank them about as well.
What is meant are differences between methods, not how well adenomas are told. The recipe was settled on
other seeds, on which B and C were looked at; an earlier test of it, on seeds of its own, is told in
[trials](sc_mil_trials.md). Contrast hands over to the classifier (beta from 1 to 0). `sc_mil` is what is called
`sc_mil_balanced` today, and `sc_mil_logit_adjustment` what is called `sc_mil`, with that hand-over; what came
of it, ratios 5 and 1 and other stages of the network: [steady weight](contrast_weight.md).
"""

from pathlib import Path

import pandas as pd
from colon_bags import bags_of
from colon_features import SITES
from evidence import Cell, arguments, markdown, run_cells, scores_of, write_page
from mil_runs import BagSet, Recipe, predict, probabilities, train
from real_tiles_page import (
    METHODS,
    NAMES,
    RATIOS,
    RIVALS,
    TEST_SEEDS,
    comparison,
)

from offsite.pathology.settings import ScMilSettings

RATES = (2.5e-4, 5e-4, 1e-3, 2e-3)
SETTLING_SEEDS = range(3)
MORE_SETTLING_SEEDS = range(3, 5)
"""Run after the test: they say whether the choice of rates would have been another, and change none."""
SETTLING_RATIO = 10
TRIAL_SEEDS = range(6)
_HALF, _WHOLE = {"inputs": "whitened"}, {"inputs": "whitened", "whitening_power": 1.0}
TRIALS: tuple[tuple[str, str, float, dict], ...] = (
    ("raw inputs", "balanced_sampling", 2e-3, {"inputs": "none"}),
    ("raw inputs", "ldam_drw", 5e-4, {"inputs": "none"}),
    ("raw inputs", "sc_mil", 5e-4, {"inputs": "none"}),
    ("64 directions of one length", "sc_mil", 5e-4, _WHOLE | {"directions": 64}),
    ("128 directions of one length", "sc_mil", 5e-4, _WHOLE | {"directions": 128}),
    ("256 directions of one length", "sc_mil", 5e-4, _WHOLE),
    ("256 directions, root", "sc_mil", 5e-4, _HALF),
    ("512 directions, root", "sc_mil", 5e-4, _HALF | {"directions": 512}),
    ("256 directions, root", "balanced_views", 5e-4, _HALF),
    ("256 directions, root", "ldam_drw", 5e-4, _HALF),
    ("256 directions, root; rate 1e-3", "sc_mil", 1e-3, _HALF),
    ("256 directions, root; beta one half throughout", "sc_mil", 5e-4,
     _HALF | {"contrast": {"schedule": "constant", "floor": 0.5}}),
    ("256 directions, root; site jitter .5", "sc_mil", 5e-4, _HALF | {"site_jitter": 0.5}),
)  # fmt: skip
"""What was tried on the settling seeds with the last layer of the network (1,280 numbers)."""
VERSION = 2


def run(cell: Cell) -> dict[str, float | None]:
    """Train one method on the bags of a seed and score it at the three sites."""
    places = Path(cell["data"]), Path(cell["features"])
    return scored(cell, bags_of(*places, cell["encoder"], cell["ratio"], cell["seed"]))


def scored(cell: Cell, bags: dict[str, BagSet]) -> dict[str, float | None]:
    """Train a cell's method on bags (``training``, ``validation``) and score it at the sites."""
    # As registered: one rate for all layers, which matters of fewer than 256 numbers alone.
    given = {"contrast": {"schedule": "linear"}, "first_layer_power": 0.0} | cell["model"]
    recipe = Recipe(
        model=ScMilSettings.model_validate(given), epochs=40,
        learning_rate=cell["rate"], weight_decay=1e-4, instances=512,
    )  # fmt: skip
    method = NAMES.get(cell["method"], cell["method"])
    model = train(method, recipe, bags["training"], bags["validation"], 3, cell["seed"])
    scores: dict[str, float | None] = {
        "directions": 0 if model.directions is None else len(model.directions)
    }
    for site in SITES:
        found = probabilities(predict(model, bags[site]))
        scores |= scores_of(bags[site].labels, found, f"{site}_")
    return scores


def settling_cells(places: dict[str, str], seeds: range = SETTLING_SEEDS) -> list[Cell]:
    """Return the trials of rates; ``places`` has ``data`` and ``features``."""
    return [
        cell_of(places, method, SETTLING_RATIO, seed, rate, {})
        for seed in seeds for method in METHODS for rate in RATES
    ]  # fmt: skip


def cell_of(
    places: dict[str, str], method: str, ratio: int, seed: int, rate: float, model: dict,
    encoder: str = "last",
) -> Cell:  # fmt: skip
    """Return everything that a result depends on, as one cell."""
    return {
        "method": method, "ratio": ratio, "seed": seed, "rate": rate, "model": model,
        "encoder": encoder, "version": VERSION, **places,
    }  # fmt: skip


def main() -> None:
    """Run the cells that are missing and write the page."""
    given = arguments(
        "real_tiles",
        ("--data", {"type": Path, "required": True, "help": "folder with first/ and second/"}),
        ("--stage", {"choices": ("settle", "test", "trials"), "default": "test"}),
    )

    places = {"data": str(given.data), "features": str(given.out / "features")}

    def ran(cells: list[Cell]) -> pd.DataFrame:
        return run_cells(given.out, cells, run, given.minutes, 1)

    trials = settling_cells(places)
    tried = ran(trials)
    parts = [(__doc__ or "").strip().split("\n\n", 2)[2].replace("\n", " ")]
    if given.stage == "test" and len(tried) == len(trials):
        rates = own_rates(tried)
        cells = [
            cell_of(places, name, ratio, seed, rates[name], {})
            for seed in TEST_SEEDS for ratio in RATIOS for name in METHODS
        ]  # fmt: skip
        table = ran(cells)
        if len(table):
            parts += comparison(table)
        parts.append(f"{len(table)} of {len(cells)} cells have been run.")
    more = settling_cells(places, MORE_SETTLING_SEEDS)
    settle_on = given.minutes if given.stage == "settle" else 0
    parts += settling(tried, run_cells(given.out, more, run, settle_on, 1))
    if given.stage == "trials":
        cells = [
            cell_of(places, method, SETTLING_RATIO, seed, rate, model, "top")
            for seed in TRIAL_SEEDS for _, method, rate, model in TRIALS
        ]  # fmt: skip
        parts += trials_told(ran(cells))
    write_page(
        given.table, "Evidence: bags of real colon tiles", parts,
        "python benchmarks/evidence_real_tiles.py --data FOLDER",
    )  # fmt: skip


def of_site_a(table: pd.DataFrame) -> pd.Series:
    """What a rate is chosen by: the mean of AUROC and macro-F1 at the training site."""
    return (table["A_auroc"] + table["A_macro_f1"]) / 2


def settled(tried: pd.DataFrame) -> pd.DataFrame:
    """Return the score of each method (a row) at each rate, mean over the settling seeds."""
    scored = tried.assign(score=of_site_a(tried))
    wide = scored.groupby(["method", "rate"])["score"].mean().unstack()
    return wide.reindex([method for method in METHODS if method in wide.index])


def own_rates(tried: pd.DataFrame) -> dict[str, float]:
    """Return the best rate of each method on the settling seeds."""
    return {str(name): float(rate) for name, rate in settled(tried).idxmax(axis=1).items()}


def best_rivals(tried: pd.DataFrame) -> list[str]:
    """Return the rivals, the best at its own rate on the settling seeds first."""
    highest = settled(tried).max(axis=1)
    return sorted(RIVALS, key=lambda name: -highest[name])


def settling(tried: pd.DataFrame, more: pd.DataFrame) -> list[str]:
    """Return the table of rates, and that of two seeds more once they are whole."""
    parts = [
        f"## Settling: rates, ratio {SETTLING_RATIO}, seeds {SETTLING_SEEDS[0]} to"
        f" {SETTLING_SEEDS[-1]}, mean of AUROC and macro-F1 at A",
        _rates_told(tried),
    ]
    if len(more) < len(METHODS) * len(RATES) * len(MORE_SETTLING_SEEDS):
        return parts
    both = pd.concat([tried, more])
    then, now = own_rates(tried), own_rates(both)
    others = [
        f"{name} {then[name]:g} to {now[name]:g}" for name in METHODS if then[name] != now[name]
    ]
    return [
        *parts,
        f"With seeds {MORE_SETTLING_SEEDS[0]} and {MORE_SETTLING_SEEDS[-1]}, which were run after the test,"
        f" the choice would have been another for: {', '.join(others) or 'no method'}.",
        _rates_told(both),
    ]


def _rates_told(tried: pd.DataFrame) -> str:
    shown = settled(tried).map("{:.3f}".format)
    shown.columns = [f"{rate:g}" for rate in shown.columns]
    return markdown(shown.rename_axis("method"))


def trials_told(table: pd.DataFrame) -> list[str]:
    """Return the table of what was tried."""
    rows = {}
    for name, method, rate, model in TRIALS:
        same = [asked == model for asked in table["model"]]
        part = table[same & (table["method"] == method) & (table["rate"] == rate)]
        if len(part):
            rows[f"{method}: {name}"] = {
                title: " / ".join(f"{part[f'{site}_{metric}'].mean():.3f}" for site in SITES)
                for metric, title in (("auroc", "AUROC A / B / C"), ("macro_f1", "macro-F1"))
            } | {"seeds": str(len(part))}
    return ["## Trials", markdown(pd.DataFrame(rows).T.rename_axis(""))]


if __name__ == "__main__":
    main()
