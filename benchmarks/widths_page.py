"""What the page of many widths compares, and the tables that tell it."""

import pandas as pd
from colon_features import SITES
from evidence import markdown, paired
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
BAGS = {30: 25, 90: 75, 500: 417}
"""Training bags in all, and of the first class."""
SC_MIL = "sc_mil"
"""The default: contrast of a steady weight beside logit adjustment."""


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
                told_apart += part["draw"].nunique() >= 3  # of fewer there is no interval
                means = part.groupby("method")["mean"].mean()
                row = {name: f"{means[name]:.3f}" for name in methods}
                for name in behind:
                    over = paired(part, "mean", name, "cross_entropy", ["draw"])
                    behind[name] += means.max() - means[name] > 0.01
                    beaten[name] += "to -" in over  # the whole interval is below nought
                    row[f"{name} − cross_entropy"] = over
                row[f"{SC_MIL} − {ADJUSTED}"] = paired(part, "mean", SC_MIL, ADJUSTED, ["draw"])
                rows[f"{bags} bags, {width} numbers"] = {
                    **row, "whitened": f"{(part['directions'] > 0).mean():.0%}",
                    "draws": part["draw"].nunique(),
                }  # fmt: skip
        parts.append(f"## {title}: mean of the sites and draws")
        parts += over_the_grid(table, names, methods)
        parts += [
            f"`{name}` is the best or within .01 of it in {count - behind[name]} of {count} cells, and"
            f" below cross-entropy by a whole interval in {beaten[name]} of the {told_apart} cells that have"
            " one (three draws or more)."
            for name in behind
        ]
        parts.append(markdown(pd.DataFrame(rows).T.rename_axis("")))
    return parts


def over_the_grid(table: pd.DataFrame, names: list[str], methods: tuple[str, ...]) -> list[str]:
    """Return what SC-MIL is ahead of each method by, over the cells of 30 and 90 bags that a draw has whole."""
    small = table[table["bags"].isin((30, 90))].assign(mean=table[names].mean(axis=1))
    counts = small.groupby(["draw", "bags", "width"])["method"].transform("nunique")
    small = small[counts == len(methods)]
    cells = small.groupby("draw")["method"].transform("size") // len(methods)
    small = small[cells == 2 * len(WIDTHS)]
    seeds = small["draw"].nunique()
    if seeds < 3:
        return []
    means = small.groupby(["draw", "method"], as_index=False)["mean"].mean()
    row = {
        f"{SC_MIL} − {other}": paired(means, "mean", SC_MIL, other, ["draw"])
        for other in methods if other != SC_MIL
    }  # fmt: skip
    words = f"all widths, 30 and 90 bags ({seeds} draws)"
    return [markdown(pd.DataFrame({words: row}).T.rename_axis(""))]


def _whole(part: pd.DataFrame, methods: tuple[str, ...]) -> pd.DataFrame:
    """Return the draws that all methods have been run on."""
    counts = part.groupby("draw")["method"].transform("nunique")
    return part[counts == len(methods)]
