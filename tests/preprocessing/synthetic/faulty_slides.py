"""Slides with one thing wrong, to see that each gets the status it deserves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from offsite.files import write_bytes
from offsite.preprocessing.synthetic.slides.writing import write_slide

FAULTS: dict[str, tuple[str, str]] = {
    "no_mpp": ("failed", "mpp_missing"),
    "wrong_mpp": ("failed", "mpp_implausible"),
    "one_level": ("done", ""),
    "sparse": ("done", ""),
    "random_tail": ("failed", "too_many_unreadable_tiles"),
    "zeroed_tiles": ("failed", "too_many_unreadable_tiles"),
    "cut_tiles": ("failed", "too_many_unreadable_tiles"),
    "truncated": ("failed", "unsupported_format"),
    "no_tissue": ("no_tissue", "no_tissue"),
    "tiny": ("no_tissue", "smaller_than_a_tile"),
    "not_a_slide": ("failed", "unsupported_format"),
}
"""The status and the code that tiling gives for each fault (a share of 0.3 of damaged tiles)."""


def make_faulty_slide(
    path: str | Path,
    fault: str,
    image: np.ndarray,
    *,
    mpp: float,
    share: float = 0.3,
    seed: int = 0,
) -> None:
    """Write ``image`` as a slide with a fault.

    Parameters
    ----------
    fault : str
        A key of ``FAULTS``.
    share : float
        Share of the level-0 tiles that the faults of single tiles strike.
    """
    options: dict[str, Any] = {"mpp": mpp, "flavour": "generic"}
    if fault == "not_a_slide":
        write_bytes(path, b"This is no slide.\n" * 50)
        return
    if fault == "no_mpp":
        options["mpp"] = None
    elif fault == "wrong_mpp":
        options["mpp"] = mpp / 100
    elif fault == "one_level":
        options["downsamples"] = (1,)
    elif fault == "no_tissue":
        generator = np.random.default_rng(seed)
        noise = generator.normal(242, 1.5, image.shape)
        image = np.clip(np.rint(noise), 0, 255).astype(np.uint8)
    elif fault == "tiny":
        image = image[:48, :48]
        options["downsamples"] = (1,)
    write_slide(path, image, **options)
    if fault == "truncated":
        write_bytes(path, Path(path).read_bytes()[:3000])
    elif fault == "sparse":
        strike_tiles(path, None, share=share, seed=seed)
    elif fault in _DAMAGE:
        strike_tiles(path, _DAMAGE[fault], share=share, seed=seed)


Damage = Callable[[bytes, np.random.Generator], bytes]


def strike_tiles(
    path: str | Path, damage: Damage | None, *, share: float, seed: int, page: int = 0
) -> np.ndarray:
    """Damage some native tiles of a page in place; return their indices.

    ``damage`` makes a stream of the same length from a tile's; None leaves the tiles out of the
    file, as scanners do with empty glass.
    """
    with tifffile.TiffFile(path) as tiff:
        struck_page = tiff.pages[page]
        assert isinstance(struck_page, tifffile.TiffPage)
        offsets, lengths = struck_page.dataoffsets, list(struck_page.databytecounts)
        tag = struck_page.tags["TileByteCounts"]
        counts_at, number = tag.valueoffset, _NUMBER[tifffile.DATATYPE(tag.dtype)]
    generator = np.random.default_rng(seed)
    struck = generator.choice(len(lengths), max(round(share * len(lengths)), 1), replace=False)
    with Path(path).open("r+b") as file:
        for index in struck.tolist():
            file.seek(offsets[index])
            stream = file.read(lengths[index])
            if damage is None:
                lengths[index] = 0
                continue
            file.seek(offsets[index])
            file.write(damage(stream, generator))
        file.seek(counts_at)
        file.write(np.array(lengths, number).tobytes())
    return np.sort(struck)


_NUMBER = {tifffile.DATATYPE.SHORT: "<u2", tifffile.DATATYPE.LONG: "<u4"}


def _random_tail(stream: bytes, generator: np.random.Generator) -> bytes:
    half = len(stream) // 2
    return stream[:half] + generator.bytes(len(stream) - half)


def _zeroed(stream: bytes, generator: np.random.Generator) -> bytes:
    return bytes(len(stream))


def _cut(stream: bytes, generator: np.random.Generator) -> bytes:
    half = len(stream) // 2
    return stream[:half] + b"\xff\xd9" + bytes(len(stream) - half - 2)


_DAMAGE: dict[str, Damage] = {
    "random_tail": _random_tail,
    "zeroed_tiles": _zeroed,
    "cut_tiles": _cut,
}
