"""Feature files as they lie on disk: offsite's, and those of CLAM, TRIDENT and STAMP.

| tool | file | features | coordinates |
|---|---|---|---|
| offsite | ``<slide>.h5`` | ``features`` N x D, float16 | ``coords``, level-0 px |
| CLAM | ``h5_files/<slide>.h5`` | ``features`` N x D, sometimes 1 x N x D | ``coords``, level-0 px |
| CLAM | ``pt_files/<slide>.pt`` | a tensor N x D | those of the ``.h5`` beside, if any |
| TRIDENT | ``<slide>.h5`` | ``features`` N x D | ``coords`` with ``patch_size_level0`` |
| STAMP | ``<slide>.h5`` | ``feats`` N x D | ``coords`` in um, unit in the attributes |
"""

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from offsite.errors import InputError
from offsite.pathology.features.file import (
    MAX_DIMENSIONS,
    MAX_TILES,
    FeatureOrigin,
    SlideFeatures,
    read_features,
    read_origin,
)
from offsite.pathology.features.hdf5 import opened_hdf5
from offsite.pathology.features.tensor_files import is_tensor_file, load_tensor, tensor_shape

_AGAIN = "Extract the features of this slide again"
_UNNAMED = "_unnamed"
_SAVED_TO = "features_"


@dataclass(frozen=True)
class FeatureHeader:
    """What a feature file holds, without its numbers.

    Attributes
    ----------
    layout : str
        ``offsite``, ``clam``, ``clam_pt``, ``trident`` or ``stamp``.
    rows, dimensions : int
        N and D.
    origin : FeatureOrigin
        As far as the file says; a foreign file's encoder is known by name and width alone.
    digest : str
        Digest of the content where the file carries one, else "".
    magnification : float
        That of the tiles as a foreign file names it, else 0.
    """

    layout: str
    rows: int
    dimensions: int
    origin: FeatureOrigin
    digest: str = ""
    magnification: float = 0.0

    @property
    def names_encoder(self) -> bool:
        """Whether the file says which encoder made the features."""
        return not self.origin.encoder.endswith(_UNNAMED)


def read_header(path: str | Path) -> FeatureHeader:
    """Say what a feature file holds.

    Raises
    ------
    InputError
        Code ``bad_feature_file`` or ``not_embedded``.
    """
    file_path = Path(path)
    if is_tensor_file(file_path):
        rows, columns = tensor_shape(file_path)
        return FeatureHeader("clam_pt", rows, columns, _foreign_origin("clam", columns, {}))
    with _opened(file_path) as file:
        if "encoder_digest" in file.attrs:
            origin, digest = read_origin(file_path)
            rows, columns = file["features"].shape
            return FeatureHeader("offsite", rows, columns, origin, digest)
        attributes = _attributes(file)
        if (of_what := _text(attributes, "feat_type")) not in ("", "tile"):
            raise InputError(
                f"the file holds features of a {of_what}, and not of its tiles",
                file=file_path,
                remedy="Name the folder of the tiles' features",
                code="bad_feature_file",
            )
        dataset = _dataset(file, file_path)
        rows, columns = dataset.shape[-2:]
        layout = _layout(file, attributes)
        return FeatureHeader(
            layout,
            rows,
            columns,
            _foreign_origin(layout, columns, attributes),
            magnification=_number(attributes, "target_magnification"),
        )


def read_any(path: str | Path, *, beside: bool = True) -> SlideFeatures:
    """Read a feature file of any known layout, as float16 with level-0 coordinates.

    Coordinates that a file does not have, or has in um without saying how many a pixel is, are set
    to -1: such a slide can be trained on and predicted, but has no heatmap. Those of a ``.pt`` file
    are looked for in CLAM's other folder, unless nothing ``beside`` the file is to be read.

    Raises
    ------
    InputError
        The file is absent, damaged, of no known layout, holds what float16 cannot, or has another
        number of coordinates than of tiles.
    """
    file_path = Path(path)
    header = read_header(file_path)
    if header.layout == "offsite":
        return read_features(file_path)
    source = file_path
    if header.layout == "clam_pt":
        features, coords = load_tensor(file_path), None
        source = file_path.parent.parent / "h5_files" / f"{file_path.stem}.h5"
        if beside and source.is_file():
            coords = _coords(source, read_header(source))
    else:
        with _opened(file_path) as file:
            features = np.asarray(_dataset(file, file_path)[...], np.float32)
            features = features.reshape(header.rows, header.dimensions)
        coords = _coords(file_path, header)
    if coords is None:
        coords = np.full((len(features), 2), -1, np.int64)
    elif len(coords) != len(features):
        raise _unusable(source, f"{len(coords)} coordinates for {len(features)} tiles")
    with np.errstate(over="ignore"):  # judged in the next line
        half = features.astype(np.float16)
    if not np.isfinite(half).all():
        raise _unusable(file_path, "a feature is not finite, or too large for float16")
    return SlideFeatures(features=half, coords=coords, origin=header.origin)


