"""One recipe for every encoder and cohort: SC-MIL's default on bags of 24 to 2,560 numbers a tile.

    python benchmarks/evidence_widths.py --data FOLDER [--stage rates|test|scaled]

The bags of real colon tiles ([real tiles](real_tiles.md)), 1 to 10 to 10, with 30, 90 or 500 training
bags in all. The same tiles are read as 24 numbers (colour), 123 (structure), 1,280 (the network's top)
and 1,632 (all its stages), and as numbers made of these: 64 and 512 random sums of the 1,632, and 2,560
that are the 1,632 and the first 928 of the top. The recipe is the default, that of every method: of fewer than 256
numbers, which are read as they are, the first layer learns [faster](first_layer.md); of more it does not. SC-MIL
and itself without contrast (`logit_adjustment_views`) have the default's rate, 5e-4. It is compared with cross-entropy
and with the three best rivals of the settling seeds of 640 numbers. Each of these has its best rate of four by settling
seeds: of 512 numbers and more that of 80 bags of 640 numbers, of fewer that of 90 bags of 24, 64 and 123 numbers,
with the faster first layer. Of fewer than 256 numbers the recipe is another than the one that was tested
([before](one_rate_trials.md)), and its test seeds are new (360 to 364); of more it is the same,
and the seeds are those that were registered for it (330 to 334). Over several widths the first seed of either is one
draw, the second another. A rule of the first test is applied again: over the cells of 30 and 90 bags (their mean by draw,
paired over the draws), contrast goes if what is without it is ahead by a whole interval in AUROC or macro-F1 and behind by one
in neither; else it stays.
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
from mil_runs import COLON_RATES, NARROW_RATES, BagSet
from real_tiles_page import ADJUSTED, METRICS, RIVALS
from widths_page import BAGS, SC_MIL, WIDTHS, told

SUMS = (64, 512)
NARROW = tuple(width for width in WIDTHS if width < 256)
"""Read as they are, by a first layer that learns faster."""
SEEDS, NARROW_SEEDS = range(330, 335), range(360, 365)
RATIO = 10
RATES, RATE_SEEDS, RATE_BAGS = (2.5e-4, 5e-4, 1e-3, 2e-3), range(3), 90
"""What is tried of the narrow widths: the rates, and seeds, on which those of 640 numbers were settled."""
SCALED_SEEDS, SCALED_RATE, SCALED_AT = range(340, 350), 5e-4, 256
"""Fresh seeds for a rate that rises where fewer numbers are read: `SCALED_RATE` at `SCALED_AT` of them."""
SCALED_RIVALS = {"balanced_sampling": 5e-4, "ldam_drw": 1e-3}
"""Their best rate of one for all layers, by the mean AUROC of the narrow widths on the settling seeds."""
SETTLED = ("cross_entropy", "logit_adjustment", "ldam_drw", "balanced_sampling")
STEADY = "sc_mil_logit_adjustment"
"""What it is called in the cells."""
FASTER = {"first_layer_power": 1.0}
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
    tried = settle(given.out, places, given.minutes if given.stage == "rates" else 0)
    rivals = ("cross_entropy", *best_rivals(given.settled, places))
    methods = (SC_MIL, ADJUSTED, *rivals)
    cells = cells_of(methods, places)
    table = run_cells(given.out, cells, run, given.minutes if given.stage == "test" else 0, 1)
    parts = [(__doc__ or "").strip().split("\n\n", 2)[2].replace("\n", " ")]
    if len(table):
        table["method"] = table["method"].replace(STEADY, SC_MIL)
        first = table["width"].isin(NARROW).map({True: NARROW_SEEDS[0], False: SEEDS[0]})
        table["draw"] = table["seed"] - first
        parts += told(table, methods)
        parts.append(
            f"{len(table)} of {len(cells)} cells have been run, draw by draw, the largest cohort after the others."
            f" CPU: {table['cpu_seconds'].sum() / 60:.0f} minutes on one core."
        )
    parts += rates_told(tried)
    parts += scaled_rates(given.out, places, given.minutes if given.stage == "scaled" else 0)
    write_page(
        given.table, "Evidence: one recipe, many widths", parts,
        "python benchmarks/evidence_widths.py --data FOLDER",
    )  # fmt: skip


def best_rivals(settled: Path, places: dict[str, str]) -> list[str]:
    """Return the three best rivals of the settling seeds of 640 numbers, which are kept."""
    trials = real_tiles.settling_cells(places)
    tried = run_cells(settled, trials, real_tiles.run, 0, 1)
    if len(tried) < len(trials):
        raise SystemExit("Run benchmarks/evidence_real_tiles.py --stage settle first")
    own = real_tiles.own_rates(tried)
    assert all(own[name] == rate for name, rate in COLON_RATES.items() if name in RIVALS), own
    return real_tiles.best_rivals(tried)[:3]


def cells_of(methods: tuple[str, ...], places: dict[str, str]) -> list[Cell]:
    """Return the cells of the test: 30 and 90 bags draw by draw, then 500 bags draw by draw."""
    return [
        _cell(method, width, bags, seeds[draw], None, places)
        for sizes in ((30, 90), (500,)) for draw in range(len(SEEDS))
        for bags in sizes for width in WIDTHS
        for seeds in (NARROW_SEEDS if width in NARROW else SEEDS,) for method in methods
    ]  # fmt: skip


def _cell(
    method: str, width: int, bags: int, seed: int, rate: float | None, places: dict[str, str]
) -> Cell:
    narrow = width in NARROW
    model = weight.METHODS[weight.STEADY][2] if method == SC_MIL else {}
    return {
        "method": STEADY if method == SC_MIL else method, "width": width, "bags": bags, "seed": seed,
        "rate": rate or (NARROW_RATES if narrow else COLON_RATES)[method],
        "model": model | FASTER if narrow else model, "version": VERSION, **places,
    }  # fmt: skip


def settle(out: Path, places: dict[str, str], minutes: float) -> pd.DataFrame:
    """Run the trials of rates on the narrow widths, the rivals' first; return theirs once whole, with SC-MIL's."""
    tried = []
    for methods in (SETTLED, (SC_MIL,)):
        cells = [
            _cell(method, width, RATE_BAGS, seed, rate, places)
            for seed in RATE_SEEDS for width in NARROW for method in methods for rate in RATES
        ]  # fmt: skip
        found = run_cells(out, cells, run, minutes, 1)
        if len(found) == len(cells):
            tried.append(found.assign(score=real_tiles.of_site_a(found)))
    if not tried or set(SETTLED) - set(tried[0]["method"]):
        return pd.DataFrame()
    table = pd.concat(tried)
    return table.assign(method=table["method"].replace(STEADY, SC_MIL))


def rates_of(tried: pd.DataFrame) -> dict[str, float]:
    """Return the best rate of each method that was tried."""
    best = tried.groupby(["method", "rate"])["score"].mean().unstack().idxmax(axis=1)
    return {str(name): float(rate) for name, rate in best.items()}


def rates_told(tried: pd.DataFrame) -> list[str]:
    """Return the table of rates on the narrow widths, by which the rivals' are settled."""
    if tried.empty:
        return []
    best = rates_of(tried)
    assert all(NARROW_RATES[name] == best[name] for name in SETTLED), best
    wide = tried.groupby(["method", "rate"])["score"].mean().unstack()
    shown = wide.reindex([m for m in (SC_MIL, *SETTLED) if m in best]).map("{:.3f}".format)
    shown.columns = [f"{rate:g}" for rate in shown.columns]
    return [
        f"## Settling: rates of 24, 64 and 123 numbers, {RATE_BAGS} bags, seeds {RATE_SEEDS[0]} to {RATE_SEEDS[-1]},"
        " mean of AUROC and macro-F1 at A",
        f"The rivals have their best; SC-MIL keeps the default's {NARROW_RATES[SC_MIL]:g}.",
        markdown(shown.rename_axis("method")),
    ]


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

What tables at one rate for all layers [taught](one_rate_trials.md#many-widths) was tried on seeds of its own ({SCALED_SEEDS[0]} to {SCALED_SEEDS[-1]}): SC-MIL's rate of
{SCALED_RATE:g}, which was settled on {SCALED_AT} whitened directions, rises by the root of how many fewer numbers are
read (1.6e-3 of 24, 1e-3 of 64, 7.2e-4 of 123). It becomes the default if it is ahead of the fixed rate by a
whole interval in AUROC or macro-F1, over all cells, and behind by one in neither. The rivals have the best
of four rates at one rate for all layers."""
SCALED_OUTCOME = """By that rule the default keeps its rate: over all cells no difference is shown. The rows of 30 and
of 90 bags were no part of the rule: with 90 bags the faster rate ranks and decides better; with 30, of which two are
of each rare class, no gain is shown, and macro-F1 leans the other way. A faster first layer alone does the same on its
settling seeds ([trials](sc_mil_trials.md#few-numbers-and-the-rate))."""


if __name__ == "__main__":
    main()
