import cv2
import numpy as np
import pytest
from PIL import Image

from offsite.errors import InputError
from offsite.preprocessing.fundus.photograph import FundusSettings, prepare_photograph
from offsite.preprocessing.fundus.reading import Photograph, read_photograph
from offsite.preprocessing.synthetic.fundus.cohort import make_photograph
from offsite.preprocessing.synthetic.fundus.sites import CameraProfile

PLAIN = CameraProfile(noise=0.0, vignette=0.0)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "unreadable_image"),
        (b"not a picture", "not_an_image"),
        (None, "missing_file"),
        ("thumbnail", "too_small"),
        ("cut", "unreadable_image"),
    ],
)
def test_what_is_no_picture_is_refused_with_its_code(tmp_path, content, code):
    file = tmp_path / "a.png"
    if content == "thumbnail":
        cv2.imwrite(str(file), np.zeros((8, 8, 3), np.uint8))
    elif content == "cut":
        whole = cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
        file.write_bytes(whole[:120])
    elif content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_photograph(file, 64)
    assert error.value.code == code


def test_red_stays_red(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((32, 32, 3), (10, 20, 200), np.uint8))
    assert read_photograph(tmp_path / "a.png", 64).pixels[0, 0].tolist() == [200, 20, 10]


def as_opencv_reads(file):
    return cv2.cvtColor(cv2.imread(str(file), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "rotated", "progressive"])
def test_every_kind_of_jpeg_has_the_pixels_that_opencv_reads(tmp_path, mode):
    pixels = Image.fromarray(make_photograph(3, 1, CameraProfile(), px=97)[:80, :97])
    file = tmp_path / "a.jpg"
    if mode == "rotated":
        exif = Image.Exif()
        exif[0x0112] = 6
        pixels.save(file, exif=exif)
    elif mode == "progressive":
        pixels.save(file, progressive=True, subsampling=2)
    else:
        pixels.convert(mode).save(file)
    found = read_photograph(file, 64).pixels
    assert found.shape == ((97, 80, 3) if mode == "rotated" else (80, 97, 3))
    assert (found == as_opencv_reads(file)).all()


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_that_ends_too_soon_is_refused_and_not_painted_grey(tmp_path, mode):
    file = tmp_path / "a.jpg"
    Image.fromarray(make_photograph(3, 1, PLAIN, px=128)[:128, :128]).convert(mode).save(file)
    file.write_bytes(file.read_bytes()[:-600])
    assert as_opencv_reads(file).shape == (128, 128, 3)  # OpenCV does paint it
    with pytest.raises(InputError, match="cut short"):
        read_photograph(file, 64)


@pytest.fixture(scope="module")
def large():
    """A photograph of 2,100 px, of which a half is enough."""
    return make_photograph(4, 2, PLAIN, px=2100)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_large_photograph_is_read_at_half_and_prepared_as_the_whole(tmp_path, large, suffix):
    file = tmp_path / f"a{suffix}"
    Image.fromarray(large).save(file, quality=95)
    found = read_photograph(file, 128)
    assert (found.height, found.width) == large.shape[:2]
    assert found.pixels.shape[:2] == (large.shape[0] // 2, large.shape[1] // 2)
    whole, half = (
        prepare_photograph(pixels, FundusSettings(px=128)) for pixels in (large, found.pixels)
    )
    assert np.abs(whole.pixels.astype(int) - half.pixels).mean() < 1.5
    assert half.quality.gradable == whole.quality.gradable
    assert half.quality.score == pytest.approx(whole.quality.score, abs=0.05)


def test_no_pixel_that_preparation_wants_is_left_out(tmp_path, large):
    Image.fromarray(large).save(tmp_path / "a.jpg")
    assert read_photograph(tmp_path / "a.jpg", 1024).pixels.shape == large.shape
    strip = large[900:1500]  # its shorter side would fall below 512 px
    assert Photograph.of(strip, 128).pixels.shape == strip.shape


def test_a_large_jpeg_that_ends_too_soon_is_refused_at_half_size_too(tmp_path, large):
    file = tmp_path / "a.jpg"
    Image.fromarray(large).save(file)
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(InputError, match="cut short"):
        read_photograph(file, 128)
