"""Where the features of a job's slides come from: offsite's own encoder, or a folder that is read only."""

import re
from collections.abc import Iterable
from typing import Literal, Self

from pydantic import Field, model_validator

from offsite.settings import Settings

FEATURES = "features"
BITS = "bits"
"""What a model's ``preprocessing`` says of the features that it was trained on, where another tool made them."""


class ExternalEncoder(Settings):
    """The encoder that made a folder's features, as far as its user says what it was."""

    name: Literal["external"] = Field("external", description="It is not one of offsite's")
    label: str = Field(
        min_length=1,
        max_length=100,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="What you call it, as `uni_v2`; a file that names another encoder is refused",
    )
    written_as: tuple[str, ...] = Field(
        (), description="Other names under which files may name the same encoder"
    )
    dimensions: int | None = Field(
        None, ge=1, le=65_536, description="Numbers of a tile; none: as most of the files have"
    )

    def is_named(self, name: str) -> bool:
        """Whether a name that a file gives is this encoder's, in whatever spelling.

        Examples
        --------
        >>> encoder = ExternalEncoder(label="uni_v2", written_as=("mahmood-uni2",))
        >>> [encoder.is_named(name) for name in ("UNI-v2", "Mahmood_UNI2", "uni_v1")]
        [True, True, False]
        """
        return plain_name(name) in map(plain_name, (self.label, *self.written_as))


class FeatureSettings(Settings):
    """Where features come from."""

    folder: str | None = Field(
        None,
        description="Folder of features that another tool made, relative to the configuration's"
        " folder; it is only read. None: offsite tiles the slides and encodes them",
    )
    encoder: ExternalEncoder | None = Field(
        None, description="What made the folder's features: `{name: external, label: uni_v2}`"
    )
    bits: Literal[8, 16] = Field(
        16, description="Bits of a number in offsite's own files: 8 take half the disk"
    )

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.folder is not None and self.encoder is None:
            raise ValueError(
                "a folder needs its encoder named: encoder: {name: external, label: ...}"
            )
        if self.folder is not None and self.bits != 16:
            raise ValueError("a folder is only read: bits are of features that offsite makes")
        if self.folder is None and self.encoder is not None:
            raise ValueError("an external encoder needs the folder of its features")
        return self


def plain_name(name: str) -> str:
    """Return a name without case and punctuation."""
    return re.sub(r"[\W_]+", "", name.casefold())


def listed(names: Iterable[object], most: int = 3) -> str:
    """Return the first of some names, and how many more there are.

    Examples
    --------
    >>> listed(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    shown = [str(name) for name in names]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more
