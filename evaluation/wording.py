"""Numbers and reasons as words: one way of writing them on the whole page."""

import math
from typing import Any

REASONS = {
    "no_samples": "no images",
    "no_labels": "no labels",
    "single_class": "one class only",
    "too_few": "too few",
    "interval_unstable": "interval not stable",
    "no_embeddings": "no embeddings",
    "constant_embeddings": "the same embedding for every image",
    "no_logits": "no logits",
}
MINUS = "\u2212"
NO_INTERVAL = "no interval"
ROLES = {"training": "training site", "held_out": "held-out site", "unknown": "site"}


def present(value: Any) -> float | None:
    """A table's number, or ``None`` where the cell is empty.

    Examples
    --------
    >>> present(0.5), present(float('nan'))
    (0.5, None)
    """
    if value is None or value == "":
        return None
    number = float(value)
    return None if math.isnan(number) else number


def number(value: float | None, digits: int = 2) -> str:
    """``0.87``, with a true minus sign; an empty string for no value.

    A value that only rounding would turn into 1 or 0 keeps the digits that show it is not.

    >>> number(0.8714), number(-0.2), number(0.9996)
    ('0.87', '−0.20', '>0.99')
    """
    if value is None:
        return ""
    text = f"{value:.{digits}f}"
    if digits == 2 and 0.995 <= value < 1:
        return ">0.99"
    if digits == 2 and 0 < value < 0.005:
        return "<0.01"
    text = text.removeprefix("-") if float(text) == 0 else text
    return text.replace("-", MINUS)


def interval(low: float | None, high: float | None, digits: int = 2) -> str:
    """``0.81–0.92``; ``to`` takes the dash's place where a bound is negative.

    Bounds that are equal are no interval: a perfect score stays perfect in every resample, which
    says nothing of how sure it is.

    Examples
    --------
    >>> interval(0.81234, 0.9)
    '0.81–0.90'
    """
    if low is None or high is None or low == high:
        return ""
    first, second = (f"{bound:.{digits}f}" for bound in (low, high))
    while first == second and digits < 5:
        digits += 1
        first, second = (f"{bound:.{digits}f}" for bound in (low, high))
    if min(low, high) < 0:
        return f"{first} to {second}".replace("-", MINUS)
    return f"{first}–{second}"


def change(value: float | None) -> str:
    """``+0.03``, ``−0.20``: a difference always shows its sign.

    >>> change(0.03), change(-0.2), change(0.0)
    ('+0.03', '−0.20', '+0.00')
    """
    if value is None:
        return ""
    return f"{MINUS if value < 0 else '+'}{abs(value):.2f}"


def percent(value: float | None) -> str:
    """``87 %`` (with a narrow no-break space); what only rounding would make all or none is not.

    >>> percent(0.996), percent(0.001), percent(1.0)
    ('>99\u202f%', '<1\u202f%', '100\u202f%')
    """
    if value is None:
        return ""
    if 0.995 <= value < 1:
        return ">99\u202f%"
    return "<1\u202f%" if 0 < value < 0.005 else f"{100 * value:.0f}\u202f%"


def level(value: float | None) -> str:
    """A share that was asked for, with every digit that it has: ``97.5 %``.

    >>> level(0.95), level(0.975)
    ('95\u202f%', '97.5\u202f%')
    """
    return "" if value is None else f"{100 * value:.6g}\u202f%"


def estimate(
    value: float | None, low: float | None, high: float | None, confidence: float | None = None
) -> str:
    """``0.87 (95 % interval 0.81–0.92)`` for a sentence; within brackets, without the confidence.

    Examples
    --------
    >>> estimate(0.86, 0.81, 0.9, 0.95), estimate(0.86, 0.81, 0.9)
    ('0.86 (95\u202f% interval 0.81–0.90)', '0.86, interval 0.81–0.90')
    """
    bounds = interval(low, high)
    if confidence is None:
        return f"{number(value)}, interval {bounds}" if bounds else number(value)
    said = f"{level(confidence)} interval {bounds}" if bounds else NO_INTERVAL
    return f"{number(value)} ({said})"


def noted(value: float | None, low: float | None, high: float | None) -> str:
    """``0.87 (0.81–0.92)``, for a place where it is plain that it is an interval.

    >>> noted(0.86, 0.81, 0.9), noted(0.86, None, None)
    ('0.86 (0.81–0.90)', '0.86 (no interval)')
    """
    return f"{number(value)} ({interval(low, high) or NO_INTERVAL})"


def no_interval(code: str) -> str:
    """Why a value has no interval, in words.

    >>> no_interval('too_few'), no_interval('interval_unstable')
    ('too few', 'no interval')
    """
    return reason(code) if code == "too_few" else NO_INTERVAL


def reason(code: str) -> str:
    """Why there is no value, in words."""
    return REASONS.get(code, code.replace("_", " "))


def counted(n: int, one: str) -> str:
    """``1 image``, ``1,204 images``.

    Examples
    --------
    >>> counted(1, 'site'), counted(3, 'site')
    ('1 site', '3 sites')
    """
    return f"{n:,} {one if n == 1 else one + 's'}"


def listed(items: list[str]) -> str:
    """``A``, ``A and B``, ``A, B and C``.

    Examples
    --------
    >>> listed(['north']), listed(['north', 'south', 'west'])
    ('north', 'north, south and west')
    """
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
