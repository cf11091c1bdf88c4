"""What decoding JPEG at half its size does to features, beside saving the slide once more at quality 80.

    python benchmarks/decoding.py SLIDE [SLIDE ...] [--tiles 200]

Without a slide: synthetic ones at 0.25 um per px, stored at quality 90, and at 80 (saving that once more at 80
on the same blocks changes next to nothing, and says so). Tiles of 224 px at twice the um per px of each slide's
level 0, of its tissue, spread evenly: decoded whole and averaged over areas (the reference), decoded at half
size, and decoded whole after the pixels of level 0 went through JPEG at quality 80 (4:2:0) once more. For
each encoder the cosine of a tile's features to the reference's, standardised over the tiles. A difference
that a scanner's own compression makes is one that a model must bear.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import simplejpeg

from offsite.pathology.tile_encoders.registry import EncoderSettings, load_encoder
from offsite.preprocessing.slides.opening import open_slide
from offsite.preprocessing.slides.scaling import area_reduced
from offsite.preprocessing.synthetic.slides.biology import grow
from offsite.preprocessing.synthetic.slides.rendering import render
from offsite.preprocessing.synthetic.slides.sites import SITES
from offsite.preprocessing.synthetic.slides.writing import write_slide

PX, ENCODERS = 224, ("efficientnet-lite0", "structure_baseline", "colour_baseline")
QUALITIES = (80, 90)


def synthetic(folder: Path, quality: int) -> Path:
    biology = grow(1, "high_grade", width_um=1000, height_um=1000, tissue_share=0.85)
    path = folder / f"synthetic at {quality}.svs"
    write_slide(path, render(biology, SITES[0], seed=1, mpp=0.25), mpp=0.25, quality=quality)
    return path


def pictures(path: Path, tiles: int) -> dict[str, np.ndarray]:
    """The same tiles (n x 224 x 224 x 3, uint8), decoded in each way."""
    found: dict[str, list[np.ndarray]] = {"full": [], "scaled": []}
    found |= {f"saved again at {quality}": [] for quality in QUALITIES}
    side = 2 * PX
    with open_slide(path, reader="direct") as slide:
        width, height = slide.dimensions
        rows, columns = (range(0, length - side + 1, PX) for length in (height, width))
        places = [(x, y) for y in rows for x in columns]
        on_tissue = []
        for x, y in places:
            pixels = slide.read_region(x, y, 0, side, side).pixels
            if (pixels.min(axis=-1) < 215).mean() > 0.5:
                on_tissue.append((x, y))
        chosen = np.unique(np.linspace(0, len(on_tissue) - 1, tiles).round().astype(int))
        for x, y in (on_tissue[index] for index in chosen):
            pixels = np.ascontiguousarray(slide.read_region(x, y, 0, side, side).pixels)
            found["full"].append(area_reduced(pixels, (PX, PX)))
            found["scaled"].append(slide.read_reduced(x, y, 0, side, side, 2).pixels)
            for quality in QUALITIES:
                again = simplejpeg.encode_jpeg(pixels, quality, "RGB", "420")
                decoded = simplejpeg.decode_jpeg(again)
                found[f"saved again at {quality}"].append(area_reduced(decoded, (PX, PX)))
    return {name: np.stack(each) for name, each in found.items()}


def cosines(reference: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of each row, both standardised by the reference's columns."""
    mean, spread = reference.mean(axis=0), reference.std(axis=0) + 1e-6
    first, second = (reference - mean) / spread, (other - mean) / spread
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.asarray((first * second).sum(axis=1) / np.maximum(lengths, 1e-9))


def main() -> None:
    """Print how near features of each way of decoding are, for the slides named or two drawn ones."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("slides", nargs="*", type=Path)
    options.add_argument("--tiles", type=int, default=200)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for path in [
            *given.slides,
            *([] if given.slides else [synthetic(Path(folder), 90), synthetic(Path(folder), 80)]),
        ]:
            shown = pictures(path, given.tiles)
            full = shown["full"].astype(float)
            apart = {name: float(np.abs(each - full).mean()) for name, each in shown.items()}
            for name in ENCODERS:
                encoder = load_encoder(EncoderSettings(name=name, device="cpu"))
                features = {way: encoder.encode(each) for way, each in shown.items()}
                for way in ("scaled", *(f"saved again at {quality}" for quality in QUALITIES)):
                    found = cosines(features["full"], features[way])
                    line = {
                        "slide": path.name, "tiles": len(full), "encoder": name, "way": way,
                        "grey": round(apart[way], 3), "cosine_median": round(float(np.median(found)), 4),
                        "cosine_p05": round(float(np.quantile(found, 0.05)), 4),
                        "cosine_min": round(float(found.min()), 4),
                    }  # fmt: skip
                    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
