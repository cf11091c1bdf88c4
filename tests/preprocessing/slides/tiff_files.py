"""TIFF slides of kinds that OpenSlide refuses, as their writers make them."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile

TILE = 128
QPI = (
    '<?xml version="1.0" encoding="utf-16"?><PerkinElmer-QPI-ImageDescription>'
    "<DescriptionVersion>2</DescriptionVersion><AcquisitionSoftware>x</AcquisitionSoftware>"
    "<ImageType>{}</ImageType><Objective>20x</Objective></PerkinElmer-QPI-ImageDescription>"
)


def halved(image: np.ndarray, factor: int) -> np.ndarray:
    size = (image.shape[1] // factor, image.shape[0] // factor)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def per_cm(mpp: float) -> dict[str, Any]:
    return {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}


def write_ome(
    path: Path, image: np.ndarray, mpp: float | None, *, levels: int = 2, **how: Any
) -> None:
    """OME-TIFF whose smaller levels hang under the first page; its scale stands in the XML alone."""
    scale = {} if mpp is None else {"PhysicalSizeX": mpp, "PhysicalSizeY": mpp}
    how = {"photometric": "rgb", "tile": (TILE, TILE), "compression": "deflate"} | how
    whole = image
    if how.get("planarconfig") == "separate":
        image = np.ascontiguousarray(image.transpose(2, 0, 1))
        scale = {**scale, "axes": "SYX"}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(image, subifds=levels - 1, metadata={"axes": "YXS", **scale}, **how)
        for level in range(1, levels):
            smaller = halved(whole, 4**level)
            smaller = smaller.transpose(2, 0, 1) if image is not whole else smaller
            tiff.write(np.ascontiguousarray(smaller), subfiletype=1, **how)


def write_strips(path: Path, image: np.ndarray, mpp: float | None, **how: Any) -> None:
    scale = {} if mpp is None else per_cm(mpp)
    how = {"photometric": "rgb", "rowsperstrip": 32} | how
    if how.get("planarconfig") == "separate":
        image = np.ascontiguousarray(image.transpose(2, 0, 1))
    tifffile.imwrite(path, image, metadata=None, **scale, **how)


def write_tiles(path: Path, image: np.ndarray, mpp: float, **how: Any) -> None:
    how = {"photometric": "rgb", "tile": (TILE, TILE)} | how
    with tifffile.TiffWriter(path) as tiff:
        for factor in (1, 4):
            level = image if factor == 1 else halved(image, factor)
            tiff.write(
                level, subfiletype=int(factor > 1), metadata=None, **per_cm(mpp * factor), **how
            )


def write_qptiff(path: Path, image: np.ndarray, mpp: float) -> None:
    """Brightfield: the picture, a thumbnail of its shape in strips, smaller copies, label."""
    jpeg = {"compression": "jpeg", "photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        # The last levels of real files lie in strips.
        for factor, kind, how in (
            (1, "FullResolution", {"tile": (TILE, TILE)}), (8, "Thumbnail", {"rowsperstrip": 16}),
            (2, "ReducedResolution", {"tile": (TILE, TILE)}),
            (4, "ReducedResolution", {"rowsperstrip": 16}),
        ):  # fmt: skip
            level = image if factor == 1 else halved(image, factor)
            tiff.write(level, description=QPI.format(kind), **per_cm(mpp * factor), **jpeg, **how)
        tiff.write(image[:100, :100], description=QPI.format("Label"), **jpeg, rowsperstrip=16)
