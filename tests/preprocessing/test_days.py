"""A day is read as its writer meant it, or not at all."""

import pytest

from offsite.preprocessing.days import day_of, month_first_day_of
from offsite.preprocessing.slides.scanned_on import scanned_on


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2009:12:29 09:59:15", "2009-12-29"),  # EXIF, TIFF
        ("2009/12/31", "2009-12-31"),  # Hamamatsu
        ("2013-04-16T20:51:54.00Z", "2013-04-16"),  # Leica
        ("20160718122300.000000", "2016-07-18"),  # Philips, DICOM
        ("20160718", "2016-07-18"),
        ("2009-1-5", "2009-01-05"),
        ("0000:00:00 00:00:00", ""),  # a camera without a clock
        ("2009:13:29", ""),
        ("2009:02:30", ""),
        ("2009:12-29", ""),
        ("29.12.2009", ""),
        ("12/29/2009", ""),
        ("1.5", ""),
        ("2009", ""),
        ("", ""),
        (None, ""),
        (b"\xff\xfe", ""),
    ],
)
def test_a_day_with_the_year_first(written: object, meant: str) -> None:
    assert day_of(written) == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("12/29/09", "2009-12-29"),
        ("01/02/2015", "2015-01-02"),
        ("12/29/99", "1999-12-29"),
        ("29/12/09", ""),
        ("12/29/209", ""),
        ("2009/12/29", ""),
    ],
)
def test_a_day_with_the_month_first(written: str, meant: str) -> None:
    assert month_first_day_of(written) == meant


@pytest.mark.parametrize(
    ("properties", "meant"),
    [
        ({"aperio.Date": "12/29/09", "tiff.DateTime": "2015:01:02 03:04:05"}, "2009-12-29"),
        ({"aperio.Date": "2019-05-20"}, "2019-05-20"),
        ({"aperio.Date": "29/12/09", "tiff.DateTime": "2015:01:02 03:04:05"}, "2015-01-02"),
        ({"hamamatsu.Created": "2009/12/31"}, "2009-12-31"),
        ({"leica.creation-date": "2013-04-16T20:51:54.00Z"}, "2013-04-16"),
        ({"philips.DICOM_ACQUISITION_DATETIME": "20160718122300.000000"}, "2016-07-18"),
        ({"dicom.StudyDate": "20160718", "dicom.ContentDate": ""}, "2016-07-18"),
        ({"openslide.vendor": "mirax"}, ""),
        ({}, ""),
    ],
)
def test_the_scanner_says_when(properties: dict[str, str], meant: str) -> None:
    assert scanned_on(properties) == meant
