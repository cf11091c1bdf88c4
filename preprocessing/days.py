"""The day that an image was made, as files say it: many spellings, one meaning or none."""

import re
from datetime import date

_YEAR_FIRST = re.compile(r"\s*(\d{4})(?:(\d{2})(\d{2})|([:/.-])(\d{1,2})\4(\d{1,2})(?!\d))")
_MONTH_FIRST = re.compile(r"\s*(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})\b")
_CENTURY = 70  # two digits from here on are of the last century


def day_of(value: object) -> str:
    """Return the day (ISO 8601) that a text with the year first names, or "".

    A day that no calendar has is none: cameras without a clock write zeros.

    >>> day_of("2009:12:29 09:59:15"), day_of("20160718122300.000000"), day_of("0000:00:00")
    ('2009-12-29', '2016-07-18', '')
    """
    match = _YEAR_FIRST.match(str(value or ""))
    if not match:
        return ""
    return _checked(match[1], match[2] or match[5], match[3] or match[6])


def month_first_day_of(value: object) -> str:
    """Return the day that a text with the month first names, as scanners of the USA write it, or "".

    >>> month_first_day_of("12/29/09"), month_first_day_of("29/12/2009")
    ('2009-12-29', '')
    """
    match = _MONTH_FIRST.match(str(value or ""))
    if not match:
        return ""
    month, day, year = match.groups()
    if len(year) == 2:
        year = f"{'19' if int(year) >= _CENTURY else '20'}{year}"
    return _checked(year, month, day)


def _checked(year: str, month: str, day: str) -> str:
    try:
        return date(int(year), int(month), int(day)).isoformat()
    except ValueError:
        return ""
