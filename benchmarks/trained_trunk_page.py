"""What the finished cells of ``evidence_trained_trunk.py`` say, as tables."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from evidence import markdown
from patient_intervals import interval_of
from trained_trunk_records import CASES, GDRBENCH, SHORT, UNIT, Record

BOTH = ("auroc", "kappa")
Values = Callable[[Record], Record]


def left_out_table(cells: Sequence[Record], methods: Sequence[str]) -> str:
    """Return a line of each method as trained and after local cases, for sites left out one at a time."""
    lines: dict[str, list[str]] = {}
    for method in methods:
        own = _of_whole_seeds([cell for cell in cells if cell["method"] == method])
        if not own:
            continue
        seeds = ", ".join(map(str, sorted({cell["seed"] for cell in own})))
        lines[f"`{method}`"] = [
            *_by_site(own, lambda site: site, severe=True), _mean_of_sites(own, lambda site: site),
            *_carried(own), seeds,
        ]  # fmt: skip
        for cases in CASES:
            after: Values = lambda site, cases=cases: site["after"][str(cases)]  # noqa: E731
            lines[f"`{method}`, after {cases} cases"] = [
                *_by_site(own, after), _mean_of_sites(own, after), "", "", seeds,
            ]  # fmt: skip
    if not lines:
        return "No cell of the test seeds is finished."
    heads = [*SHORT.values(), "mean of the three", "sensitivity; specificity",
             "GDRBench's AUC / accuracy / macro-F1", "seeds"]  # fmt: skip
    table = pd.DataFrame(lines, index=heads).T
    table.index.name = "AUROC referable / of grades ≥ 3 / quadratic kappa"
    return markdown(table)


def _of_whole_seeds(cells: Sequence[Record]) -> list[Record]:
    """The cells of the seeds that have all three sites, if there is one such seed; else all."""
    seeds = [cell["seed"] for cell in cells]
    whole = [cell for cell in cells if seeds.count(cell["seed"]) == len(SHORT)]
    return whole or list(cells)


def _by_site(cells: Sequence[Record], of: Values, severe: bool = False) -> list[str]:
    shown = []
    for site in SHORT.values():
        here = [cell for cell in cells if cell["left_out"] == [site]]
        if not here:
            shown.append("–")
            continue
        auroc, kappa = (_interval(here, of, name, site) for name in BOTH)
        middle = np.mean([cell["sites"][site]["severe"] for cell in here]) / UNIT
        shown.append(f"{auroc} / {middle:.3f} / {kappa}" if severe else f"{auroc} / {kappa}")
    return shown


def _carried(cells: Sequence[Record]) -> list[str]:
    """Sensitivity and specificity by site, and GDRBench's figures as means over the sites."""
    operating, figures = [], []
    for site in SHORT.values():
        here = [cell["sites"][site] for cell in cells if cell["left_out"] == [site]]
        if here:
            two = (
                np.mean([each[name] for each in here]) for name in ("sensitivity", "specificity")
            )
            operating.append("{:.2f}; {:.2f}".format(*two))
            figures.append(
                [np.mean([each["gdrbench"][name] for each in here]) for name in GDRBENCH]
            )
    means = " / ".join(f"{value:.3f}" for value in np.mean(figures, axis=0))
    return [", ".join(operating), means]


def _values(cells: Sequence[Record], of: Values, name: str, site: str) -> np.ndarray:
    return np.array([of(cell["sites"][site])[name] for cell in cells]) / UNIT


def _interval(cells: Sequence[Record], of: Values, name: str, site: str) -> str:
    seeds = np.array([cell["seed"] for cell in cells])
    return _words(interval_of(_values(cells, of, name, site), seeds))


def _words(interval: tuple[float, float, float], sign: str = "") -> str:
    mean, low, high = interval
    return f"{mean:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


def _mean_of_sites(cells: Sequence[Record], of: Values) -> str:
    rows, seeds = _whole_seeds(cells, of)
    if not seeds:
        return "–"
    return " / ".join(_words(interval_of(rows[name], np.array(seeds))) for name in BOTH)


def _whole_seeds(cells: Sequence[Record], of: Values) -> tuple[dict[str, np.ndarray], list[int]]:
    """Means over the sites of the seeds that have all three, R x (1 + draws)."""
    by_cell = {(cell["seed"], cell["left_out"][0]): cell for cell in cells}
    seeds = sorted({seed for seed, _ in by_cell})
    seeds = [seed for seed in seeds if all((seed, site) in by_cell for site in SHORT.values())]
    rows = {
        name: np.array([
            np.mean([of(by_cell[seed, site]["sites"][site])[name] for site in SHORT.values()], axis=0)
            for seed in seeds
        ]) / UNIT
        for name in BOTH
    }  # fmt: skip
    return rows, seeds


