"""Write an image as the pyramidal, JPEG-tiled TIFF that slide scanners write."""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
import tifffile

from offsite.files import replacing

_SAMPLING = {"420": (2, 2), "422": (2, 1), "444": (1, 1)}


def write_slide(
    path: str | Path,
    image: np.ndarray,
    *,
    mpp: float | None,
    flavour: str = "aperio",
    downsamples: Sequence[int] = (1, 4, 16),
    tile_px: int = 256,
    quality: int = 85,
    subsampling: str = "420",
    photometric: str = "ycbcr",
    shared_tables: bool = False,
    scanner: str = "Synthetic",
    magnification: int | None = None,
) -> None:
    """Write a slide that OpenSlide opens, atomically and with the same bytes every time.

    Parameters
    ----------
    image : numpy.ndarray
        H x W x 3, uint8, RGB: level 0.
    mpp : float or None
        um per px to state in the file; None states none.
    flavour : str
        ``aperio`` (scale and scanner in the description) or ``generic`` (scale as a TIFF tag).
    downsamples : sequence of int
        Levels, as factors to level 0.
    photometric : str
        ``ycbcr``, or ``rgb`` as Aperio writes it: components coded as they are.
    shared_tables : bool
        Put the JPEG tables into the TIFF tag instead of every tile.
    magnification : int, optional
        As scanners state it; by default 10 divided by ``mpp``.
    """
    power = magnification or (round(10 / mpp) or 1 if mpp else 20)
    with replacing(path) as temporary, tifffile.TiffWriter(temporary, bigtiff=False) as tiff:
        for number, factor in enumerate(downsamples):
            level = image if factor == 1 else _reduced(image, factor)
            streams = list(_tiles(level, tile_px, quality, subsampling, photometric))
            tags = []
            if photometric == "rgb" and not shared_tables:
                streams = [_without_jfif(stream) for stream in streams]
            if shared_tables:
                tables, _ = split_tables(streams[0])
                streams = [split_tables(stream)[1] for stream in streams]
                tags = [(347, 7, len(tables), tables, True)]
            tiff.write(
                iter(streams),
                shape=level.shape,
                dtype=np.uint8,
                tile=(tile_px, tile_px),
                compression="jpeg",
                compressionargs={"outcolorspace": photometric},  # or the tag would say YCbCr
                photometric=photometric,
                subsampling=_SAMPLING[subsampling] if photometric == "ycbcr" else None,
                subfiletype=0 if number == 0 or flavour == "aperio" else 1,
                description=_description(level, image, number, flavour, mpp, scanner, power),
                metadata=None,
                software=False,
                extratags=tags,
                **_resolution(flavour, mpp, factor),
            )
            if number == 0 and flavour == "aperio":
                thumbnail = _reduced(image, max(image.shape[0] // 256, 1))
                tiff.write(
                    thumbnail,
                    photometric="rgb",
                    metadata=None,
                    software=False,
                    description=_description(thumbnail, image, 1, flavour, None, scanner, power),
                )


def split_tables(stream: bytes) -> tuple[bytes, bytes]:
    """Split a JPEG stream into its tables (a stream of DQT and DHT alone) and the rest."""
    tables, rest, at = b"", b"", 2
    while True:
        marker, length = struct.unpack(">HH", stream[at : at + 4])
        segment = stream[at : at + 2 + length]
        if marker in (0xFFDB, 0xFFC4):
            tables += segment
        elif marker != 0xFFE0:  # JFIF says YCbCr, which the TIFF tag decides
            rest += segment
        at += 2 + length
        if marker == 0xFFDA:
            return b"\xff\xd8" + tables + b"\xff\xd9", b"\xff\xd8" + rest + stream[at:]


def _without_jfif(stream: bytes) -> bytes:
    tables, rest = split_tables(stream)
    return tables[:-2] + rest[2:]


def encode_tile(tile: np.ndarray, quality: int, subsampling: str, photometric: str) -> bytes:
    """Encode one tile (uint8 RGB) as a JPEG stream."""
    if photometric == "ycbcr":
        return simplejpeg.encode_jpeg(
            np.ascontiguousarray(tile), quality, colorspace="RGB", colorsubsampling=subsampling
        )
    across, down = _SAMPLING[subsampling]
    planes = [np.ascontiguousarray(tile[..., 0])]
    for channel in (1, 2):
        size = (tile.shape[1] // across, tile.shape[0] // down)
        plane = cv2.resize(tile[..., channel], size, interpolation=cv2.INTER_AREA)
        planes.append(np.ascontiguousarray(plane))
    return simplejpeg.encode_jpeg_yuv_planes(*planes, quality)


def _tiles(
    level: np.ndarray, tile_px: int, quality: int, subsampling: str, photometric: str
) -> Iterator[bytes]:
    for row in range(0, level.shape[0], tile_px):
        for column in range(0, level.shape[1], tile_px):
            tile = level[row : row + tile_px, column : column + tile_px]
            missing = (tile_px - tile.shape[0], tile_px - tile.shape[1])
            if any(missing):
                tile = np.pad(tile, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
            yield encode_tile(tile, quality, subsampling, photometric)


def _reduced(image: np.ndarray, factor: int) -> np.ndarray:
    size = (max(image.shape[1] // factor, 1), max(image.shape[0] // factor, 1))
    whole = image[: size[1] * factor, : size[0] * factor]
    return cv2.resize(whole, size, interpolation=cv2.INTER_AREA)


def _description(
    level: np.ndarray,
    image: np.ndarray,
    number: int,
    flavour: str,
    mpp: float | None,
    scanner: str,
    magnification: int,
) -> str:
    if flavour != "aperio":
        return f"SYNTHETIC; scanner {scanner}"
    height, width = image.shape[:2]
    text = f"Aperio Image Library v0 SYNTHETIC\r\n{width}x{height} [0,0 {width}x{height}]"
    if number:
        text += f" -> {level.shape[1]}x{level.shape[0]}"
    text += f"|AppMag = {magnification}|ScanScope ID = {scanner}"
    return text if mpp is None else f"{text}|MPP = {mpp:.4f}"


def _resolution(flavour: str, mpp: float | None, factor: int) -> dict[str, Any]:
    if flavour == "aperio" or mpp is None:
        return {}
    per_cm = 1e4 / (mpp * factor)
    return {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}
