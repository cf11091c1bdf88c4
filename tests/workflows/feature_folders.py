"""Features as other tools leave them, labels for them, and a job that takes both; for tests."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import torch
import yaml

LAYOUTS = ("clam", "clam_pt", "trident", "stamp", "offsite")
LABEL, WIDTH, SITES, CLASSES = "uni_v2", 12, ("east", "held", "west"), ("normal", "tumour")
ORIGIN = {"tile_px": 256, "mpp": 0.5, "tile_size_level0": 512.0, "encoder": "UNI-v2",
          "encoder_digest": "of-another-installation"}  # fmt: skip


def bags(patients: int = 36, seed: int = 0) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """A table of labels without images, and the features of its slides; a class can be learnt."""
    rng = np.random.default_rng(seed)
    rows, features = [], {}
    for number in range(patients):
        slide, tumour = f"S{seed}-{number:02d}", number % 3 == 0
        bag = rng.normal(size=(int(rng.integers(9, 20)), WIDTH))
        bag[: 5 if tumour else 0, 0] += 6
        features[slide] = bag.astype(np.float16)
        rows.append({"slide": slide, "patient": f"p{seed}-{number}", "site": SITES[number // 3 % 3],
                     "label": CLASSES[tumour]})  # fmt: skip
    return pd.DataFrame(rows), features


def coords_of(count: int) -> np.ndarray:
    """Corners of tiles of 512 level-0 px, in rows of four."""
    return np.array([(512 * (n % 4), 512 * (n // 4)) for n in range(count)], np.int64)


def write(root: Path, layout: str, slide: str, features: np.ndarray, encoder: str = LABEL) -> Path:
    """Write a slide's file as a tool does, below ``root``; return it."""
    coords, numbers = coords_of(len(features)), features.astype(np.float32)
    if layout in ("clam", "clam_pt"):
        (root / "pt_files").mkdir(parents=True, exist_ok=True)
        torch.save(torch.from_numpy(numbers), root / "pt_files" / f"{slide}.pt")
        if layout == "clam_pt":
            return root / "pt_files" / f"{slide}.pt"
        return _h5(root / "h5_files" / f"{slide}.h5", features=(numbers, {}), coords=(coords, {}))
    if layout == "trident":
        folder = root / "20x_256px_0px_overlap" / f"features_{encoder}"
        tiles = {"patch_size": 256, "patch_size_level0": 512, "level0_magnification": 40,
                 "target_magnification": 20, "overlap": 0, "name": slide}  # fmt: skip
        saved = {"name": slide, "savetodir": f"/home/somebody/{folder.name}"}
        return _h5(folder / f"{slide}.h5", features=(numbers, saved), coords=(coords, tiles))
    if layout == "stamp":
        path = root / f"{encoder}-0f3a91bc" / f"{slide}.h5"
        _h5(path, feats=(features, {}), coords=(coords / 2.0, {}))
        with h5py.File(path, "a") as file:
            file.attrs.update(stamp_version="2.3", extractor=encoder, unit="um", tile_size_um=256.0,
                              tile_size_px=224, feat_type="tile")  # fmt: skip
        return path
    from offsite.pathology.features.file import FeatureOrigin, SlideFeatures, write_features

    root.mkdir(parents=True, exist_ok=True)
    origin = FeatureOrigin.model_validate(ORIGIN | {"encoder": encoder})
    write_features(
        root / f"{slide}.h5", SlideFeatures(features=features, coords=coords, origin=origin)
    )
    return root / f"{slide}.h5"


def _h5(path: Path, **datasets: tuple[np.ndarray, dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, (values, attributes) in datasets.items():
            file[name] = values
            file[name].attrs.update(attributes)
    return path


def make(
    folder: Path, layout: str = "trident", *, patients: int = 36, seed: int = 0, **more: Any
) -> Path:
    """Write ``labels.csv``, ``features/`` and ``job.yaml``; return the job's path."""
    table, features = bags(patients, seed)
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "labels.csv", index=False)
    for slide, rows in features.items():
        write(folder / "features", layout, slide, rows)
    return write_job(folder, **more)


def write_job(folder: Path, **more: Any) -> Path:
    """Write a job over ``labels.csv`` and ``features/`` of a folder, seconds of work."""
    settings: dict[str, Any] = {
        "task": "pathology", "cohort": "labels.csv", "classes": list(CLASSES), "output": "results",
        "features": {"folder": "features", "encoder": {"name": "external", "label": LABEL}},
        "splits": {"held_out_sites": ["held"], "val": 0.3, "test": 0.3},
        "training": {"batch_size": 8, "instances": 16,
                     "model": {"aggregator": {"width": 16, "attention_width": 8}},
                     "fit": {"epochs": 6, "learning_rate": 0.02, "device": "cpu"}},
        "evaluation": {"metrics": {"resamples": 100, "calibration_simulations": 50}},
        "cells": {"shards": 1},
    }  # fmt: skip
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(settings | more, sort_keys=False))
    return path


def make_hospitals(root: Path) -> None:
    """Write a table and a folder of its slides' features: copied, read only, and behind links.

    ``north.csv`` and ``north/`` are another hospital's, as CLAM leaves them; ``clam.csv`` is a table
    of CLAM's.
    """
    table, features = bags(45)
    (root / "cohort").mkdir(parents=True)
    table.to_csv(root / "cohort" / "cohort.csv", index=False)
    read_only, behind = root / "features" / "read-only", root / "elsewhere-features"
    folders = (root / "features" / "copied", read_only, behind)
    for number, (slide, rows) in enumerate(features.items()):
        file = write(folders[number % 3], "trident", slide, rows)
        if folders[number % 3] is read_only:
            file.chmod(0o444)
    (root / "features" / "linked").symlink_to(behind)
    write(root / "features", "trident", "of-nobody", rows, encoder="virchow2")
    theirs, north = bags(36, 4)
    theirs.assign(site="north").to_csv(root / "north.csv", index=False)
    for slide, rows in north.items():
        write(root / "north", "clam", slide, rows)
    clam = {"patient": "case_id", "slide": "slide_id", "site": "source"}
    table.rename(columns=clam).to_csv(root / "clam.csv", index=False)
