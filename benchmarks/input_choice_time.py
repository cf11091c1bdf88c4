"""What the choice of inputs costs: training with `inputs: auto` against `inputs: none`, on one core.

    python benchmarks/input_choice_time.py --data FOLDER [--repeats N]

The bags of [many widths](widths.md), 1 to 10 to 10, 32 tiles each, by the default recipe (`sc_mil`, 40 epochs). A pair
is trained with and without the choice in one process, one after the other, and what is told is the pair's ratio: CPU
seconds of the whole training, moments, directions and stand-in included. Bags of 32 tiles are the
worst case: the choice reads a bag once, training reads it in every epoch.
"""

import argparse
import statistics
import time
from pathlib import Path

import evidence_widths as widths
import mil_runs
import pandas as pd
import torch
from evidence import markdown, write_page
from mil_runs import BagSet, Recipe

from offsite.pathology.settings import ScMilSettings

WIDTHS = (512, 1280, 2560)


def seconds(inputs: str, bags: dict[str, BagSet], seed: int) -> tuple[float, float]:
    """Return CPU seconds of a training and, of these, of what is fitted to the instances before it."""
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
    """Train the pairs and print their ratios."""
    parser = argparse.ArgumentParser(description="What the choice of inputs costs")
    parser.add_argument("--data", type=Path, required=True, help="folder with first/ and second/")
    parser.add_argument("--features", type=Path, default=Path("build/evidence/real_tiles/features"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--bags", type=int, nargs="*", default=list(widths.BAGS))
    parser.add_argument("--widths", type=int, nargs="*", default=list(WIDTHS))
    parser.add_argument("--table", type=Path, default=Path("docs/evidence/input_choice_time.md"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = {}
    for bags in given.bags:
        for width in given.widths:
            pairs = []
            for repeat in range(given.repeats):
                made = widths._bags(given.data, given.features, width, bags, repeat)
                none, _ = seconds("none", made, repeat)
                auto, fitted = seconds("auto", made, repeat)
                pairs.append((none, auto, fitted))
                print(bags, width, f"{none:.2f} {auto:.2f} {fitted:.2f} s", flush=True)
            ratios = [auto / none for none, auto, _ in pairs]
            rows[f"{bags} bags, {width} numbers"] = {
                "without, s": f"{statistics.mean(p[0] for p in pairs):.2f}",
                "with, s": f"{statistics.mean(p[1] for p in pairs):.2f}",
                "of this fitting, s": f"{statistics.mean(p[2] for p in pairs):.2f}",
                "with / without": f"{statistics.mean(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            }
    text = (__doc__ or "").strip().split("\n\n", 2)[2].replace("\n", " ")
    parts = [text, markdown(pd.DataFrame(rows).T.rename_axis(""))]
    write_page(
        given.table, "Evidence: what the choice of inputs costs", parts,
        "python benchmarks/input_choice_time.py --data FOLDER",
    )  # fmt: skip


if __name__ == "__main__":
    main()
