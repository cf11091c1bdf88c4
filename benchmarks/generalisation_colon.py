"""Domain generalisation on bags of real colon tiles: three stains to learn from, another scan to answer.

Tiles of one acquisition are divided among three laboratories: A shows them as they are, D and E in
two other stains (drawn by a program: no tile says where it was stained). Each laboratory sees one
adenoma four times as often as the two others, another one each, so that the stain foretells the
answer. B is the second acquisition of the source, which is really another; C is B in a fourth stain. There, every
adenoma is as frequent. A bag holds 29 tiles of normal mucosa and 3 of a tubular, villous or serrated adenoma;
which, is asked (`colon_bags.py`); tiles are read by EfficientNet-Lite0 at 176 px. Training has 24 bags
of each class, validation 12. No slide is named, so A's test tiles may be of slides that were trained
on, those of B not. Compared are plain cross-entropy, the same with batches balanced over
laboratories, and over laboratory and class, and six algorithms. Plain training and the balanced batches
have five trials of the learning rate, each algorithm three of its strength, at the rate that its
batches have alone; two settling seeds. The best at a laboratory that was left out of training, each of
the three in turn, is taken; B and C reach no choice. All else are the defaults. (Three rates were tried
first: plain training took the highest of them, so a lower and a higher one were added before a test
seed was looked at.)
"""

from pathlib import Path
from typing import Any

import pandas as pd
from colon_bags import bags_of_laboratories
from colon_features import LABORATORIES
from evidence import Cell, markdown, paired, run_cells, scores_of
from generalisation_page import (
    ALGORITHMS,
    CELLS,
    CONTROL,
    PLAIN,
    SAMPLERS,
    alone,
    comparison,
    verdict,
)
from mil_runs import Recipe, predict, probabilities, train

from offsite.pathology.settings import ScMilSettings
from offsite.training.generalisation.settings import GeneralisationSettings
from offsite.training.samplers.settings import SamplerSettings

SETTLING_SEEDS, TEST_SEEDS = range(300, 302), range(310, 320)
RATES = (1.25e-4, 2.5e-4, 5e-4, 1e-3, 2e-3)
STRENGTHS: dict[str, tuple[dict[str, float], ...]] = {
    "coral": tuple({"penalty_weight": weight} for weight in (0.1, 1.0, 10.0)),
    "group_dro": tuple({"eta": eta} for eta in (0.001, 0.01, 0.1)),
    "irm": tuple({"penalty_weight": weight} for weight in (1.0, 10.0, 100.0)),
    "vrex": tuple({"penalty_weight": weight} for weight in (1.0, 10.0, 100.0)),
    "fishr": tuple({"penalty_weight": weight} for weight in (10.0, 100.0, 1000.0)),
    "mixstyle": tuple({"probability": share} for share in (0.25, 0.5, 1.0)),
}
"""What is tried of each; DomainBed's strength is among them."""
METRICS = {
    "B_auroc": "AUROC, B", "C_auroc": "AUROC, C", "taught_auroc": "AUROC, A, D, E",
    "B_macro_f1": "macro-F1, B", "C_macro_f1": "macro-F1, C",
}  # fmt: skip
RECIPE = "8215cdc"
VERSION = 1


def run(cell: Cell) -> dict[str, float | None]:
    """Train one method on the laboratories and score it where the cell asks."""
    bags = bags_of_laboratories(
        Path(cell["data"]), Path(cell["features"]), "last", cell["seed"], cell["left_out"]
    )
    sampler = SAMPLERS.get(cell["method"])
    recipe = Recipe(
        model=ScMilSettings.model_validate({}), epochs=40, learning_rate=cell["rate"],
        weight_decay=1e-4, instances=512,
        sampler=None if sampler is None else SamplerSettings.model_validate(sampler),
        general=GeneralisationSettings.model_validate(cell["strength"]),
    )  # fmt: skip
    method = cell["method"].split(",")[0]
    model = train(method, recipe, bags["training"], bags["validation"], 3, cell["seed"])
    asked = (cell["left_out"],) if cell["left_out"] else (*LABORATORIES, "B", "C")
    scores: dict[str, float | None] = {}
    for site in asked:
        scores |= scores_of(
            bags[site].labels, probabilities(predict(model, bags[site])), f"{site}_"
        )
    return scores


