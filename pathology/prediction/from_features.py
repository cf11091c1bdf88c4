"""Slides of which another tool made the features: from the file and the network to an answer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from offsite.children.ended import ChildEnded
from offsite.children.pool import HERE, Place
from offsite.errors import InputError
from offsite.pathology.attention.heatmap import TileGrid, attention_map
from offsite.pathology.features.external import OTHER_TILES, TOOLS, FeatureKind
from offsite.pathology.features.file import SlideFeatures
from offsite.pathology.features.folders import has_coordinates, read_any, read_header
from offsite.pathology.features.locating import (
    SUFFIXES,
    identifier,
    is_feature_name,
    locate,
)
from offsite.pathology.features.settings import FEATURES
from offsite.pathology.features.tensor_files import is_tensor_file
from offsite.pathology.prediction.attention_files import save_attention
from offsite.pathology.prediction.pooling import PooledModel
from offsite.preprocessing.views import VIEW_PX
from offsite.training.prediction.codes import Code
from offsite.training.prediction.contents import distinct_siblings
from offsite.training.prediction.contract import (
    FileChoice,
    ModelAnswer,
    ModelPackage,
    Prepared,
    Quality,
    Rejected,
)
from offsite.training.prediction.items import Item

_GLASS, _TILE = 255, 222
_CODES = {
    "not_embedded": Code.NOT_FOUND,
    "no_tiles": Code.NO_TISSUE,
    "other_encoder": Code.OTHER_ENCODER,
    OTHER_TILES: Code.OTHER_TILES,
}


class FeaturePredictor:
    """The slide model of a package that was trained on features of another tool.

    A file is taken for what training took it for: one that names another encoder, or is of another
    width or of other tiles, has no answer. The picture of a case is the map of its tiles.

    Parameters
    ----------
    package : ModelPackage
        A verified package with ``preprocessing`` ``features``.
    device : str
        A torch device.
    batch_size : int, optional
        Not used: a slide goes through alone.
    """

    batch_size = 1

    def __init__(self, package: ModelPackage, device: str, batch_size: int | None = None) -> None:
        self.concurrent = device == "cpu"
        self._kind = FeatureKind.from_json(package.record.preprocessing[FEATURES])
        self._model = PooledModel(package, device)
        self._place: Place = HERE

    def open_at(self, place: Place) -> None:
        """Open files there from now on."""
        self._place = place

    def prepare(self, item: Item) -> Prepared:
        """Read the features of one slide, and those of the patient's other slides."""
        this, layout = self._read(item.path)
        siblings = distinct_siblings(item) if item.siblings else []
        others = [made for other in siblings if (made := self._other(other.path)) is not None]
        tiles = len(this.features)
        facts: dict[str, Any] = {
            "tiles": tiles, "tile_px": this.origin.tile_px or None, "layout": TOOLS.get(layout, layout),
            "encoder": self._kind.encoder.label,
        }  # fmt: skip
        if item.siblings:
            facts["slides_of_patient"] = 1 + len(others)
            facts["slides_of_patient_left_out"] = len(siblings) - len(others)
        grid = grid_of(this)
        view = None if grid is None else view_of(grid)
        if grid is not None:
            facts["shown"] = "a map of the tiles: the slide itself is not at hand"
        without = () if grid is not None else ("no heatmap: the file has no coordinates in pixels",)
        return Prepared(
            payload=(this, others, grid, view),
            view=view,
            quality=Quality(assessed=False),
            facts=facts,
            notes=(*self._model.notes(item, len(siblings) - len(others), tiles), *without),
        )

    def infer(self, batch: Sequence[Prepared]) -> list[ModelAnswer]:
        """Answer one slide at a time: bags differ too much in size to gain from batches."""
        return [self._answer(*prepared.payload) for prepared in batch]

    def shrink(self) -> bool:
        """Nothing is left to give: a bag already streams through in parts."""
        return False

    def describe(self) -> dict[str, Any]:
        """Return what the results depend on beside the package."""
        return {"encoder": self._kind.encoder.label, "encoder_digest": self._kind.digest}

    def _read(self, path: Path) -> tuple[SlideFeatures, str]:
        try:
            return self._place.call(checked_features, path, self._kind)
        except InputError as error:
            raise Rejected(_CODES.get(error.code, Code.UNREADABLE), error.problem) from error

    def _other(self, path: Path) -> np.ndarray | None:
        """Features of another slide of the patient; one that cannot be used is left out, and counted."""
        try:
            return self._read(path)[0].features
        except (Rejected, ChildEnded):
            return None

    def _answer(
        self,
        this: SlideFeatures,
        others: list[np.ndarray],
        grid: TileGrid | None,
        view: np.ndarray | None,
    ) -> ModelAnswer:
        bag = self._model.answer(this.features, others)

        def save(folder: Path) -> dict[str, str]:
            if grid is None or view is None:
                return {}
            corner = (this.origin.bounds_x, this.origin.bounds_y)
            return save_attention(folder, grid, bag.attention, view, corner)

        return ModelAnswer(
            logits=bag.logits, embedding=bag.embedding, trunk=bag.mean_features, save=save
        )


