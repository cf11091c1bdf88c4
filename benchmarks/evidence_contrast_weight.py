"""What contrast of a steady weight adds beside logit adjustment: bags of real colon tiles.

    python benchmarks/evidence_contrast_weight.py --data FOLDER

The bags of [real tiles](real_tiles.md) on seeds of their own. Two views of each bag, batches as they come,
the classifier's loss adjusted to the class counts; its control is the same without contrast. The weight,
0.4 throughout, was settled among 0, .1, .2 and .4 on seeds 0 to 2 at both ratios, all at the control's
rate; the other methods have the rates that were settled there. Rivals are the two that did best on the
test seeds of that page, and SC-MIL with the curriculum on batches that draw classes equally.
"""

from pathlib import Path

import evidence_real_tiles as real_tiles
import numpy as np
import pandas as pd
from colon_features import SITES
from evidence import arguments, markdown, mean_and_spread, paired, run_cells, write_page
from real_tiles_page import FURTHER_RATIOS, METRICS, RATIOS, whole_seeds, with_mean

STEADY = "steady contrast"
PLAIN = "the same without contrast"
METHODS: dict[str, tuple[str, float, dict]] = {
    STEADY: ("sc_mil_logit_adjustment", 5e-4, {"contrast": {"schedule": "constant", "floor": 0.4}}),
    PLAIN: ("logit_adjustment_views", 5e-4, {}),
    "curriculum, equal batches": ("sc_mil", 5e-4, {}),
    "logit adjustment": ("logit_adjustment", 5e-4, {}),
    "balanced sampling": ("balanced_sampling", 2.5e-4, {}),
}
"""Method, rate and settings by the page's name."""
RIVALS = ("logit adjustment", "balanced sampling")
"""Of these two the better one is the best rival; of five they were the best two on the other page's seeds."""
SEEDS = range(400, 410)
FIRST_SEEDS = SEEDS[:3]
"""At the further ratios these were registered; the others were added when their results had been seen."""
ENCODERS = {"all": "all stages, 1,632", "all+structure": "all stages and structure, 1,755"}
ENCODER_SEEDS = SEEDS[:5]
"""Of other readings of the same tiles; the curriculum is left out there."""


def main() -> None:
    """Run the cells that are missing and write the page."""
    given = arguments(
        "contrast_weight",
        ("--data", {"type": Path, "required": True, "help": "folder with first/ and second/"}),
        ("--settled", {"type": Path, "default": Path("build/evidence/real_tiles")}),
    )
    places = {"data": str(given.data), "features": str(given.settled / "features")}
    cells = [
        real_tiles.cell_of(places, method, ratio, seed, rate, model)
        for ratios, seeds in ((RATIOS, SEEDS), (FURTHER_RATIOS, SEEDS)) for seed in seeds
        for ratio in ratios for method, rate, model in METHODS.values()
    ]  # fmt: skip
    others = [
        real_tiles.cell_of(places, method, ratio, seed, rate, model, encoder)
        for seed in ENCODER_SEEDS for encoder in ENCODERS for ratio in RATIOS
        for name, (method, rate, model) in METHODS.items() if name in (STEADY, PLAIN, *RIVALS)
    ]  # fmt: skip
    registered = [c for c in cells if c["ratio"] in RATIOS or c["seed"] in FIRST_SEEDS]
    run_cells(given.out, registered + others, real_tiles.run, given.minutes, 1)
    by_encoder = run_cells(given.out, others, real_tiles.run, 0, 1)
    table = run_cells(given.out, cells, real_tiles.run, given.minutes, 1)
    named = {method: name for name, (method, _, _) in METHODS.items()}
    for of in (table, by_encoder):
        of["method"] = of.get("method", pd.Series(dtype=str)).map(named)
    parts = [(__doc__ or "").strip().split("\n\n", 2)[2].replace("\n", " "), *goal(table)]
    for metric, title in METRICS.items():
        for ratio in (*RATIOS, *FURTHER_RATIOS):
            part = with_mean(table[table["ratio"] == ratio], metric)
            if len(part):
                parts += [f"## {title}, ratio {ratio}", markdown(told(part, metric))]
    parts += encoders_told(by_encoder)
    parts.append(
        "Mean ± sd over seeds; differences are paired over seeds, with 95 % t intervals."
        f" {len(table) + len(by_encoder)} of {len(cells) + len(others)} cells have been run, seeds {SEEDS[0]}"
        f" to {SEEDS[-1]}. At ratios {FURTHER_RATIOS[0]} and {FURTHER_RATIOS[1]} the first {len(FIRST_SEEDS)}"
        " were registered; the others were added once these had been seen."
        f" CPU: {table['cpu_seconds'].sum() / 60:.0f} minutes on one core."
    )
    write_page(
        given.table, "Evidence: contrast of a steady weight", parts,
        "python benchmarks/evidence_contrast_weight.py --data FOLDER",
    )  # fmt: skip


