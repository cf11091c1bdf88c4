"""Feature files: one HDF5 per slide, whole or absent, that says what it was made from."""

import hashlib
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from pydantic import Field, ValidationError

from offsite.errors import InputError
from offsite.files import in_the_way, is_plain_file, replacing
from offsite.pathology.features.eight_bits import EightBits
from offsite.pathology.features.hdf5 import opened_hdf5
from offsite.settings import Settings

VERSION = 1
"""Layout of a file with float16 features."""
VERSION_OF_8_BITS = 2
"""Layout of a file that keeps them in eight bits (`offsite.pathology.features.eight_bits`)."""
LAYOUTS = {16: VERSION, 8: VERSION_OF_8_BITS}
"""The layout by the bits of a number."""

_AGAIN = "Run `offsite workflow embed` again: it makes the file anew"
MAX_TILES = 5_000_000
MAX_DIMENSIONS = 65_536


class FeatureOrigin(Settings):
    """What a slide's features were made from; the attributes of its file."""

    tile_px: int = Field(description="Side of a tile, px")
    mpp: float = Field(description="um per px of the tiles as read")
    tile_size_level0: float = Field(description="Side of a tile, level-0 px")
    bounds_x: int = Field(default=0, description="Left edge of the scanned area, level-0 px")
    bounds_y: int = Field(default=0, description="Upper edge of the scanned area, level-0 px")
    encoder: str = Field(description="Name of the encoder")
    encoder_digest: str = Field(description="Digest of the encoder's code, settings and weights")
    slide_fingerprint: str = Field(default="", description="Fingerprint of the slide file")
    tiles_digest: str = Field(default="", description="Digest of the tiles")
    version: int = Field(default=VERSION, description="Layout of the file")


@dataclass(frozen=True, kw_only=True)
class SlideFeatures:
    """The features of a slide's tiles.

    Attributes
    ----------
    features : numpy.ndarray
        N x D, float16.
    coords : numpy.ndarray
        N x 2, int64: level-0 x, y of the tiles' top left corners.
    origin : FeatureOrigin
    """

    features: np.ndarray
    coords: np.ndarray
    origin: FeatureOrigin

    def digest(self) -> str:
        """SHA-256 (hex) of features and coordinates."""
        digest = hashlib.sha256(str(self.features.shape).encode())
        digest.update(np.ascontiguousarray(self.features).data)
        digest.update(np.ascontiguousarray(self.coords).data)
        return digest.hexdigest()


def feature_path(folder: str | Path, slide: str) -> Path:
    """Where the features of a slide are."""
    return Path(folder) / f"{slide}.h5"


def write_features(path: str | Path, slide: SlideFeatures) -> None:
    """Write a feature file atomically: contiguous and uncompressed, for speed.

    The layout is the origin's. Of eight bits the file holds less than the slide: whoever reads it gets
    the features that the bits stand for, and its digest is of these.

    Raises
    ------
    ValueError
        Shapes or types are not those of `SlideFeatures`, or a feature is not finite.
    """
    _check(slide)
    kept = EightBits.of(slide.features) if slide.origin.version == VERSION_OF_8_BITS else None
    if kept is not None:
        slide = replace(slide, features=kept.features())
    with (
        replacing(path) as temporary,
        h5py.File(temporary, "w", libver="latest", locking=False) as file,
    ):
        file.create_dataset("features", data=slide.features if kept is None else kept.levels)
        if kept is not None:
            file.create_dataset("step", data=kept.step)
            file.create_dataset("start", data=kept.start)
        file.create_dataset("coords", data=slide.coords)
        for name, value in slide.origin.model_dump().items():
            file.attrs[name] = value
        file.attrs["digest"] = slide.digest()


def as_kept(slide: SlideFeatures, bits: int) -> SlideFeatures:
    """The features of a slide as a file of so many bits, 16 or 8, gives them back."""
    origin = slide.origin.model_copy(update={"version": LAYOUTS[bits]})
    if origin.version != VERSION_OF_8_BITS:
        return replace(slide, origin=origin)
    return replace(slide, features=EightBits.of(slide.features).features(), origin=origin)


def _check(slide: SlideFeatures) -> None:
    if slide.features.ndim != 2 or slide.features.dtype != np.float16:
        raise ValueError(f"features are float16 N x D, not {slide.features.dtype}")
    if slide.coords.shape != (len(slide.features), 2) or slide.coords.dtype != np.int64:
        raise ValueError(f"coords are int64 N x 2, not {slide.coords.dtype} {slide.coords.shape}")
    if not np.isfinite(slide.features).all():
        raise ValueError("a feature is not finite in float16")


