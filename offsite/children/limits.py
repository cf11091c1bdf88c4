"""How long an image may be read, and with how much memory."""

from pydantic import Field

from offsite.settings import Settings

LONGEST = 30
"""Times ``case_seconds`` that an image may take in all, however steadily it goes on."""


class Limits(Settings):
    """What reading one image may take before it is ended."""

    case_seconds: float = Field(
        default=120,
        gt=0,
        le=86_400,
        description="Seconds in which an image must be read; of a slide, its next tiles",
    )
    case_gib: float = Field(
        default=4, gt=0, le=1024, description="GiB of memory that reading an image may take"
    )
