"""Tile encoders in the box on real colon tiles: what a linear probe makes of them under another stain.

    python benchmarks/evidence_tile_encoders.py --data FOLDER --out FOLDER

``--data`` holds folders of tiles by class below ``first`` and ``second``. Tiles are grouped by their
mean colour (ten groups, five folds of whole groups), since no slide is named: a fold's stain is then
not among those that the probe was fitted to. Features are kept below ``--out``; call it again to go on.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import pandas as pd
from evidence import markdown, write_page
from scipy import stats
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from offsite.files import replacing
from offsite.pathology.tile_encoders.registry import EncoderSettings, load_encoder

CLASSES = ("AC", "H", "S", "T", "V")
BLOCK = 256
STRUCTURE = "structure_baseline"
TRUNK = "efficientnet-lite0"


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", type=Path, default=Path("docs/evidence/tile_encoders.md"))
    parser.add_argument("--px", type=int, nargs="+", default=[128, 224])
    return parser.parse_args()


def listed(data: Path) -> tuple[list[Path], np.ndarray]:
    """Return the tiles and their classes."""
    files = sorted(
        file for part in ("first", "second") for name in CLASSES
        for file in (data / part / name).iterdir()
    )  # fmt: skip
    return files, np.array([CLASSES.index(file.parent.name) for file in files])


def read(files: list[Path]) -> np.ndarray:
    """Return uint8 N x 224 x 224 x 3, RGB."""
    return np.stack([cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files])


def features(files: list[Path], name: str, px: int | None, out: Path) -> tuple[np.ndarray, float]:
    """Return the features of all tiles, and the milliseconds of processor that each took."""
    encoder = load_encoder(EncoderSettings(name=name, read_px=px, device="cpu"))
    found, seconds = [], []
    for start in range(0, len(files), BLOCK):
        kept = out / f"{name}-{px or 224}-{start:05d}.npz"
        if not kept.is_file():
            tiles = read(files[start : start + BLOCK])
            begun = time.process_time()
            rows = encoder.encode(tiles)
            spent = time.process_time() - begun
            kept.parent.mkdir(parents=True, exist_ok=True)
            with replacing(kept) as temporary, temporary.open("wb") as file:
                np.savez(file, rows=rows, seconds=spent)
        with np.load(kept) as arrays:
            found.append(arrays["rows"])
            seconds.append(float(arrays["seconds"]))
    return np.concatenate(found), 1000 * sum(seconds) / len(files)


def colour_groups(files: list[Path]) -> np.ndarray:
    """Ten groups of tiles of like mean colour."""
    colours = np.stack([
        cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2LAB).mean(axis=(0, 1)) for file in files
    ])  # fmt: skip
    return KMeans(10, n_init=10, random_state=0).fit_predict(colours)


def by_fold(rows: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return balanced accuracy at each fold of groups."""
    scores = []
    for train, test in GroupKFold(5).split(rows, labels, groups):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
        probe.fit(rows[train], labels[train])
        scores.append(balanced_accuracy_score(labels[test], probe.predict(rows[test])))
    return np.array(scores)


def main() -> None:
    """Encode what is missing, fit the probes and write the page."""
    options = arguments()
    files, labels = listed(options.data)
    groups = colour_groups(files)
    structure, cost = features(files, STRUCTURE, None, options.out)
    base = by_fold(structure, labels, groups)
    lines = {f"`{STRUCTURE}`": [f"{base.mean():.3f}", "–", f"{cost:.1f}"]}
    for px in options.px:
        trunk, ms = features(files, TRUNK, None if px == 224 else px, options.out)
        for name, rows, spent in (
            (f"`{TRUNK}`, last stage, {px} px", trunk[:, -640:], ms),
            (f"`{TRUNK}`, late stages, {px} px", trunk[:, -1024:], ms),
            (f"`{TRUNK}`, all stages, {px} px", trunk, ms),
            (f"`{TRUNK}+structure`, all stages, {px} px", np.hstack([trunk, structure]), ms + cost),
        ):
            found = by_fold(rows, labels, groups)
            gain = found - base
            half = stats.t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain))
            shown = f"{gain.mean():+.3f} ({gain.mean() - half:+.3f} to {gain.mean() + half:+.3f})"
            lines[name] = [f"{found.mean():.3f}", shown, f"{spent:.1f}"]
            print(name, *lines[name], flush=True)
    columns = ["balanced accuracy", f"minus `{STRUCTURE}` (95 %)", "ms a tile and core"]
    table = pd.DataFrame(lines, index=columns).T
    table.index.name = "encoder"
    write_page(
        options.table, "Tile encoders on real colon tiles", [PREFACE.format(n=len(files)), markdown(table), AFTER],
        "python benchmarks/evidence_tile_encoders.py --data FOLDER --out FOLDER",
    )  # fmt: skip


PREFACE = """{n} public haematoxylin-and-eosin tiles of the colon (224 px, five classes, no list of
slides), grouped by mean colour into ten groups; five folds of whole groups, so that each fold's stain is
new to the probe (logistic regression, C .01, features standardised on the other folds). Differences are
paired over the five folds, intervals by Student's t over them: five folds of one data set, no hospitals.
Time on one thread of the machine that ran it, which had other work."""
AFTER = """By the rule that was set before, `efficientnet-lite0` is the default encoder: balanced accuracy is higher by
an interval above zero, and a probe's answers change no more often between twins of a tissue
(.207, .118 to .323, against .243, .126 to .398; [twins](../features.md#twins))."""


if __name__ == "__main__":
    main()
