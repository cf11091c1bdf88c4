"""A first layer that learns faster where it reads fewer numbers: narrow tiles and digits.

    python benchmarks/evidence_first_layer.py --data FOLDER [--stage settle|test|afterwards]

Adam moves every weight by the rate, whatever its gradient. What a layer of D inputs says then moves by the rate
times the sum of D of them: a rate that was settled on 256 whitened directions is slow for the layer that reads 24 or
64 numbers, and right for all behind it. So the first layer alone gets the rate of 5e-4 times a power of 256 / D
(1: 5.3e-3 of 24 numbers, 2e-3 of 64, 1e-3 of 123), where the inputs are read as they are and D is below 256. This is
tried after two others: that the rate of all layers rises by the root of 256 / D ([many widths](widths.md)), and that
rates are settled on [digits](digit_bags.md).
The power is settled among 0, one half and 1 on the settling seeds of those pages, by the mean of AUROC and
macro-F1 at the training site. It becomes the default if, on test seeds of its own, it is ahead of 0 by a whole
interval in AUROC or macro-F1 on the colon tiles or on the digits (the mean of all cells, and of all sites, by seed), and
behind by one in none of these four. The rivals have their best rate of four: on the
colon tiles that of narrow tiles, on the digits that of the colon tiles, as SC-MIL has.
"""

import argparse
from pathlib import Path

import evidence_digit_bags as digits
import evidence_widths as widths
import numpy as np
import pandas as pd
from colon_features import SITES
from evidence import Cell, arguments, markdown, paired, run_cells, scores_of, write_page
from mil_runs import COLON_RATES, Recipe, predict, probabilities, thinned, train

from offsite.pathology.settings import ScMilSettings

POWERS = (0.0, 0.5, 1.0)
RATE = 5e-4
BAGS, NARROW = (30, 90), tuple(w for w in widths.WIDTHS if w <= widths.SCALED_AT)
COLON, DIGITS = "colon", "digits"
SETTLING = {COLON: range(3), DIGITS: range(100, 103)}
TESTING = {COLON: range(350, 360), DIGITS: range(520, 530)}
RIVALS = {
    COLON: widths.SCALED_RIVALS,
    DIGITS: {name: COLON_RATES[name] for name in ("balanced_sampling", "ldam_drw")},
}
METRICS = {"auroc": "AUROC", "macro_f1": "macro-F1"}
VERSION = 1


def run(cell: Cell) -> dict[str, float | None]:
    """Train one method and score it: at the three sites of the colon tiles, or the two of the digits."""
    recipe = Recipe(
        model=ScMilSettings(first_layer_power=cell["power"]), learning_rate=cell["rate"], weight_decay=1e-4,
        instances=512,
    )  # fmt: skip
    seed = cell["seed"]
    if cell["on"] == COLON:
        places = Path(cell["data"]), Path(cell["features"])
        bags = widths._bags(*places, cell["width"], cell["bags"], seed)
        training, held = bags["training"], bags["validation"]
        tests = {site: bags[site] for site in SITES}
    else:
        training, held = (
            made.take(thinned(made.labels, cell["ratio"], seed))
            for made in (digits.make_bags("train", seed), digits.make_bags("val", seed))
        )
        tests = {
            name: digits.make_bags("test", seed, name == "shifted") for name in ("same", "shifted")
        }
    model = train(cell["method"], recipe, training, held, 3, seed)
    scores: dict[str, float | None] = {}
    for site, test in tests.items():
        scores |= scores_of(test.labels, probabilities(predict(model, test)), f"{site}_")
    return scores


def kinds_of(places: dict) -> dict[str, list[dict]]:
    """Return what a cell says of its bags, of both kinds."""
    return {
        COLON: [{"bags": bags, "width": width, **places} for bags in BAGS for width in NARROW],
        DIGITS: [{"ratio": ratio} for ratio in digits.RATIOS],
    }


def cells_of(
    seeds: dict[str, range], powers: tuple[float, ...], rivals: bool, places: dict
) -> list[Cell]:
    """Return the cells of both kinds of bags, seed by seed."""
    kinds = kinds_of(places)
    asked = {on: [("sc_mil", RATE, power) for power in powers] for on in kinds}
    if rivals:
        for on, of in asked.items():
            of += [(name, rate, 0.0) for name, rate in RIVALS[on].items()]
    return [
        {"on": on, "method": method, "rate": rate, "power": power, "seed": seed, "version": VERSION, **where}
        for number in range(max(map(len, seeds.values()))) for on in kinds for seed in seeds[on][number : number + 1]
        for where in kinds[on] for method, rate, power in asked[on]
    ]  # fmt: skip


def settled(tried: pd.DataFrame) -> tuple[float, list[str]]:
    """Return the power that is best at the training sites, and its table."""
    first = tried["A_auroc"].fillna(tried["same_auroc"]) + tried["A_macro_f1"].fillna(
        tried["same_macro_f1"]
    )
    tried = tried.assign(score=first / 2, where=_where(tried))
    shown = tried.groupby(["where", "power"], sort=False)["score"].mean().unstack()
    by_kind = tried.groupby(["on", "power"])["score"].mean().unstack()
    shown.loc["**mean of colon tiles and digits**"] = by_kind.mean()
    shown.columns = [f"power {power:g}" for power in shown.columns]
    best = float(by_kind.mean().idxmax())
    return best, ["## Settling", markdown(shown.map("{:.3f}".format).rename_axis(""))]


def _where(table: pd.DataFrame) -> list[str]:
    return [
        f"{row.bags:.0f} bags of {row.width:.0f} numbers"
        if row.on == COLON
        else f"digits, 1 to {row.ratio:.0f}"
        for row in table.itertuples()
    ]


