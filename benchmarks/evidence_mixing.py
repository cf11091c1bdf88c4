"""Mixup and its kin on heads of a frozen trunk, each real site left out in turn.

    python benchmarks/evidence_mixing.py --data FOLDER [--minutes 30]

``--data`` as for ``evidence_real_photographs.py``. Every arm is a linear softmax head on the trunk's
standardised statistics at 160 px, trained by the same optimiser for as long on the same photographs
(at most 1,000 of a site, 85 % of their patients), so that what differs is the arm alone. ``rich`` is
the rich-feature head after Bonsai: three rounds whose logits are averaged, each later one minimising the
largest of the losses over those that an earlier round got right and those that it got wrong, stopped
early by the other patients' loss (`offsite.training.heads.rounds`, the option ``linear.rich``). Call it
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
from real_features import SHORT, Features, features_of, judged, parted, prepared_cohort
from torch import nn

from offsite.evaluation.new_site.settings import local_temperature
from offsite.training.generalisation.making import make_algorithm
from offsite.training.generalisation.settings import GeneralisationSettings
from offsite.training.heads.rounds import fit_rounds, standardisation
from offsite.training.heads.rounds_settings import RichSettings
from offsite.training.losses.configured import ClassificationLoss
from offsite.training.losses.settings import LossSettings

SEEDS = range(30, 38)
PASSES, BATCH, RATE, DECAY, MOST = 40, 64, 1e-3, 1e-4, 1000
SCALED, SCALED_SEEDS = ("erm", "rich", "mixup, Beta(.2, .2)"), range(30, 37)
ARMS = {
    "erm": {"kind": "erm"},
    "mixup, Beta(.2, .2)": {"kind": "mixup", "alpha": 0.2},
    "mixup, Beta(1, 1)": {"kind": "mixup", "alpha": 1.0},
    "the same, until .5": {"kind": "mixup", "alpha": 1.0, "until": 0.5},
    "the same, adjacent pairs": {"kind": "mixup", "alpha": 1.0, "pairs": "adjacent"},
    "the same, decoupled .1": {"kind": "mixup", "alpha": 1.0, "decoupled": 0.1},
    "the same, decoupled 1": {"kind": "mixup", "alpha": 1.0, "decoupled": 1.0},
    "rich": {"kind": "erm"},
}
OPTIONS: dict[str, Path] = {}


class Batch:
    """Rows of features with their labels and sites."""

    def __init__(self, pixels: torch.Tensor, labels: torch.Tensor, sites: torch.Tensor) -> None:
        self.pixels, self.labels, self.sites = pixels, labels, sites

    def __len__(self) -> int:
        return len(self.labels)


@lru_cache(maxsize=1)
def features() -> Features:
    """Return the features of all photographs."""
    return features_of(*prepared_cohort(OPTIONS["data"], OPTIONS["out"], 160))


def training_rows(site: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that are fitted to and those that stop a round, without the site left out."""
    all_of = features()
    fit, stop = [], []
    for other in np.unique(all_of.sites[all_of.sites != site]):
        here = np.flatnonzero(all_of.sites == other)
        here = np.random.default_rng([seed, len(here)]).permutation(here)[:MOST]
        inside = parted(all_of.patients[here], 0.85, seed)
        fit.append(here[inside])
        stop.append(here[~inside])
    return np.concatenate(fit), np.concatenate(stop)


