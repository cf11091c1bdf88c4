"""One recipe for every encoder and cohort: SC-MIL's default on bags of 24 to 2,560 numbers a tile.

    python benchmarks/evidence_widths.py --data FOLDER

The bags of real colon tiles ([real tiles](real_tiles.md)), 1 to 10 to 10, with 30, 90 or 500 training
bags in all. The same tiles are read as 24 numbers (colour), 123 (structure), 1,280 (the network's top)
and 1,632 (all its stages), and as numbers made of these: 64 and 512 random sums of the 1,632, and 2,560
that are the 1,632 and the first 928 of the top. The recipe is the default with one rate for all layers and the rates are those that
were settled on 80 bags of 640 numbers: nothing is chosen here. SC-MIL is compared with cross-entropy and
with the three best rivals of those settling seeds, and with itself without contrast
(`logit_adjustment_views`). Which of these two is the default is decided here, by a rule that was set when two seeds
had been seen: over the cells of 30 and 90 bags (their mean by seed, paired over the seeds), contrast goes
if what is without it is ahead by a whole interval in AUROC or macro-F1 and behind by one in neither; else it stays.
"""

from functools import lru_cache
from pathlib import Path

import evidence_contrast_weight as weight
import evidence_real_tiles as real_tiles
import numpy as np
import pandas as pd
from colon_bags import bags_of
from colon_features import SITES
from evidence import Cell, arguments, markdown, paired, run_cells, write_page
from mil_runs import BagSet
from real_tiles_page import ADJUSTED, METRICS

WIDTHS = {
    24: "colour",
    64: "all",
    123: "structure",
    512: "all",
    1280: "top",
    1632: "all",
    2560: "all+top",
}
"""Numbers of a tile, and the encoder that they are or are made of."""
SUMS = (64, 512)
BAGS = {30: 25, 90: 75, 500: 417}
"""Training bags in all, and of the first class."""
SEEDS = range(330, 335)
BIG_SEEDS = SEEDS[:1]
"""Of the largest cohort, which costs as much as all others."""
RATIO = 10
RAW_RATES, RAW_SEEDS, RAW_BAGS = (5e-4, 1e-3, 2e-3, 4e-3), range(3), 90
"""What is tried where the inputs are read as they are: on the settling seeds of the other pages."""
RAW_METHODS = ("sc_mil_logit_adjustment", "ldam_drw", "balanced_sampling")
SCALED_SEEDS, SCALED_RATE, SCALED_AT = range(340, 350), 5e-4, 256
"""Fresh seeds for a rate that rises where fewer numbers are read: `SCALED_RATE` at `SCALED_AT` of them."""
SCALED_RIVALS = {"balanced_sampling": 5e-4, "ldam_drw": 1e-3}
"""Their best rate of `RAW_RATES`, by the mean AUROC of the narrow widths on `RAW_SEEDS`."""
SC_MIL = "sc_mil"
"""The default: contrast of a steady weight beside logit adjustment."""
VERSION = 1


def run(cell: Cell) -> dict[str, float | None]:
    """Train one method on the bags of a seed and score it at the three sites."""
    places = Path(cell["data"]), Path(cell["features"])
    return real_tiles.scored(cell, _bags(*places, cell["width"], cell["bags"], cell["seed"]))


@lru_cache(maxsize=1)  # all methods of a seed follow one another
def _bags(data: Path, features: Path, width: int, bags: int, seed: int) -> dict[str, BagSet]:
    found = bags_of(data, features, WIDTHS[width], RATIO, seed, BAGS[bags])
    return {name: made(of, width) for name, of in found.items()}


def made(bags: BagSet, width: int) -> BagSet:
    """Return bags whose tiles have ``width`` numbers: random sums of theirs, or the first of them."""
    numbers = bags.bags[0].shape[1]
    if width in SUMS:
        drawn = np.random.default_rng(width).normal(size=(numbers, width)) / np.sqrt(numbers)
        return BagSet([bag @ drawn.astype(np.float32) for bag in bags.bags], bags.labels)
    return BagSet([bag[:, :width] for bag in bags.bags], bags.labels)


