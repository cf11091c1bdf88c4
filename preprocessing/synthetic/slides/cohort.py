"""A synthetic multi-site cohort of whole-slide images with known truth."""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from offsite.files import digest_of, write_bytes
from offsite.preprocessing.synthetic.marker import clear_if_other
from offsite.preprocessing.synthetic.slides.biology import CLASSES, RASTER_UM, grow
from offsite.preprocessing.synthetic.slides.rendering import render, sample_artefacts, truth_masks
from offsite.preprocessing.synthetic.slides.sites import SITES, SiteProfile
from offsite.preprocessing.synthetic.slides.writing import write_slide
from offsite.settings import Settings
from offsite.written import write_own

VERSION = 1
"""Goes up when the same settings would give other slides."""

_README = """SYNTHETIC SLIDES - NOT FROM ANY PATIENT

Every image in this folder was drawn by a program (offsite, preprocessing/synthetic). The patients,
sites, scanners and grades are invented. Use them to try the software and to test it. A model
trained or measured on them says nothing about medicine.

cohort.csv   a row per slide: image, patient, site, label, slide, scanner
slides/      pyramidal TIFF files that OpenSlide opens
truth/       per slide an .npz of boolean masks at {raster} um per px:
             tissue, lesion, pen, fold, blur
"""


class SyntheticSlideSettings(Settings):
    """What the cohort holds."""

    sites: tuple[SiteProfile, ...] = Field(default=SITES, min_length=1, description="The sites.")
    patients: int = Field(default=36, ge=1, description="Patients over all sites.")
    slides_per_patient: tuple[int, int] = Field(
        default=(1, 3), description="Fewest and most slides of a patient."
    )
    class_shares: tuple[float, float, float] = Field(
        default=(6.0, 3.0, 1.5), description=f"Relative frequency of {', '.join(CLASSES)}."
    )
    width_um: float = Field(default=1024.0, ge=100, description="Width of the scanned glass, um.")
    height_um: float = Field(default=960.0, ge=100, description="Height of the scanned glass, um.")
    tissue_share: float = Field(
        default=0.5, gt=0, lt=0.9, description="Share of the glass under tissue."
    )
    lesion_share: tuple[float, float] = Field(
        default=(0.3, 0.7), description="Bounds of the epithelium's share with the class's pattern."
    )
    artefacts: bool = Field(
        default=True, description="Pen marks, folds and blur at the sites' rates."
    )
    seed: int = Field(default=0, ge=0, description="Seed of everything.")


@dataclass(frozen=True)
class _Slide:
    name: str
    patient: str
    patient_index: int
    number: int
    label: str
    profile: SiteProfile
    twin: str = ""

    @property
    def image(self) -> str:
        return f"slides/{self.name}.{'svs' if self.profile.flavour == 'aperio' else 'tiff'}"


def make_slide_cohort(
    folder: str | Path, settings: SyntheticSlideSettings, *, workers: int | None = None
) -> Path:
    """Write the slides, their truth masks and ``cohort.csv``; return the table's path.

    The bytes depend on the settings alone. Run again, it keeps the slides that are there if the
    settings are the same, and makes all of them anew if not.

    Parameters
    ----------
    workers : int, optional
        Threads; one per core by default.
    """
    return _write_cohort(Path(folder), settings, _plan(settings), workers)


def make_twin_cohort(
    folder: str | Path,
    settings: SyntheticSlideSettings,
    *,
    tissues: int = 9,
    workers: int | None = None,
) -> Path:
    """Write each of several tissues as every site would show it; return the table's path.

    The table has a column ``twin`` that names the tissue: slides of one twin differ in nothing but
    stain and scanner (and artefacts, where ``settings.artefacts``), so a model that answers them
    differently has learned the site. Classes take turns; ``settings.patients`` plays no part.
    """
    slides = []
    for tissue in range(tissues):
        for profile in settings.sites:
            name = f"t{tissue:03d}-{profile.name}"
            label = CLASSES[tissue % len(CLASSES)]
            slides.append(_Slide(name, name, tissue, 0, label, profile, twin=f"t{tissue:03d}"))
    return _write_cohort(Path(folder), settings, slides, workers)