def told(table: pd.DataFrame, power: float) -> list[str]:
    """Return a table for each metric: the faster first layer against itself at one rate, and the rivals."""
    faster, plain = f"sc_mil, power {power:g}", "sc_mil, one rate"
    mine = table["method"] == "sc_mil"
    names = np.where(mine, np.where(table["power"] > 0, faster, plain), table["method"])
    table = table.assign(method=names, where=_where(table))
    others = (plain, *RIVALS[COLON])
    parts = []
    for metric, title in METRICS.items():
        sites = [name for name in table.columns if name.endswith(metric)]
        part = table.assign(mean=table[sites].mean(axis=1))
        rows = {}
        for name, here in [
            *((f"**{on}, all**", part[part["on"] == on]) for on in (COLON, DIGITS)),
            *part.groupby("where", sort=False),
        ]:
            by_seed = here.groupby(["seed", "method"], as_index=False)["mean"].mean()
            means = by_seed.groupby("method")["mean"].mean()
            rows[str(name)] = {
                **{each: f"{means[each]:.3f}" for each in (faster, *others)},
                **{
                    f"− {other}": paired(by_seed, "mean", faster, other, ["seed"])
                    for other in others
                },
                "seeds": by_seed["seed"].nunique(),
            }
        parts += [f"## {title}: mean of the sites", markdown(pd.DataFrame(rows).T.rename_axis(""))]
    return parts


def afterwards(given: argparse.Namespace, power: float, mine: pd.DataFrame) -> list[str]:
    """Return digits by the rivals with the same first layer, which was not registered and judges nothing.

    The default is that of every method. On the colon tiles the rivals have had their best rate of four.
    """
    cells: list[Cell] = [
        {"on": DIGITS, "method": method, "rate": rate, "power": power, "seed": seed, "version": VERSION,
         "ratio": ratio}
        for seed in TESTING[DIGITS] for ratio in digits.RATIOS for method, rate in RIVALS[DIGITS].items()
    ]  # fmt: skip
    minutes = given.minutes if given.stage == "afterwards" else 0
    others = run_cells(given.out, cells, run, minutes, 1)
    if len(others) < len(cells):
        return []
    faster = (mine["on"] == DIGITS) & (mine["method"] == "sc_mil") & (mine["power"] == power)
    table = pd.concat([mine[faster], others])
    table = table.assign(where=_where(table))
    shown = {}
    for metric, title in METRICS.items():
        sites = [
            name for name in table.columns if name.endswith(metric) and name[:2] in ("sa", "sh")
        ]
        part = table.assign(mean=table[sites].mean(axis=1))
        for where, here in part.groupby("where", sort=False):
            means = here.groupby("method")["mean"].mean()
            shown[f"{where}: {title}"] = {
                **{method: f"{means[method]:.3f}" for method in ("sc_mil", *RIVALS[DIGITS])},
                **{
                    f"− {other}": paired(here, "mean", "sc_mil", other, ["seed"])
                    for other in RIVALS[DIGITS]
                },
            }
    return [
        f"## Afterwards: digits, every method with a first layer of power {power:g}",
        "Not registered, and judged by no rule: the default is that of every method. The same test seeds; the rivals keep"
        " the rates above.",
        markdown(pd.DataFrame(shown).T.rename_axis("")),
    ]


def main() -> None:
    """Run the cells that are missing and write the page."""
    given = arguments(
        "first_layer",
        ("--data", {"type": Path, "required": True, "help": "folder with first/ and second/"}),
        ("--settled", {"type": Path, "default": Path("build/evidence/real_tiles")}),
        ("--stage", {"choices": ("settle", "test", "afterwards"), "default": "test"}),
    )
    places = {"data": str(given.data), "features": str(given.settled / "features")}
    trials = cells_of(SETTLING, POWERS, False, places)
    tried = run_cells(given.out, trials, run, given.minutes, 1)
    parts = [(__doc__ or "").strip().split("\n\n", 2)[2].replace("\n", " ")]
    if len(tried) == len(trials):
        power, shown = settled(tried)
        cells = cells_of(TESTING, (power, 0.0), True, places)
        minutes = given.minutes if given.stage == "test" else 0
        table = run_cells(given.out, cells, run, minutes, 1) if power else pd.DataFrame()
        if len(table):
            per_seed = table.groupby(["on", "seed"])["method"].transform("size")
            whole = table["on"].map({on: len(RIVALS[on]) + 2 for on in RIVALS}) * table["on"].map(
                {COLON: len(BAGS) * len(NARROW), DIGITS: len(digits.RATIOS)}
            )
            table = table[per_seed == whole]
        if len(table):
            parts += told(table, power)
        parts.append(
            f"{len(table)} of {len(cells)} cells count: a seed does once all of its are there."
        )
        if len(table) < len(cells):
            parts.append("The rule is of all ten seeds and cannot be applied yet.")
        else:
            parts.append(
                "By the rule a power of 1 is the default (`model.first_layer_power`). With 30 bags of 64 and 123 numbers it costs"
                " macro-F1, and `model.first_layer_power: 0` is better there. What other pages had without it is told"
                " [apart](one_rate_trials.md)."
            )
        if power and len(table) == len(cells):
            parts += afterwards(given, power, table)
        parts += shown
    write_page(
        given.table, "Evidence: a faster first layer for few numbers", parts,
        "python benchmarks/evidence_first_layer.py --data FOLDER",
    )  # fmt: skip


if __name__ == "__main__":
    main()
