"""The field of view of copies whose local mean was subtracted, as a widespread public set has them."""

import cv2
import numpy as np
import pytest

from offsite.errors import InputError
from offsite.preprocessing.fundus.field_of_view import find_field
from offsite.preprocessing.fundus.photograph import FundusSettings, prepare_photograph
from offsite.preprocessing.fundus.reading import read_photograph
from offsite.preprocessing.synthetic.fundus.cohort import make_photograph
from offsite.preprocessing.synthetic.fundus.sites import CLINICS, CameraProfile

PLAIN = CameraProfile(noise=0.0, vignette=0.0)


def filtered(pixels: np.ndarray, side: int = 224) -> np.ndarray:
    """Four times the difference from the local mean, on grey, then squeezed to a square."""
    wide = cv2.GaussianBlur(pixels, (0, 0), len(pixels) / 30)
    copy = cv2.addWeighted(pixels, 4, wide, -4, 128)
    return cv2.resize(copy, (side, side), interpolation=cv2.INTER_AREA)


def eye(seed: int, camera: CameraProfile = PLAIN) -> np.ndarray:
    return make_photograph(seed, seed % 5, camera, px=400)


def cropped(pixels: np.ndarray) -> np.ndarray:
    """Only small corners of the surround are left."""
    field = find_field(pixels)
    assert field is not None
    half = 0.86 * field.radius_x
    x, y = round(field.centre_x - half), round(field.centre_y - half)
    return pixels[y : y + round(2 * half), x : x + round(2 * half)]


@pytest.mark.parametrize("clinic", CLINICS, ids=lambda clinic: clinic.name)
def test_a_filtered_photograph_is_one_field(clinic):
    for seed in range(4):
        field = find_field(filtered(eye(seed, clinic.camera)))
        assert field is not None
        assert not field.several
        assert field.filtered


@pytest.mark.parametrize("seed", range(5))
def test_a_filtered_retina_that_fills_its_picture_is_taken_whole(seed):
    picture = filtered(cropped(eye(seed)))
    field = find_field(picture)
    assert field is not None
    assert not field.several
    assert min(field.radius_x, field.radius_y) > 100
    prepared = prepare_photograph(picture, FundusSettings(px=96, enhancement="graham"))
    assert "already_filtered" in prepared.warnings


@pytest.mark.parametrize("gap", [0, 30])
def test_two_filtered_eyes_on_a_page_are_not_one(gap):
    between = np.zeros((400, gap, 3), np.uint8)
    one, other = (cv2.resize(eye(seed), (400, 400)) for seed in (0, 1))
    page = filtered(np.hstack([one, between, other]))
    with pytest.raises(InputError) as refused:
        prepare_photograph(page, FundusSettings(px=96))
    assert refused.value.code in ("several_fields", "no_field_of_view")


@pytest.mark.parametrize(
    "kind", ["plain", "fine noise", "smooth noise", "text", "gradient", "ring"]
)
def test_grey_pictures_without_a_retina_have_no_field(kind):
    rng = np.random.default_rng(0)
    noise = rng.normal(128, 20, (224, 224, 3))
    smooth = cv2.GaussianBlur(rng.normal(0, 120, (224, 224)), (0, 0), 2)[..., None] + 128
    ring = np.full((224, 224, 3), 128.0)
    ring[:8, :8] = ring[-8:, :8] = ring[:8, -8:] = ring[-8:, -8:] = 60
    text = np.full((224, 224, 3), 128, np.uint8)
    for line in range(10):
        cv2.putText(text, "not an eye at all", (4, 20 + 20 * line), 0, 0.5, (200, 200, 200))
    picture = {
        "plain": np.full((224, 224, 3), 128.0),
        "fine noise": noise,
        "smooth noise": np.repeat(smooth, 3, axis=2),
        "text": text,
        "gradient": np.repeat(np.linspace(60, 200, 224)[None, :, None], 224, 0).repeat(3, 2),
        "ring": ring,
    }[kind]
    assert find_field(np.clip(picture, 0, 255).astype(np.uint8)) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dr_idrid", "dr_messidor2", "dr_aptos_filtered"])
def test_at_most_one_in_a_hundred_real_photographs_is_refused(real_data, name):
    """By a model of 160 px; of the filtered set all, of the large photographs every third."""
    files = sorted((real_data / name / "images").iterdir())
    files = files if name == "dr_aptos_filtered" else files[::3]
    refused = 0
    for file in files:
        try:
            prepare_photograph(read_photograph(file, 160).pixels, FundusSettings(px=160))
        except InputError:
            refused += 1
    assert refused <= 0.01 * len(files), f"{refused} of {len(files)}"
