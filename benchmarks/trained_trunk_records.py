"""What stays of each finished cell of ``evidence_trained_trunk.py``: a line of figures, no picture, no name.

Lines lie in the repository, a file for each method, so that the page is made and the evidence goes on where
no run folder is left. Figures are ten-thousandths: of all patients of a site, then of `DRAWS` draws of
them, which are the same for every method, so that methods can be compared draw by draw.
"""

import json
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from patient_intervals import Judged, drawn_values
from refitted_heads import refitted_runs
from retina_results import site_results

from offsite.evaluation.predictions.table import Predictions, load_predictions
from offsite.files import digest_of, read_json, write_text
from offsite.training.cells import Cell

SHORT = {"dr_aptos_filtered": "APTOS", "dr_idrid": "IDRiD", "dr_messidor2": "Messidor-2"}
REFERABLE, SEVERE, WANTED = 2, 3, 0.9
CASES, LOCAL_DRAWS, DRAWS, UNIT = (50, 100), 3, 200, 10_000
GDRBENCH = ("auc", "accuracy", "macro_f1")

Record = dict[str, Any]


class Records:
    """The lines of finished cells below a folder, a file for each method.

    Parameters
    ----------
    folder : path
        Of the repository.
    recipe : JSON-able
        All that a cell depends on beside method, division, seed and rate. Cells of another recipe stay in
        the files and are not found.
    """

    def __init__(self, folder: str | Path, recipe: Any) -> None:
        self.folder, self.recipe = Path(folder), digest_of(recipe)[:8]

    def found(self, stage: str, methods: Iterable[str] | None = None) -> list[Record]:
        """Return the finished cells of a stage."""
        names = None if methods is None else set(methods)
        return [
            line
            for file in sorted(self.folder.glob("*.jsonl"))
            for line in map(json.loads, file.read_text(encoding="utf-8").splitlines())
            if (line["recipe"], line["stage"]) == (self.recipe, stage)
            and (names is None or line["method"] in names)
        ]

    def has(self, stage: str, cell: Cell, rate: float) -> bool:
        """Whether a cell is finished."""
        wanted = _identity(stage, cell, rate)
        return any(wanted.items() <= line.items() for line in self.found(stage, [cell.method]))

    def add(self, stage: str, cell: Cell, rate: float, figures: Record) -> None:
        """Write the line of a cell; the file is whole at any time."""
        line = {
            "recipe": self.recipe,
            **_identity(stage, cell, rate),
            "commit": _commit(),
            **figures,
        }
        file = self.folder / f"{cell.method}.jsonl"
        held = file.read_text(encoding="utf-8") if file.is_file() else ""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(file, held + json.dumps(line, separators=(",", ":")) + "\n")


def _identity(stage: str, cell: Cell, rate: float) -> Record:
    return {"stage": stage, "method": cell.method, "left_out": [SHORT.get(s, s) for s in cell.held_out],
            "seed": cell.seed, "rate": rate}  # fmt: skip


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=10", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def settling_figures(folder: Path) -> Record:
    """Return what validation patients say of the epoch that a run kept."""
    epoch = read_json(folder / "run.json")["facts"]["selected_epoch"]
    lines = [json.loads(line) for line in (folder / "curves.jsonl").open(encoding="utf-8")]
    scores = lines[epoch if epoch is not None else -1]["scores"]
    return {name: round(scores[name], 4) for name in ("auc", "kappa", "referable_auc", "loss")}


def left_out_figures(folder: Path, cell: Cell, classes: Sequence[str]) -> Record:
    """Return what a run says of each site left out, as trained and after local cases."""
    predictions, sites = load_predictions(folder), {}
    gdrbench = site_results(pd.read_parquet(folder / "predictions.parquet"), tuple(classes))
    for site in cell.held_out:
        run, sensitivity, specificity = judged(predictions, folder.name, REFERABLE, site)
        severe = judged(predictions, folder.name, SEVERE, site)[0]
        number = list(SHORT).index(site) if site in SHORT else 0
        values = drawn_values([run], REFERABLE, len(classes), number, DRAWS)
        row = gdrbench[gdrbench["site"] == site].iloc[0]
        sites[SHORT.get(site, site)] = {
            **{name: whole(each[0]) for name, each in values.items()},
            "severe": whole(drawn_values([severe], SEVERE, len(classes), number, 0)["auroc"][0])[0],
            "sensitivity": round(sensitivity, 4), "specificity": round(specificity, 4),
            "gdrbench": {name: round(float(row[name]), 4) for name in GDRBENCH},
            "after": _after_local_cases(folder, len(classes), number) if len(cell.held_out) == 1 else {},
        }  # fmt: skip
    return {"sites": sites}


def _after_local_cases(folder: Path, classes: int, number: int) -> Record:
    """Means over the draws of local patients."""
    after = {}
    for cases, runs in refitted_runs(folder, CASES, LOCAL_DRAWS, REFERABLE).items():
        values = drawn_values(runs, REFERABLE, classes, number, DRAWS)
        after[str(cases)] = {name: whole(each.mean(axis=0)) for name, each in values.items()}
    return after


def whole(values: np.ndarray) -> list[int]:
    """Return figures as ten-thousandths."""
    return np.rint(values * UNIT).astype(int).tolist()


def judged(
    predictions: Predictions, seed: str, referable: int, site: str
) -> tuple[Judged, float, float]:
    """What a run says of the site left out; sensitivity and specificity at the carried threshold."""
    table, labels = predictions.table, predictions.labels
    probabilities = np.stack([table[f"prob_{name}"] for name in predictions.classes], axis=1)
    scores = probabilities[:, referable:].sum(axis=1)
    here = (table["site"] == site).to_numpy() & (labels >= 0)
    val = ((table["split"] == "val") & (table["site_role"] == "training")).to_numpy()
    threshold = np.quantile(scores[val & (labels >= referable)], 1 - WANTED)
    called, truth = scores[here] >= threshold, labels[here] >= referable
    run = Judged(
        seed, scores[here], probabilities[here].argmax(1), labels[here],
        table["patient"].to_numpy(str)[here], np.ones(int(here.sum()), bool),
    )  # fmt: skip
    return run, float(called[truth].mean()), float((~called)[~truth].mean())
