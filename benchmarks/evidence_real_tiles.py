"""SC-MIL and its rivals on bags of real colon tiles, 1 to 20 to 1: what a default is worth.

    python benchmarks/evidence_real_tiles.py --data FOLDER [--stage settle|test|trials]

A bag holds 29 tiles of normal mucosa and 3 of a tubular, villous or serrated adenoma; which, is asked
(`colon_bags.py`). Tiles are read by EfficientNet-Lite0 at 176 px (`colon_features.py`). Site A gives
training, validation and test tiles, which do not overlap; B is another folder of the same source; C is
B in another laboratory's stain. Of the first class there are 80 training bags, of the others 1 / ratio
of that; 60 test bags of each class and site. The settings are the defaults (40 epochs, batches of 16
bags), the rate is each method's own.
No slide is named, and the classes differ in stain: 24 numbers of colour alone rank them about as well.
What is meant are differences between methods, not how well adenomas are told. The recipe was settled on
other seeds, on which B and C were looked at.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from colon_bags import bags_of
from colon_features import SITES
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
from mil_runs import Recipe, predict, probabilities, train

from offsite.pathology.settings import ScMilSettings

RATES = (1.25e-4, 2.5e-4, 5e-4, 1e-3, 2e-3)
SETTLING_SEEDS = range(2)
SETTLING_RATIO = 10
TEST_SEEDS = range(200, 210)
RATIOS = (10, 20)
FURTHER_RATIOS = (5, 1)
FURTHER_SEEDS = TEST_SEEDS[:5]
RIVALS = ("balanced_sampling", "ldam_drw", "balanced_views")
METHODS = ("sc_mil", *RIVALS)
WIDTHS = {"colour": 24, "structure": 123, "last": 640, "top": 1280, "all": 1632}
"""Encoders by the numbers of a tile; the recipe and the rates are those of 640."""
WIDTH_SEEDS = range(210, 214)
LESS = {"sc_mil, raw inputs": {"inputs": "none"}}
"""SC-MIL with one ingredient less; another is `balanced_views`, its batches without contrast."""
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
VERSION = 1


def run(cell: Cell) -> dict[str, float | None]:
    """Train one method on the bags of a seed and score it at the three sites."""
    bags = bags_of(
        Path(cell["data"]), Path(cell["features"]), cell["encoder"], cell["ratio"], cell["seed"]
    )
    recipe = Recipe(
        model=ScMilSettings.model_validate(cell["model"]), epochs=40,
        learning_rate=cell["rate"], weight_decay=1e-4, instances=512,
    )  # fmt: skip
    method = cell["method"].split(",")[0]
    model = train(method, recipe, bags["training"], bags["validation"], 3, cell["seed"])
    scores: dict[str, float | None] = {
        "directions": 0 if model.directions is None else len(model.directions)
    }
    for site in SITES:
        found = probabilities(predict(model, bags[site]))
        scores |= scores_of(bags[site].labels, found, f"{site}_")
    return scores


def main() -> None:
    """Run the cells that are missing and write the page."""
    given = arguments(
        "real_tiles",
        ("--data", {"type": Path, "required": True, "help": "folder with first/ and second/"}),
        ("--stage", {"choices": ("settle", "test", "trials"), "default": "test"}),
    )

    def cell_of(
        method: str, ratio: int, seed: int, rate: float, model: dict, encoder: str = "last"
    ) -> Cell:
        return {
            "method": method, "ratio": ratio, "seed": seed, "rate": rate, "model": model,
            "encoder": encoder, "version": VERSION, "data": str(given.data),
            "features": str(given.out / "features"),
        }  # fmt: skip

    trials = [
        cell_of(method, SETTLING_RATIO, seed, rate, {"inputs": "whitened"})
        for seed in SETTLING_SEEDS for method in METHODS for rate in RATES
    ]  # fmt: skip
    tried = run_cells(given.out, trials, run, given.minutes, 1)
    parts = [(__doc__ or "").strip().split("\n\n", 2)[2].replace("\n", " ")]
    if given.stage == "test":
        rates = own_rates(tried)
        everything = {method: {} for method in METHODS} | LESS

        def compared(ratios: tuple[int, ...], seeds: range) -> list[Cell]:
            return [
                cell_of(name, ratio, seed, rates[name.split(",")[0]], model)
                for seed in seeds for ratio in ratios for name, model in everything.items()
            ]  # fmt: skip

        widths = [
            cell_of(method, SETTLING_RATIO, seed, rates[method], {}, encoder)
            for seed in WIDTH_SEEDS for encoder in WIDTHS for method in METHODS
        ]  # fmt: skip
        main_cells = compared(RATIOS, TEST_SEEDS)
        further_cells = compared(FURTHER_RATIOS, FURTHER_SEEDS)
        table, by_encoder, further = (
            run_cells(given.out, cells, run, given.minutes, 1)
            for cells in (main_cells, widths, further_cells)
        )
        parts += comparison(pd.concat([table, further])) + by_width(by_encoder)
        wanted = len(main_cells) + len(widths) + len(further_cells)
        if (done := len(table) + len(by_encoder) + len(further)) < wanted:
            parts.append(f"{done} of {wanted} cells have been run; the command runs the others.")
    parts += settling(tried)
    if given.stage == "trials":
        cells = [
            cell_of(method, SETTLING_RATIO, seed, rate, model, "top")
            for seed in TRIAL_SEEDS for _, method, rate, model in TRIALS
        ]  # fmt: skip
        parts += trials_told(run_cells(given.out, cells, run, given.minutes, 1))
    write_page(
        given.table, "Evidence: bags of real colon tiles", parts,
        "python benchmarks/evidence_real_tiles.py --data FOLDER",
    )  # fmt: skip


def of_site_a(table: pd.DataFrame) -> pd.Series:
    """What a rate is chosen by: the mean of AUROC and macro-F1 at the training site."""
    return (table["A_auroc"] + table["A_macro_f1"]) / 2


def own_rates(tried: pd.DataFrame) -> dict[str, float]:
    """Return the best rate of each method on the settling seeds."""
    means = tried.assign(score=of_site_a(tried)).groupby(["method", "rate"])["score"].mean()
    return {method: float(means[method].idxmax()) for method in METHODS}


def settling(tried: pd.DataFrame) -> list[str]:
    """Return the table of rates."""
    wide = (
        tried.assign(score=of_site_a(tried)).groupby(["method", "rate"])["score"].mean().unstack()
    )
    shown = wide.reindex([m for m in METHODS if m in wide.index]).map("{:.3f}".format)
    shown.columns = [f"{rate:g}" for rate in shown.columns]
    return [
        f"## Settling: rates, ratio {SETTLING_RATIO}, seeds {SETTLING_SEEDS[0]} to"
        f" {SETTLING_SEEDS[-1]}, mean of AUROC and macro-F1 at A",
        markdown(shown.rename_axis("method")),
    ]


def by_width(table: pd.DataFrame) -> list[str]:
    """Return the table of encoders: means over the sites and seeds."""
    rows = {}
    for encoder, numbers in WIDTHS.items():
        part = table[table["encoder"] == encoder]
        if part.empty:
            continue
        cells = {}
        for method in METHODS:
            of = part[part["method"] == method]
            means = [
                of[[f"{s}_{m}" for s in SITES]].to_numpy().mean() for m in ("auroc", "macro_f1")
            ]
            cells[method] = " / ".join(f"{mean:.3f}" for mean in means) if len(of) else "–"
        whitened = f"{int((part['directions'] > 0).sum())} of {len(part)}"
        rows[f"{encoder}, {numbers}"] = {
            **cells,
            "whitened": whitened,
            "seeds": part["seed"].nunique(),
        }
    title = f"## Encoders, ratio {SETTLING_RATIO}: AUROC / macro-F1, mean of the sites"
    return [title, markdown(pd.DataFrame(rows).T.rename_axis("encoder, numbers"))]


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


def comparison(table: pd.DataFrame) -> list[str]:
    """Return the tables of the methods, and the paired differences."""
    parts = []
    order = [name for name in (*METHODS, *LESS) if name in set(table["method"])]
    for metric, title in (("auroc", "AUROC"), ("macro_f1", "macro-F1")):
        for ratio in (*RATIOS, *FURTHER_RATIOS):
            part = table[table["ratio"] == ratio]
            if part.empty:
                continue
            names = [f"{site}_{metric}" for site in SITES]
            means = part.groupby("method")[names].agg(mean_and_spread).reindex(order)
            means.columns = list(SITES)
            parts += [
                f"## {title}, ratio {ratio}: mean ± sd over seeds",
                markdown(means.rename_axis("method")),
            ]
            mean = part.assign(mean=part[names].mean(axis=1))
            rows = {
                f"sc_mil − {other}": {
                    **{site: paired(part, f"{site}_{metric}", "sc_mil", other, ["seed"]) for site in SITES},
                    "mean of the sites": paired(mean, "mean", "sc_mil", other, ["seed"]),
                }
                for other in order if other != "sc_mil"
            }  # fmt: skip
            parts += [
                f"{title}, ratio {ratio}: paired differences (95 % t interval over seeds)",
                markdown(pd.DataFrame(rows).T.rename_axis("")),
            ]
    chosen = table[~table["method"].str.contains("raw")]
    whitened = (chosen["directions"] > 0).mean()
    seeds = np.unique(table["seed"])
    by_ratio = table.groupby("ratio")["seed"].nunique()
    told = [f"{count} of them at ratio {ratio}" for ratio, count in by_ratio.items()]
    parts.append(
        f"Seeds {seeds[0]} to {seeds[-1]} ({' and '.join(told)}). Whitened inputs were chosen in {whitened:.0%} of the runs."
        f" CPU: {table['cpu_seconds'].sum() / 60:.0f} minutes on one core."
    )
    return parts


if __name__ == "__main__":
    main()