def differences(cells: Sequence[Record], methods: Sequence[str], one: str = "deco") -> str:
    """A method minus each other over the seeds that both have at all sites, draws and seeds paired."""
    by_cell = {(c["method"], c["seed"], c["left_out"][0]): c for c in cells}
    lines = {}
    for method in methods:
        both = [(s, site) for m, s, site in by_cell if m == method and (one, s, site) in by_cell]
        sites = Counter(seed for seed, _ in both)
        both = [pair for pair in both if sites[pair[0]] == len(SHORT)]
        if method == one or not both:
            continue
        columns = [_paired(by_cell, both, one, method, name) for name in BOTH]
        columns += [_paired(by_cell, [pair for pair in both if pair[1] == site], one, method, "auroc")
                    for site in SHORT.values()]  # fmt: skip
        lines[f"`{method}`"] = [*columns, str(len(both))]
    if not lines:
        return "No cell that two methods have is finished."
    heads = [
        "AUROC referable",
        "quadratic kappa",
        *(f"AUROC at {s}" for s in SHORT.values()),
        "cells",
    ]
    table = pd.DataFrame(lines, index=heads).T
    table.index.name = f"`{one}` minus"
    return markdown(table)


def _paired(
    by_cell: dict[tuple[str, int, str], Record], pairs: Sequence[tuple[int, str]],
    one: str, other: str, name: str,
) -> str:  # fmt: skip
    if not pairs:
        return "–"
    seeds = sorted({seed for seed, _ in pairs})
    rows = []
    for seed in seeds:
        apart = [
            np.subtract(*(by_cell[m, seed, site]["sites"][site][name] for m in (one, other)))
            for s, site in pairs
            if s == seed
        ]
        rows.append(np.mean(apart, axis=0) / UNIT)
    return _words(interval_of(np.array(rows), np.array(seeds)), "+")


def single_source_table(cells: Sequence[Record], methods: Sequence[str]) -> str:
    """Runs that trained on one site: referable AUROC and kappa at the two others."""
    lines: dict[str, dict[str, str]] = {}
    for method in methods:
        for source in SHORT.values():
            others = sorted(set(SHORT.values()) - {source})
            here = [c for c in cells if c["method"] == method and sorted(c["left_out"]) == others]
            for site in others if here else ():
                auroc, kappa = (_interval(here, lambda s: s, name, site) for name in BOTH)
                lines.setdefault(f"`{method}`", {})[f"{source} → {site}"] = f"{auroc} / {kappa}"
    if not lines:
        return "No cell of one source is finished."
    table = pd.DataFrame(lines).T.fillna("–")
    table.index.name = "AUROC referable / quadratic kappa"
    return markdown(table)


def single_source_differences(cells: Sequence[Record], methods: Sequence[str], one: str) -> str:
    """A method minus each other, mean over sources and targets, of the seeds that both have whole."""
    by_cell = {(c["method"], c["seed"], tuple(sorted(c["left_out"]))): c["sites"] for c in cells}
    lines = {}
    for method in methods:
        both = [(s, out) for m, s, out in by_cell if m == method and (one, s, out) in by_cell]
        counted = Counter(seed for seed, _ in both)
        seeds = sorted(seed for seed, divisions in counted.items() if divisions == len(SHORT))
        if method == one or not seeds:
            continue
        shown = []
        for name in BOTH:
            rows = [
                np.mean([np.subtract(*(by_cell[m, seed, out][site][name] for m in (one, method)))
                         for s, out in both if s == seed for site in out], axis=0) / UNIT
                for seed in seeds
            ]  # fmt: skip
            shown.append(_words(interval_of(np.array(rows), np.array(seeds)), "+"))
        lines[f"`{method}`"] = [*shown, ", ".join(map(str, seeds))]
    if not lines:
        return "No seed of one source is whole."
    table = pd.DataFrame(lines, index=["AUROC referable", "quadratic kappa", "seeds"]).T
    table.index.name = f"`{one}` minus, mean over sources and targets"
    return markdown(table)


def settled_table(cells: Sequence[Record]) -> str:
    """Validation scores by method and rate, means over the divisions that were tried."""
    if not cells:
        return "No rate is settled."
    scores = ["auc", "referable_auc", "kappa", "loss"]
    table = pd.DataFrame(cells).groupby(["method", "rate"], sort=False)[scores].mean().round(3)
    shown = table.reset_index().set_index("method")
    shown.columns = ["rate", "AUC over pairs of grades", "AUROC referable", "kappa", "loss"]
    return markdown(shown)
