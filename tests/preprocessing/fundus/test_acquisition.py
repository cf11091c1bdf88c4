"""Day and camera of a photograph, as its file says them; a file that says nothing is no fault."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from offsite.preprocessing.fundus.acquisition import acquisition_of
from tests.workflows.dicom_files import write_dicom

EXIF_IFD, TAKEN, CHANGED, MAKE, MODEL = 0x8769, 0x9003, 0x0132, 0x010F, 0x0110


def jpeg(folder: Path, *, taken: str = "", changed: str = "", make: str = "") -> Path:
    tags = Image.Exif()
    if taken:
        tags.get_ifd(EXIF_IFD)[TAKEN] = taken
    if changed:
        tags[CHANGED] = changed
    if make:
        tags[MAKE], tags[MODEL] = make, "CR-2"
    file = folder / "photo.jpg"
    Image.new("RGB", (32, 32)).save(file, exif=tags)
    return file


@pytest.mark.parametrize(
    ("tags", "day", "camera"),
    [
        ({"taken": "2021:03:04 05:06:07", "changed": "2024:01:01 00:00:00"}, "2021-03-04", ""),
        ({"changed": "2024:01:02 00:00:00", "make": "Canon"}, "2024-01-02", "Canon CR-2"),
        ({"taken": "0000:00:00 00:00:00", "make": "Canon"}, "", "Canon CR-2"),
        ({"taken": "yesterday", "make": "Can\x07on\n"}, "", "Canon CR-2"),
        ({}, "", ""),
    ],
)
def test_of_exif(tmp_path: Path, tags: dict[str, str], day: str, camera: str) -> None:
    found = acquisition_of(jpeg(tmp_path, **tags))
    assert found == {"acquired": day, "scanner": camera, "compression": "jpeg"}


@pytest.mark.parametrize(
    ("values", "day"),
    [
        ({"AcquisitionDate": "20210304", "StudyDate": "20200101"}, "2021-03-04"),
        ({"ContentDate": "20210305", "StudyDate": "20200101"}, "2021-03-05"),
        ({"StudyDate": "20200101"}, "2020-01-01"),
        ({"AcquisitionDate": "20211399", "StudyDate": "20200101"}, "2020-01-01"),
        ({}, ""),
    ],
)
def test_of_dicom(tmp_path: Path, values: dict[str, str], day: str) -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    values = {**values, "Manufacturer": "Topcon", "ManufacturerModelName": "NW400"}
    file = write_dicom(tmp_path / "a.dcm", (16, 16), pixels.tobytes(), **values)
    found = acquisition_of(file)
    assert found == {"acquired": day, "scanner": "Topcon NW400", "compression": "dicom"}
    assert "Doe" not in str(found)


def test_what_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    for name, data in (
        ("a.jpg", b"\xff\xd8\xff\xe1\xff\xff" + b"x" * 50),
        ("b.png", b""),
        ("c", b"\0"),
    ):
        (tmp_path / name).write_bytes(data)
        found = acquisition_of(tmp_path / name)
        assert (found["acquired"], found["scanner"]) == ("", "")
