"""A slide format is a line of a table: what takes slides asks the table."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from offsite.errors import InputError
from offsite.preprocessing.slides import formats, opening
from offsite.preprocessing.slides.formats import NotThisFormat
from offsite.preprocessing.slides.region import Region


class Plain:
    """A format of numbers in a text file, one level."""

    name = "plain"
    downsamples = (1.0,)
    colour_profile = None

    def __init__(self, path):
        with Path(path).open("rb") as file:
            if file.read(5) != b"PLAIN":
                raise NotThisFormat("another beginning")
        self.level_dimensions = ((40, 30),)
        self.properties = {"openslide.mpp-x": "0.5", "openslide.mpp-y": "0.5"}

    def read(self, x, y, level, width, height):
        return Region(np.full((height, width, 3), 7, np.uint8), None)

    def close(self):
        pass


@pytest.fixture
def with_plain(monkeypatch):
    monkeypatch.setattr(opening, "OPENERS", {**formats.OPENERS, "plain": Plain})


@pytest.mark.parametrize("name", sorted(formats.FORMATS))
def test_an_opener_leaves_other_files_to_other_formats(tmp_path, name):
    (tmp_path / "text.svs").write_text("no slide")
    Image.new("RGB", (9, 9)).save(tmp_path / "photograph.tif")
    for file in ("text.svs", "photograph.tif"):
        with pytest.raises(NotThisFormat):
            formats.OPENERS[name](str(tmp_path / file))


def test_a_further_format_opens_reads_and_counts_as_a_slide(tmp_path, with_plain):
    path = tmp_path / "slide.tif"
    path.write_bytes(b"PLAIN")
    with opening.open_slide(path) as slide:
        assert (slide.dimensions, slide.mpp, slide.reader) == ((40, 30), 0.5, "plain")
        assert slide.read_region(0, 0, 0, 2, 3).pixels.tolist() == [[[7] * 3] * 2] * 3
    assert opening.are_slides([path])
    for reader in ("openslide", "direct"):
        with pytest.raises(InputError, match=f"reader '{reader}'") as refused:
            opening.open_slide(path, reader=reader)
        assert refused.value.code == "reader_unsuitable"


def test_photographs_in_tiff_are_no_slides(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "photograph.tif")
    assert not opening.are_slides([tmp_path / "photograph.tif"])
