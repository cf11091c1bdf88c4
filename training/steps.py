"""A stage from images to what a model reads, as the command line shows it; nothing heavy is imported."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Step:
    """What is known of a stage without running it.

    Attributes
    ----------
    name : str
        As in ``offsite workflow NAME``.
    help : str
        Of the command: what it does in a sentence; what it takes and gives (``Takes a job ...;
        gives ...``); an example. A blank line between them.
    settings : tuple of str
        Parts of the configuration that its result depends on.
    table : str
        Its table, relative to the job's output.
    writes_whole : bool
        Whether the table of all images comes of running the stage once more over what its parts
        left; otherwise the parts' tables are joined (`part_table`).
    device : str
        The setting that names its device, as ``encoder.device``; "" where it needs none.
    extras : mapping of str to str
        What it makes besides where it is asked to: an option's name and its help.
    """

    name: str
    help: str
    settings: tuple[str, ...]
    table: str
    writes_whole: bool = False
    device: str = ""
    extras: Mapping[str, str] = field(default_factory=dict)


def part_table(table: str, part: tuple[int, int]) -> str:
    """Return the name of a part's table (number from 1, of); that of the only part is the whole's.

    Examples
    --------
    >>> part_table("tiles.csv", (2, 4)), part_table("tiles.csv", (1, 1))
    ('tiles.part-2-of-4.csv', 'tiles.csv')
    """
    number, parts = part
    stem, dot, suffix = table.rpartition(".")
    return table if parts == 1 else f"{stem}.part-{number}-of-{parts}{dot}{suffix}"
