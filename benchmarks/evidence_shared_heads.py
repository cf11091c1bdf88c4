"""What hospitals that keep their images can share: sums, models, or merged models.

    python benchmarks/evidence_shared_heads.py --data FOLDER [--minutes 30]

``--data`` has ``dr_aptos_filtered``, ``dr_idrid``, ``dr_messidor2`` and ``colon_tiles``. Photographs at
160 px: two of the three sites train (at most 600 photographs each), the third judges. Colon tiles: the
first acquisition is parted in three by tiles, each third in the stain of another laboratory (two of them
drawn by a program; at most 600 tiles each, read at 128 px), and the second acquisition judges. All heads read the same frozen statistics of the
trunk. *sums*: method `linear` on the sums of all hospitals together. *logistic, all images*: one logistic
head, as if the images could be brought together. *models averaged*: a logistic head of each hospital,
their probabilities averaged. *Fisher-merged*: the same heads merged weight by weight by their diagonal
Fisher information (Matena and Raffel 2022, arXiv 2111.09832), its coefficient chosen on kept-back patients.
The logistic heads choose their penalty (of three) on the kept-back 15 % of their own patients, and read
features scaled by all hospitals together, which favours them. Call it again to go on.
"""

import os
from functools import lru_cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import colon_features
import numpy as np
import pandas as pd
from evidence import Cell, arguments, markdown, paired, run_cells, scores_of, write_page
from real_features import SHORT, Features, features_of, judged, parted, prepared_cohort
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from offsite.files import replacing
from offsite.pathology.linear.training import linear_head
from offsite.pathology.tile_encoders.registry import EncoderSettings, load_encoder
from offsite.training.heads import ridge
from offsite.training.heads.cut_points import fit_cut_points
from offsite.training.heads.refit import GradedHead
from offsite.training.heads.rounds import standardisation
from offsite.training.heads.sums import RowSums, fit_grades, together

SEEDS = range(60, 65)
MOST, KEPT = 600, 0.85
STRENGTHS = (0.001, 0.01, 0.1)
SHARES = np.linspace(0.1, 0.9, 9)
ARMS = ("sums", "logistic, all images", "models averaged", "Fisher-merged")
TILES = "colon tiles"
OPTIONS: dict[str, Path] = {}

Rows = dict[str, np.ndarray]
"""``x`` (N x D), ``y`` (N), ``site`` (N), ``patient`` (N)."""


@lru_cache(maxsize=1)
def photographs() -> Features:
    """Return the features of all photographs."""
    return features_of(*prepared_cohort(OPTIONS["data"], OPTIONS["out"], 160))


