"""SC-MIL's default, itself without contrast and its rivals, on synthetic slides.

The slides are drawn by a program and say nothing of medicine: three patterns of nuclei, five sites
of different stain and scanner, one of them (elm) held out of training and selection. The whole path
is run: tiles, features of the structure baseline, packed bags, weights selected on validation
slides. Two cohorts: ``demo``, that of the demonstration with its natural imbalance, and ``ratios``,
a larger balanced one whose rarer classes are thinned in training by patient. Each seed has its own
split, thinning and first weights, the same for every method. Settings are the defaults: the tiles' 123
numbers are read as they are, and the first layer learns [faster](first_layer.md), in every method. The rates are those
that were settled on colon tiles of as few numbers ([many widths](widths.md)): nothing is chosen here. Earlier recipes,
seeds 0 to 4, 100 to 114 and 600 to 604, are told in [trials](sc_mil_trials.md).
"""

from pathlib import Path

import numpy as np
import pandas as pd
from evidence import arguments, markdown, mean_and_spread, paired, run_cells, scores_of, write_page
from mil_runs import NARROW_RATES

from offsite.pathology.features.embedding import embed_cohort
from offsite.pathology.settings import PathologySettings, ScMilSettings
from offsite.pathology.tile_encoders.registry import EncoderSettings
from offsite.pathology.training import train_pathology
from offsite.preprocessing.cohort.splits import SplitSettings, split_cohort
from offsite.preprocessing.cohort.table import Cohort, load_cohort
from offsite.preprocessing.synthetic.slides.biology import CLASSES
from offsite.preprocessing.synthetic.slides.cohort import SyntheticSlideSettings, make_slide_cohort
from offsite.preprocessing.tiles.table import TileSettings
from offsite.preprocessing.tiles.tiling import tile_cohort

METHODS = tuple(NARROW_RATES)
RATIOS = {"demo": (0,), "ratios": (10, 4, 1)}  # 0 = as it comes
HELD_OUT = "elm"
VERSION = 2
SLIDES = {
    "demo": SyntheticSlideSettings(),
    "ratios": SyntheticSlideSettings(
        patients=90, slides_per_patient=(1, 2), class_shares=(1.0, 1.0, 1.0), width_um=760.0,
        height_um=760.0, lesion_share=(0.12, 0.4), seed=1,
    ),
}  # fmt: skip


def prepare(out: Path, slides: SyntheticSlideSettings, workers: int) -> Cohort:
    """Make, tile and embed the slides; what is there is kept."""
    cohort = load_cohort(make_slide_cohort(out / "cohort", slides, workers=workers), CLASSES)
    tile_cohort(cohort, out, TileSettings(), workers=workers)
    rows = embed_cohort(
        cohort, out, out / "features", EncoderSettings(name="structure_baseline"), workers=workers
    )
    print(rows["status"].value_counts().to_dict(), int(rows["tiles"].sum()), "tiles")
    return cohort


def thinned(cohort: Cohort, ratio: int, seed: int) -> Cohort:
    """Drop training patients until each class but the first has 1 / ``ratio`` of its patients.

    The subsets are nested: patients kept at a high ratio are kept at every lower one.
    """
    table, dropped = cohort.table, []
    if ratio == 0:
        return cohort
    training = table[(table["split"] == "train")].drop_duplicates("patient")
    first = (training["label"] == CLASSES[0]).sum()
    for number, label in enumerate(CLASSES[1:]):
        patients = np.sort(training.loc[training["label"] == label, "patient"].to_numpy(str))
        order = np.random.default_rng([seed, number]).permutation(patients)
        dropped += order[max(round(first / ratio), 2) :].tolist()
    return cohort.with_table(table[~table["patient"].isin(dropped)])