def encoders_told(by_encoder: pd.DataFrame) -> list[str]:
    """Return the table of other stages of the network: what steady contrast is ahead by, mean of the sites."""
    rows = {}
    for encoder, words in ENCODERS.items():
        for ratio in RATIOS:
            for metric, title in METRICS.items():
                if by_encoder.empty:
                    continue
                here = (by_encoder["encoder"] == encoder) & (by_encoder["ratio"] == ratio)
                part = whole_seeds(with_mean(by_encoder[here], metric))
                if part["seed"].nunique() < 3:
                    continue
                means = part.groupby("method")["mean"].mean()
                best = means.reindex(RIVALS).idxmax()
                rows[f"{words}; {title}, 1 to {ratio}"] = {
                    **{name: f"{means[name]:.3f}" for name in (STEADY, PLAIN, *RIVALS)},
                    "minus the better rival": paired(part, "mean", STEADY, best, ["seed"]),
                    f"minus {PLAIN}": paired(part, "mean", STEADY, PLAIN, ["seed"]),
                    "seeds": part["seed"].nunique(),
                }
    if not rows:
        return []
    title = "## Other stages of the network: mean of the sites"
    return [title, markdown(pd.DataFrame(rows).T.rename_axis(""))]


def goal(table: pd.DataFrame) -> list[str]:
    """Return what steady contrast is ahead by at each site, over the rival that is best at that site."""
    rows, counts = {}, {}
    for name in ("rivals", PLAIN):
        for ratio in (*RATIOS, *FURTHER_RATIOS):
            for metric, title in METRICS.items():
                part = with_mean(table[table["ratio"] == ratio], metric)
                if part.empty:
                    continue
                row = {}
                for site, column in {
                    **{s: f"{s}_{metric}" for s in SITES},
                    "mean of the sites": "mean",
                }.items():
                    means = part.groupby("method")[column].mean()
                    other = means.reindex(RIVALS).idxmax() if name == "rivals" else name
                    row[site] = paired(part, column, STEADY, other, ["seed"])
                    if site in SITES:
                        key = (name, ratio in RATIOS)
                        counts[key] = counts.get(key, np.zeros(3, int)) + _verdict(row[site])
                rows.setdefault(name, {})[f"{title}, 1 to {ratio}"] = {
                    **row, "seeds": part["seed"].nunique()
                }  # fmt: skip
    parts = []
    for name, of in rows.items():
        over = "the better rival at that site" if name == "rivals" else name
        parts += [f"## Steady contrast minus {over}", markdown(pd.DataFrame(of).T.rename_axis(""))]
        for strong, where in ((True, "1 to 10 and 1 to 20"), (False, "1 to 5 and 1 to 1")):
            above, level, below = counts[name, strong]
            parts.append(
                f"Of the {above + level + below} figures of single sites at {where}, {above} have their whole"
                f" interval above zero, {below} below it; {level} show no difference."
            )
    return parts


def _verdict(difference: str) -> np.ndarray:
    """Return one of (1, 0, 0), (0, 1, 0), (0, 0, 1): the whole interval above zero, neither, below."""
    above, below = "(+" in difference, "to -" in difference
    return np.array([above, not (above or below), below], int)


def told(part: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return a row for each method: its sites, their mean, and what contrast is ahead by."""
    rows = {}
    for name in METHODS:
        of = part[part["method"] == name]
        rows[name] = {
            **{site: mean_and_spread(of[f"{site}_{metric}"]) for site in SITES},
            "mean of the sites": mean_and_spread(of["mean"]),
            f"{STEADY} minus it": ""
            if name == STEADY
            else paired(part, "mean", STEADY, name, ["seed"]),
        }
    return pd.DataFrame(rows).T.rename_axis("method")


if __name__ == "__main__":
    main()