def checked_features(path: Path, kind: FeatureKind) -> tuple[SlideFeatures, str]:
    """Return the features of a file of this kind, and how it is laid out.

    Raises
    ------
    Rejected
        Code ``wrong_kind``: no feature file by its name.
    InputError
        Its code says why it cannot be used; its problem names no file.
    """
    if not is_feature_name(path):
        raise Rejected(
            Code.WRONG_KIND, f"this model reads features of slides ({', '.join(SUFFIXES)})"
        )
    header = read_header(path)
    if fault := kind.fault_of(header):
        code, said = fault
        raise InputError(f"{said[0].lower()}{said[1:]}", remedy="", code=code)
    if not header.rows:
        raise InputError("the file holds no tile", remedy="", code="no_tiles")
    return read_any(path, beside=False), header.layout


def grid_of(slide: SlideFeatures) -> TileGrid | None:
    """Return where a slide's tiles lie, or None where its file does not say it in pixels.

    A file that does not say how large its tiles are has them as large as the least step between two.
    The slide's size is that of the area with tiles.
    """
    if not has_coordinates(slide):
        return None
    size = slide.origin.tile_size_level0 or _least_step(slide.coords)
    right, lower = slide.coords.max(axis=0) + size
    return TileGrid(slide.coords, float(size), (int(np.ceil(right)), int(np.ceil(lower))))


def _least_step(coords: np.ndarray) -> float:
    steps = [np.diff(np.unique(coords[:, axis])) for axis in (0, 1)]
    found = np.concatenate(steps)
    return float(found.min()) if len(found) else 1.0


def view_of(grid: TileGrid, side: int = VIEW_PX) -> np.ndarray:
    """Return a map of the tiles (H x W x 3, uint8): the slide itself is not at hand."""
    width, height = grid.slide_size
    factor = side / max(width, height)
    shape = (max(round(height * factor), 1), max(round(width * factor), 1))
    apart = TileGrid(grid.coords, grid.tile_size * 0.92, grid.slide_size)
    covered = np.isfinite(attention_map(shape, apart, np.ones(len(grid.coords))))
    return np.where(covered[..., None], np.uint8(_TILE), np.uint8(_GLASS)).repeat(3, axis=2)


def _grouped(paths: list[Path]) -> list[tuple[Path, ...]]:
    """Join the files of one slide: CLAM writes an ``.h5``, which stands for it, and a ``.pt``."""
    by_name: dict[str, list[Path]] = {}
    for path in paths:
        by_name.setdefault(identifier(path.name), []).append(path)
    groups: list[tuple[Path, ...]] = []
    for files in by_name.values():
        whole = [path for path in files if not is_tensor_file(path)]
        tensors = [path for path in files if is_tensor_file(path)]
        if len(whole) == 1:
            groups.append((whole[0], *tensors))
        else:  # several of one kind: each is a case, and nothing is chosen
            groups += [(path,) for path in whole or tensors]
    order = {path: number for number, path in enumerate(paths)}
    return sorted(groups, key=lambda group: order[group[0]])


def feature_choice() -> FileChoice:
    """Return which files a model of features reads."""
    return FileChoice(
        takes=is_feature_name, others="files that are no features", group=_grouped, locate=locate
    )
