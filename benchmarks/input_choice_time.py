"""What the choice of inputs costs: training with `inputs: auto` against `inputs: none`, on one core.

    python benchmarks/input_choice_time.py --data FOLDER

The bags of [many widths](widths.md), 1 to 10 to 10, 32 tiles each, by the default recipe (`sc_mil`, 40 epochs). A pair
is trained with and without the choice in one process, one after the other, and what is told is the pair's ratio: CPU
seconds of the whole training, moments, directions and stand-in included. The choice reads a bag once and training
reads it in every epoch, so bags of 32 tiles are its worst case; those of 256, as many as a small slide has, are the
same, each eight times over. No score is looked at.
"""

import time
from pathlib import Path

import evidence_widths as widths
import mil_runs
import numpy as np
import pandas as pd
import torch
from evidence import Cell, arguments, markdown, run_cells, write_page
from mil_runs import BagSet, Recipe

from offsite.pathology.settings import ScMilSettings

CELLS = (
    *((bags, width, 1) for bags in (30, 90) for width in (512, 1280, 2560)),
    (30, 2560, 8),
    (500, 1280, 1),
)
"""Bags, numbers of a tile, and how often each tile stands in its bag of 32."""
VERSION = 1
BEFORE = """Single pairs on the same bags by an earlier form of this command, which kept none: 30 bags 0.98, 1.04 and 1.31 of
512, 1,280 and 2,560 numbers, 90 bags 1.09, 1.16 and **1.44**. So a quarter more holds up to 1,280 numbers, and of 2,560 with bags
of 32 tiles it does not. Times vary by a fifth from pair to pair on a
machine that does other work."""


def run(cell: Cell) -> dict[str, float | None]:
    """Train a pair; return CPU seconds without the choice, with it, and what the fitting takes of that."""
    torch.set_num_threads(1)
    places = Path(cell["data"]), Path(cell["features"])
    drawn = widths._bags(*places, cell["width"], cell["bags"], cell["seed"])
    bags = {
        name: BagSet([np.tile(bag, (cell["times"], 1)) for bag in of.bags], of.labels)
        for name, of in drawn.items() if name in ("training", "validation")
    }  # fmt: skip
    without, _ = _seconds("none", bags, cell["seed"])
    chosen, fitting = _seconds("auto", bags, cell["seed"])
    return {"without": without, "with": chosen, "fitting": fitting}


def _seconds(inputs: str, bags: dict[str, BagSet], seed: int) -> tuple[float, float]:
    recipe = Recipe(
        model=ScMilSettings.model_validate({"inputs": inputs}), learning_rate=5e-4, weight_decay=1e-4,
        instances=512,
    )  # fmt: skip
    mil_runs._FITTED.clear()
    begun = time.process_time()
    mil_runs.train("sc_mil", recipe, bags["training"], bags["validation"], 3, seed)
    whole = time.process_time() - begun
    mil_runs._FITTED.clear()
    begun = time.process_time()
    mil_runs._inputs(bags["training"].loader(), recipe.model)
    return whole, time.process_time() - begun


def main() -> None:
    """Train the pairs that are missing and write the page."""
    given = arguments(
        "input_choice_time",
        ("--data", {"type": Path, "required": True, "help": "folder with first/ and second/"}),
        ("--features", {"type": Path, "default": Path("build/evidence/real_tiles/features")}),
    )
    places = {"data": str(given.data), "features": str(given.features)}
    cells = [
        {"bags": bags, "width": width, "times": times, "seed": seed, "version": VERSION, **places}
        for seed in range(min(given.seeds, 2)) for bags, width, times in CELLS
    ]  # fmt: skip
    table = run_cells(given.out, cells, run, given.minutes, 1)
    rows = {}
    for (bags, width, times), part in table.groupby(["bags", "width", "times"]):
        ratio = part["with"] / part["without"]
        rows[f"{bags} bags of {32 * times} tiles, {width} numbers"] = {
            **{f"{name}, s": f"{part[name].mean():.1f}" for name in ("without", "with", "fitting")},
            "with / without": f"{ratio.mean():.2f}",
            "least to most": f"{ratio.min():.2f} to {ratio.max():.2f}",
            "pairs": len(part),
        }
    text = (__doc__ or "").strip().split("\n\n", 2)[2].replace("\n", " ")
    parts = [text, markdown(pd.DataFrame(rows).T.rename_axis(""))]
    if len(table) < len(cells):
        parts.append(f"{len(table)} of {len(cells)} pairs have been trained.")
    parts.append(BEFORE)
    write_page(
        given.table, "Evidence: what the choice of inputs costs", parts,
        "python benchmarks/input_choice_time.py --data FOLDER",
    )  # fmt: skip


if __name__ == "__main__":
    main()