@lru_cache(maxsize=1)
def tiles() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return features and classes of each laboratory's third, and of the second acquisition (B).

    They are read at 128 px, all stages, and kept below ``--out``.
    """
    data, found = OPTIONS["data"] / "colon_tiles", {}
    encoder = load_encoder(EncoderSettings(name="efficientnet-lite0", read_px=128, device="cpu"))
    for place, site in enumerate((*colon_features.LABORATORIES, "B")):
        files, classes = colon_features.tiles_of(data, site)
        chosen = np.arange(len(files))[place::3] if site != "B" else np.arange(len(files))
        kept = OPTIONS["out"] / "colon" / f"{site}.npy"
        if not kept.is_file():
            kept.parent.mkdir(parents=True, exist_ok=True)
            read = [
                encoder.encode(np.stack([colon_features._read(files[i], site) for i in part]))
                for part in np.array_split(chosen, -(-len(chosen) // 64))
            ]
            with replacing(kept) as temporary, temporary.open("wb") as file:
                np.save(file, np.concatenate(read))
        found[site] = np.load(kept).astype(np.float64), classes[chosen]
    return found


def parts_of(cell: Cell) -> tuple[Rows, Rows, np.ndarray, np.ndarray]:
    """Return the rows to fit, those kept back, and rows and labels that judge."""
    seed = int(cell["seed"])
    if cell["site"] == TILES:
        given = tiles()
        draw = np.random.default_rng(seed)
        names = [
            (site, row)
            for site in colon_features.LABORATORIES
            for row in draw.permutation(len(given[site][1]))[:MOST]
        ]
        rows: Rows = {
            "x": np.stack([given[site][0][row] for site, row in names]),
            "y": np.array([given[site][1][row] for site, row in names]),
            "site": np.array([site for site, _ in names]),
            "patient": np.array([f"{site}{row}" for site, row in names]),
        }
        asked = given["B"]
    else:
        all_of = photographs()
        name = next(long for long, short in SHORT.items() if short == cell["site"])
        chosen = []
        for other in np.unique(all_of.sites[all_of.sites != name]):
            here = np.flatnonzero(all_of.sites == other)
            chosen.append(np.random.default_rng([seed, len(here)]).permutation(here)[:MOST])
        some, judge = np.concatenate(chosen), all_of.sites == name
        rows = {"x": all_of.rows[some].astype(np.float64), "y": all_of.labels[some],
                "site": all_of.sites[some], "patient": all_of.patients[some]}  # fmt: skip
        asked = all_of.rows[judge].astype(np.float64), all_of.labels[judge]
    inside = np.zeros(len(rows["y"]), dtype=bool)
    for site in np.unique(rows["site"]):
        here = rows["site"] == site
        inside[here] = parted(rows["patient"][here], KEPT, seed)
    return _some(rows, inside), _some(rows, ~inside), *asked


def _some(rows: Rows, which: np.ndarray) -> Rows:
    return {name: each[which] for name, each in rows.items()}


def one(cell: Cell) -> dict[str, float | None]:
    """Fit one way of sharing, and judge it where nobody trained."""
    fit, kept, asked, truth = parts_of(cell)
    n_classes = int(max(fit["y"].max(), truth.max())) + 1
    if cell["method"] == "sums":
        logits = _of_sums(fit, kept, asked, n_classes, cell)
    else:
        centre, scale = standardisation(fit["x"])
        for rows in (fit, kept):
            rows["x"] = (rows["x"] - centre) / scale
        logits = _of_models(str(cell["method"]), fit, kept, (asked - centre) / scale, n_classes)
    if cell["site"] == TILES:
        return {**scores_of(truth, softmax(logits, axis=1))}
    return judged(logits, truth)


def _of_sums(fit: Rows, kept: Rows, asked: np.ndarray, n_classes: int, cell: Cell) -> np.ndarray:
    """Method `linear` of the room; the patients kept back set the cut points, as validation does."""
    settings, seed = ridge.RidgeSettings(), int(cell["seed"])
    names = fit["patient"], fit["site"]
    if cell["site"] == TILES:
        head = linear_head(fit["x"], fit["y"], *names, settings, n_classes=n_classes, seed=seed)
        return np.asarray(asked @ head.slopes + head.starts)
    share = ridge.site_weights(fit["site"], settings.site_share)
    folds = ridge.folds_of(*names, settings.folds, seed)
    parts = [
        RowSums.of(fit["x"][folds == f], fit["y"][folds == f], share[folds == f], n_classes)
        for f in range(settings.folds)
    ]
    numbers = np.arange(n_classes, dtype=np.float64)[:, None]
    left_out = ridge.left_out_answers(parts, folds, fit["x"], numbers, settings.penalties)[..., 0]
    chosen = ridge.strongest_within(((left_out - fit["y"]) ** 2) @ share, settings.slack)
    ((slope, start),) = fit_grades(together(parts), [settings.penalties[chosen]])
    grades = np.concatenate([left_out[chosen], kept["x"] @ slope + start])
    both = np.concatenate([fit["site"], kept["site"]])
    labels = np.concatenate([fit["y"], kept["y"]])
    cuts = fit_cut_points(grades, labels, n_classes, ridge.site_weights(both, settings.site_share))
    return GradedHead(slope, start, cuts).logits(asked)


def _of_models(method: str, fit: Rows, kept: Rows, asked: np.ndarray, n_classes: int) -> np.ndarray:
    """Logits, or log probabilities, of logistic heads."""
    if method == "logistic, all images":
        weights, start = _logistic(fit, kept, n_classes)
        return np.asarray(asked @ weights + start)
    heads, informations = [], []
    for site in np.unique(fit["site"]):
        here = _some(fit, fit["site"] == site)
        weights, start = _logistic(here, _some(kept, kept["site"] == site), n_classes)
        heads.append(np.vstack([weights, start]))
        informations.append(_fisher(here["x"], heads[-1]))
    if method == "models averaged":
        each = [softmax(_with_one(asked) @ head, axis=1) for head in heads]
        return np.log(np.mean(each, axis=0) + 1e-12)
    merged = _merged(heads, informations, kept)
    return np.asarray(_with_one(asked) @ merged)


def _logistic(fit: Rows, kept: Rows, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (D x C) and start (C); a class that the rows lack is never called."""
    best, found = np.inf, None
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=200).fit(fit["x"], fit["y"])
        weights, start = np.zeros((fit["x"].shape[1], n_classes)), np.full(n_classes, -20.0)
        if len(model.classes_) == 2:  # one row of coefficients, for the second class
            weights[:, model.classes_[1]], start[model.classes_] = model.coef_[0], 0
            start[model.classes_[1]] = model.intercept_[0]
        else:
            weights[:, model.classes_], start[model.classes_] = model.coef_.T, model.intercept_
        loss = _loss(np.vstack([weights, start]), kept)
        if loss < best:
            best, found = loss, (weights, start)
    assert found is not None
    return found


def _with_one(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows, np.ones((len(rows), 1))], axis=1)


def _loss(head: np.ndarray, rows: Rows) -> float:
    chances = log_softmax(_with_one(rows["x"]) @ head, axis=1)
    return float(-chances[np.arange(len(rows["y"])), rows["y"]].mean())