def main() -> None:
    """Run the cells that are missing and write the page."""
    given = arguments(
        "widths",
        ("--data", {"type": Path, "required": True, "help": "folder with first/ and second/"}),
        ("--settled", {"type": Path, "default": Path("build/evidence/real_tiles")}),
        ("--stage", {"choices": ("test", "rates", "scaled"), "default": "test"}),
    )
    places = {"data": str(given.data), "features": str(given.settled / "features")}
    trials = real_tiles.settling_cells(places)
    tried = run_cells(given.settled, trials, real_tiles.run, given.minutes, 1)
    rates, best = real_tiles.own_rates(tried), real_tiles.best_rivals(tried)
    plain = dict.fromkeys((ADJUSTED, "cross_entropy", *best[:3]))
    asked = {SC_MIL: weight.METHODS[weight.STEADY], **{m: (m, rates[m], {}) for m in plain}}
    cells = [
        {
            "method": method, "width": width, "bags": bags, "seed": seed, "rate": rate,
            "model": model, "version": VERSION, **places,
        }
        for sizes, seeds in (((30, 90), SEEDS[:3]), ((500,), BIG_SEEDS), ((30, 90), SEEDS[3:]))
        for seed in seeds
        for bags in sizes for width in WIDTHS for method, rate, model in asked.values()
    ]  # fmt: skip
    table = run_cells(given.out, cells, run, given.minutes if given.stage == "test" else 0, 1)
    methods = tuple(asked)
    parts = [(__doc__ or "").strip().split("\n\n", 2)[2].replace("\n", " ")]
    if len(table):
        named = {method: name for name, (method, *_) in asked.items()}
        table["method"] = table["method"].map(named)
        parts += told(table, methods)
        parts.append(
            f"{len(table)} of {len(cells)} cells have been run, seed by seed, the largest cohort after three seeds of the others."
            f" CPU: {table['cpu_seconds'].sum() / 60:.0f} minutes on one core."
        )
    parts += raw_rates(given.out, places, given.minutes if given.stage == "rates" else 0)
    parts += scaled_rates(given.out, places, given.minutes if given.stage == "scaled" else 0)
    write_page(
        given.table, "Evidence: one recipe, many widths", parts,
        "python benchmarks/evidence_widths.py --data FOLDER",
    )  # fmt: skip


def raw_rates(out: Path, places: dict[str, str], minutes: float) -> list[str]:
    """Try rates on the narrow tiles, which no method reads whitened; return their table."""
    cells = [
        {
            "method": method, "width": width, "bags": RAW_BAGS, "seed": seed, "rate": rate,
            "model": weight.METHODS[weight.STEADY][2] if method == RAW_METHODS[0] else {},
            "version": VERSION, **places,
        }
        for seed in RAW_SEEDS for width in WIDTHS if width <= 256
        for method in RAW_METHODS for rate in RAW_RATES
    ]  # fmt: skip
    tried = run_cells(out, cells, run, minutes, 1)
    if len(tried) < len(cells):
        return []
    parts = [
        f"## Rates where the inputs are read as they are: {RAW_BAGS} bags, settling seeds {RAW_SEEDS[0]} to"
        f" {RAW_SEEDS[-1]}, AUROC / macro-F1, mean of the sites"
    ]
    means = {
        metric: tried[[f"{site}_{metric}" for site in SITES]].mean(axis=1) for metric in METRICS
    }
    tried = tried.assign(**{f"mean_{metric}": values for metric, values in means.items()})
    rows: dict[str, dict[str, str]] = {}
    for (width, method, rate), part in tried.groupby(["width", "method", "rate"], sort=False):
        found = " / ".join(f"{part[f'mean_{metric}'].mean():.3f}" for metric in METRICS)
        name = SC_MIL if method == RAW_METHODS[0] else method
        rows.setdefault(f"{width} numbers, {name}", {})[f"{rate:g}"] = found
    return [*parts, markdown(pd.DataFrame(rows).T.rename_axis(""))]


def scaled_rates(out: Path, places: dict[str, str], minutes: float) -> list[str]:
    """Compare the default's rate as it is with one that follows the width; return their table."""
    steady = weight.METHODS[weight.STEADY]
    cells = []
    for seed in SCALED_SEEDS:
        for bags in (30, 90):
            for width in (w for w in WIDTHS if w <= SCALED_AT):
                risen = round(SCALED_RATE * (SCALED_AT / width) ** 0.5, 6)
                asked = [(steady[0], rate, steady[2]) for rate in (risen, SCALED_RATE)]
                asked += [(method, rate, {}) for method, rate in SCALED_RIVALS.items()]
                cells += [
                    {"method": method, "width": width, "bags": bags, "seed": seed, "rate": rate,
                     "model": model, "version": VERSION, **places}
                    for method, rate, model in asked
                ]  # fmt: skip
    table = run_cells(out, cells, run, minutes, 1)
    if table.empty:
        return []
    mine = table["method"] == steady[0]
    names = (
        table["method"].where(~mine, SC_MIL).where(~mine | (table["rate"] != SCALED_RATE), FIXED)
    )
    parts = [SCALED_PREFACE]
    for metric, title in METRICS.items():
        mean = table[[f"{site}_{metric}" for site in SITES]].mean(axis=1)
        part = table.assign(method=names, mean=mean)
        rows = {}
        of_bags = [(f"{bags} bags", part[part["bags"] == bags]) for bags in (30, 90)]
        cells_of = [
            (f"{b} bags, {w} numbers", here) for (b, w), here in part.groupby(["bags", "width"])
        ]
        for name, here in [("all of them", part), *of_bags, *cells_of]:
            by_seed = here.groupby(["seed", "method"], as_index=False)["mean"].mean()
            means = by_seed.groupby("method")["mean"].mean()
            rows[name] = {
                **{each: f"{means[each]:.3f}" for each in (SC_MIL, FIXED, *SCALED_RIVALS)},
                **{f"{SC_MIL} − {other}": paired(by_seed, "mean", SC_MIL, other, ["seed"])
                   for other in (FIXED, *SCALED_RIVALS)},
            }  # fmt: skip
        parts += [f"{title}:", markdown(pd.DataFrame(rows).T.rename_axis(""))]
    parts.append(f"{len(table)} of {len(cells)} cells have been run.")
    return [*parts, SCALED_OUTCOME] if len(table) == len(cells) else parts


