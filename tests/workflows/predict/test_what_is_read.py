"""What can be read has one list and one answer: check, preparation, tiling, prediction and pages."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from offsite.errors import InputError
from offsite.files import write_bytes
from offsite.preprocessing.cohort.table import load_cohort
from offsite.preprocessing.formats.kinds import kind_of
from offsite.preprocessing.formats.photographs import PHOTOGRAPHS
from offsite.preprocessing.fundus.cohort import prepare_cohort
from offsite.preprocessing.fundus.photograph import FundusSettings
from offsite.preprocessing.fundus.reading import read_photograph
from offsite.preprocessing.slides.formats import FORMATS
from offsite.preprocessing.synthetic.fundus.cohort import make_photograph
from offsite.preprocessing.synthetic.fundus.sites import CameraProfile
from offsite.preprocessing.tiles.table import TileSettings
from offsite.preprocessing.tiles.tiling import tile_slide
from offsite.retina.prediction.reading import PhotographReader
from offsite.training.prediction.contract import Rejected
from offsite.training.prediction.items import item_of
from tests.workflows.dicom_files import write_dicom

DOCS = Path(__file__).parents[3] / "docs" / "cohort.md"
PX = 64


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return make_photograph(3, 1, CameraProfile(noise=0.0), px=160)


def written(folder: Path, kind: str, pixels: np.ndarray) -> Path:
    """The same picture in a format of the list, without loss where the format has a way."""
    path = folder / f"a{PHOTOGRAPHS[kind].suffixes[0]}"
    lossless = {"webp": {"lossless": True}, "avif": {"quality": 100}, "jpeg": {"quality": 98}}
    if kind == "dicom":
        pytest.importorskip("pydicom")
        write_dicom(path, pixels.shape[:2], pixels.tobytes())
    elif kind == "jpeg2000":
        write_bytes(path, cv2.imencode(".jp2", pixels[..., ::-1])[1].tobytes())
    else:
        Image.fromarray(pixels).save(path, **lossless.get(kind, {}))
    return path


@pytest.mark.parametrize("kind", PHOTOGRAPHS)
def test_every_format_of_the_list_is_read(kind: str, pixels: np.ndarray, tmp_path: Path) -> None:
    path = written(tmp_path, kind, pixels)
    assert kind_of(path) == kind
    read = read_photograph(path, PX)
    assert read.pixels.shape == pixels.shape
    assert np.abs(read.pixels.astype(int) - pixels).mean() < (8 if kind == "gif" else 3)


def several(folder: Path, suffix: str) -> Path:
    path = folder / f"several{suffix}"
    frames = [Image.new("RGB", (64, 64), (90 * n, 60, 60)) for n in range(2)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


def broken(folder: Path, what: str, pixels: np.ndarray) -> Path:
    """A file that holds no photograph that can be read."""
    if what.startswith("several"):
        return several(folder, what.removeprefix("several"))
    if what == "frames.dcm":
        pytest.importorskip("pydicom")
        write_dicom(folder / what, pixels.shape[:2], pixels.tobytes() * 2, NumberOfFrames=2)
        return folder / what
    whole = written(folder, "png", pixels).read_bytes()
    content = {"cut.png": whole[: len(whole) // 2], "letter.png": b"a letter", "empty.png": b"",
               "letter.txt": b"a letter"}[what]  # fmt: skip
    (folder / what).write_bytes(content)
    return folder / what


@pytest.mark.parametrize(
    ("what", "code", "words"),
    [
        ("several.tif", "unsupported", "several pictures in one file"),
        ("several.gif", "unsupported", "several pictures in one file"),
        ("several.webp", "unsupported", "several pictures in one file"),
        ("several.png", "unsupported", "several pictures in one file"),
        ("several.avif", "unsupported", "several pictures in one file"),
        ("frames.dcm", "unsupported", "several pictures in one DICOM file"),
        ("cut.png", "unreadable_image", "the file is damaged or cut short"),
        ("letter.png", "not_an_image", "not an image, in spite of its name"),
        ("letter.txt", "not_an_image", "the file is not an image"),
        ("empty.png", "unreadable_image", "the file is empty"),
    ],
)
def test_training_and_prediction_refuse_a_photograph_in_the_same_words(
    what: str, code: str, words: str, pixels: np.ndarray, tmp_path: Path
) -> None:
    path = broken(tmp_path, what, pixels)
    (tmp_path / "cohort.csv").write_text(f"image,patient,site,label\n{path.name},p,s,a\n")
    cohort = load_cohort(tmp_path / "cohort.csv", ("a",))
    row = prepare_cohort(cohort, tmp_path / "out", FundusSettings(px=PX), workers=1).iloc[0]
    assert (row["status"], row["code"]) == ("failed", code)
    assert row["message"].startswith(f"{words}. ")
    read = PhotographReader(FundusSettings(px=PX))
    with pytest.raises(Rejected) as refused:
        read(item_of(path))
    assert refused.value.message == words


@pytest.mark.parametrize(
    ("what", "code"),
    [("letter.svs", "unsupported_format"), ("a.png", "wrong_kind"), ("a.txt", "not_an_image")],
)
def test_tiling_says_what_the_file_is(
    what: str, code: str, pixels: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("a letter")
    (tmp_path / "letter.svs").write_text("a letter")
    written(tmp_path, "png", pixels)
    record = tile_slide(tmp_path / what, "slide", tmp_path / "out", TileSettings())
    assert (record.status, record.code) == ("failed", code)
    if what == "a.png":
        assert record.message.startswith("a png picture, not a slide")


def test_a_slide_is_no_photograph(tmp_path: Path, wsi_slide: Path) -> None:
    with pytest.raises(InputError, match="a slide, not a photograph") as caught:
        read_photograph(wsi_slide, PX)
    assert caught.value.code == "wrong_kind"


@pytest.fixture(scope="module")
def wsi_slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from offsite.preprocessing.synthetic.slides.cohort import (
        SyntheticSlideSettings,
        make_slide_cohort,
    )

    folder = tmp_path_factory.mktemp("slide")
    small = SyntheticSlideSettings(
        patients=1, width_um=300, height_um=300, slides_per_patient=(1, 1)
    )
    make_slide_cohort(folder, small)
    return next(folder.rglob("*.svs"))


def test_the_page_lists_what_is_read() -> None:
    text = DOCS.read_text(encoding="utf-8").split("## What can be read")[1].split("\n## ")[0]
    listed = re.findall(r"^\| (photographs|slides) \| (.+?) \| (.+?) \|", text, re.MULTILINE)
    by_kind = {kind: (names, tuple(re.findall(r"`(\.\w+)`", ends))) for kind, names, ends in listed}
    for reads, formats in (("photographs", PHOTOGRAPHS), ("slides", FORMATS)):
        names = ", ".join(known.name for known in formats.values())
        ends = tuple(end for known in formats.values() for end in known.suffixes)
        assert by_kind[reads] == (names, ends)
