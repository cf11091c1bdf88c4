"""Slides: from the file over tiles, features and the network to an answer with a heatmap."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from offsite.children.ended import ChildEnded
from offsite.children.pool import HERE, Place
from offsite.files import write_bytes
from offsite.pathology.attention.geojson import write_geojson
from offsite.pathology.attention.heatmap import (
    TileGrid,
    attention_overlay,
    colour_top,
    relative_attention,
)
from offsite.pathology.features.file import SlideFeatures
from offsite.pathology.inference import BagPrediction, predict_bag, slide_model
from offsite.pathology.prediction.slide_features import SlideFeatureMaker, TiledSlide
from offsite.pathology.prediction.words import answer_in_words
from offsite.pathology.tile_encoders.names import check_encoder_name
from offsite.pathology.tile_encoders.registry import EncoderSettings, load_encoder
from offsite.pathology.vocabulary.words import Vocabulary
from offsite.preprocessing.slides.overview import slide_view
from offsite.preprocessing.tiles.table import SlideRecord, TileSettings
from offsite.preprocessing.views import blended, png
from offsite.training.prediction.codes import NOTICE, Code
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
    "counts",
    "rates",
)


class SlidePredictor:
    """The slide model of a package.

    The whole way is that of training: the same tiling, the same encoder, features rounded to
    float16 as on disk, and `offsite.pathology.inference`. A model that was trained on patients gets all
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
        self._maker = SlideFeatureMaker(TileSettings.model_validate(settings["tiles"]), encoder)
        self._pooling = settings.get("pooling", "slide")
        self._fewest_tiles = int(settings.get("fewest_tiles", 0))
        architecture = package.record.architecture.settings
        self._model = slide_model(package.weights, architecture, file=package.path).to(device)
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
            notes=(*self._notes(item, len(siblings) - len(others)), *self._too_little(this)),
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

    def _notes(self, item: Item, left_out: int) -> tuple[str, ...]:
        """What a reader must know of an answer that should rest on all slides of a patient."""
        if self._pooling == "slide":
            return ()
        if not item.patient:
            return ("answered from this slide alone: no table names its patient",)
        if left_out:
            return (f"without {left_out} of the patient's slides, which cannot be used",)
        return ()

    def _too_little(self, this: TiledSlide) -> tuple[str, ...]:
        """Whether there is less tissue than the model ever learned from."""
        tiles, fewest = len(this.features.features), self._fewest_tiles
        if tiles >= fewest:
            return ()
        return (
            f"less tissue ({tiles} tiles) than any slide that the model was trained on ({fewest})",
        )

    def _other(self, other: Sibling) -> TiledSlide | None:
        """Another slide of the patient; one that cannot be used is left out, and counted."""
        try:
            return self._maker.remembered(other.path, other.mpp)
        except (Rejected, ChildEnded):
            return None

    def _answer(self, this: TiledSlide, others: list[TiledSlide], view: np.ndarray) -> ModelAnswer:
        if self._pooling == "patient_union":
            bag = self._union(this, others)
        else:
            bag = predict_bag(self._model, this.features.features)
        logits, embedding, seen = bag.logits, bag.embedding, bag.mean_features
        if self._pooling == "patient_late" and others:
            logits, embedding, seen = self._late(bag, others)

        def save(folder: Path) -> dict[str, str]:
            return save_heatmap(folder, this.record, this.features, bag.attention, view)

        words = None
        if self._words is not None:
            slides = [this, *others] if self._pooling != "slide" else [this]
            tiles = [slide.features.features for slide in slides]
            words = answer_in_words(self._words, tiles, self._logits)
        return ModelAnswer(logits=logits, embedding=embedding, trunk=seen, save=save, words=words)

    def _logits(self, slides: Sequence[np.ndarray]) -> np.ndarray:
        """The answer to the tiles of a slide, or of a patient's slides."""
        if self._pooling != "patient_late":
            return predict_bag(self._model, np.concatenate(slides)).logits
        return _late_logits([predict_bag(self._model, rows) for rows in slides])

    def _union(self, this: TiledSlide, others: list[TiledSlide]) -> BagPrediction:
        """All slides as one bag; the attention is that of this slide's tiles."""
        bags = [this.features.features, *(other.features.features for other in others)]
        union = predict_bag(self._model, np.concatenate(bags))
        tiles = len(bags[0])
        # In units of the patient's average tile, as the heatmap shows it.
        attention = union.attention[:tiles] * (len(union.attention) / tiles)
        return replace(union, attention=attention)

    def _late(
        self, this: BagPrediction, others: list[TiledSlide]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The mean probabilities of all slides as logits, the mean embedding, the mean features."""
        bags = [this, *(predict_bag(self._model, other.features.features) for other in others)]
        logits = _late_logits(bags)
        embedding = np.mean([bag.embedding for bag in bags], axis=0)
        return logits, embedding, np.mean([bag.mean_features for bag in bags], axis=0)


def _late_logits(bags: Sequence[BagPrediction]) -> np.ndarray:
    """The mean probabilities of bags, as logits."""
    mean = np.mean([bag.probabilities for bag in bags], axis=0)
    return np.asarray(np.log(np.maximum(mean, np.finfo(np.float32).tiny)))


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
    overlay = attention_overlay(view.shape[:2], grid, attention)
    write_bytes(folder / "overlay.png", png(overlay))
    top = colour_top(relative_attention(attention))
    scale = f"Attention of the model. Strongest colour: {top:.1f} x the average tile."
    write_bytes(folder / "heatmap.png", png(blended(view, overlay, (scale, NOTICE))))
    write_geojson(folder / "heatmap.geojson.gz", grid, attention, offset=record.bounds_offset)
    return {
        "overlay": "overlay.png",
        "heatmap": "heatmap.png",
        "geojson": "heatmap.geojson.gz",
    }


def _facts(record: SlideRecord) -> dict[str, Any]:
    values = record.model_dump(mode="json")
    return {name: values[name] for name in _FACTS}
