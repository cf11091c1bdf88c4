"""Adapting to a new site without labels, against the untouched head and against 20 labels.

    python benchmarks/evidence_label_free_adaptation.py --data FOLDER [--minutes 30]

``--data`` as for ``evidence_real_photographs.py``. Method `linear` is fitted to two sites as a job fits
it; at the third 250 of 500 photographs are given without labels, the others judge. What an arm changes: the class shares (EM), the features' own scale, or the batch norms of
the trunk's last two stages, with one pass over the unlabelled photographs in batches of 64. Call it
again to go on.
"""

import os
from functools import lru_cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch
from evidence import Cell, arguments, markdown, paired, run_cells, write_page
from norm_adaptation import BATCH, LATE, LastTwo, cafa, entropy, fresh
from real_features import (
    SHORT,
    Features,
    features_of,
    judged,
    parted,
    prepared_cohort,
)
from retina_protocols import run_protocol
from safetensors.numpy import load_file
from torch import Tensor

from offsite.evaluation.predictions.table import load_predictions
from offsite.evaluation.shift.label_shift import (
    BiasCorrectedTemperature,
    em_prior,
    prior_corrected,
)
from offsite.evaluation.statistics.feature_stats import FeatureStats
from offsite.files import read_json
from offsite.preprocessing.cohort.splits import SplitSettings
from offsite.retina.inference import load_fundus_model
from offsite.retina.settings import RetinaSettings
from offsite.training.cells import Cell as RunCell
from offsite.training.heads.refit import refit
from offsite.training.trunk.network import trunk_input
from offsite.training.trunk.reading import as_pixels
from offsite.workflows.package.heads import training_sums

SEEDS = range(40, 45)
MOST, UNLABELLED, JUDGES, LABELS = 500, 250, 250, 20
OPTIONS: dict[str, Path] = {}
ARMS = (
    "untouched",
    "class shares by EM",
    "features by the site's own mean and deviation",
    "batch-norm statistics of the site",
    "entropy (Tent)",
    "entropy, statistics kept",
    "CAFA",
    "CAFA, statistics kept",
    "20 labels, head refitted",
)


@lru_cache(maxsize=1)
def cohort_and_features() -> tuple[object, Path, Features]:
    """Return cohort, folder of prepared photographs and their features."""
    cohort, prepared = prepared_cohort(OPTIONS["data"], OPTIONS["out"], 160)
    return cohort, prepared, features_of(cohort, prepared)


