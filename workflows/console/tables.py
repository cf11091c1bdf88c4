"""Tables of results on a terminal: one look, and one name for a site, wherever they are printed."""

from rich.box import SIMPLE_HEAD
from rich.table import Table

ROLES = {"held_out": "unseen", "training": "trained", "all": "all"}


def plain_table(title: str, caption: str | None = None) -> Table:
    """Return an empty table without a frame."""
    return Table(
        title=title,
        title_justify="left",
        caption=caption,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
        pad_edge=False,
    )


def site_title(site: str, role: str) -> str:
    """Return a site's name, and what it is where that is not a training site's."""
    plain = role == "training" and site != "_pooled"
    return site if plain else f"{site.removeprefix('_')}, {ROLES[role]}"