def one(cell: Cell) -> dict[str, float | None]:
    """Train one arm without a site, and judge it there."""
    all_of, seed = features(), int(cell["seed"])
    site = next(name for name, short in SHORT.items() if short == cell["site"])
    fit, stop = training_rows(site, seed)
    centre, scale = standardisation(all_of.rows[fit])
    rows = torch.from_numpy((all_of.rows - centre) / scale).float()
    labels = torch.tensor(all_of.labels)
    sites = torch.from_numpy(np.unique(all_of.sites, return_inverse=True)[1])
    data = Batch(rows[fit], labels[fit], sites[fit])
    here = all_of.sites == site
    asked = np.concatenate([np.flatnonzero(here), stop])
    if cell["method"] == "rich":
        kept_back = all_of.rows[stop], all_of.labels[stop]
        settings = RichSettings(
            rounds=3, passes=PASSES, batch_size=BATCH, learning_rate=RATE, weight_decay=DECAY
        )
        found = fit_rounds(
            all_of.rows[fit], all_of.labels[fit], kept_back, settings, n_classes=5, seed=seed
        )
        logits = all_of.rows[asked] @ found.slopes + found.starts
    else:
        head = trained(data, ARMS[str(cell["method"])], seed, 5)
        logits = head(rows[asked]).detach().numpy().astype(float)
    answers, known = logits[: here.sum()], logits[here.sum() :]
    if cell["recipe"] == 2:  # as a package gives them: by the temperature of the patients kept back
        fitted = local_temperature(known, all_of.labels[stop], all_of.patients[stop])
        answers = answers / (fitted.value or 1.0)
    return judged(answers, all_of.labels[here])


def trained(
    data: Batch, general: dict[str, object], seed: int, n_classes: int, batch: int = BATCH
) -> nn.Module:
    """Train a head by the algorithm of the package."""
    torch.manual_seed(seed)
    counts = np.bincount(data.labels.numpy(), minlength=n_classes)
    algorithm = make_algorithm(
        GeneralisationSettings.model_validate(general), nn.Identity(),
        nn.Linear(data.pixels.shape[1], n_classes), ClassificationLoss(LossSettings(), counts), 3,
    )  # fmt: skip
    optimiser = torch.optim.AdamW(algorithm.parameters(), lr=RATE, weight_decay=DECAY)
    for progress, items in batches(data, seed, batch):
        optimiser.zero_grad()
        algorithm.step(items, progress)["loss"].backward()
        optimiser.step()
    return algorithm.classifier