@lru_cache(maxsize=3)
def maps_before(site: str) -> dict[int, Tensor]:
    """Return the map before the trunk's last two stages of some photographs of a site, by row."""
    _, _, all_of = cohort_and_features()
    here = np.flatnonzero(all_of.sites == site)
    here = np.random.default_rng(0).permutation(here)[:MOST]
    net, found = fresh(), {}
    with torch.inference_mode():
        for part in np.array_split(here, -(-len(here) // 16)):
            maps = net.stem(trunk_input(as_pixels(all_of.photographs.store.pixels(part))))
            for stage in net.stages[:-2]:
                maps = stage(maps)
            found |= dict(zip(part.tolist(), maps.clone(), strict=True))
    return found


def trained_run(site: str, seed: int) -> Path:
    """Return the folder of the run that never saw the site, trained where it is missing."""
    cohort, prepared, _ = cohort_and_features()
    cell = RunCell("linear", (site,), seed)
    folder = OPTIONS["out"] / "adapted"
    settings = RetinaSettings.model_validate({"method": "linear"})
    splits = SplitSettings(val=0.15, test=0.15, seed=seed)
    run_protocol(cohort, prepared, settings, [cell], folder, splits=splits)
    return folder / cell.name


def one(cell: Cell) -> dict[str, float | None]:
    """Judge every arm at a site by a seed; they share the run and the photographs."""
    _, _, all_of = cohort_and_features()
    site = next(name for name, short in SHORT.items() if short == cell["site"])
    seed = int(cell["seed"])
    folder = trained_run(site, seed)
    drawn = np.array(list(maps_before(site)))
    given = parted(all_of.patients[drawn], min(0.5, UNLABELLED / len(drawn)), seed)
    order = np.random.default_rng(seed)
    unlabelled = order.permutation(drawn[given])[:UNLABELLED]
    judges = order.permutation(drawn[~given])[:JUDGES]
    facts = read_json(folder / "run.json")["facts"]
    network = load_fundus_model(folder / "weights.safetensors", facts["architecture"])
    predictions = load_predictions(folder)
    table = predictions.table
    train = ((table["split"] == "train") & (table["site_role"] == "training")).to_numpy()
    val = ((table["split"] == "val") & (table["site_role"] == "training")).to_numpy()
    found: dict[str, np.ndarray] = {}
    rows, head = all_of.rows, network.classifier

    def answered(features: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return head(torch.tensor(features, dtype=torch.float32)).numpy().astype(float)

    found["untouched"] = answered(rows[judges])
    found["class shares by EM"] = _with_em_shares(
        predictions, val, answered, rows, unlabelled, judges
    )
    known = rows[train_rows(all_of, table, train)]
    moved = (rows[judges] - rows[unlabelled].mean(0)) / np.maximum(rows[unlabelled].std(0), 1e-6)
    found["features by the site's own mean and deviation"] = answered(moved * known.std(0) + known.mean(0))  # fmt: skip
    scale = known.std(0) + 1e-6
    losses = {"entropy": entropy, "CAFA": cafa(FeatureStats.of(known.astype(float), all_of.labels[train_rows(all_of, table, train)], 5), scale)}  # fmt: skip
    for arm, loss, own in (
        ("batch-norm statistics of the site", None, True),
        ("entropy (Tent)", losses["entropy"], True),
        ("entropy, statistics kept", losses["entropy"], False),
        ("CAFA", losses["CAFA"], True),
        ("CAFA, statistics kept", losses["CAFA"], False),
    ):
        found[arm] = answered(_adapted(site, rows, unlabelled, judges, head, loss, own=own))
    found["20 labels, head refitted"] = _refitted(folder, facts, all_of, unlabelled, judges, seed)
    scores = {}
    for arm, logits in found.items():
        scores |= {f"{arm}/{name}": value for name, value in judged(logits, all_of.labels[judges]).items()}  # fmt: skip
    truth = float((all_of.labels[judges] >= 2).mean())
    return {**scores, "referable": truth}


def train_rows(all_of: Features, table: pd.DataFrame, train: np.ndarray) -> np.ndarray:
    """Return the places of a run's training photographs among all."""
    place = {image: row for row, image in enumerate(all_of.photographs.table["image"])}
    return np.array([place[image] for image in table["image"][train]])


def _with_em_shares(predictions, val, answered, rows, unlabelled, judges) -> np.ndarray:
    """Answers under the class shares that EM finds, after the calibration that EM needs."""
    known = val & (predictions.labels >= 0)
    calibrate = BiasCorrectedTemperature.fit(predictions.probabilities[known], predictions.labels[known])  # fmt: skip
    prior = np.bincount(predictions.labels[known], minlength=5) / known.sum()

    def shares(features: np.ndarray) -> np.ndarray:
        powers = np.exp((logits := answered(features)) - logits.max(1, keepdims=True))
        return calibrate(powers / powers.sum(1, keepdims=True))

    found = em_prior(shares(rows[unlabelled]), prior)
    return np.log(prior_corrected(shares(rows[judges]), prior, found) + 1e-12)


def _adapted(site, rows, unlabelled, judges, head, loss, *, own) -> np.ndarray:
    """Features of the judges after the last two stages have been adapted to the unlabelled."""
    before, network = maps_before(site), LastTwo()
    parts = np.array_split(unlabelled, -(-len(unlabelled) // BATCH))
    batches = [torch.stack([before[row] for row in part.tolist()]) for part in parts]
    early = [torch.tensor(rows[part, :-LATE], dtype=torch.float32) for part in parts]
    if loss is None:
        network.take_statistics(batches)
    else:
        network.adapt(batches, early, loss, head, own_statistics=own)
    late = []
    with torch.no_grad():
        for part in np.array_split(judges, -(-len(judges) // BATCH)):
            late.append(network(torch.stack([before[row] for row in part.tolist()])).numpy())
    return np.concatenate([rows[judges, :-LATE], np.concatenate(late)], axis=1)


def _refitted(folder, facts, all_of, unlabelled, judges, seed) -> np.ndarray:
    """Answers of the head refitted with 20 labelled photographs, as a hospital does it."""
    kept = {**load_file(folder / "sums.safetensors"), "penalty": facts["penalty"]}
    sums = training_sums({**kept, "sites": np.array(facts["sites_of_sums"])})
    assert sums is not None
    local = unlabelled[:LABELS]
    new = refit(sums.rows, all_of.rows[local].astype(float), all_of.labels[local],
                all_of.patients[local], penalty=sums.penalty, seed=seed)  # fmt: skip
    return new.head.logits(all_of.rows[judges].astype(float))


def page(table: pd.DataFrame) -> str:
    """Return the differences to the untouched head, the mean over sites paired over seeds."""
    metrics = ("auroc", "kappa", "ece")
    table = table[table.groupby("seed")["site"].transform("size") == len(SHORT)]
    long = pd.concat(
        [
            table[["site", "seed", "referable"]].assign(
                method=arm, **{name: table[f"{arm}/{name}"] for name in (*metrics, "called")}
            )
            for arm in ARMS
        ]
    )
    means = long.groupby(["method", "seed"])[list(metrics)].mean().reset_index()
    plain = means[means["method"] == "untouched"][list(metrics)].mean()
    lines = {"untouched": [f"{plain[name]:.3f}" for name in metrics]}
    for arm in list(ARMS)[1:]:
        lines[arm] = [paired(means, name, arm, "untouched", ["seed"]) for name in metrics]
    shares = long.groupby(["method", "site"])["called"].mean().unstack()
    truth = ", ".join(f"{site} {value:.2f}" for site, value in table.groupby("site")["referable"].mean().items())  # fmt: skip
    for arm in lines:
        lines[arm].append(", ".join(f"{shares.loc[arm, site]:.2f}" for site in SHORT.values()))
    heads = ["referable AUROC", "kappa", "ECE of referable", f"called referable, {', '.join(SHORT.values())}"]  # fmt: skip
    shown = pd.DataFrame(lines, index=heads).T
    shown.index.name = f"{means['seed'].nunique()} seeds; the first line itself, then differences"
    by_site = long.groupby(["method", "site"])[["auroc", "kappa"]].mean()
    cells = by_site.apply(lambda row: f"{row['auroc']:.3f} / {row['kappa']:.3f}", axis=1).unstack()
    cells.index.name = "AUROC / kappa"
    return f"{markdown(shown)}\n\nReferable in truth: {truth}.\n\n{markdown(cells.loc[list(ARMS)])}"


PREFACE = """A hospital has many photographs and no labels. Can the model adapt itself to them? Method `linear` of two
sites (IDRiD, Messidor-2, the filtered copy of APTOS; cleaned, `matched`, 160 px) meets the third. Unlabelled
photographs and those that judge are of different patients. Differences to the untouched head are of the mean over the
three sites, paired over seeds of division and draw; intervals (95 %, Student's t) are of these seeds, for these
three sites. Settings are those of the papers (one pass, Adam, 1e-3, batches of 64); none was tuned, for at a new site
there is nothing to tune on."""
AFTER = """**What it says.** Every way to do without labels costs agreement with the graders (each interval of kappa is
below 0), and most raise the calibration error. EM reads a prior off answers that are shifted at the new site, and runs
away with it: at each site it ends by calling all photographs referable, or none. The site's own batch-norm statistics
cost ranking too; on top of them neither entropy nor CAFA repairs it. With the statistics kept, CAFA ranks better by .002
and both push answers to the side that they are on already. The features' own scale repairs IDRiD (kappa .56 to .73)
and ruins APTOS (.46 to .22): without labels nobody can tell which.

20 labelled photographs in the head (`offsite site calibrate --refit`) gain .12 of kappa (.04 to .21), .02 of AUROC and .04
of ECE, for labels say what no look at photographs does: which share is ill, and where grades begin at this site. They
do not help everywhere: at Messidor-2 kappa went from .40 to .37, which is why the command checks a refit before
it takes it.

So there is no command for adaptation without labels. What a hospital without labels can use is the shift alarm, which
changes no answer.

The recipe (commit 289d297, the second; the first was cut to half as many photographs before any seed was run) was
written before seeds 40 to 44 were run."""


def main() -> None:
    """Run the cells that are missing, and write the page."""
    options = arguments("label_free_adaptation", ("--data", {"type": Path, "required": True}))
    OPTIONS.update(data=options.data, out=options.out)
    cells = [{"site": site, "seed": seed, "recipe": 2} for seed in SEEDS for site in SHORT.values()]
    table = run_cells(options.out, cells, one, options.minutes)
    write_page(
        options.table, "Adaptation without labels", [PREFACE, page(table), AFTER],
        "python benchmarks/evidence_label_free_adaptation.py --data FOLDER",
    )  # fmt: skip


if __name__ == "__main__":
    main()