def has_coordinates(slide: SlideFeatures) -> bool:
    """Say whether the tiles of a slide can be laid over it."""
    return bool(len(slide.coords)) and bool((slide.coords >= 0).all())


def _dataset(file: h5py.File, path: Path) -> h5py.Dataset:
    for name in ("features", "feats"):
        dataset = file.get(name)
        if isinstance(dataset, h5py.Dataset):
            flat = (
                dataset.shape[1:] if dataset.ndim == 3 and dataset.shape[0] == 1 else dataset.shape
            )
            if len(flat) != 2 or flat[0] > MAX_TILES or flat[1] > MAX_DIMENSIONS:
                raise _unusable(path, f"features of shape {dataset.shape} are not N x D")
            return dataset
    raise _unusable(
        path, f"no 'features' or 'feats' among {', '.join(list(file)[:5]) or 'nothing'}"
    )


def _attributes(file: h5py.File) -> dict[str, Any]:
    """Attributes of the file, its features and its coordinates, together."""
    attributes: dict[str, Any] = dict(file.attrs)
    for name in ("features", "feats", "coords"):
        if isinstance(file.get(name), h5py.Dataset):
            attributes |= dict(file[name].attrs)
    return attributes


def _layout(file: h5py.File, attributes: dict[str, Any]) -> str:
    if "feats" in file or "stamp_version" in attributes:
        return "stamp"
    return "trident" if "patch_size_level0" in attributes else "clam"


def _foreign_origin(layout: str, columns: int, attributes: dict[str, Any]) -> FeatureOrigin:
    side_um = _number(attributes, "tile_size_um")
    tile_px = _number(attributes, "tile_size_px", "patch_size", "patch_size_target") or 0
    encoder = _encoder_said(layout, attributes)
    return FeatureOrigin(
        tile_px=round(tile_px),
        mpp=side_um / tile_px if side_um and tile_px else 0.0,
        tile_size_level0=_number(attributes, "patch_size_level0") or float(tile_px),
        encoder=encoder,
        encoder_digest=f"{layout}:{encoder}:{columns}",
    )


def _encoder_said(layout: str, attributes: dict[str, Any]) -> str:
    """The name of the encoder, as the file gives it.

    TRIDENT gives it with the folder that it saved the features to: ``features_uni_v2``.
    """
    for name in ("extractor", "encoder"):
        if said := _text(attributes, name):
            return said
    saved = re.split(r"[/\\\\]", _text(attributes, "savetodir").rstrip("/\\"))[-1]
    if saved.startswith(_SAVED_TO) and len(saved) > len(_SAVED_TO):
        return saved.removeprefix(_SAVED_TO)
    return layout + _UNNAMED


def _text(attributes: dict[str, Any], name: str) -> str:
    value = attributes.get(name, "")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _number(attributes: dict[str, Any], *names: str) -> float:
    for name in names:
        value = attributes.get(name)
        if value is not None and np.size(value) == 1:
            try:
                return float(np.asarray(value).reshape(()))
            except (TypeError, ValueError):
                continue
    return 0.0


def _coords(path: Path, header: FeatureHeader) -> np.ndarray | None:
    """Level-0 coordinates (N x 2, int64), or None where the file has none in pixels."""
    with _opened(path) as file:
        if not isinstance(file.get("coords"), h5py.Dataset):
            return None
        unit = _text(_attributes(file), "unit") or ("um" if header.layout == "stamp" else "px")
        if unit != "px":  # um say nothing of level-0 px without the slide
            return None
        shape = file["coords"].shape
        flat = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
        if len(flat) != 2 or flat[1] != 2 or file["coords"].dtype.kind not in "iuf":
            raise _unusable(path, f"coordinates of shape {shape} are not N x 2 numbers")
        return np.asarray(file["coords"][...]).reshape(-1, 2).astype(np.int64)


def _opened(path: Path) -> AbstractContextManager[h5py.File]:
    return opened_hdf5(path, first="Embed the slide first", again=_AGAIN)


def _unusable(path: Path, problem: str) -> InputError:
    return InputError(problem, file=path, remedy=_AGAIN, code="bad_feature_file")
