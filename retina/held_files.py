"""What is kept of a photograph below a job's output: its prepared picture, and what the trunk read."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import h5py
import pandas as pd

from offsite.preprocessing.fundus.cohort import TABLE
from offsite.preprocessing.fundus.prepared import remove_ours, sidecar_of
from offsite.retina.linear.features import SIGNATURE
from offsite.retina.stages import prepared_of
from offsite.training.held_files import HeldFile
from offsite.training.modality import ImageJob


def held_files(job: ImageJob, slides: Sequence[str]) -> list[HeldFile]:
    """Return the files that hold these photographs, see `offsite.training.modality.Modality`.

    A file of trunk features is one of them as soon as it has a row of a picture that no other
    photograph of the table was prepared to: such rows have no name.
    """
    root = prepared_of(job)
    found = [held for slide in slides for held in _pictures(root, slide)]
    kept = _digests_of_others(root / TABLE, slides)
    for file in sorted((root / "trunk").glob("*.h5")):
        pictures = _pictures_read(file)
        if pictures is None:
            found.append(HeldFile(file, "file of features"))
        elif not pictures <= kept:
            # Read again as a whole: of fewer pictures at a time the last digits may be others.
            found.append(HeldFile(file, "file of trunk features", partial(file.unlink, True)))
    return found


def _pictures(root: Path, slide: str) -> Iterator[HeldFile]:
    picture, sidecar = (root / "images" / f"{slide}.{end}" for end in ("png", "json"))
    ours = sidecar_of(sidecar) is not None
    if picture.is_file() or picture.is_symlink():
        remove = partial(remove_ours, sidecar, picture) if ours else None
        yield HeldFile(picture, "prepared picture", remove)
    if sidecar.is_file() or sidecar.is_symlink():
        remove = partial(_remove_sidecar, sidecar, picture) if ours else None
        yield HeldFile(sidecar, "record of a prepared picture", remove)


def _remove_sidecar(sidecar: Path, picture: Path) -> None:
    remove_ours(sidecar, picture)
    sidecar.unlink(missing_ok=True)


def _digests_of_others(table: Path, slides: Sequence[str]) -> set[str]:
    if not table.is_file():
        return set()
    rows = pd.read_csv(table, dtype=str, keep_default_na=False)
    return set(rows.loc[~rows["slide"].isin(slides), "prepared_digest"])


def _pictures_read(file: Path) -> set[str] | None:
    """The digests of the pictures in a file of trunk features; None where it is not ours.

    Of one that is damaged none are known, and one of them may be anybody's.
    """
    try:
        with h5py.File(file, "r", locking=False) as opened:
            if "facts" not in opened.attrs:
                return None
            return set(opened["picture"].asstr()[:])
    except OSError:
        return {""} if file.read_bytes()[:8] == SIGNATURE else None
    except (KeyError, TypeError):
        return None
