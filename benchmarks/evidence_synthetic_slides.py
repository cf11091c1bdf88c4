"""SC-MIL against the same network with cross-entropy and random batches, on synthetic slides.

The slides are drawn by a program and say nothing of medicine: three patterns of nuclei, five sites
of different stain and scanner, one of them (elm) held out of training and selection. The whole path
is run: tiles, features of the structure baseline, packed bags, weights selected on validation
slides. The rarer classes are thinned in training by patient; each seed has its own split, thinning
and first weights, the same for every method.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from evidence import arguments, markdown, mean_and_spread, paired, run_cells, scores_of, write_page

from pathology.embedding import embed_cohort
from pathology.encoders import EncoderSettings
from pathology.training import PathologySettings, train_pathology
from preprocessing.cohort import Cohort, load_cohort
from preprocessing.splits import SplitSettings, split_cohort
from preprocessing.synthetic.slides import SyntheticSlideSettings, make_slide_cohort
from preprocessing.synthetic.slides_biology import CLASSES
from preprocessing.tiles import TileSettings
from preprocessing.tiling import tile_cohort

METHODS = ("cross_entropy", "balanced_sampling", "balanced_softmax", "ldam_drw", "sc_mil_random_batches", "sc_mil")  # fmt: skip
RATIOS = (1, 4, 10)
HELD_OUT = "elm"
SLIDES = SyntheticSlideSettings(
    patients=90, slides_per_patient=(1, 2), class_shares=(1.0, 1.0, 1.0), width_um=760.0,
    height_um=760.0, lesion_share=(0.12, 0.4), seed=1,
)  # fmt: skip


def prepare(out: Path) -> Cohort:
    """Make, tile and embed the slides; what is there is kept."""
    cohort = load_cohort(make_slide_cohort(out / "cohort", SLIDES, workers=2), CLASSES)
    tile_cohort(cohort, out, TileSettings(), workers=2)
    rows = embed_cohort(cohort, out, out / "features", EncoderSettings(), workers=2)
    print(rows["status"].value_counts().to_dict(), int(rows["tiles"].sum()), "tiles")
    return cohort


def thinned(cohort: Cohort, ratio: int, seed: int) -> Cohort:
    """Drop training patients until each class but the first has 1 / ``ratio`` of its patients.

    The subsets are nested: patients kept at a high ratio are kept at every lower one.
    """
    table, dropped = cohort.table, []
    training = table[(table["split"] == "train")].drop_duplicates("patient")
    first = (training["label"] == CLASSES[0]).sum()
    for number, label in enumerate(CLASSES[1:]):
        patients = np.sort(training.loc[training["label"] == label, "patient"].to_numpy(str))
        order = np.random.default_rng([seed, number]).permutation(patients)
        dropped += order[max(round(first / ratio), 2) :].tolist()
    return cohort.with_table(table[~table["patient"].isin(dropped)])


def runner(cohort: Cohort, out: Path):  # type: ignore[no-untyped-def]
    """Return the function that runs one cell."""

    def run(cell: dict) -> dict[str, float | None]:
        seed = cell["seed"]
        split = split_cohort(cohort, SplitSettings(held_out_sites=(HELD_OUT,), seed=seed))
        settings = PathologySettings.model_validate(
            {"method": cell["method"], "fit": {"seed": seed, "device": "cpu", "prefetch": 0}}
        )
        folder = out / "runs" / f"{cell['method']}-{cell['ratio']}-{seed}"
        table = train_pathology(
            thinned(split, cell["ratio"], seed), out / "features", settings, folder
        )
        test = table[table["split"] == "test"]
        scores: dict[str, float | None] = {}
        for prefix, role in (("", "training"), ("held_out_", "held_out")):
            part = test[test["site_role"] == role]
            labels = part["label"].map(list(CLASSES).index).to_numpy()
            scores |= scores_of(labels, part[[f"prob_{c}" for c in CLASSES]].to_numpy(), prefix)
        return scores

    return run


def main() -> None:
    given = arguments("synthetic_slides")
    cohort = prepare(given.out)
    settings = {"slides": SLIDES.digest()[:12], "training": PathologySettings().digest()[:12]}
    cells = [
        {"method": method, "ratio": ratio, "seed": seed, **settings}
        for seed in range(given.seeds) for ratio in sorted(RATIOS, reverse=True)
        for method in METHODS
    ]  # fmt: skip
    table = run_cells(given.out / "cells", cells, runner(cohort, given.out), given.minutes)
    parts = [(__doc__ or "").strip().split("\n\n", 1)[1].replace("\n", " ")]
    parts.append(f"{len(cohort.table)} slides of {cohort.table['patient'].nunique()} patients.")
    names = {
        "auroc": "AUROC, training sites", "held_out_auroc": "AUROC, held-out site",
        "macro_f1": "macro-F1, training sites", "held_out_macro_f1": "macro-F1, held-out site",
    }  # fmt: skip
    for metric, name in names.items():
        wide = table.groupby(["method", "ratio"])[metric].apply(mean_and_spread).unstack()
        wide = wide.reindex([m for m in METHODS if m in wide.index]).rename_axis("method")
        parts += [f"## {name}: mean ± sd over seeds, by imbalance ratio", markdown(wide)]
    pairs = (
        ("sc_mil", "cross_entropy"),
        ("sc_mil", "sc_mil_random_batches"),
        ("sc_mil", "ldam_drw"),
    )
    rows = {
        f"{name}, ratio {ratio}": {
            f"{a} − {b}": paired(table[table["ratio"] == ratio], metric, a, b, ["seed"])
            for a, b in pairs
        }
        for metric, name in names.items() for ratio in RATIOS
    }  # fmt: skip
    parts += ["## Paired differences (95 % t interval over seeds)", markdown(pd.DataFrame(rows).T)]
    parts.append(f"CPU of training: {table['cpu_seconds'].sum() / 60:.0f} minutes on one core.")
    command = "python benchmarks/evidence_synthetic_slides.py"
    write_page(given.table, "Evidence: synthetic slides", parts, command)


if __name__ == "__main__":
    main()
