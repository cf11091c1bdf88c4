import itertools
import shutil
from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ImageCms

from offsite.errors import InputError
from offsite.preprocessing.slides.fingerprints import slide_fingerprint
from offsite.preprocessing.slides.opening import Slide, are_slides, open_slide
from offsite.preprocessing.slides.openslide_reader import on_white
from offsite.preprocessing.slides.overview import read_overview
from offsite.preprocessing.slides.region import UnreadableRegion
from offsite.preprocessing.synthetic.slides.writing import write_slide
from tests.preprocessing.synthetic.faulty_slides import strike_tiles

FLAVOURS = list(
    itertools.product(("aperio", "generic"), ("ycbcr", "rgb"), ("420", "422", "444"), (False, True))
)


def test_photographs_in_tiff_are_no_slides(tmp_path: Path, picture: np.ndarray) -> None:
    cv2.imwrite(str(tmp_path / "photograph.tif"), picture[:200, :200])
    write_slide(tmp_path / "slide.tiff", picture, mpp=0.5, flavour="generic")
    photograph, slide, dicom = (tmp_path / n for n in ("photograph.tif", "slide.tiff", "a.dcm"))
    assert not are_slides([photograph, photograph])
    assert not are_slides([slide, tmp_path / "photograph.png"])
    assert are_slides([photograph, slide])
    assert not are_slides([dicom, photograph])  # DICOM holds photographs too
    assert are_slides([tmp_path / "not-there.tif"])


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("a.mrxs", "a/Data0001.dat"),
        ("a.vms", "a(0,1).jpg"),
        ("a.vmu", "a.l0.ngr"),
    ],
)
def test_a_slide_of_several_files_changes_with_any_of_them(
    tmp_path: Path, name: str, part: str
) -> None:
    (tmp_path / part).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("index")
    (tmp_path / part).write_text("pixels")
    (tmp_path / "other.jpg").write_text("another slide's")
    before = slide_fingerprint(tmp_path / name)
    (tmp_path / "other.jpg").write_text("changed")
    assert slide_fingerprint(tmp_path / name) == before
    (tmp_path / part).write_text("others")
    assert slide_fingerprint(tmp_path / name) != before


@pytest.fixture(scope="module")
def flavours(tmp_path_factory: pytest.TempPathFactory, picture: np.ndarray):
    """Every flavour opened twice: (direct, OpenSlide)."""
    folder = tmp_path_factory.mktemp("flavours")
    image = np.ascontiguousarray(picture[:496, :720])
    pairs = []
    for number, (flavour, photometric, subsampling, shared) in enumerate(FLAVOURS):
        path = folder / f"{number}.tiff"
        write_slide(
            path, image, mpp=0.5, flavour=flavour, photometric=photometric,
            subsampling=subsampling, shared_tables=shared, tile_px=(240, 256)[number % 2],
            downsamples=(1, 4),
        )  # fmt: skip
        pairs.append((open_slide(path), open_slide(path, reader="openslide")))
    yield pairs
    for direct, record in pairs:
        direct.close()
        record.close()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    flavour=st.integers(0, len(FLAVOURS) - 1),
    level=st.integers(0, 1),
    x=st.integers(-40, 760),
    y=st.integers(-40, 520),
    width=st.integers(1, 300),
    height=st.integers(1, 300),
)
def test_direct_pixels_equal_openslide_anywhere(flavours, flavour, level, x, y, width, height):
    direct, record = flavours[flavour]
    assert (direct.reader, record.reader) == ("direct", "openslide")
    if level:
        x, y = x // 4, y // 4
    ours = direct.read_region(x, y, level, width, height)
    theirs = record.read_region(x, y, level, width, height)
    np.testing.assert_array_equal(ours.pixels, theirs.pixels)
    everywhere = np.ones((height, width), bool)
    np.testing.assert_array_equal(
        everywhere if ours.valid is None else ours.valid,
        everywhere if theirs.valid is None else theirs.valid,
    )


def test_every_flavour_keeps_the_colours(flavours, picture):
    for direct, _ in flavours:
        pixels = direct.read_region(0, 0, 0, 720, 496).pixels
        assert np.abs(pixels.astype(int) - picture[:496, :720]).mean() < 3


