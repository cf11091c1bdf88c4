"""What a folder of synthetic images was made with, and which of its files are ours to replace."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from offsite.files import read_json, write_json
from offsite.ownership import refuse_link, refuse_strangers, remove_named

MARKER = "synthetic.json"


def clear_if_other(root: Path, stamp: Mapping[str, object], names: Sequence[str]) -> None:
    """Remove images of other settings; what the same settings made, and what others put, stays.

    Parameters
    ----------
    root : Path
        Folder of the cohort.
    stamp : mapping
        JSON-able: what the images depend on.
    names : sequence of str
        The images that will be made, relative to ``root``; the marker names them before they are.

    Raises
    ------
    InputError
        A folder is a link, or a file that is in no marker has the name of an image.
    """
    folders = {Path(name).parent for name in names}
    for folder in folders:
        refuse_link(root / folder)
    content = {"synthetic": True, **stamp, "files": sorted(names)}
    marker = root / MARKER
    before = read_json(marker) if marker.is_file() else None
    if before == content:
        return
    if before is None:
        refuse_strangers(root, names)
    else:  # markers of earlier versions name no files
        remove_named(root, {*before.get("files", ()), *names})
    write_json(marker, content)
