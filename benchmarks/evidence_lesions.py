"""Does attention point at the lesion? Real fundus photographs with lesion masks as truth.

A photograph is a bag of tiles of 32 px; the bag is positive where the photograph has lesions. The
81 positives are IDRiD's segmentation part (54 train, 27 test), the negatives IDRiD's photographs of
grade 0 with the official split; none of the photographs that are in both parts has grade 0, and any
that did would be dropped. Masks are never seen in training. A tile is a lesion tile where at least 4
of its px lie in the mask of a microaneurysm, haemorrhage or exudate. Scored on the test positives:
AUROC of the tiles' attention, and of the contributions to the positive class, within each
photograph, mean over photographs. The control is the tile's contrast alone, without any learning.
"""

import os
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from evidence import arguments, markdown, mean_and_spread, paired, run_cells, write_page
from mil_runs import BagSet, Recipe, predict, probabilities, train
from sklearn.metrics import roc_auc_score

from offsite.pathology.inference import tile_contributions
from offsite.pathology.settings import ScMilSettings

DATA = Path(os.environ.get("OFFSITE_DATA", "shared/data"))
TILE_PX, LEAST_PX, WIDTH, HEIGHT = 32, 4, 1072, 712
CELLS = (
    ("cross_entropy", "gated_attention"), ("sc_mil", "gated_attention"),
    ("cross_entropy", "additive_attention"), ("sc_mil", "additive_attention"),
)  # fmt: skip
LESIONS = ("MA", "HE", "EX", "SE")


def tiles_of(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the tiles' measurements (n x D) and their grid places (n x 2: row, column)."""
    image = cv2.imread(str(path))
    image = cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    image = cv2.GaussianBlur(image, (0, 0), 0.8).astype(np.float32)  # evens out the two encodings
    inside = cv2.erode((image.max(axis=2) > 25).astype(np.uint8), np.ones((41, 41), np.uint8))
    background = cv2.GaussianBlur(image, (0, 0), 18)
    local = image - background
    local /= np.maximum(local[inside > 0].std(axis=0), 1e-3)
    green, red = local[..., 1], local[..., 2]
    fine = [cv2.GaussianBlur(green, (0, 0), s) - cv2.GaussianBlur(green, (0, 0), 1.6 * s) for s in (1, 2, 4)]  # fmt: skip
    planes = [green, red, local[..., 0], *fine]
    measured = []
    for plane in planes:
        blocks = _blocks(plane)
        quantiles = np.quantile(blocks, (0.02, 0.2, 0.8, 0.98), axis=2)
        measured += [*quantiles, blocks.mean(axis=2), blocks.std(axis=2)]
    covered = _blocks(inside.astype(np.float32)).mean(axis=2) > 0.95
    rows = np.stack(measured, axis=2)[covered]
    return rows.astype(np.float32), np.argwhere(covered)


def _blocks(plane: np.ndarray) -> np.ndarray:
    """Cut a plane into tiles: rows x columns x px."""
    rows, columns = HEIGHT // TILE_PX, WIDTH // TILE_PX
    cut = plane[: rows * TILE_PX, : columns * TILE_PX]
    cut = cut.reshape(rows, TILE_PX, columns, TILE_PX).swapaxes(1, 2)
    return cut.reshape(rows, columns, -1)


def truth_of(name: str) -> np.ndarray:
    """Return which tiles of a photograph hold a lesion (rows x columns, bool)."""
    whole = np.zeros((HEIGHT, WIDTH), np.float32)
    for kind in LESIONS:
        for path in (DATA / "dr_idrid_lesions" / "masks").rglob(f"{name}_{kind}.png"):
            mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            whole = np.maximum(whole, cv2.resize(mask, (WIDTH, HEIGHT)) > 0)
    return _blocks(whole).sum(axis=2) >= LEAST_PX


def load(folder: Path) -> dict[str, BagSet]:
    """Return the bags of each split; measured once and kept in ``folder``."""
    cached = folder / "bags.npz"
    if not cached.exists():
        _measure(cached)
    with np.load(cached, allow_pickle=False) as file:
        found = {key: file[key] for key in file.files}
    edges = np.cumsum(found["sizes"])[:-1]
    bags, truth = np.split(found["rows"], edges), np.split(found["truth"], edges)
    whole = BagSet(bags, found["labels"], truth)
    return {name: whole.take(np.flatnonzero(found["splits"] == name)) for name in ("train", "test")}


def _measure(cached: Path) -> None:
    lesions = pd.read_csv(DATA / "dr_idrid_lesions" / "index.csv")
    twins = pd.read_csv(DATA / "dr_idrid_lesions" / "same_eye_in_dr_idrid.csv")
    healthy = pd.read_csv(DATA / "dr_idrid" / "labels.csv")
    healthy = healthy[(healthy["dr_grade"] == 0) & ~healthy["file"].isin(twins["grading_file"])]
    rows, truth, labels, splits = [], [], [], []
    for file, split in zip(lesions["file"], lesions["split"], strict=True):
        found, places = tiles_of(DATA / "dr_idrid_lesions" / file)
        mask = truth_of(Path(file).stem)
        rows.append(found)
        truth.append(mask[places[:, 0], places[:, 1]])
        labels.append(1)
        splits.append(split)
    for file, split in zip(healthy["file"], healthy["split"], strict=True):
        found, _ = tiles_of(DATA / "dr_idrid" / file)
        rows.append(found)
        truth.append(np.zeros(len(found), bool))
        labels.append(0)
        splits.append(split)
    cached.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        cached, rows=np.concatenate(rows), truth=np.concatenate(truth),
        sizes=[len(found) for found in rows], labels=np.array(labels), splits=np.array(splits),
    )  # fmt: skip


