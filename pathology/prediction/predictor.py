"""Slides: from the file over tiles, features and the network to an answer with a heatmap."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from offsite.children.ended import ChildEnded
from offsite.children.pool import HERE, Place
from offsite.pathology.attention.heatmap import TileGrid
from offsite.pathology.features.file import LAYOUTS, SlideFeatures
from offsite.pathology.features.settings import BITS
from offsite.pathology.prediction.attention_files import save_attention
from offsite.pathology.prediction.pooling import PooledModel
from offsite.pathology.prediction.slide_features import SlideFeatureMaker, TiledSlide
from offsite.pathology.prediction.words import answer_in_words
from offsite.pathology.tile_encoders.names import check_encoder_name
from offsite.pathology.tile_encoders.registry import EncoderSettings, load_encoder
from offsite.pathology.vocabulary.words import Vocabulary
from offsite.preprocessing.slides.overview import slide_view
from offsite.preprocessing.tiles.table import SlideRecord, TileSettings
from offsite.training.prediction.codes import Code
from offsite.training.prediction.contents import distinct_siblings
from offsite.training.prediction.contract import (
    WORDS,
    ModelAnswer,
    ModelPackage,
    PackageUnfit,
    Prepared,
    Quality,
    Rejected,
)
from offsite.training.prediction.items import Item, Sibling

_FACTS = (
    "width",
    "height",
    "vendor",
    "scanner",
    "acquired",
    "compression",
    "mpp",
    "mpp_source",
    "actual_mpp",
    "tile_px",
    "tissue_mm2",
    "lost_mm2",
    "fat_mm2",
    "counts",
    "rates",
)


class SlidePredictor:
    """The slide model of a package.

    The whole way is that of training: the same tiling, the same encoder, features rounded to
    float16 (or to eight bits) as on disk, and `offsite.pathology.inference`. A model that was trained on patients gets all
    slides of the patient, each with a heatmap.

    Parameters
    ----------
    package : ModelPackage
        A verified package with ``preprocessing`` ``tiles`` and ``encoder``.
    device : str
        A torch device.
    batch_size : int, optional
        Not used: a slide goes through alone.
    """

    batch_size = 1

    def __init__(self, package: ModelPackage, device: str, batch_size: int | None = None) -> None:
        self.concurrent = device == "cpu"
        settings = package.record.preprocessing
        check_encoder_name(settings["encoder"].get("name", EncoderSettings().name))
        encoder = load_encoder(EncoderSettings.model_validate(settings["encoder"]))
        wanted = package.record.fingerprints.get("encoder", encoder.digest)
        if wanted != encoder.digest:
            raise PackageUnfit(
                f"it was trained on features of another version of encoder {encoder.name}",
                file=package.path,
                remedy="Use the version of offsite (and the encoder's weights) that the card names",
                code="other_encoder",
            )
        self._place: Place = HERE
        bits = settings.get(BITS, 16)
        if bits not in LAYOUTS:
            raise PackageUnfit(
                f"its features are of {bits} bits, which this version does not know",
                file=package.path,
                remedy="Use the version of offsite that the card names",
                code="unknown_bits",
            )
        tiles = TileSettings.model_validate(settings["tiles"])
        self._maker = SlideFeatureMaker(tiles, encoder, bits)
        self._model = PooledModel(package, device)
        words = package.arrays(WORDS)
        self._words = Vocabulary.from_arrays(words, encoder.dimensions) if words else None

    def open_at(self, place: Place) -> None:
        """Open slides there from now on; the encoder and the model stay in this process."""
        self._place = self._maker.place = place

    def prepare(self, item: Item) -> Prepared:
        """Tile one slide and make its features, and those of the patient's other slides."""
        try:
            make = self._maker.remembered if item.siblings else self._maker.make
            this = make(item.path, item.mpp)
        except Rejected as rejection:
            if rejection.code in (Code.NO_TISSUE, Code.RESOLUTION_TOO_LOW):
                rejection.view = self._view(item)
            raise
        siblings = distinct_siblings(item) if item.siblings else []
        others = [made for other in siblings if (made := self._other(other)) is not None]
        facts = {**_facts(this.record), "tiles": len(this.features.features)}
        if item.siblings:
            facts["slides_of_patient"] = 1 + len(others)
            facts["slides_of_patient_left_out"] = len(siblings) - len(others)
        view = self._view(item)
        return Prepared(
            payload=(this, others, view),
            view=view,
            quality=Quality(assessed=False),
            facts=facts,
            notes=self._model.notes(item, len(siblings) - len(others), len(this.features.features)),
        )

    def infer(self, batch: Sequence[Prepared]) -> list[ModelAnswer]:
        """Answer one slide at a time: bags differ too much in size to gain from batches."""
        return [self._answer(*prepared.payload) for prepared in batch]

    def shrink(self) -> bool:
        """Nothing is left to give: a bag already streams through in parts."""
        return False

    def describe(self) -> dict[str, Any]:
        """Return what the results depend on beside the package."""
        return {"encoder": self._maker.encoder.name, "encoder_digest": self._maker.encoder.digest}

    def _view(self, item: Item) -> np.ndarray:
        return self._place.call(slide_view, item.path, item.mpp)

    def _other(self, other: Sibling) -> TiledSlide | None:
        """Another slide of the patient; one that cannot be used is left out, and counted."""
        try:
            return self._maker.remembered(other.path, other.mpp)
        except (Rejected, ChildEnded):
            return None

    def _answer(self, this: TiledSlide, others: list[TiledSlide], view: np.ndarray) -> ModelAnswer:
        features = [other.features.features for other in others]
        bag = self._model.answer(this.features.features, features)

        def save(folder: Path) -> dict[str, str]:
            return save_heatmap(folder, this.record, this.features, bag.attention, view)

        words = None
        if self._words is not None:
            mine = this.features.features
            tiles = [mine, *features] if self._model.pooling != "slide" else [mine]
            words = answer_in_words(self._words, tiles, self._model.logits)
        return ModelAnswer(
            logits=bag.logits,
            embedding=bag.embedding,
            trunk=bag.mean_features,
            save=save,
            words=words,
        )


def save_heatmap(
    folder: Path,
    record: SlideRecord,
    features: SlideFeatures,
    attention: np.ndarray,
    view: np.ndarray,
) -> dict[str, str]:
    """Write where the model looked: over the view of the page, as a picture, and for QuPath."""
    assert record.width is not None
    assert record.height is not None
    grid = TileGrid(
        coords=features.coords,
        tile_size=features.origin.tile_size_level0,
        slide_size=(record.width, record.height),
    )
    return save_attention(folder, grid, attention, view, record.bounds_offset)


def _facts(record: SlideRecord) -> dict[str, Any]:
    values = record.model_dump(mode="json")
    return {name: values[name] for name in _FACTS}
