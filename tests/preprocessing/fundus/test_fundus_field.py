import cv2
import numpy as np
import pytest

from offsite.preprocessing.fundus.field_of_view import find_field


def disc(height=200, width=300, centre=(150.0, 100.0), radii=(80.0, 80.0), background=0, seed=0):
    """A mottled disc on a plain background."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    inside = ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 <= 1
    picture = np.full((height, width, 3), background, np.float32)
    mottle = cv2.GaussianBlur(
        generator.normal(0, 30, (height, width)).astype(np.float32), (0, 0), 3
    )
    for channel, level in enumerate((170, 90, 50)):
        picture[..., channel][inside] = level + mottle[inside]
    return np.clip(picture, 0, 255).astype(np.uint8)


def assert_found(field, centre, radii, tolerance=2.0):
    assert field is not None
    found = (field.centre_x, field.centre_y, field.radius_x, field.radius_y)
    assert found == pytest.approx((*centre, *radii), abs=tolerance)


@pytest.mark.parametrize("shape", [(200, 300), (300, 200), (200, 200)])
def test_a_disc_is_found_in_landscape_portrait_and_square(shape):
    centre = (shape[1] / 2 - 5, shape[0] / 2 + 4)
    field = find_field(disc(*shape, centre))
    assert_found(field, centre, (80, 80))
    assert field.method == "circle"
    assert field.coverage == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("background", [0, 8, 22, 128])
def test_the_background_may_be_black_near_black_or_grey(background):
    generator = np.random.default_rng(1)
    picture = disc(background=background).astype(int)
    noisy = np.clip(picture + generator.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)
    field = find_field(noisy)
    assert_found(field, (150, 100), (80, 80), 3)
    assert field.filtered == (background == 128)


def test_a_disc_cut_off_at_top_and_bottom_is_found_whole():
    field = find_field(disc(150, 300, (150.0, 75.0), (95.0, 95.0)))
    assert_found(field, (150, 75), (95, 95))
    assert field.coverage == pytest.approx(0.9, abs=0.02)


def test_a_disc_cut_off_at_one_side_is_found_whole():
    assert_found(find_field(disc(220, 180, (60.0, 110.0), (90.0, 90.0))), (60, 110), (90, 90), 3)


def test_a_squeezed_picture_gives_an_ellipse():
    field = find_field(disc(224, 224, (112.0, 112.0), (75.0, 100.0)))
    assert_found(field, (112, 112), (75, 100))
    assert field.method == "ellipse"


def test_text_and_a_notch_do_not_move_the_disc():
    picture = disc()
    cv2.putText(picture, "OS 12.03", (4, 190), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 2)
    picture[20:36, 195:215] = (150, 80, 40)
    assert_found(find_field(picture), (150, 100), (80, 80), 3)


def test_a_dim_disc_is_found():
    assert_found(find_field((disc() * 0.2).astype(np.uint8)), (150, 100), (80, 80), 3)


def test_large_pictures_are_measured_in_their_own_pixels():
    large = cv2.resize(disc(), None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST)
    assert_found(find_field(large), (600, 400), (320, 320), 6)


@pytest.mark.parametrize("kind", ["black", "white", "noise", "stripes", "small disc"])
def test_what_is_no_fundus_photograph_has_no_field(kind):
    picture = {
        "black": np.zeros((120, 160, 3), np.uint8),
        "white": np.full((120, 160, 3), 255, np.uint8),
        "noise": np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8),
        "stripes": np.tile(np.arange(160) % 40 * 6, (120, 1))[..., None].repeat(3, 2).astype("u1"),
        "small disc": disc(radii=(15.0, 15.0)),
    }[kind]
    assert find_field(picture) is None


def test_an_object_on_white_paper_is_no_fundus_photograph():
    picture = disc(background=250)
    assert find_field(picture) is None


@pytest.mark.parametrize(
    ("site", "least"), [("dr_idrid", 1.0), ("dr_messidor2", 1.0), ("dr_aptos_filtered", 1.0)]
)
def test_real_photographs_have_a_field(real_data, site, least):
    from offsite.preprocessing.fundus.reading import read_photograph

    files = sorted((real_data / site / "images").iterdir())[::40][:30]
    found = [find_field(read_photograph(file, 256).pixels) for file in files]
    assert np.mean([field is not None for field in found]) >= least


def test_natural_pictures_seldom_pass_for_a_fundus(real_data):
    from offsite.preprocessing.fundus.reading import read_photograph

    files = sorted((real_data / "natural_ood").rglob("*.jpg"))[::3]
    assert (
        np.mean([find_field(read_photograph(file, 256).pixels) is not None for file in files]) < 0.1
    )
