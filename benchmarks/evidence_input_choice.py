"""What `inputs: auto` chooses: on bags of colon tiles by four encoders, and on the classic sets.

    python benchmarks/evidence_input_choice.py --data FOLDER

Training bags of the settling seeds alone. Colon: `evidence_real_tiles.py`, ratios 10 and 20. Classic
sets: nine of ten folds, one in ten positive bags kept. The losses are those of the linear stand-in on
patients (here: bags) left out in turn; whitening has to lower its loss by a twentieth, and is not considered where there are
no more numbers than directions (256; the losses shown there are with one direction fewer than numbers).
"""

from pathlib import Path

import evidence_mil_benchmarks as classic
import numpy as np
import pandas as pd
from colon_bags import bags_of
from evidence import Cell, arguments, markdown, run_cells, write_page
from mil_runs import BagSet

from offsite.pathology.inputs import fit_inputs
from offsite.pathology.settings import ScMilSettings

ENCODERS = ("last", "top", "all", "structure")
SETS = ("Musk1", "Elephant", "Fox", "BrownCreeper")
DRAWS = range(3)
VERSION = 2
ASKED = ScMilSettings.model_validate({"inputs": "auto"})


def run(cell: Cell) -> dict[str, float | None]:
    """Fit the inputs of one draw of training bags."""
    data = Path(cell["data"])
    if "ratio" in cell:
        tiles, features = data / "colon_tiles", Path(cell["features"])
        bags = bags_of(tiles, features, cell["of"], cell["ratio"], cell["draw"])["training"]
    else:
        bags = _thinned(data, cell["of"], cell["draw"])
    loader = bags.loader()
    inputs = fit_inputs(loader.store, loader.table, loader.table.names, ASKED)
    # What the stand-in says also where it is not asked: of few numbers.
    fewer = ASKED.model_copy(update={"directions": min(256, loader.store.dimensions - 1)})
    stood_in = fit_inputs(loader.store, loader.table, loader.table.names, fewer)
    losses = stood_in.facts["losses"]
    return {
        "numbers": loader.store.dimensions,
        "whitened": float(inputs.directions is not None),
        "loss_none": losses["none"],
        "loss_whitened": losses["whitened"],
    }


def _thinned(data: Path, name: str, fold: int) -> BagSet:
    classic.DATA = data / "mil_benchmarks"
    bags, folds = classic.load(name)
    training = np.flatnonzero(folds[0] - folds.min() != fold)
    rng = np.random.default_rng([0, fold])
    positive = rng.permutation(training[bags.labels[training] == 1])
    kept = positive[: max(len(positive) // 10, 2)]
    return bags.take(np.sort(np.concatenate([training[bags.labels[training] == 0], kept])))


def main() -> None:
    """Run the cells that are missing and write the page."""
    given = arguments(
        "input_choice",
        (
            "--data",
            {
                "type": Path,
                "required": True,
                "help": "folder with colon_tiles/ and mil_benchmarks/",
            },
        ),
        ("--features", {"type": Path, "default": Path("build/evidence/real_tiles/features")}),
    )
    common = {"data": str(given.data), "features": str(given.features), "version": VERSION}
    cells = [
        *({"of": name, "ratio": ratio, "draw": draw, **common}
          for name in ENCODERS for ratio in (10, 20) for draw in DRAWS),
        *({"of": name, "draw": draw, **common} for name in SETS for draw in DRAWS),
    ]  # fmt: skip
    table = run_cells(given.out, cells, run, given.minutes, 1)
    rows = {}
    for name in (*ENCODERS, *SETS):
        part = table[table["of"] == name]
        if len(part):
            gain = 1 - part["loss_whitened"] / part["loss_none"]
            rows[f"colon, {name}" if name in ENCODERS else name] = {
                "numbers": int(part["numbers"].iloc[0]),
                "loss without": f"{part['loss_none'].mean():.3f}",
                "whitened": f"{part['loss_whitened'].mean():.3f}",
                "gain by whitening, least to most": f"{gain.min():+.0%} to {gain.max():+.0%}",
                "whitened in": f"{int(part['whitened'].sum())} of {len(part)} draws",
            }  # fmt: skip
    text = (__doc__ or "").strip().split("\n\n", 2)[2].replace("\n", " ")
    parts = [text, markdown(pd.DataFrame(rows).T.rename_axis("bags"))]
    command = "python benchmarks/evidence_input_choice.py --data FOLDER"
    write_page(given.table, "Evidence: the choice of inputs", parts, command)


if __name__ == "__main__":
    main()
