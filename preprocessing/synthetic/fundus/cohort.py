"""A synthetic multi-site cohort of fundus photographs with known truth."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from pydantic import Field

from offsite.files import write_bytes
from offsite.preprocessing.synthetic.fundus.camera import photograph
from offsite.preprocessing.synthetic.fundus.retina import draw_retina, grow_retina
from offsite.preprocessing.synthetic.fundus.sites import (
    CLINICS,
    EVEN_PREVALENCE,
    GRADES,
    CameraProfile,
    ClinicProfile,
)
from offsite.preprocessing.synthetic.marker import clear_if_other
from offsite.settings import Settings
from offsite.written import replacing_own, write_own

VERSION = 1
"""Goes up when the same settings would give other photographs."""

_README = """SYNTHETIC PHOTOGRAPHS - NOT FROM ANY PATIENT

Every image in this folder was drawn by a program (offsite, preprocessing/synthetic). The patients,
clinics, cameras and grades are invented. Use them to try the software and to test it. A model
trained or measured on them says nothing about medicine.

cohort.csv   a row per photograph: image, patient, site, label, eye, scanner, true_label
images/      JPEG files; true_label is the grade that was drawn, label what the clinic's grader said
"""


class SyntheticFundusSettings(Settings):
    """What the cohort holds. With all three switches off the clinics differ in name alone."""

    clinics: tuple[ClinicProfile, ...] = Field(
        default=CLINICS, min_length=1, description="The sites."
    )
    patients_per_site: int = Field(default=44, ge=1, description="Patients of each site.")
    eyes: tuple[int, int] = Field(
        default=(1, 2), description="Fewest and most photographs of a patient."
    )
    px: int = Field(default=144, ge=32, le=2048, description="Diameter of the field of view, px.")
    style: bool = Field(default=True, description="The clinics' cameras differ.")
    prevalence: bool = Field(default=True, description="The clinics' shares of the grades differ.")
    graders: bool = Field(default=True, description="The clinics' graders differ.")
    seed: int = Field(default=0, ge=0, description="Seed of everything.")


@dataclass(frozen=True)
class _Photograph:
    clinic: ClinicProfile
    patient_index: int
    number: int
    left: bool
    grade: int
    label: int

    @property
    def patient(self) -> str:
        return f"{self.clinic.name}-{self.patient_index:04d}"

    @property
    def eye(self) -> str:
        return "left" if self.left else "right"

    @property
    def image(self) -> str:
        return f"images/{self.patient}-{self.eye}.jpg"


def make_fundus_cohort(
    folder: str | Path, settings: SyntheticFundusSettings, *, workers: int | None = None
) -> Path:
    """Write the photographs and ``cohort.csv``; return the table's path.

    The bytes depend on the settings alone. Run again, it keeps the photographs that are there if
    the settings are the same, and makes all of them anew if not.

    Parameters
    ----------
    workers : int, optional
        Threads; one per core by default.
    """
    root = Path(folder)
    photographs = _plan(settings)
    stamp = {"settings": settings.digest(), "version": VERSION}
    clear_if_other(root, stamp, [photograph.image for photograph in photographs])

    def make(item: _Photograph) -> None:
        if (root / item.image).is_file():
            return
        camera = item.clinic.camera if settings.style else CameraProfile()
        picture = make_photograph(
            (settings.seed, item.patient_index, item.number),
            item.grade,
            camera,
            px=settings.px,
            left=item.left,
            patient_seed=(settings.seed, item.patient_index),
        )
        write_bytes(root / item.image, _jpeg(picture, camera.jpeg_quality))

    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        list(pool.map(make, photographs))
    write_own(root / "README.txt", _README)
    with replacing_own(root / "cohort.csv") as temporary:
        _table(photographs, settings).to_csv(temporary, index=False, lineterminator="\n")
    return root / "cohort.csv"


def make_photograph(
    seed: int | tuple[int, ...],
    grade: int,
    camera: CameraProfile,
    *,
    px: int = 144,
    left: bool = False,
    patient_seed: int | tuple[int, ...] | None = None,
) -> np.ndarray:
    """Return one photograph (uint8, H x W x 3, RGB).

    The same ``seed`` and ``grade`` under another camera is the same retina seen anew: its twin.

    Parameters
    ----------
    seed : int or tuple of int
        Seed of the retina; the picture's own noise follows from it too.
    grade : int
        0 to 4, into ``GRADES``.
    px : int
        Diameter of the field of view, px.
    patient_seed : int or tuple of int, optional
        Of what both eyes share (pigment); by default that of the photograph.
    """
    words = (seed,) if isinstance(seed, int) else tuple(seed)
    shared = words if patient_seed is None else patient_seed
    pigment = float(np.random.default_rng(np.random.SeedSequence(shared)).normal(1.0, 0.08))
    biology = np.random.default_rng(np.random.SeedSequence((*words, 1)))
    retina = grow_retina(biology, grade, left=left, pigment=pigment)
    exposure = np.random.default_rng(np.random.SeedSequence((*words, 2)))
    return photograph(draw_retina(retina, px), camera, exposure)


def _plan(settings: SyntheticFundusSettings) -> list[_Photograph]:
    generator = np.random.default_rng(np.random.SeedSequence([settings.seed, 0xF0D5]))
    photographs = []
    patient_index = 0
    for clinic in settings.clinics:
        shares = clinic.prevalence if settings.prevalence else EVEN_PREVALENCE
        for grade in _grades(generator, settings.patients_per_site, shares):
            eyes = int(generator.integers(settings.eyes[0], settings.eyes[1] + 1))
            first_left = bool(generator.random() < 0.5)
            for number in range(min(eyes, 2)):
                label = _graded(generator, grade, clinic) if settings.graders else grade
                left = first_left != bool(number)
                photographs.append(_Photograph(clinic, patient_index, number, left, grade, label))
            patient_index += 1
    return photographs


def _grades(generator: np.random.Generator, count: int, shares: tuple[float, ...]) -> list[int]:
    """Grades of a site's patients: each once if there is room, the rest by largest remainder."""
    quota = np.array(shares) / np.sum(shares) * count
    counts = np.maximum(np.floor(quota), 1 if count >= len(GRADES) else 0).astype(int)
    while counts.sum() > count:
        counts[np.argmax(counts - quota)] -= 1
    while counts.sum() < count:
        counts[np.argmax(quota - counts)] += 1
    return [int(g) for g in generator.permutation(np.repeat(np.arange(len(GRADES)), counts))]


def _graded(generator: np.random.Generator, grade: int, clinic: ClinicProfile) -> int:
    draw = generator.random()
    if draw < clinic.undergrades:
        return max(grade - 1, 0)
    if draw < clinic.undergrades + clinic.overgrades:
        return min(grade + 1, len(GRADES) - 1)
    return grade


def _jpeg(picture: np.ndarray, quality: int) -> bytes:
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not done:
        raise RuntimeError("OpenCV could not encode a JPEG")
    return bytes(data)


def _table(photographs: list[_Photograph], settings: SyntheticFundusSettings) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image": [item.image for item in photographs],
            "patient": [item.patient for item in photographs],
            "site": [item.clinic.name for item in photographs],
            "label": [GRADES[item.label] for item in photographs],
            "eye": [item.eye for item in photographs],
            "scanner": [
                f"camera of {item.clinic.name}" if settings.style else "one camera"
                for item in photographs
            ],
            "true_label": [GRADES[item.grade] for item in photographs],
        }
    )