FIXED = f"{SC_MIL} at {SCALED_RATE:g}"
SCALED_PREFACE = f"""## A rate that follows the width

What the table above taught was tried on seeds of its own ({SCALED_SEEDS[0]} to {SCALED_SEEDS[-1]}): SC-MIL's rate of
{SCALED_RATE:g}, which was settled on {SCALED_AT} whitened directions, rises by the root of how many fewer numbers are
read (1.6e-3 of 24, 1e-3 of 64, 7.2e-4 of 123). It becomes the default if it is ahead of the fixed rate by a
whole interval in AUROC or macro-F1, over all cells, and behind by one in neither. The rivals have the best
of the four rates above."""
SCALED_OUTCOME = """By that rule the default keeps its rate: over all cells no difference is shown. The rows of 30 and
of 90 bags were no part of the rule: with 90 bags the faster rate ranks and decides better; with 30, of which two are
of each rare class, no gain is shown, and macro-F1 leans the other way. A faster first layer alone does the same on its
settling seeds ([trials](sc_mil_trials.md#few-numbers-and-the-rate))."""


def told(table: pd.DataFrame, methods: tuple[str, ...]) -> list[str]:
    """Return a table for each metric: every width and cohort, and how far SC-MIL is from the best."""
    parts = []
    for metric, title in METRICS.items():
        names = [f"{site}_{metric}" for site in SITES]
        rows, count, told_apart = {}, 0, 0
        behind, beaten = (
            dict.fromkeys((SC_MIL, ADJUSTED), 0),
            dict.fromkeys((SC_MIL, ADJUSTED), 0),
        )
        for bags in BAGS:
            for width in WIDTHS:
                here = table[(table["bags"] == bags) & (table["width"] == width)]
                part = _whole(here.assign(mean=here[names].mean(axis=1)), methods)
                if part.empty:
                    continue
                count += 1
                told_apart += part["seed"].nunique() >= 3  # of fewer there is no interval
                means = part.groupby("method")["mean"].mean()
                row = {name: f"{means[name]:.3f}" for name in methods}
                for name in behind:
                    over = paired(part, "mean", name, "cross_entropy", ["seed"])
                    behind[name] += means.max() - means[name] > 0.01
                    beaten[name] += "to -" in over  # the whole interval is below nought
                    row[f"{name} − cross_entropy"] = over
                row[f"{SC_MIL} − {ADJUSTED}"] = paired(part, "mean", SC_MIL, ADJUSTED, ["seed"])
                rows[f"{bags} bags, {width} numbers"] = {
                    **row, "whitened": f"{(part['directions'] > 0).mean():.0%}",
                    "seeds": part["seed"].nunique(),
                }  # fmt: skip
        parts.append(f"## {title}: mean of the sites and seeds")
        parts += over_the_grid(table, names, methods)
        parts += [
            f"`{name}` is the best or within .01 of it in {count - behind[name]} of {count} cells, and"
            f" below cross-entropy by a whole interval in {beaten[name]} of the {told_apart} cells that have"
            " one (three seeds or more)."
            for name in behind
        ]
        parts.append(markdown(pd.DataFrame(rows).T.rename_axis("")))
    return parts


def over_the_grid(table: pd.DataFrame, names: list[str], methods: tuple[str, ...]) -> list[str]:
    """Return what SC-MIL is ahead of each method by, over the cells of 30 and 90 bags that a seed has whole."""
    small = table[table["bags"].isin((30, 90))].assign(mean=table[names].mean(axis=1))
    counts = small.groupby(["seed", "bags", "width"])["method"].transform("nunique")
    small = small[counts == len(methods)]
    cells = small.groupby("seed")["method"].transform("size") // len(methods)
    small = small[cells == 2 * len(WIDTHS)]
    seeds = small["seed"].nunique()
    if seeds < 3:
        return []
    means = small.groupby(["seed", "method"], as_index=False)["mean"].mean()
    row = {
        f"{SC_MIL} − {other}": paired(means, "mean", SC_MIL, other, ["seed"])
        for other in methods if other != SC_MIL
    }  # fmt: skip
    words = f"all widths, 30 and 90 bags ({seeds} seeds)"
    return [markdown(pd.DataFrame({words: row}).T.rename_axis(""))]


def _whole(part: pd.DataFrame, methods: tuple[str, ...]) -> pd.DataFrame:
    """Return the seeds that all methods have been run on."""
    counts = part.groupby("seed")["method"].transform("nunique")
    return part[counts == len(methods)]


if __name__ == "__main__":
    main()