def test_a_fractional_level_is_read_on_its_own_pixels(tmp_path, picture):
    write_slide(tmp_path / "a.svs", picture[:813, :911], mpp=0.5, downsamples=(1, 4))
    with open_slide(tmp_path / "a.svs") as ours, openslide.OpenSlide(tmp_path / "a.svs") as theirs:
        assert ours.reader == "direct"
        assert ours.level_downsamples[1] % 1 > 0
        width, height = ours.level_dimensions[1]
        whole = np.asarray(theirs.read_region((0, 0), 1, (width, height)))[..., :3]
        part = ours.read_region(37, 51, 1, 150, 140).pixels
        np.testing.assert_array_equal(part, whole[51:191, 37:187])


def test_what_is_not_jpeg_goes_to_openslide_and_says_why(real_data):
    path = real_data / "wsi/openslide_fixtures/boxes.tiff"
    with open_slide(path, mpp=1.0) as slide:
        assert slide.reader == "openslide"
        assert "not tiled" in slide.reader_reason
    with pytest.raises(InputError) as caught:
        open_slide(path, mpp=1.0, reader="direct")
    assert caught.value.code == "reader_unsuitable"


def test_a_file_whose_tag_lies_about_colour_fails_the_probes(tmp_path, picture):
    """RGB streams under a tag that says YCbCr, with a marker that OpenSlide does not heed."""
    path = tmp_path / "a.tiff"
    write_slide(path, picture, mpp=0.5, flavour="generic", photometric="rgb", downsamples=(1,))
    with open_slide(path) as slide:
        pixels = slide.read_region(100, 100, 0, 300, 300).pixels
    with openslide.OpenSlide(path) as theirs:
        expected = np.asarray(theirs.read_region((100, 100), 0, (300, 300)))[..., :3]
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("reader", ["direct", "openslide"])
def test_holes_of_a_sparse_file_are_white_and_no_data(tmp_path, picture, reader):
    path = tmp_path / "sparse.tiff"
    write_slide(path, picture, mpp=0.5, flavour="generic", downsamples=(1,))
    hole = int(strike_tiles(path, None, share=0.01, seed=1)[0])
    row, column = divmod(hole, -(-picture.shape[1] // 256))
    with open_slide(path, reader=reader) as slide:
        region = slide.read_region(column * 256 - 10, row * 256, 0, 100, 40)
    assert region.valid is not None
    expected = np.ones((40, 100), bool)
    expected[:, 10:] = False
    np.testing.assert_array_equal(region.valid[:, :90], expected[:, :90])
    assert (region.pixels[~region.valid] == 255).all()


@pytest.mark.parametrize("reader", ["direct", "openslide"])
def test_a_damaged_tile_raises_and_the_slide_lives_on(tmp_path, picture, reader):
    path = tmp_path / "damaged.tiff"
    write_slide(path, picture, mpp=0.5, flavour="generic", downsamples=(1,))
    with open_slide(path, reader="openslide") as slide:
        whole = slide.read_region(0, 0, 0, *slide.dimensions).pixels
    struck = strike_tiles(path, lambda stream, _: bytes(len(stream)), share=0.3, seed=1)
    across, bad = -(-picture.shape[1] // 256), 0
    with open_slide(path, reader=reader) as slide:
        for index in range(across * -(-picture.shape[0] // 256)):
            row, column = divmod(index, across)
            at = (column * 256, row * 256, 0, 32, 32)
            if index in struck:
                with pytest.raises(UnreadableRegion, match="cannot be decoded"):
                    slide.read_region(*at)
                bad += 1
            else:
                expected = whole[row * 256 : row * 256 + 32, column * 256 : column * 256 + 32]
                np.testing.assert_array_equal(slide.read_region(*at).pixels, expected)
    assert bad == len(struck)


def test_half_transparent_pixels_are_mixed_with_white():
    rgba = np.array([[[100, 0, 200, 255], [100, 0, 200, 0], [100, 0, 200, 51]]], np.uint8)
    region = on_white(rgba)
    assert region.pixels[0].tolist() == [[100, 0, 200], [255, 255, 255], [224, 204, 244]]
    assert region.valid is not None
    assert region.valid[0].tolist() == [True, False, True]


def test_a_scaled_part_equals_the_part_of_the_scaled_whole(tmp_path, picture):
    write_slide(tmp_path / "a.svs", picture[:800, :896], mpp=0.5, downsamples=(1,))
    with open_slide(tmp_path / "a.svs") as slide:
        whole = slide.read_region(0, 0, 0, 896, 800).pixels
        scaled = cv2.resize(whole, (112, 100), interpolation=cv2.INTER_AREA)
        overview = read_overview(slide, mpp=4.0, max_px=10**6)
    np.testing.assert_array_equal(overview.pixels, scaled)
    assert overview.valid.all()


def test_a_large_slide_gets_a_coarser_overview(tmp_path, picture):
    write_slide(tmp_path / "a.svs", picture, mpp=0.5, downsamples=(1, 4))
    with open_slide(tmp_path / "a.svs") as slide:
        overview = read_overview(slide, mpp=1.0, max_px=10_000)
    assert overview.pixels[..., 0].size <= 10_000
    assert overview.mpp > 1.0


def test_threads_share_a_slide(tmp_path, picture):
    from concurrent.futures import ThreadPoolExecutor

    write_slide(tmp_path / "a.svs", picture, mpp=0.5, downsamples=(1,))
    places = [(x, y) for y in range(0, 700, 90) for x in range(0, 800, 90)]
    for reader in ("direct", "openslide"):
        with open_slide(tmp_path / "a.svs", reader=reader) as slide:

            def read(place: tuple[int, int], slide: Slide = slide) -> bytes:
                return slide.read_region(*place, 0, 100, 100).pixels.tobytes()

            alone = [read(place) for place in places]
            with ThreadPoolExecutor(4) as pool:
                assert list(pool.map(read, places)) == alone


@pytest.mark.parametrize(
    ("name", "reader"),
    [("CMU-1-Small-Region.svs", "direct"), ("CMU-1-Small-Region.jpeg.tiff", "direct")],
)
def test_real_slides_read_directly_equal_openslide(real_data, name, reader):
    path = real_data / "wsi" / name
    generator = np.random.default_rng(0)
    with open_slide(path, mpp=0.499) as ours, openslide.OpenSlide(path) as theirs:
        assert ours.reader == reader
        for _ in range(12):
            x, y = (int(generator.integers(0, side - 300)) for side in ours.dimensions)
            expected = np.asarray(theirs.read_region((x, y), 0, (300, 257)))
            region = ours.read_region(x, y, 0, 300, 257)
            np.testing.assert_array_equal(region.pixels, expected[..., :3])


def test_opening_says_what_is_wrong(tmp_path, real_data):
    wsi = real_data / "wsi"
    expected = {
        tmp_path / "none.svs": "no_such_file",
        wsi / "openslide_fixtures/unopenable.tiff": "cannot_open",
        wsi / "unreadable/broken.svs": "unsupported_format",
        wsi / "unreadable/CMU-1-Small-Region.webp.tiff": "mpp_implausible",  # it says 0.00499
        wsi / "CMU-1-Small-Region.jpeg.tiff": "mpp_implausible",
        wsi / "openslide_fixtures/boxes.tiff": "mpp_implausible",
    }
    for path, code in expected.items():
        with pytest.raises(InputError) as caught:
            open_slide(path)
        assert caught.value.code == code
        assert caught.value.remedy
        assert caught.value.file == str(path)


def test_an_unknown_reader_is_refused(tmp_path: Path, real_data):
    shutil.copy(real_data / "wsi/CMU-1-Small-Region.svs", tmp_path / "a.svs")
    with pytest.raises(InputError, match="no reader 'fast'"):
        open_slide(tmp_path / "a.svs", reader="fast")


def test_an_embedded_profile_is_applied_when_asked_for(real_data):
    path = real_data / "wsi/openslide_fixtures/boxes.tiff"
    with openslide.OpenSlide(path) as theirs:
        raw = theirs.read_region((0, 0), 0, (120, 90)).convert("RGB")
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
        expected = ImageCms.profileToProfile(
            raw, theirs.color_profile, ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC, flags=flags,
        )  # fmt: skip
    with open_slide(path, mpp=1.0) as slide:
        assert slide.icc_profile_bytes() == 588
        np.testing.assert_array_equal(slide.read_region(0, 0, 0, 120, 90).pixels, np.asarray(raw))
    with open_slide(path, mpp=1.0, colour="srgb") as slide:
        pixels = slide.read_region(0, 0, 0, 120, 90).pixels
    np.testing.assert_array_equal(pixels, np.asarray(expected))
    with pytest.raises(InputError, match="no colour 'cmyk'"):
        open_slide(path, mpp=1.0, colour="cmyk")


def test_without_a_profile_colours_stay(tmp_path, picture):
    write_slide(tmp_path / "a.svs", picture, mpp=0.5, downsamples=(1,))
    with (
        open_slide(tmp_path / "a.svs") as plain,
        open_slide(tmp_path / "a.svs", colour="srgb") as asked,
    ):
        first, second = (slide.read_region(9, 9, 0, 300, 300).pixels for slide in (plain, asked))
    np.testing.assert_array_equal(first, second)