def runner(cohort: Cohort, out: Path, jitter: float):  # type: ignore[no-untyped-def]
    """Return the function that runs one cell."""

    def run(cell: dict) -> dict[str, float | None]:
        seed = cell["seed"]
        split = split_cohort(cohort, SplitSettings(held_out_sites=(HELD_OUT,), seed=seed))
        settings = PathologySettings.model_validate(
            {
                "method": cell["method"],
                "model": {"site_jitter": jitter, "first_layer_power": cell["power"]},
                "fit": {
                    "seed": seed,
                    "learning_rate": cell["rate"],
                    "device": "cpu",
                    "prefetch": 0,
                },
            }
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
    """Run the cells that are missing and write the page."""
    given = arguments(
        "synthetic_slides", ("--cohort", {"choices": list(SLIDES), "default": "demo"}),
        ("--jitter", {"type": float, "default": 0.0}), ("--first", {"type": int, "default": 610}),
    )  # fmt: skip
    name = given.cohort
    out, methods = given.out / name, METHODS
    cohort = prepare(out, SLIDES[name], given.workers)
    settings = {
        "slides": SLIDES[name].digest()[:12], "version": VERSION, "jitter": given.jitter,
        "power": ScMilSettings().first_layer_power,
    }  # fmt: skip
    cells = [
        {"method": method, "ratio": ratio, "seed": seed, "rate": NARROW_RATES[method], **settings}
        for ratio in RATIOS[name] for seed in range(given.first, given.first + given.seeds) for method in methods
    ]  # fmt: skip
    kept = given.out.with_name(f"{given.out.name}_{name}")
    table = run_cells(kept, cells, runner(cohort, out, given.jitter), given.minutes)
    run_so_far = len(table)
    of_seed = table.groupby(["ratio", "seed"])["method"].transform("nunique")
    table = table[
        of_seed == len(methods)
    ].copy()  # a seed counts once all methods have been run on it
    table["ratio"] = table["ratio"].replace({0: "natural"})
    parts = [(__doc__ or "").strip().split("\n\n", 1)[1].replace("\n", " ")]
    counts = cohort.table["label"].value_counts().to_dict()
    parts.append(
        f"Here: cohort `{name}`, {len(cohort.table)} slides of"
        f" {cohort.table['patient'].nunique()} patients ({counts})."
    )
    names = {
        "auroc": "AUROC, training sites", "held_out_auroc": "AUROC, held-out site",
        "macro_f1": "macro-F1, training sites", "held_out_macro_f1": "macro-F1, held-out site",
    }  # fmt: skip
    for metric, title in names.items():
        wide = table.groupby(["method", "ratio"])[metric].apply(mean_and_spread).unstack()
        wide = (
            wide.reindex([m for m in methods if m in wide.index]).rename_axis("method").fillna("–")
        )
        parts += [f"## {title}: mean ± sd over seeds, by imbalance ratio", markdown(wide)]
    rows = {
        f"{title}, ratio {ratio}": {
            f"sc_mil − {other}": paired(
                table[table["ratio"] == ratio], metric, "sc_mil", other, ["seed"]
            )
            for other in methods if other != "sc_mil"
        }
        for metric, title in names.items() for ratio in table["ratio"].unique()
    }  # fmt: skip
    parts += ["## Paired differences (95 % t interval over seeds)", markdown(pd.DataFrame(rows).T)]
    seeds = table.groupby("ratio", sort=False)["seed"].nunique()
    parts.append(
        "Seeds: " + ", ".join(f"{count} at ratio {ratio}" for ratio, count in seeds.items()) + "."
    )
    if run_so_far < len(cells):
        parts.append(
            f"{run_so_far} of {len(cells)} cells have been run; run again for the others. A seed counts"
            " once all methods have been run on it."
        )
    parts.append(f"CPU of training: {table['cpu_seconds'].sum() / 60:.1f} minutes on one core.")
    command = f"python benchmarks/evidence_synthetic_slides.py --cohort {name}"
    page = given.table.with_stem(f"{given.table.stem}_{name}")
    write_page(page, f"Evidence: synthetic slides, cohort {name}", parts, command)


if __name__ == "__main__":
    main()
