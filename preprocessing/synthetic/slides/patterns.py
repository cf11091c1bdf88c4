"""How nuclei look and lie in each class of synthetic tissue."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pattern:
    """How the nuclei of a class look and lie; lengths in um."""

    radius: float
    spread: float
    """Standard deviation of the log radius."""
    aspect: float
    arrangement: str


PATTERNS = {
    "normal": Pattern(radius=2.7, spread=0.08, aspect=1.15, arrangement="glands"),
    "low_grade": Pattern(radius=3.5, spread=0.14, aspect=1.8, arrangement="crowded_glands"),
    "high_grade": Pattern(radius=4.9, spread=0.28, aspect=1.3, arrangement="sheets"),
}


STROMA = Pattern(radius=2.3, spread=0.15, aspect=2.8, arrangement="sheets")
