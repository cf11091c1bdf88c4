"""What features in eight bits cost: AUROC of runs on the same features in 16 and in 8 bits.

    python benchmarks/feature_bits.py --data FOLDER --features build/evidence/real_tiles/features
    python benchmarks/feature_bits.py --table demo/features/labels.csv --slides demo/features/trident_processed

Bags of real colon tiles (`colon_bags.bags_of`, even classes, features ``last``), or the slides of the
demo of features (any folder of features with a table of labels: ``--table``, ``--slides``). Each method is trained
on both by the same seeds; a line says the AUROC of the test rows (mean over classes, one against the
rest) at training and at other sites, and the size of the files.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from colon_bags import bags_of
from colon_features import CLASSES as TISSUES
from sklearn.metrics import roc_auc_score

from offsite.pathology.features.file import (
    LAYOUTS,
    FeatureOrigin,
    SlideFeatures,
    feature_path,
    write_features,
)
from offsite.pathology.features.folders import read_any
from offsite.pathology.features.locating import locate
from offsite.pathology.settings import PathologySettings
from offsite.pathology.training import train_pathology
from offsite.preprocessing.cohort.splits import SplitSettings, split_cohort
from offsite.preprocessing.cohort.table import Cohort

METHODS = {"linear": 1, "cross_entropy": 10}
"""Methods, and their epochs."""
_ORIGIN = FeatureOrigin(
    tile_px=224, mpp=0.5, tile_size_level0=224.0, encoder="kept", encoder_digest="kept"
)


def colon(data: Path, kept: Path, seed: int) -> tuple[Cohort, dict[str, np.ndarray]]:
    """Bags of real tiles as slides of a cohort: site A trains, B and C are other sites."""
    rows, features = [], {}
    for name, bags in bags_of(data, kept, "last", 1, seed).items():
        for number, (bag, label) in enumerate(zip(bags.bags, bags.labels, strict=True)):
            slide = f"{name}-{number}"
            split = {"training": "train", "validation": "val"}.get(name, "test")
            features[slide] = bag.astype(np.float16)
            away = name in ("B", "C")
            rows.append(
                {"slide": slide, "patient": slide, "label": TISSUES[1 + label], "split": split,
                 "site": name if away else "A", "site_role": "held_out" if away else "training"}
            )  # fmt: skip
    return _cohort(pd.DataFrame(rows), TISSUES[1:]), features


def demo(
    table: Path, slides: Path, held_out: str, seed: int
) -> tuple[Cohort, dict[str, np.ndarray]]:
    """Slides of a job, divided as its table and a seed say."""
    rows = pd.read_csv(table, dtype=str, keep_default_na=False)
    classes = ("normal", "low_grade", "high_grade")
    files = locate(slides, rows["slide"])
    features = {slide: read_any(path).features for slide, path in files.items()}
    # The demo of features from elsewhere holds a file of another encoder, to be refused.
    widths = pd.Series({slide: part.shape[1] for slide, part in features.items()})
    features = {s: features[s] for s in widths.index[widths == widths.mode().iloc[0]]}
    rows = rows[rows["slide"].isin(list(features))].drop(columns="split", errors="ignore")
    wanted = SplitSettings(held_out_sites=(held_out,), val=0.2, test=0.4, seed=seed)
    cohort = split_cohort(_cohort(rows, classes), wanted)
    return cohort, features


def _cohort(rows: pd.DataFrame, classes: tuple[str, ...]) -> Cohort:
    table = rows.assign(image=rows["slide"] + ".svs", mpp=np.nan).reset_index(drop=True)
    return Cohort(table=table, classes=tuple(classes), path=Path("cohort.csv"))


def measured(
    cohort: Cohort, features: dict[str, np.ndarray], bits: int, method: str, seed: int
) -> dict[str, float]:
    """AUROC at training and at other sites, and the MB of the files, of a run at so many bits."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        origin = _ORIGIN.model_copy(update={"version": LAYOUTS[bits]})
        for slide, rows in features.items():
            whole = SlideFeatures(
                features=rows, coords=np.zeros((len(rows), 2), np.int64), origin=origin
            )
            write_features(feature_path(folder, slide), replace(whole))
        size = sum(file.stat().st_size for file in folder.glob("*.h5")) / 1e6
        fit = {"epochs": METHODS[method], "seed": seed, "device": "cpu"}
        chosen = PathologySettings.model_validate({"method": method, "fit": fit})
        table = train_pathology(cohort, folder, chosen, folder / "run")
    test = table[table["split"] == "test"]
    return {"MB": size} | {
        role: _auroc(test[test["site_role"] == role], cohort.classes)
        for role in ("training", "held_out")
    }


def _auroc(rows: pd.DataFrame, classes: tuple[str, ...]) -> float:
    return float(np.mean([roc_auc_score(rows["label"] == c, rows[f"prob_{c}"]) for c in classes]))


def main() -> None:
    """Print a line for each seed and method, and the largest difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="Folder of the colon tiles.")
    parser.add_argument("--features", type=Path, help="Where their features are kept.")
    parser.add_argument("--table", type=Path, help="Labels of slides, in place of colon tiles.")
    parser.add_argument("--slides", type=Path, help="Features of these slides, of any layout.")
    parser.add_argument("--held-out", default="elm")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    chosen = parser.parse_args()
    print(
        "| method | seed | sites | 16 bits | 8 bits | difference |\n|---|---:|---|---:|---:|---:|"
    )
    worst, sizes = 0.0, {}
    for seed in chosen.seeds:
        cohort, features = (
            demo(chosen.table, chosen.slides, chosen.held_out, seed)
            if chosen.table
            else colon(chosen.data, chosen.features, seed)
        )
        for method in METHODS:
            both = {bits: measured(cohort, features, bits, method, seed) for bits in (16, 8)}
            sizes = {bits: one["MB"] for bits, one in both.items()}
            for role in ("training", "held_out"):
                one, other = both[16][role], both[8][role]
                worst = max(worst, abs(other - one))
                told = f"{one:.4f} | {other:.4f} | {other - one:+.4f}"
                print(f"| {method} | {seed} | {role.replace('_', ' ')} | {told} |", flush=True)
    print(f"\nlargest difference {worst:.4f}; files {sizes[16]:.0f} MB and {sizes[8]:.0f} MB")


if __name__ == "__main__":
    main()