class Cells:
    """The cells of the settling seeds and of the test seeds, run where they are missing."""

    def __init__(self, data: Path, out: Path, minutes: float) -> None:
        self.out, self.minutes = out / "cells", minutes
        self.fixed = {"version": VERSION, "data": str(data), "features": str(out / "features")}

    def _run(self, cells: list[Cell]) -> pd.DataFrame:
        return run_cells(self.out, cells, run, self.minutes)

    def _cell(self, method: str, seed: int, trial: dict[str, Any], left_out: str = "") -> Cell:
        return {"method": method, "seed": seed, **trial, "left_out": left_out, **self.fixed}

    def best(self, trials: dict[str, list[dict[str, Any]]]) -> tuple[dict[str, Any], pd.DataFrame]:
        """Return the trial of each method that does best at the laboratory left out, and all scores."""
        cells = [
            self._cell(method, seed, trial, site)
            for method, some in trials.items() for trial in some
            for seed in SETTLING_SEEDS for site in LABORATORIES
        ]  # fmt: skip
        table = self._run(cells)
        table["auroc"] = table[[f"{site}_auroc" for site in LABORATORIES]].mean(axis=1)
        trial_of = table["strength"].map(str) + table["rate"].map(str)
        means = {
            method: [
                table[
                    (table["method"] == method)
                    & (trial_of == str(trial["strength"]) + str(trial["rate"]))
                ]["auroc"].mean()
                for trial in some
            ]
            for method, some in trials.items()
        }
        chosen = {
            method: trials[method][max(range(len(of)), key=of.__getitem__)]
            for method, of in means.items()
        }
        shown = {
            method: {
                "tried": ", ".join(f"{told(trial)} {mean:.3f}" for trial, mean in
                                   zip(trials[method], of, strict=True)),
                "taken": told(chosen[method]),
            }
            for method, of in means.items()
        }  # fmt: skip
        return chosen, pd.DataFrame(shown).T

    def settled(self) -> tuple[dict[str, Any], pd.DataFrame]:
        """Return the trial that is taken of every method, and the table of what was tried."""
        rates = [{"rate": rate, "strength": {}} for rate in RATES]
        chosen, shown = self.best(dict.fromkeys((PLAIN, *SAMPLERS), rates))
        strengths = {
            method: [
                {"rate": chosen[alone(method)]["rate"], "strength": strength}
                for strength in STRENGTHS[method.removeprefix(f"{PLAIN}+")]
            ]
            for method in ALGORITHMS
        }
        further, shown_too = self.best(strengths)
        return chosen | further, pd.concat([shown, shown_too])

    def tested(self, chosen: dict[str, Any]) -> tuple[pd.DataFrame, int]:
        """Return the scores on the test seeds, and how many cells there are to run."""
        cells = [
            self._cell(method, seed, trial)
            for seed in TEST_SEEDS for method, trial in chosen.items()
        ]  # fmt: skip
        table = self._run(cells)
        taught = [f"{site}_auroc" for site in LABORATORIES]
        return table.assign(taught_auroc=table[taught].mean(axis=1)), len(cells)


def told(trial: dict[str, Any]) -> str:
    """Return a trial in a word: its strength, or its rate."""
    return f"{next(iter(trial['strength'].values()), trial['rate']):g}"


def colon_parts(data: Path, out: Path, minutes: float, *, settle_only: bool) -> list[str]:
    """Run the cells that are missing; return the section of the page."""
    cells = Cells(data, out, minutes)
    chosen, tried = cells.settled()
    parts = [
        "## Bags of real colon tiles",
        (__doc__ or "").strip().split("\n\n", 1)[1].replace("\n", " "),
    ]
    settling = [
        "### Settling: AUROC at the laboratory left out, mean of the three and of two seeds",
        markdown(tried.rename_axis("method")),
    ]
    if settle_only:
        return parts + settling
    table, wanted = cells.tested(chosen)
    parts.append(
        f"Seeds {TEST_SEEDS[0]} to {TEST_SEEDS[-1]}, which nobody had looked at when the recipe was"
        f" kept (commit {RECIPE})."
    )
    others = {
        PLAIN: "plain cross-entropy",
        CONTROL: "the same batches alone",
        CELLS: "batches balanced over laboratory and class",
    }
    parts += comparison(table, METRICS, others, "###")
    measures = {"B_auroc": "AUROC at B", "B_macro_f1": "macro-F1 at B"}
    parts.append(verdict(table, measures))
    gained = [
        f"{words} {paired(table, metric, CELLS, PLAIN, ['seed'])}"
        for metric, words in measures.items()
    ]
    parts.append(
        "Batches balanced over laboratory and class, without an algorithm, against plain"
        f" cross-entropy: {', '.join(gained)}."
    )
    if len(table) < wanted:
        parts.append(f"{len(table)} of {wanted} cells have been run; run again for the others.")
    parts.append(f"CPU of the tests: {table['cpu_seconds'].sum() / 60:.1f} minutes on one core.")
    return parts + settling
