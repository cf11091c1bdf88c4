"""Feature files as they are found: offsite's own, and those of CLAM, TRIDENT and STAMP.

| tool | file | features | coordinates |
|---|---|---|---|
| offsite | ``<slide>.h5`` | ``features`` N x D, float16 | ``coords``, level-0 px |
| CLAM | ``h5_files/<slide>.h5`` | ``features`` N x D, sometimes 1 x N x D | ``coords``, level-0 px |
| CLAM | ``pt_files/<slide>.pt`` | a tensor N x D | those of the ``.h5`` beside, if any |
| TRIDENT | ``<slide>.h5`` | ``features`` N x D | ``coords`` with ``patch_size_level0`` |
| STAMP | ``<slide>.h5`` | ``feats`` N x D | ``coords`` in um, unit in the attributes |
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pathology.features import (
    MAX_DIMENSIONS,
    MAX_TILES,
    FeatureOrigin,
    SlideFeatures,
    read_features,
    read_origin,
)
from preprocessing.errors import InputError

_SUFFIXES = (".h5", ".hdf5", ".pt")
_SLIDE_SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".dcm", ".bif", ".vms")


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
    """

    layout: str
    rows: int
    dimensions: int
    origin: FeatureOrigin
    digest: str = ""


def locate(folder: str | Path, slides: Iterable[str]) -> dict[str, Path]:
    """Find the feature file of each slide, also in folders below; slides without one are left out.

    A slide is matched by its name with or without a slide's or a feature file's suffix. An ``.h5``
    is preferred to a ``.pt``, for it has coordinates.

    Raises
    ------
    InputError
        Code ``two_feature_files``: two files of the same kind bear the name of one slide.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.suffix.lower() in _SUFFIXES and path.is_file():
            found.setdefault(_stem(path.name), []).append(path)
    located = {}
    for slide in slides:
        files = found.get(slide) or found.get(_stem(slide), [])
        ranked = [p for p in files if p.suffix != ".pt"] or files
        if len(ranked) > 1:
            raise InputError(
                f"two feature files for slide '{slide}' ({ranked[0]} and {ranked[1]})",
                file=folder, remedy="Name the folder of one encoder", code="two_feature_files",
            )  # fmt: skip
        if ranked:
            located[slide] = ranked[0]
    return located


def _stem(name: str) -> str:
    for suffixes in (_SUFFIXES, _SLIDE_SUFFIXES):
        for suffix in suffixes:
            if name.lower().endswith(suffix):
                name = name[: -len(suffix)]
                break
    return name


def read_header(path: str | Path) -> FeatureHeader:
    """Say what a feature file holds.

    Raises
    ------
    InputError
        Code ``bad_feature_file`` or ``not_embedded``.
    """
    file_path = Path(path)
    if file_path.suffix == ".pt":
        features = _load_pt(file_path)
        rows, columns = features.shape
        return FeatureHeader("clam_pt", rows, columns, _foreign_origin("clam", columns, {}))
    with _opened(file_path) as file:
        if "encoder_digest" in file.attrs:
            origin, digest = read_origin(file_path)
            rows, columns = file["features"].shape
            return FeatureHeader("offsite", rows, columns, origin, digest)
        dataset = _dataset(file, file_path)
        rows, columns = dataset.shape[-2:]
        attributes = _attributes(file)
        layout = _layout(file, attributes)
        return FeatureHeader(layout, rows, columns, _foreign_origin(layout, columns, attributes))


def read_any(path: str | Path) -> SlideFeatures:
    """Read a feature file of any known layout, as float16 with level-0 coordinates.

    Coordinates that a file does not have, or has in um without saying how many a pixel is, are set
    to -1: such a slide can be trained on and predicted, but has no heatmap.

    Raises
    ------
    InputError
        The file is absent, damaged, of no known layout, or holds what float16 cannot.
    """
    file_path = Path(path)
    header = read_header(file_path)
    if header.layout == "offsite":
        return read_features(file_path)
    if header.layout == "clam_pt":
        features, coords = _load_pt(file_path), None
        beside = file_path.parent.parent / "h5_files" / f"{file_path.stem}.h5"
        if beside.is_file():
            coords = _coords(beside, read_header(beside))
    else:
        with _opened(file_path) as file:
            features = np.asarray(_dataset(file, file_path)[...], np.float32)
            features = features.reshape(header.rows, header.dimensions)
        coords = _coords(file_path, header)
    if coords is None or len(coords) != len(features):
        coords = np.full((len(features), 2), -1, np.int64)
    with np.errstate(over="ignore"):  # judged in the next line
        half = features.astype(np.float16)
    if not np.isfinite(half).all():
        raise _unusable(file_path, "a feature is not finite, or too large for float16")
    return SlideFeatures(features=half, coords=coords, origin=header.origin)


def has_coordinates(slide: SlideFeatures) -> bool:
    """Say whether the tiles of a slide can be laid over it."""
    return bool(len(slide.coords)) and bool((slide.coords >= 0).all())


def _load_pt(path: Path) -> np.ndarray:
    """Load a tensor of features; ``weights_only`` runs no code that a file might carry."""
    import torch

    if not path.is_file():
        raise InputError(
            "no such feature file", file=path, remedy="Embed the slide first", code="not_embedded"
        )
    try:
        tensor = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged or hostile file
        raise _unusable(path, "the file is not a plain tensor") from error
    if not isinstance(tensor, torch.Tensor):
        raise _unusable(path, "the file does not hold one tensor")
    features = tensor.detach().float().numpy()
    features = features[0] if features.ndim == 3 and len(features) == 1 else features
    if features.ndim != 2:
        raise _unusable(path, f"features of shape {features.shape} are not N x D")
    return np.asarray(features)


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
    found: dict[str, Any] = dict(file.attrs)
    for name in ("features", "feats", "coords"):
        if isinstance(file.get(name), h5py.Dataset):
            found |= dict(file[name].attrs)
    return found


def _layout(file: h5py.File, attributes: dict[str, Any]) -> str:
    if "feats" in file or "stamp_version" in attributes:
        return "stamp"
    return "trident" if "patch_size_level0" in attributes else "clam"


def _foreign_origin(layout: str, columns: int, attributes: dict[str, Any]) -> FeatureOrigin:
    side_um = _number(attributes, "tile_size_um")
    tile_px = _number(attributes, "tile_size_px", "patch_size", "patch_size_target") or 0
    encoder = attributes.get("extractor", attributes.get("encoder", f"{layout}_unnamed"))
    encoder = encoder.decode() if isinstance(encoder, bytes) else str(encoder)
    return FeatureOrigin(
        tile_px=round(tile_px),
        mpp=side_um / tile_px if side_um and tile_px else 0.0,
        tile_size_level0=_number(attributes, "patch_size_level0") or float(tile_px),
        encoder=encoder,
        encoder_digest=f"{layout}:{encoder}:{columns}",
    )


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
        unit = _attributes(file).get("unit", "px" if header.layout != "stamp" else "um")
        unit = unit.decode() if isinstance(unit, bytes) else str(unit)
        if unit != "px":  # um say nothing of level-0 px without the slide
            return None
        return np.asarray(file["coords"][...]).reshape(-1, 2).astype(np.int64)


def _opened(path: Path) -> h5py.File:
    if not path.is_file():
        raise InputError(
            "no such feature file", file=path, remedy="Embed the slide first", code="not_embedded"
        )
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise _unusable(path, "the file cannot be read as HDF5") from error


def _unusable(path: Path, problem: str) -> InputError:
    return InputError(
        problem, file=path, remedy="Extract the features of this slide again",
        code="bad_feature_file",
    )  # fmt: skip
