"""Twins of slides: the same tissue as several sites show it, its places, features and answers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from offsite.children.pool import Children
from offsite.pathology.features.embedding import EMBEDDED, embed_cohort
from offsite.pathology.features.file import feature_path, read_features
from offsite.pathology.inference import load_slide_model, predict_bag
from offsite.pathology.tile_encoders.registry import EncoderSettings
from offsite.preprocessing.cohort.table import Cohort
from offsite.preprocessing.synthetic.slides.biology import CLASSES
from offsite.preprocessing.synthetic.slides.cohort import SyntheticSlideSettings, make_twin_cohort
from offsite.preprocessing.tiles.table import load_tiles
from offsite.preprocessing.tiles.tiling import tile_cohort
from offsite.preprocessing.tiles.twins import COLUMN, match_twins
from offsite.training.encoders import TwinPlaces

SYNTHETIC = SyntheticSlideSettings(
    width_um=800, height_um=720, lesion_share=(0.5, 0.8), artefacts=False, seed=2
)
"""The twins made where none are given: nothing differs but stain and scanner."""

_MATCHED = "matched"


def synthetic(folder: Path, tissues: int, workers: int) -> tuple[Path, tuple[str, ...]]:
    """Make synthetic twins; return their table and its classes."""
    return make_twin_cohort(folder, SYNTHETIC, tissues=tissues, workers=workers), CLASSES


def matched(
    configuration: Any,
    cohort: Cohort,
    folder: Path,
    most: int,
    workers: int,
    advance: Callable[..., None],
) -> pd.DataFrame:
    """Tile the twins as the job does, and keep the places that all twins of a tissue show."""
    with Children(workers, configuration.reading) as children:
        tile_cohort(
            cohort, folder, configuration.tiles, workers=workers, progress=advance, place=children
        )
    return match_twins(cohort, folder, folder / _MATCHED, most=most)


def encoded(
    cohort: Cohort,
    matched: pd.DataFrame,
    folder: Path,
    settings: EncoderSettings,
    workers: int,
    advance: Callable[..., None],
) -> TwinPlaces:
    """Return the features of one encoder at the matched places."""
    out = folder / "features" / settings.name
    with Children(workers) as children:
        table = embed_cohort(
            cohort,
            folder / _MATCHED,
            out,
            settings,
            workers=workers,
            progress=advance,
            place=children,
        )
    parts, features, digest = [pd.DataFrame(columns=["slide", "tissue", "site", "label"])], [], ""
    done = set(table.loc[table["status"] == EMBEDDED, "slide"])
    for slide, tissue, site, label in matched[["slide", COLUMN, "site", "label"]].to_numpy():
        if slide not in done:
            continue
        stored = read_features(feature_path(out, slide))
        digest = stored.origin.encoder_digest
        wanted = load_tiles(folder / _MATCHED, slide).kept_places()
        place_of = {tuple(corner): number for number, corner in enumerate(wanted.tolist())}
        places = [place_of[tuple(corner)] for corner in stored.coords.tolist()]
        facts = {"tissue": tissue, "site": site, "slide": slide, "label": label}
        parts.append(pd.DataFrame({"place": places}).assign(**facts))
        features.append(stored.features.astype(np.float64))
    failed = table.loc[table["status"] != EMBEDDED, ["slide", "message"]]
    rows = pd.concat(parts[1:], ignore_index=True) if features else parts[0]
    return TwinPlaces(
        rows, np.concatenate(features) if features else np.empty((0, 0)), digest, failed
    )


def answers(run: Path, architecture: Any, images: Sequence[np.ndarray]) -> list[int]:
    """Return the class that a run gives to each slide, from its features."""
    model = load_slide_model(run / "weights.safetensors", architecture)
    return [
        int(predict_bag(model, features.astype(np.float16)).logits.argmax()) for features in images
    ]
