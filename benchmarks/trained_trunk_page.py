"""What the runs of ``evidence_trained_trunk.py`` say, as tables."""

from pathlib import Path

import numpy as np
import pandas as pd
from evidence import markdown
from patient_intervals import Judged, drawn_values, interval_of
from refitted_heads import refitted_runs

from offsite.evaluation.predictions.table import load_predictions

SHORT = {"dr_aptos_filtered": "APTOS", "dr_idrid": "IDRiD", "dr_messidor2": "Messidor-2"}
REFERABLE, SEVERE, WANTED = 2, 3, 0.9
CASES, DRAWS = (50, 100), 3


def judged(folder: Path, referable: int, site: str) -> tuple[Judged, float, float]:
    """What a run says of the site left out; sensitivity and specificity at the carried threshold."""
    predictions = load_predictions(folder)
    table, labels = predictions.table, predictions.labels
    probabilities = np.stack([table[f"prob_{name}"] for name in predictions.classes], axis=1)
    scores = probabilities[:, referable:].sum(axis=1)
    here = (table["site"] == site).to_numpy() & (labels >= 0)
    val = ((table["split"] == "val") & (table["site_role"] == "training")).to_numpy()
    threshold = np.quantile(scores[val & (labels >= referable)], 1 - WANTED)
    called, truth = scores[here] >= threshold, labels[here] >= referable
    run = Judged(
        folder.name, scores[here], probabilities[here].argmax(1), labels[here],
        table["patient"].to_numpy(str)[here], np.ones(int(here.sum()), bool),
    )  # fmt: skip
    return run, float(called[truth].mean()), float((~called)[~truth].mean())


def lines_of(
    method: str, cells: list[Path], found: dict[tuple[str, str], np.ndarray]
) -> dict[str, list[str]]:
    """A method's lines of the page: as trained, and after local cases; its drawn figures into ``found``."""
    shown: dict[int, list[str]] = {number: [] for number in (0, *CASES)}
    carried = []
    for number, (site, name) in enumerate(SHORT.items()):
        here = [f for f in cells if f.parts[-2] == f"without-{site}"]
        if not here:
            for part in shown.values():
                part.append("–")
            continue
        runs = [judged(f, REFERABLE, site) for f in here]
        values = drawn_values([run for run, _, _ in runs], REFERABLE, 5, seed=number)
        severe = [
            drawn_values([judged(f, SEVERE, site)[0]], SEVERE, 5)["auroc"][0, 0] for f in here
        ]
        shown[0].append(_words(values, [f.name for f in here], float(np.mean(severe))))
        carried.append("{:.2f}; {:.2f}".format(*np.mean([run[1:] for run in runs], axis=0)))
        for row, f in enumerate(here):
            found[name, f.name] = np.stack([values["auroc"][row], values["kappa"][row]])
        local = [refitted_runs(f, CASES, DRAWS, REFERABLE) for f in here]
        for cases in CASES:
            after = [run for each in local for run in each[cases]]
            drawn = drawn_values(after, REFERABLE, 5, seed=number)
            shown[cases].append(_words(drawn, [run.seed for run in after], None))
    seeds = str(len({f.name for f in cells}))
    return {f"`{method}`{f', after {cases} cases' if cases else ''}":
            [*part, "" if cases else ", ".join(carried), seeds]
            for cases, part in shown.items()}  # fmt: skip


def _words(values: dict[str, np.ndarray], seeds: list[str], severe: float | None) -> str:
    a, k = (interval_of(values[each], np.array(seeds)) for each in ("auroc", "kappa"))
    middle = "" if severe is None else f"{severe:.3f} / "
    return f"{a[0]:.3f} ({a[1]:.3f}–{a[2]:.3f}) / {middle}{k[0]:.3f} ({k[1]:.3f}–{k[2]:.3f})"


def differences(found: dict[str, dict[tuple[str, str], np.ndarray]]) -> str:
    """DECO minus each other method over the cells that both have, patient draws and seeds paired."""
    lines = {}
    for method, cells in found.items():
        both = sorted(set(cells) & set(found.get("deco", {})))
        if method == "deco" or not both:
            continue
        by_seed = {}
        for seed in sorted({seed for _, seed in both}):
            sites = [cell for cell in both if cell[1] == seed]
            by_seed[seed] = np.mean([found["deco"][cell] - cells[cell] for cell in sites], axis=0)
        rows, seeds = np.stack(list(by_seed.values())), np.array(list(by_seed))
        parts = [interval_of(rows[:, n], seeds) for n in (0, 1)]
        lines[f"`{method}`"] = [*(f"{m:+.3f} ({low:+.3f} to {high:+.3f})" for m, low, high in parts),
                                str(len(both))]  # fmt: skip
    if not lines:
        return "No cell that two methods have is finished."
    table = pd.DataFrame(lines, index=["AUROC referable", "quadratic kappa", "cells"]).T
    table.index.name = "DECO minus"
    return markdown(table)


def of_single_sources(cells: dict[str, list[Path]]) -> str:
    """Return the table of runs that trained on one site: referable AUROC and kappa at the two others."""
    lines: dict[str, dict[str, str]] = {}
    for method, folders in cells.items():
        for number, (site, name) in enumerate(SHORT.items()):
            for source, source_name in SHORT.items():
                others = {other for other in SHORT if other != source}
                here = [f for f in folders if set(_left_out(f)) == others and site in others]
                if not here:
                    continue
                runs = [judged(f, REFERABLE, site)[0] for f in here]
                values = drawn_values(runs, REFERABLE, 5, seed=number)
                column = f"{source_name} → {name}"
                lines.setdefault(f"`{method}`", {})[column] = _words(
                    values, [f.name for f in here], None
                )
    if not lines:
        return "No cell of one source is finished."
    table = pd.DataFrame(lines).T.fillna("–")
    table.index.name = "AUROC referable / quadratic kappa"
    return markdown(table)


def _left_out(folder: Path) -> list[str]:
    return folder.parts[-2].removeprefix("without-").split("+")