def localisation(scores: list[np.ndarray], bags: BagSet) -> float:
    """Return the mean over positive photographs of the AUROC of tile scores against the masks."""
    assert bags.truth is not None
    return float(
        np.mean(
            [
                roc_auc_score(t, s)
                for t, s in zip(bags.truth, scores, strict=True)
                if 0 < t.sum() < len(t)
            ]
        )
    )


def runner(folder: Path):  # type: ignore[no-untyped-def]
    """Return the function that runs one cell."""
    splits = load(folder)

    def run(cell: dict) -> dict[str, float | None]:
        training, test = splits["train"], splits["test"]
        order = np.random.default_rng([cell["seed"], 5]).permutation(len(training.labels))
        held = len(order) // 6
        recipe = Recipe(
            model=ScMilSettings.model_validate(
                {"aggregator": {"name": cell["aggregator"], "width": 32, "attention_width": 16},
                 "first_layer_power": 0.0}
            ),
            epochs=25, instances=256,
        )  # fmt: skip
        model = train(
            cell["method"], recipe, training.take(order[held:]), training.take(order[:held]), 2,
            cell["seed"],
        )  # fmt: skip
        predictions = predict(model, test)
        positive = test.take(np.flatnonzero(test.labels == 1))
        attention = [
            p.attention for p, label in zip(predictions, test.labels, strict=True) if label
        ]
        contributions = None
        if cell["aggregator"] == "additive_attention":
            parts = [tile_contributions(model, bag) for bag in positive.bags]
            contributions = localisation([part[:, 1] - part[:, 0] for part in parts], positive)
        return {
            "bag_auroc": float(roc_auc_score(test.labels, probabilities(predictions)[:, 1])),
            "attention_auroc": localisation(attention, positive),
            "contribution_auroc": contributions,
        }

    return run


def main() -> None:
    """Run the cells that are missing and write the page."""
    given = arguments("lesions")
    cells = [
        {"method": method, "aggregator": aggregator, "seed": seed, "version": 2}
        for seed in range(given.seeds) for method, aggregator in CELLS
    ]  # fmt: skip
    table = run_cells(given.out, cells, runner(given.out), given.minutes)
    test = load(given.out)["test"]
    positive = test.take(np.flatnonzero(test.labels == 1))
    control = localisation([bag[:, 5] for bag in positive.bags], positive)  # sd of green
    metrics = {
        "bag_auroc": "photograph AUROC", "attention_auroc": "attention AUROC",
        "contribution_auroc": "contribution AUROC",
    }  # fmt: skip
    rows = {
        f"{method}, {aggregator}": {
            name: mean_and_spread(part[metric]) if part[metric].notna().all() else "–"
            for metric, name in metrics.items()
        }
        for (method, aggregator), part in table.groupby(["method", "aggregator"])
    }
    gains = {
        aggregator: {
            name: paired(part, metric, "sc_mil", "cross_entropy", ["seed"])
            for metric, name in metrics.items() if part[metric].notna().all()
        }
        for aggregator, part in table.groupby("aggregator")
    }  # fmt: skip
    share = float(np.concatenate(positive.truth or []).mean())
    parts = [
        (__doc__ or "").strip().split("\n\n", 1)[1].replace("\n", " "),
        f"{len(positive.labels)} test positives, {len(test.labels) - len(positive.labels)} test"
        f" negatives; {share:.0%} of the positives' tiles are lesion tiles. Mean ± sd over seeds.",
        markdown(pd.DataFrame(rows).T),
        "## sc_mil − cross_entropy, paired by seed (95 % t interval)",
        markdown(pd.DataFrame(gains).T.fillna("–")),
        f"Control without learning (contrast of the green channel): attention AUROC {control:.3f}.",
        "The photographs of the two parts were encoded differently, so the photograph AUROC is"
        " flattered by it; localisation, measured within photographs, is not.",
    ]
    command = "OFFSITE_DATA=… python benchmarks/evidence_lesions.py"
    write_page(given.table, "Evidence: localisation of lesions", parts, command)


if __name__ == "__main__":
    main()
