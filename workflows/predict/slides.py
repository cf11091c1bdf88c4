"""Slides: from the file over tiles, features and the network to an answer with a heatmap."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pathology.embedding import encode_slide
from pathology.encoders import EncoderSettings, load_encoder
from pathology.features import SlideFeatures
from pathology.geojson import write_geojson
from pathology.heatmap import TileGrid, attention_overlay, write_heatmap
from pathology.inference import BagPrediction, load_slide_model, predict_bag
from preprocessing.files import write_bytes
from preprocessing.slides.opening import open_slide
from preprocessing.slides.overview import read_overview
from preprocessing.tiles import SlideRecord, TileSettings, load_tiles
from preprocessing.tiling import tile_slide
from workflows.package.folder import WEIGHTS, Package, refused
from workflows.predict.codes import NOTICE, Code
from workflows.predict.inputs import Item
from workflows.predict.kinds import SLIDE_SUFFIXES, kind_of
from workflows.predict.pictures import VIEW_PX, png, shrunk
from workflows.predict.predictor import Finding, Prepared, Quality, Rejected

_CODES = {
    "no_such_file": Code.NOT_FOUND,
    "cannot_open": Code.UNREADABLE,
    "unreadable_slide": Code.UNREADABLE,
    "too_many_unreadable_tiles": Code.UNREADABLE,
    "mpp_missing": Code.MPP_MISSING,
    "mpp_implausible": Code.MPP_IMPLAUSIBLE,
    "mpp_anisotropic": Code.MPP_IMPLAUSIBLE,
    "resolution_too_low": Code.RESOLUTION_TOO_LOW,
    "no_tissue": Code.NO_TISSUE,
    "smaller_than_a_tile": Code.NO_TISSUE,
}
_FACTS = (
    "width", "height", "vendor", "scanner", "mpp", "mpp_source", "actual_mpp", "tile_px",
    "tissue_mm2", "counts", "rates",
)  # fmt: skip


class SlidePredictor:
    """The slide model of a package.

    The whole way is that of training: the same tiling, the same encoder, features rounded to
    float16 as on disk, and `pathology.inference`.

    Parameters
    ----------
    package : Package
        A verified package with ``preprocessing`` ``tiles`` and ``encoder``.
    device : str
        A torch device.
    """

    batch_size = 1

    def __init__(self, package: Package, device: str) -> None:
        settings = package.record.preprocessing
        self._tiles = TileSettings.model_validate(settings["tiles"])
        self._encoder = load_encoder(EncoderSettings.model_validate(settings["encoder"]))
        wanted = package.record.fingerprints.get("encoder", self._encoder.digest)
        if wanted != self._encoder.digest:
            raise refused(
                package.path,
                f"it was trained on features of another version of encoder {self._encoder.name}",
                "Use the version of offsite (and the encoder's weights) that the card names",
                "other_encoder",
            )
        architecture = package.record.architecture.settings
        self._model = load_slide_model(package.path / WEIGHTS, architecture).to(device)

    def prepare(self, item: Item) -> Prepared:
        """Tile one slide and make its features."""
        with tempfile.TemporaryDirectory(prefix="offsite-tiles-") as work:
            record = tile_slide(item.path, "slide", work, self._tiles, item.mpp)
            if record.status != "done" or not record.kept:
                raise self._rejected(item, record)
            tiles = load_tiles(work, "slide")
        features = encode_slide(item.path, tiles, self._encoder)
        if not len(features.features):
            raise Rejected(Code.UNREADABLE, "no tile of the slide can be decoded")
        view = _view(item)
        return Prepared(
            payload=(record, features, view),
            view=view,
            quality=Quality(assessed=False),
            facts=_facts(record, len(features.features)),
        )

    def infer(self, batch: Sequence[Prepared]) -> list[Finding]:
        """Answer one slide at a time: bags differ too much in size to gain from batches."""
        return [self._answer(prepared) for prepared in batch]

    def shrink(self) -> bool:
        """Nothing is left to give: a bag already streams through in parts."""
        return False

    def describe(self) -> dict[str, Any]:
        """Return what the results depend on beside the package."""
        return {"encoder": self._encoder.name, "encoder_digest": self._encoder.digest}

    def _answer(self, prepared: Prepared) -> Finding:
        record, features, view = prepared.payload
        found = predict_bag(self._model, features.features)

        def save(folder: Path) -> dict[str, str]:
            return save_heatmap(folder, record, features, found, view)

        return Finding(
            logits=found.logits,
            embedding=found.embedding,
            facts={"tiles": len(features.features)},
            save=save,
        )

    def _rejected(self, item: Item, record: SlideRecord) -> Rejected:
        message = record.message or "no tile is fit to be used"
        if record.code == "unsupported_format":
            return _unsupported(item)
        code = _CODES.get(record.code, Code.INTERNAL_ERROR)
        if record.status == "no_tissue" or (record.status == "done" and not record.kept):
            code = Code.NO_TISSUE
        view = None
        if code in (Code.NO_TISSUE, Code.RESOLUTION_TOO_LOW):
            view = _view(item)
        return Rejected(code, message.split(". ")[0], view)


def save_heatmap(
    folder: Path, record: SlideRecord, features: SlideFeatures, found: BagPrediction,
    view: np.ndarray,
) -> dict[str, str]:  # fmt: skip
    """Write where the model looked: over the view of the page, as a picture, and for QuPath."""
    assert record.width is not None
    assert record.height is not None
    grid = TileGrid(
        coords=features.coords,
        tile_size=features.origin.tile_size_level0,
        slide_size=(record.width, record.height),
    )
    overlay = attention_overlay(view.shape[:2], grid, found.attention)
    write_bytes(folder / "overlay.png", png(overlay))
    write_heatmap(folder / "heatmap.png", view, grid, found.attention, NOTICE.split(". ")[0])
    write_geojson(folder / "heatmap.geojson.gz", grid, found.attention, offset=record.bounds_offset)
    return {
        "overlay": "overlay.png",
        "heatmap": "heatmap.png",
        "geojson": "heatmap.geojson.gz",
    }


def _view(item: Item) -> np.ndarray:
    """The whole slide as a picture."""
    with open_slide(item.path, mpp=item.mpp) as slide:
        coarse = slide.mpp * max(slide.dimensions) / VIEW_PX
        overview = read_overview(slide, mpp=coarse, max_px=VIEW_PX * VIEW_PX)
        return shrunk(overview.pixels)


def _facts(record: SlideRecord, tiles: int) -> dict[str, Any]:
    values = record.model_dump(mode="json")
    return {"tiles": tiles, **{name: values[name] for name in _FACTS}}


def _unsupported(item: Item) -> Rejected:
    kind = kind_of(item.path)
    if kind and kind != "tiff":
        return Rejected(Code.WRONG_KIND, f"a {kind} picture, not a slide")
    if kind or item.path.suffix.lower() in SLIDE_SUFFIXES:
        return Rejected(Code.UNREADABLE, "not a slide that OpenSlide can read, or cut short")
    return Rejected(Code.NOT_AN_IMAGE, "the file is not an image")
