"""Method `linear` of slides beside SC-MIL, on bags of real colon tiles.

    python benchmarks/evidence_linear_slides.py --data FOLDER

The bags, sites and test seeds are those of `evidence_real_tiles.py`; a bag counts as a patient of its
own. `linear` is ridge regression of the classes on a bag's mean tile features, its penalty chosen on
training bags that were left out; SC-MIL is the default. No setting of `linear` was chosen on these seeds.
"""

from pathlib import Path

import numpy as np
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
from evidence_real_tiles import RATIOS, TEST_SEEDS, cell_of, scored
from scipy.special import softmax

from offsite.pathology.linear.training import linear_head
from offsite.training.heads.ridge import RidgeSettings

RATE = 5e-4
SC_MIL = "sc_mil_logit_adjustment", {"contrast": {"schedule": "constant", "floor": 0.4}}
"""The default, as the cells of real tiles spell it."""
METRICS = {"auroc": "AUROC", "macro_f1": "macro-F1"}


def run(cell: Cell) -> dict[str, float | None]:
    """Train one method on the bags of a seed and score it at the three sites."""
    places = Path(cell["data"]), Path(cell["features"])
    bags = bags_of(*places, cell["encoder"], cell["ratio"], cell["seed"])
    if cell["method"] != "linear":
        return scored(cell, bags)
    training = bags["training"]
    rows = np.stack([bag.astype(np.float64).mean(axis=0) for bag in training.bags])
    names = np.arange(len(rows)).astype(str)
    head = linear_head(
        rows, training.labels, names, np.full(len(rows), "A"), RidgeSettings(), n_classes=3,
        seed=cell["seed"],
    )  # fmt: skip
    scores: dict[str, float | None] = {"penalty": head.penalty}
    for site in SITES:
        means = np.stack([bag.astype(np.float64).mean(axis=0) for bag in bags[site].bags])
        found = softmax(means @ head.slopes + head.starts, axis=1)
        scores |= scores_of(bags[site].labels, found, f"{site}_")
    return scores


def main() -> None:
    """Run the cells that are missing and write the page."""
    given = arguments("linear_slides", ("--data", {"type": Path, "required": True}))
    places = {"data": str(given.data), "features": str(given.out / "features")}
    cells = [
        cell_of(places, method, ratio, seed, RATE, model)
        for seed in TEST_SEEDS for ratio in RATIOS for method, model in (("linear", {}), SC_MIL)
    ]  # fmt: skip
    table = run_cells(given.out, cells, run, given.minutes, 1)
    table["method"] = table["method"].replace({SC_MIL[0]: "sc_mil"})
    parts = [(__doc__ or "").strip().split("\n\n", 2)[2].replace("\n", " ")]
    for metric, title in METRICS.items():
        names = [f"{site}_{metric}" for site in SITES]
        for ratio in RATIOS:
            part = table[table["ratio"] == ratio]
            shown = part.groupby("method")[names].agg(mean_and_spread)
            shown.columns = list(SITES)
            differences = {
                site: paired(part, name, "sc_mil", "linear", ["seed"])
                for site, name in zip(SITES, names, strict=True)
            }
            parts += [
                f"## {title}, ratio {ratio}: mean ± sd over {part['seed'].nunique()} seeds",
                markdown(shown.rename_axis("method")),
                "SC-MIL minus `linear` (95 % t interval over seeds): "
                + ", ".join(f"{site} {text}" for site, text in differences.items()),
            ]
    parts.append(f"{len(table)} of {len(cells)} cells have been run.")
    write_page(
        given.table, "Evidence: a linear head on slides beside SC-MIL", parts,
        "python benchmarks/evidence_linear_slides.py --data FOLDER",
    )  # fmt: skip


if __name__ == "__main__":
    main()
