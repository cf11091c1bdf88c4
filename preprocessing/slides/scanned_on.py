"""The day that a slide was scanned, from what its file says."""

from collections.abc import Mapping

from offsite.preprocessing.days import day_of, month_first_day_of

# The scanner's own word first; tiff.DateTime may be that of a conversion.
_YEAR_FIRST = (
    "dicom.AcquisitionDateTime",
    "dicom.AcquisitionDate",
    "dicom.ContentDate",
    "dicom.StudyDate",
    "philips.DICOM_ACQUISITION_DATETIME",
    "leica.creation-date",
    "hamamatsu.Created",
    "tiff.DateTime",
)


def scanned_on(properties: Mapping[str, str]) -> str:
    """Return the day (ISO 8601), or "" where the file names none.

    Parameters
    ----------
    properties : mapping of str to str
        As OpenSlide names them.

    Examples
    --------
    >>> scanned_on({"aperio.Date": "12/29/09", "tiff.DateTime": "2015:01:02 03:04:05"})
    '2009-12-29'
    """
    aperio = properties.get("aperio.Date")
    days = (day_of(properties.get(name)) for name in _YEAR_FIRST)
    return next(filter(None, (month_first_day_of(aperio), day_of(aperio), *days)), "")