def _write_cohort(
    root: Path, settings: SyntheticSlideSettings, slides: list[_Slide], workers: int | None
) -> Path:
    table = pd.DataFrame(
        {
            "image": [slide.image for slide in slides],
            "patient": [slide.patient for slide in slides],
            "site": [slide.profile.name for slide in slides],
            "label": [slide.label for slide in slides],
            "slide": [slide.name for slide in slides],
            "scanner": [slide.profile.scanner for slide in slides],
        }
    )
    if any(slide.twin for slide in slides):
        table["twin"] = [slide.twin for slide in slides]
    text = table.to_csv(index=False, lineterminator="\n")
    names = [name for slide in slides for name in (slide.image, f"truth/{slide.name}.npz")]
    stamp = {"settings": settings.digest(), "version": VERSION, "table": digest_of(text)}
    clear_if_other(root, stamp, names)

    def make(slide: _Slide) -> None:
        if not (root / slide.image).is_file():
            make_slide(
                root / slide.image,
                biology_seed=(settings.seed, slide.patient_index, slide.number),
                patient_seed=(settings.seed, slide.patient_index),
                label=slide.label,
                profile=slide.profile,
                settings=settings,
                truth=root / "truth" / f"{slide.name}.npz",
            )

    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        list(pool.map(make, slides))
    write_own(root / "README.txt", _README.format(raster=RASTER_UM))
    write_own(root / "cohort.csv", text)
    return root / "cohort.csv"


def make_slide(
    path: str | Path,
    *,
    biology_seed: int | tuple[int, ...],
    label: str,
    profile: SiteProfile,
    settings: SyntheticSlideSettings | None = None,
    patient_seed: int | tuple[int, ...] | None = None,
    truth: str | Path | None = None,
) -> None:
    """Write one slide; the same ``biology_seed`` and ``label`` under another profile is its twin.

    Parameters
    ----------
    biology_seed : int or tuple of int
        Seed of the tissue. The day's staining, the noise and the artefacts follow from it too,
        but differ from site to site.
    truth : path, optional
        Where the masks go (``.npz``).
    """
    wanted = settings or SyntheticSlideSettings()
    biology = grow(
        biology_seed,
        label,
        width_um=wanted.width_um,
        height_um=wanted.height_um,
        tissue_share=wanted.tissue_share,
        lesion_share=wanted.lesion_share,
        patient_seed=patient_seed,
    )
    words = (biology_seed,) if isinstance(biology_seed, int) else biology_seed
    nuisance = (*words, *profile.name.encode())
    artefacts = None
    if wanted.artefacts:
        generator = np.random.default_rng(np.random.SeedSequence((*nuisance, 1)))
        artefacts = sample_artefacts(generator, biology, profile)
    if truth is not None:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **truth_masks(biology, artefacts))
        write_bytes(truth, buffer.getvalue())
    write_slide(
        path,
        render(biology, profile, seed=(*nuisance, 2), artefacts=artefacts),
        mpp=profile.mpp,
        flavour=profile.flavour,
        tile_px=profile.tile_px,
        quality=profile.jpeg_quality,
        subsampling=profile.subsampling,
        scanner=profile.scanner,
        magnification=profile.magnification,
    )


def _plan(settings: SyntheticSlideSettings) -> list[_Slide]:
    generator = np.random.default_rng(np.random.SeedSequence([settings.seed, 0x51DE]))
    slides = []
    patient_index = 0
    for site_index, profile in enumerate(settings.sites):
        count = len(range(site_index, settings.patients, len(settings.sites)))
        for label in _labels(generator, count, settings.class_shares, profile.prevalence):
            patient = f"{profile.name}-{patient_index:03d}"
            fewest, most = settings.slides_per_patient
            for number in range(int(generator.integers(fewest, most + 1))):
                slides.append(
                    _Slide(
                        f"{patient}-{number + 1}", patient, patient_index, number, label, profile
                    )
                )
            patient_index += 1
    return slides


def _labels(
    generator: np.random.Generator,
    count: int,
    shares: tuple[float, ...],
    prevalence: tuple[float, ...],
) -> list[str]:
    """Labels of a site's patients: each class once if there is room, the rest by share."""
    wanted = np.array(shares) * np.array(prevalence)
    quota = wanted / wanted.sum() * count
    counts = np.maximum(np.floor(quota), 1 if count >= len(CLASSES) else 0).astype(int)
    while counts.sum() > count:
        counts[np.argmax(counts - quota)] -= 1
    while counts.sum() < count:
        counts[np.argmax(quota - counts)] += 1
    labels = np.repeat(np.array(CLASSES), counts)
    return [str(label) for label in generator.permutation(labels)]
