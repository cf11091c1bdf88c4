"""One page of all slides of a cohort, worst first: what was kept of each, and why not the rest."""

from collections.abc import Mapping, Sequence
from importlib.resources import files as resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined

from offsite.errors import InputError
from offsite.preprocessing.tiles.pictures import picture_paths
from offsite.preprocessing.tiles.table import (
    FOLDER,
    KEPT,
    STATUSES,
    SlideRecord,
    load_record,
    load_tiles,
)
from offsite.preprocessing.tiles.tile_pictures import (
    COLOURS,
    OTHER,
    panel_size,
    picture_path,
    save_tile_picture,
)
from offsite.written import write_own

PAGE = "tiles.html"
_HERE = "offsite.preprocessing.tiles"
_RANK = {"failed": 0, "no_tissue": 1, "done": 2}


def write_page(
    out: str | Path, sites: Mapping[str, str], anew: Sequence[str] | None = None
) -> Path:
    """Write ``tiles.html`` and a picture for each slide; a person looks through them.

    Slides come worst first: those that failed, those without a fit tile, then by the share of their
    tiles with tissue that is left out. Nothing in it reaches out of the folder.

    Parameters
    ----------
    out : path
        Folder that `offsite.preprocessing.tiles.tiling.tile_cohort` wrote to.
    sites : mapping of str to str
        Site of each slide of the cohort; slides that are not tiled yet are counted alone.
    anew : sequence of str, optional
        Slides whose pictures are made anew; by default all.

    Raises
    ------
    InputError
        Code ``not_ours``: the page or a picture stands there that offsite did not write.
    """
    records = {slide: load_record(out, slide) for slide in sites}
    cards = []
    for slide, record in records.items():
        if record is not None:
            drawn = _drawn(out, slide, record, anew is None or slide in anew)
            cards.append(_card(out, record, sites[slide], drawn))
    cards.sort(key=lambda card: (card["rank"], -card["left_out"], card["slide"]))
    seen = [name for name in _names(records.values()) if any(card["tiles"][name] for card in cards)]
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = (resources(_HERE) / "page.html.j2").read_text(encoding="utf-8")
    text = environment.from_string(template).render(
        cards=cards,
        waiting=sum(record is None for record in records.values()),
        sites=sorted(set(sites.values())),
        colours={name: "#{:02x}{:02x}{:02x}".format(*COLOURS.get(name, OTHER)) for name in seen},
        kept=KEPT,
    )
    path = Path(out) / PAGE
    write_own(path, text)
    return path


def _names(records: Any) -> list[str]:
    """The statuses that tiles have, in their order; those of later versions at the end."""
    counted = {name for record in records if record is not None for name in record.counts}
    return [*STATUSES, *sorted(counted - {*STATUSES, "background"})]


def _drawn(out: str | Path, slide: str, record: SlideRecord, anew: bool) -> tuple[int, int] | None:
    """Width and height of half the slide's picture, px; None where there is nothing to draw."""
    if record.status == "failed" or not record.width or not record.height:
        return None
    try:
        tiles = load_tiles(out, slide)
    except InputError:  # the row says so: the table is gone or damaged
        return None
    if anew or not picture_path(out, slide).is_file():
        return save_tile_picture(out, tiles)
    return panel_size(record)


def _card(
    out: str | Path, record: SlideRecord, site: str, drawn: tuple[int, int] | None
) -> dict[str, Any]:
    counted = {name: count for name, count in record.counts.items() if name != "background"}
    tiles = dict.fromkeys(STATUSES, 0) | counted
    total = sum(tiles.values())
    left_out = (total - record.kept) / total if total else 1.0
    thumbnail = picture_paths(out, record.slide)[0]
    return {
        "slide": record.slide,
        "site": site,
        "status": record.status,
        "rank": _RANK.get(record.status, 0),
        "message": record.message,
        "tiles": tiles,
        "total": total,
        "left_out": left_out,
        "mm2": record.tissue_mm2,
        "picture": _address(picture_path(out, record.slide)) if drawn else "",
        "large": _address(thumbnail) if thumbnail.is_file() else "",
        "size": drawn or (0, 0),
    }


def _address(path: Path) -> str:
    return f"{FOLDER}/{quote(path.name)}"