def batches(data: Batch, seed: int, batch: int):
    """Yield every photograph once a pass, the last batch being at progress 1."""
    generator, n = torch.Generator().manual_seed(seed), -(-len(data) // batch)
    for done in range(PASSES):
        for step, part in enumerate(torch.randperm(len(data), generator=generator).split(batch)):
            progress = (done * n + step) / (PASSES * n - 1)
            yield progress, Batch(data.pixels[part], data.labels[part], data.sites[part])


def page(table: pd.DataFrame) -> str:
    """Return differences to plain training, the mean over sites paired over seeds."""
    metrics = ("auroc", "kappa", "ece", "log_loss")
    cells = table.groupby("seed")["method"].transform("size")
    table = table[cells == len(ARMS) * len(SHORT)]  # a seed that is not done yet is left out
    means = table.groupby(["method", "seed"])[list(metrics)].mean().reset_index()
    plain = means[means["method"] == "erm"][list(metrics)].mean()
    rows = {"erm": [f"{plain[name]:.3f}" for name in metrics]}
    for arm in list(ARMS)[1:]:
        rows[arm] = [paired(means, name, arm, "erm", ["seed"]) for name in metrics]
    shown = pd.DataFrame(rows, index=["referable AUROC", "kappa", "ECE of referable", "log loss"]).T
    shown.index.name = f"{means['seed'].nunique()} seeds; the first line itself, then differences"
    sites = table.groupby(["method", "site"])[["auroc", "kappa", "ece"]].mean().round(3)
    by_site = sites.apply(lambda row: " / ".join(f"{v:.3f}" for v in row), axis=1).unstack()
    by_site.index.name = "AUROC / kappa / ECE at the site left out"
    return f"{markdown(shown)}\n\n{markdown(by_site.loc[list(rows)])}"


def scaled_page(table: pd.DataFrame) -> str:
    """Return what is left of a better calibration after a temperature, paired over seeds."""
    metrics = ("ece", "log_loss", "auroc")
    table = table[table.groupby("seed")["method"].transform("size") == len(SCALED) * len(SHORT)]
    means = table.groupby(["method", "seed"])[list(metrics)].mean().reset_index()
    plain = means[means["method"] == "erm"][list(metrics)].mean()
    rows = {"erm": [f"{plain[name]:.3f}" for name in metrics]}
    for arm in SCALED[1:]:
        rows[arm] = [paired(means, name, arm, "erm", ["seed"]) for name in metrics]
    shown = pd.DataFrame(rows, index=["ECE of referable", "log loss", "referable AUROC"]).T
    shown.index.name = f"{means['seed'].nunique()} seeds; the first line itself, then differences"
    return markdown(shown)


SCALED_PREFACE = """## After a temperature

A package divides logits by a temperature that it fits on validation patients. The same heads on the same divisions
(seeds 30 to 36), each with the temperature of its own kept-back patients of the training sites; nothing of a
head is chosen anew. Is the better calibration still there? It is not shown to be: a temperature takes .04 of ECE off plain
training, and what is left between the arms has intervals that hold 0. The question was put after seeds 30 to 36 had
been looked at; its recipe was written before these cells were run. Seeds that are not shown were not finished."""
PREFACE = """Does mixing help a head on the frozen trunk at a hospital that it has not seen? IDRiD, Messidor-2 and the
filtered copy of APTOS (cleaned by the audit, `matched`, 160 px), each left out in turn. All arms share
optimiser, passes, photographs and first weights. Differences to plain training (`erm`) are those of the mean
over the three sites, paired over seeds of draws and divisions; intervals (95 %, Student's t) are of these seeds,
for these three sites. `rich` is the rich-feature head after Bonsai (three rounds, logits averaged)."""


def main() -> None:
    """Run the cells that are missing, and write the page."""
    options = arguments("mixing", ("--data", {"type": Path, "required": True}))
    OPTIONS.update(data=options.data, out=options.out)
    cells = [
        {"method": arm, "site": site, "seed": seed, "recipe": 1, **ARMS[arm]}
        for seed in SEEDS for site in SHORT.values() for arm in ARMS
    ]  # fmt: skip
    cells += [
        {"method": arm, "site": site, "seed": seed, "recipe": 2, **ARMS[arm]}
        for seed in SCALED_SEEDS for site in SHORT.values() for arm in SCALED
    ]  # fmt: skip
    table = run_cells(options.out, cells, one, options.minutes)
    scaled = table[table["recipe"] == 2]
    write_page(
        options.table, "Mixing on a frozen trunk",
        [PREFACE, page(table[table["recipe"] == 1]), AFTER, SCALED_PREFACE, scaled_page(scaled)],
        "python benchmarks/evidence_mixing.py --data FOLDER",
    )  # fmt: skip


AFTER = """**What it says.** No mixing ranks better at a hospital that it has not seen, and most of it ranks worse, by far at
APTOS, whose photographs were filtered. Probabilities are less wrong with plain mixup: the ECE falls by .02 to .04, and
the log loss with it. If mixing, then for the first half of training (`until: 0.5`): that costs .008 of AUROC, gains .006 of kappa
and .018 of ECE. Pairs of neighbouring grades (`pairs: adjacent`) cost less ranking than any pairs, and gain no
calibration. The decoupled term ranks worse the heavier it is. None of it is a default. Packages fit a temperature on
validation patients: see the last table.

The rich-feature head is not shown to rank or to agree with the graders better or worse (both intervals hold 0), and is
better calibrated as it comes: the ECE is lower by .021 (.013 to .029), the log loss by .48, at three times the training.
After the temperature that a package fits nothing of that is shown to be left (below). It is an option of method `linear` in both rooms, off by
default (`linear: {rich: {}}`, `offsite.training.heads.rounds`): the head of `linear` is fitted in closed form to sums, which
lets hospitals join and leave, and rounds against earlier errors have no sums, so no hospital joins a model of such a head.
A patient who withdraws is taken out of it by training it again. On slides: [the same trial](mixing_slides.md), with the same end.

The recipe (commit f1f824b) was written before seeds 30 to 37 were run. Seeds that are not shown were not finished; they
are the last ones in order, and no arm of theirs is in the tables. The rounds stood in the benchmark then; the option gives
the same logits to 2e-7 (compared on drawn rows)."""


if __name__ == "__main__":
    main()
