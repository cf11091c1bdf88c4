"""MedMNIST files: ``.npz`` with images and labels of three splits (Yang et al. 2023)."""

from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np

from offsite.errors import InputError
from offsite.files import write_bytes
from offsite.preprocessing.cohort.table import Cohort
from offsite.preprocessing.readers.building import cohort_of

_MAX_IMAGES = 500_000
_MAX_BYTES = 8 << 30


def read_medmnist(
    file: str | Path, out: str | Path, classes: Sequence[str], *, site: str | None = None
) -> Cohort:
    """Write the images of an ``.npz`` as PNG files below ``out`` and return them as a cohort.

    The official splits are kept. The file names no patients, so each image counts as one.

    Parameters
    ----------
    file : path
        ``.npz`` with ``{train,val,test}_images`` (N x H x W or N x H x W x 3, uint8) and
        ``{train,val,test}_labels`` (N x 1).
    out : path
        Gets ``images/``; files that are there already are kept, and must show the same.
    classes : sequence of str
        Names of the labels 0, 1, ... in order.
    site : str, optional
        Site name; the file's stem by default.

    Raises
    ------
    InputError
        Code ``not_medmnist``, or ``other_images`` where ``out`` holds those of another file: the
        labels of this one would go with them.
    """
    source, root = Path(file), Path(out)
    name = site or source.stem
    rows: list[dict[str, str]] = []
    for split, (images, labels) in _arrays(source).items():
        if labels.max(initial=0) >= len(classes) or labels.min(initial=0) < 0:
            raise _unusable(source, f"label {labels.max()} has no name among {len(classes)}")
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            stem = f"{split}-{number:06d}"
            target = root / "images" / f"{stem}.png"
            _write_or_check(target, image)
            rows.append(
                {
                    "image": f"images/{stem}.png",
                    "patient": f"{name}-{stem}",
                    "site": name,
                    "label": classes[int(label)],
                    "slide": f"{name}-{stem}",
                    "split": split,
                }
            )
    return cohort_of(rows, tuple(classes), root, "MedMNIST file")


def _arrays(source: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    try:
        with np.load(source, allow_pickle=False) as content:
            splits = {
                split: (content[f"{split}_images"], content[f"{split}_labels"])
                for split in ("train", "val", "test")
            }
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise _unusable(source, str(error)) from error
    for images, labels in splits.values():
        shaped = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
        one_label = labels.ndim == 1 or (labels.ndim == 2 and labels.shape[1] == 1)
        if images.dtype != np.uint8 or not shaped or not one_label or len(images) != len(labels):
            raise _unusable(source, f"images are {images.dtype} {images.shape}")
        if len(images) > _MAX_IMAGES or images.nbytes > _MAX_BYTES:
            raise _unusable(source, f"{len(images)} images are too many")
    return {split: (images, labels.reshape(-1)) for split, (images, labels) in splits.items()}


def _unusable(source: Path, why: str) -> InputError:
    return InputError(
        f"not a MedMNIST file of one label per image ({why})",
        file=source,
        code="not_medmnist",
        remedy="Give an .npz of MedMNIST with uint8 images and single labels",
    )


def _write_or_check(target: Path, image: np.ndarray) -> None:
    if not target.is_file():
        write_bytes(target, _png(image))
        return
    there = cv2.imdecode(np.fromfile(target, np.uint8), cv2.IMREAD_UNCHANGED)
    if there is not None and there.ndim == 3:
        there = cv2.cvtColor(there, cv2.COLOR_BGR2RGB)
    if there is None or not np.array_equal(image, there):
        raise InputError(
            "another image has this name already",
            file=target,
            code="other_images",
            remedy="Write each MedMNIST file into a folder of its own",
        )


def _png(image: np.ndarray) -> bytes:
    picture = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".png", picture)
    if not done:
        raise RuntimeError("OpenCV could not encode a PNG")
    return bytes(data)