def _fisher(rows: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Diagonal Fisher information (D + 1 x C), expected over the model's own classes, of norm 1."""
    wide = _with_one(rows)
    shares = softmax(wide @ head, axis=1)
    found = np.maximum((wide**2).T @ (shares * (1 - shares)) / len(rows), 1e-6)
    return np.asarray(found / np.linalg.norm(found))


def _merged(heads: list[np.ndarray], informations: list[np.ndarray], kept: Rows) -> np.ndarray:
    """Merge the heads; the first one's share is the best of `SHARES` on kept-back rows."""
    best, found = np.inf, heads[0]
    for first in SHARES:
        shares = [first, *[(1 - first) / (len(heads) - 1)] * (len(heads) - 1)]
        weighed = [share * each for share, each in zip(shares, informations, strict=True)]
        total = np.sum([w * head for w, head in zip(weighed, heads, strict=True)], axis=0)
        merged = total / np.sum(weighed, axis=0)
        loss = _loss(merged, kept)
        if loss < best:
            best, found = loss, merged
    return found


def page(table: pd.DataFrame) -> list[str]:
    """Return the tables: each way of sharing, and its difference to a logistic head of all images."""
    parts = []
    places = {"Photographs, mean of the three sites, each left out in turn": list(SHORT.values()),
              "Colon tiles, at the second acquisition": [TILES]}  # fmt: skip
    for title, sites in places.items():
        part = table[table["site"].isin(sites)]
        part = part[part.groupby("seed")["method"].transform("size") == len(ARMS) * len(sites)]
        if part.empty:
            continue
        names = ["auroc", "macro_f1"] if sites == [TILES] else ["auroc", "kappa", "ece"]
        means = part.groupby(["method", "seed"])[names].mean().reset_index()
        other = "logistic, all images"
        plain = means[means["method"] == other][names].mean()
        rows = {other: [f"{plain[name]:.3f}" for name in names]}
        for arm in ARMS:
            if arm != other:
                rows[arm] = [paired(means, name, arm, other, ["seed"]) for name in names]
        shown = pd.DataFrame(rows, index=[WORDS[name] for name in names]).T
        shown.index.name = (
            f"{means['seed'].nunique()} seeds; the first line itself, then differences"
        )
        against = ", ".join(
            f"{WORDS[name]} {paired(means, name, 'sums', 'models averaged', ['seed'])}"
            for name in names
        )
        parts += [f"## {title}", markdown(shown), f"Sums minus averaged models: {against}."]
        if len(sites) > 1:
            by_site = part.groupby(["method", "site"])[names].mean().round(3)
            told = by_site.apply(lambda row: " / ".join(f"{v:.3f}" for v in row), axis=1).unstack()
            told.index.name = "AUROC / kappa / ECE at the site left out"
            parts.append(markdown(told.loc[list(rows)]))
    return parts


WORDS = {"auroc": "AUROC", "kappa": "kappa", "ece": "ECE of referable", "macro_f1": "macro-F1"}
PREFACE = """Intervals (95 %, Student's t) are paired over seeds of draws and divisions, and speak of these sites
alone. Of photographs the AUROC is of referable grades; of tiles it is the mean over four classes."""
AFTER = """**What it says.** On photographs, whose grades differ from hospital to hospital as cameras and graders do, models that are
trained apart and then averaged or merged lose .03 of AUROC and .10 to .15 of kappa against one logistic head of all
images; sums lose nothing against it, and agree with the graders better (+.08, +.01 to +.15). Against averaged models sums
gain .04 of AUROC (.02 to .06) and .23 of kappa (.10 to .36). Part of that is the graded head of method `linear` and
not the sums: with the same graded head at each hospital, answers averaged, the difference is small
([joined hospitals](joined_hospitals.md)). The trial before this page had +.028 of AUROC for sums over the pooled logistic
head; here it is +.008, and its interval holds 0.

**On colon tiles it is the other way round.** The hospitals show the same tissue in three stains, in equal numbers of
each class, and differ in nothing else. There averaged and merged models are ahead of both pooled heads at another
acquisition (AUROC +.01, macro-F1 +.05), and sums are level with the pooled logistic head. So sums are not the better
model everywhere. What they are everywhere: exactly the head of all rows together, with one penalty, out of
which a hospital or a patient can be taken again. Merging models is no command: where hospitals differ in what they see it
costs what is told above.

The recipe (seeds 60 to 64) was written before any of its seeds was run. Seeds that are not shown were not finished; they are
the last ones in order, and no cell of theirs is in the tables."""


def main() -> None:
    """Run the cells that are missing, and write the page."""
    options = arguments("shared_heads", ("--data", {"type": Path, "required": True}))
    OPTIONS.update(data=options.data, out=options.out)
    cells = [
        {"method": arm, "site": site, "seed": seed, "recipe": 1}
        for seed in SEEDS for site in (*SHORT.values(), TILES) for arm in ARMS
    ]  # fmt: skip
    table = run_cells(options.out, cells, one, options.minutes)
    text = (__doc__ or "").split("``--data``", 1)[1].split(" Call it again", 1)[0]
    first = "``--data``" + text
    write_page(
        options.table, "What hospitals can share", [first.replace("\n", " "), PREFACE, *page(table), AFTER],
        "python benchmarks/evidence_shared_heads.py --data FOLDER",
    )  # fmt: skip


if __name__ == "__main__":
    main()
