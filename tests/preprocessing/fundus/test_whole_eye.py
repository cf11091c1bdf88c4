"""A picture that is not one whole eye at a usable size is not prepared."""

import cv2
import numpy as np
import pytest

from offsite.errors import InputError
from offsite.preprocessing.cohort.table import load_cohort
from offsite.preprocessing.fundus.cohort import prepare_cohort
from offsite.preprocessing.fundus.field_of_view import find_field
from offsite.preprocessing.fundus.photograph import FundusSettings, prepare_photograph
from offsite.preprocessing.fundus.reading import read_photograph
from offsite.preprocessing.synthetic.fundus.cohort import make_photograph
from offsite.preprocessing.synthetic.fundus.sites import CLINICS, CameraProfile

PLAIN = CameraProfile(noise=0.0, vignette=0.0)


def page(camera: CameraProfile, size: float, gap: int, stacked: bool) -> np.ndarray:
    """Two photographs on one page, the second ``size`` times as large, ``gap`` px apart."""
    one, other = (make_photograph(seed, 4 * seed, camera, px=200) for seed in (0, 1))
    other = cv2.resize(other, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
    left = one.shape[1] + gap
    picture = np.empty((one.shape[0], left + other.shape[1], 3), np.uint8)
    picture[:] = one[0, 0]
    picture[:, : one.shape[1]] = one
    picture[: other.shape[0], left:] = other
    return np.ascontiguousarray(picture.transpose(1, 0, 2)) if stacked else picture


def code_of(pixels: np.ndarray, **settings: float) -> str:
    try:
        prepare_photograph(pixels, FundusSettings.model_validate({"px": 96, **settings}))
    except InputError as error:
        return error.code
    return "prepared"


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("gap", [-12, 0, 6, 40])
@pytest.mark.parametrize("clinic", CLINICS, ids=lambda clinic: clinic.name)
def test_two_eyes_on_one_page_are_never_graded_as_one(clinic, gap, stacked):
    for size in (0.5, 0.7, 0.92, 1.0):
        picture = page(clinic.camera, size, gap, stacked)
        assert code_of(picture) in ("several_fields", "no_field_of_view"), size
    assert code_of(page(PLAIN, 0.92, 6, stacked)) == "several_fields"


@pytest.mark.parametrize("clinic", CLINICS, ids=lambda clinic: clinic.name)
def test_one_eye_is_one_field_for_every_camera(clinic):
    for seed in range(6):
        assert code_of(make_photograph(seed, seed % 5, clinic.camera, px=200)) == "prepared"


@pytest.mark.parametrize(
    ("side", "code", "marked"),
    [
        (20, "resolution_too_low", False),
        (60, "resolution_too_low", False),
        (90, "prepared", True),
        (120, "prepared", False),
    ],
)
def test_a_thumbnail_is_refused_and_a_small_picture_marked(side, code, marked):
    picture = make_photograph(3, 2, PLAIN, px=300)
    picture = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    assert code_of(picture) == code
    assert code_of(picture, max_upsampling=8) == "prepared"
    prepared = prepare_photograph(picture, FundusSettings(px=96, max_upsampling=8))
    assert ("low_resolution" in prepared.warnings) == (marked or code != "prepared")


def test_the_bound_is_the_field_and_not_the_frame():
    picture = make_photograph(3, 2, PLAIN, px=300)
    picture = cv2.resize(picture, (50, 50), interpolation=cv2.INTER_AREA)
    framed = np.zeros((120, 120, 3), np.uint8)
    framed[35:85, 35:85] = picture
    assert code_of(framed) == "resolution_too_low"


def test_whole_pictures_are_bounded_too():
    picture = np.random.default_rng(0).integers(60, 200, (28, 28, 3)).astype(np.uint8)
    assert code_of(picture, already_cropped=True) == "resolution_too_low"
    assert code_of(picture, already_cropped=True, max_upsampling=8) == "prepared"


def test_each_refused_photograph_is_a_row_with_its_code(tmp_path):
    pictures = {
        "good": make_photograph(1, 2, PLAIN, px=200),
        "page": page(PLAIN, 0.92, 6, False),
        "thumb": cv2.resize(make_photograph(1, 2, PLAIN, px=200), (30, 30)),
    }
    lines = ["image,patient,site,label"]
    for name, picture in pictures.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        lines.append(f"{name}.png,{name},north,mild")
    (tmp_path / "cohort.csv").write_text("\n".join(lines))
    cohort = load_cohort(tmp_path / "cohort.csv")
    table = prepare_cohort(cohort, tmp_path / "out", FundusSettings(px=96), workers=1)
    assert table["code"].tolist() == ["", "several_fields", "resolution_too_low"]
    assert table["status"].tolist() == ["ok", "failed", "failed"]


@pytest.mark.parametrize("name", ["dr_idrid", "dr_messidor2", "dr_aptos_filtered"])
def test_real_photographs_of_one_eye_are_one_field(real_data, name):
    files = sorted((real_data / name / "images").rglob("*.[jp][pn]g"))[::40]
    fields = [find_field(read_photograph(file, 160).pixels) for file in files]
    seen = [field for field in fields if field is not None]
    assert len(seen) >= 0.99 * len(files)
    refused = [f.several or 2 * min(f.radius_x, f.radius_y) < 160 / 1.5 for f in seen]
    assert sum(refused) <= 0.01 * len(files)


@pytest.mark.parametrize("gap", [0, 6])
def test_two_eyes_squeezed_into_a_square_are_not_one(gap):
    for size in (0.92, 1.0):
        square = cv2.resize(page(PLAIN, size, gap, False), (224, 224), interpolation=cv2.INTER_AREA)
        assert code_of(square) in ("several_fields", "no_field_of_view"), size