def read_features(path: str | Path) -> SlideFeatures:
    """Read and check a feature file.

    Raises
    ------
    InputError
        The file is absent, damaged (also where only its digest says so), of another layout, or
        holds numbers that are not finite.
    """
    with _opened(path) as file:
        origin = _origin(file, path)
        rows, columns = file["features"].shape
        if rows > MAX_TILES or columns > MAX_DIMENSIONS:
            raise _unusable(path, f"{rows} x {columns} features are more than any slide has")
        features = file["features"][:]
        if origin.version == VERSION_OF_8_BITS:
            features = _of_8_bits(file, features, path)
        slide = SlideFeatures(features=features, coords=file["coords"][:], origin=origin)
        written = file.attrs.get("digest")
    try:
        _check(slide)
    except ValueError as error:
        raise _unusable(path, str(error)) from error
    if written is not None and written != slide.digest():
        raise _unusable(path, "the features are not those that were written")
    return slide


def _of_8_bits(file: h5py.File, levels: np.ndarray, path: str | Path) -> np.ndarray:
    """The features that the bits of a file stand for."""
    both = [file.get(name) for name in ("step", "start")]
    parts = [part[...] for part in both if isinstance(part, h5py.Dataset)]
    shapes = [(part.shape, part.dtype) for part in parts]
    wanted = (levels.shape[1:], np.dtype(np.float32))
    if shapes != [wanted, wanted] or levels.dtype != np.int8:
        raise _unusable(
            path, "it does not hold int8 'features' with a float32 'step' and 'start' each"
        )
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # what is not finite is refused by the caller
        return EightBits(levels=levels, step=parts[0], start=parts[1]).features()


def read_origin(path: str | Path) -> tuple[FeatureOrigin, str]:
    """Return what a feature file was made from, and the digest of its content.

    Raises
    ------
    InputError
        As `read_features`.
    """
    with _opened(path) as file:
        return _origin(file, path), str(file.attrs.get("digest", ""))


def is_fresh(path: str | Path, origin: FeatureOrigin) -> bool:
    """Say whether the file at ``path`` was made from just this, and holds what was written."""
    try:
        return read_origin(path)[0] == origin and read_features(path).origin == origin
    except InputError:
        return False


def remove_features(path: str | Path, *, recorded: bool) -> None:
    """Remove a feature file that offsite wrote; another tool's is named and stays.

    Parameters
    ----------
    recorded : bool
        Whether the table of features names the file: one that is no HDF5 any more, or still says
        what offsite made it from, is then a damaged one of ours.

    Raises
    ------
    InputError
        Code ``not_ours``: a link, or a file whose digest is not that of what offsite wrote.
    """
    file = Path(path)
    if not file.exists() and not file.is_symlink():
        return
    if not is_plain_file(file):
        raise in_the_way(file)
    try:
        read_features(file)
    except InputError as error:
        if not (recorded and (not h5py.is_hdf5(file) or _says_it_is_ours(file))):
            raise in_the_way(file) from error
    file.unlink(missing_ok=True)


def _says_it_is_ours(path: Path) -> bool:
    """Whether a file has all attributes that offsite writes; other tools' have none of them."""
    try:
        return bool(read_origin(path)[1])
    except InputError:
        return False


def _opened(path: str | Path) -> AbstractContextManager[h5py.File]:
    return opened_hdf5(path, first="Run `offsite workflow embed` first", again=_AGAIN)


def _origin(file: h5py.File, path: str | Path) -> FeatureOrigin:
    layout = [name for name in ("features", "coords") if isinstance(file.get(name), h5py.Dataset)]
    if len(layout) < 2 or file["features"].ndim != 2:
        raise _unusable(path, "the file does not hold 'features' (N x D) and 'coords' (N x 2)")
    attributes = {name: file.attrs.get(name) for name in FeatureOrigin.model_fields}
    plain = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in attributes.items()
        if value is not None
    }
    try:
        origin = FeatureOrigin.model_validate(plain)
    except ValidationError as error:
        raise _unusable(path, f"attributes are missing ({error.errors()[0]['loc'][0]})") from error
    if origin.version not in LAYOUTS.values():
        known = " or ".join(map(str, sorted(LAYOUTS.values())))
        raise _unusable(path, f"layout {origin.version} is not layout {known}")
    return origin


def _unusable(path: str | Path, problem: str) -> InputError:
    return InputError(
        problem,
        file=path,
        remedy=_AGAIN,
        code="bad_feature_file",
    )
