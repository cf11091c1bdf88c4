"""A format of image files, by name: what checks, readers, prediction and pages say and ask of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FileFormat:
    """Formats of image files that one reader reads.

    Attributes
    ----------
    name : str
        As people call them.
    suffixes : tuple of str
        Ends of names, lower case. Content decides; they say where to look.
    package : str
        An optional package that reading needs, as it is imported; "" where none.
    """

    name: str
    suffixes: tuple[str, ...]
    package: str = ""
