"""What slides need of a machine, tried on small things."""

import tempfile
from pathlib import Path

from offsite.training.trials import Trial


def _slides() -> str:
    import numpy as np
    import openslide
    import tifffile

    from offsite.preprocessing.slides.opening import open_slide

    pixels = np.full((512, 512, 3), (200, 120, 180), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trial.tiff"
        tifffile.imwrite(
            path,
            pixels,
            tile=(256, 256),
            compression="jpeg",
            photometric="rgb",
            resolution=(20_000, 20_000),
            resolutionunit="CENTIMETER",
        )
        with open_slide(path) as slide:
            read = slide.read_region(0, 0, 0, 64, 64).pixels
    if np.abs(read.astype(int) - pixels[0, 0]).max() > 12:
        raise RuntimeError("a slide is read with other colours than were written")
    return f"OpenSlide {openslide.__library_version__}"


def _hdf5() -> str:
    import h5py
    import numpy as np

    with h5py.File("trial", "w", driver="core", backing_store=False) as file:
        file["x"] = np.arange(4, dtype=np.float16)
        if file["x"][3] != 3:
            raise RuntimeError("HDF5 does not read what it wrote")
    return f"h5py {h5py.__version__}"


def _monai() -> str:
    from importlib.metadata import version

    found = version("monai")
    if tuple(int(part) for part in found.split(".")[:2]) < (1, 6):
        raise RuntimeError(f"monai {found} has known security holes")
    return f"monai {found}"


TRIALS = (
    Trial("slides", _slides, "Install openslide-bin (pip install openslide-bin)"),
    Trial("features (HDF5)", _hdf5, "Install h5py"),
    Trial("encoders (MONAI)", _monai, "Install monai>=1.6"),
)
