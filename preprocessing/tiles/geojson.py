"""Tissue and tiles as GeoJSON that QuPath opens over the slide."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from offsite.files import digest_of
from offsite.preprocessing.tiles.pictures import MASK_COLOURS, picture_paths
from offsite.preprocessing.tiles.table import FOLDER, KEPT, SlideTiles, load_tiles
from offsite.written import check_own, write_own

COLOURS = {
    "Tissue": (200, 60, 140),
    KEPT: (40, 140, 60),
    "pen": (40, 90, 200),
    "fold": (110, 40, 120),
    "blurred": (220, 150, 30),
}
_OTHER = (120, 120, 120)
_MARK = '{"type":"FeatureCollection","made_by":"offsite","made_from":'


def export_geojson(out: str | Path, slide: str, path: str | Path | None = None) -> Path:
    """Write tissue outlines and every tile with its status and measurements.

    Drop the file on the open slide in QuPath. Coordinates are level-0 px from the corner of the
    scanned area (MRXS), as QuPath counts them. A file that is up to date stays as it is.

    Returns
    -------
    Path
        ``path``, by default ``tiles/<slide>.geojson``.

    Raises
    ------
    InputError
        Code ``not_ours``: a file of that name is there that this function did not write, such as a
        pathologist's annotations, or that somebody changed.
    """
    tiles = load_tiles(out, slide)
    target = Path(path) if path is not None else Path(out) / FOLDER / f"{slide}.geojson"
    source = digest_of([tiles.record.tiles_digest, tiles.record.settings_digest])
    head = f"{_MARK}{json.dumps(source)},"
    check_own(target)
    if _is_current(target, head):
        return target
    mask_file = picture_paths(out, slide)[1]
    features = []
    if mask_file.is_file():
        picture = np.asarray(cv2.imread(str(mask_file), cv2.IMREAD_COLOR_RGB))
        shown = [MASK_COLOURS[name] for name in ("tissue", "fold")]
        mask = np.any([(picture == colour).all(axis=-1) for colour in shown], axis=0)
        assert tiles.record.width is not None
        features += tissue_features(
            mask, tiles.record.width / mask.shape[1], tiles.record.bounds_offset
        )
    features += tile_features(tiles)
    body = json.dumps(features, separators=(",", ":"), allow_nan=False)
    write_own(target, f'{head}"features":{body}}}')
    return target


def _is_current(target: Path, head: str) -> bool:
    """Whether the file begins with ``head``."""
    if not target.exists():
        return False
    with target.open("rb") as file:
        return file.read(len(head.encode())) == head.encode()


def tissue_features(
    mask: np.ndarray, step: float, offset: tuple[int, int] = (0, 0)
) -> list[dict[str, Any]]:
    """The pieces of a mask as QuPath annotations; ``step`` is level-0 px per px of the mask."""
    features = []
    for rings in mask_polygons(mask):
        coordinates = [np.round(ring * step - offset, 1).tolist() for ring in rings]
        features.append(_feature("annotation", "Tissue", coordinates))
    return features


def tile_features(tiles: SlideTiles) -> list[dict[str, Any]]:
    """Every tile with tissue as a QuPath tile: its status as class, its columns as measurements."""
    size = tiles.record.size or 0
    offset_x, offset_y = tiles.record.bounds_offset
    measures = [name for name in tiles.table.columns if name not in ("x", "y", "status")]
    features = []
    for row in tiles.table.to_dict("records"):
        x, y = int(row["x"]) - offset_x, int(row["y"]) - offset_y
        ring = [[x, y], [x + size, y], [x + size, y + size], [x, y + size], [x, y]]
        feature = _feature("tile", str(row["status"]), [ring])
        known = {name: float(row[name]) for name in measures if np.isfinite(row[name])}
        feature["properties"]["measurements"] = {k: round(v, 4) for k, v in known.items()}
        features.append(feature)
    return features


def _feature(kind: str, name: str, coordinates: list[Any]) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": coordinates},
        "properties": {
            "objectType": kind,
            "classification": {"name": name, "color": list(COLOURS.get(name, _OTHER))},
        },
    }


def mask_polygons(mask: np.ndarray) -> list[list[np.ndarray]]:
    """Outlines of a mask (bool) along the borders of its px: they cover exactly its area.

    Returns
    -------
    list of list of numpy.ndarray
        For each 4-connected piece its outer ring and its holes; a ring is N x 2 (x, y), closed,
        its corners only, and never touches itself. Two rings of a piece may touch in a point.
    """
    following = _border_edges(mask)
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    pieces: dict[int, list[np.ndarray]] = defaultdict(list)
    while following:
        ring, inside = _walk(following)
        pieces[int(labels[inside[1], inside[0]])] += _simple_rings(ring)
    for rings in pieces.values():
        rings.sort(key=_area, reverse=True)  # the outer ring runs clockwise: its area is positive
    return [pieces[label] for label in sorted(pieces)]


Point = tuple[int, int]
_EDGES = (  # the px beyond the border, and the edge's start and end; the inside lies to the right
    ((0, -1), (0, 0), (1, 0)),
    ((1, 0), (1, 0), (1, 1)),
    ((0, 1), (1, 1), (0, 1)),
    ((-1, 0), (0, 1), (0, 0)),
)


def _border_edges(mask: np.ndarray) -> dict[Point, list[Point]]:
    """Every border between inside and outside as a directed edge, by its start."""
    padded = np.pad(mask.astype(bool), 1)
    following: dict[Point, list[Point]] = {}
    for (dx, dy), start, end in _EDGES:
        beyond = np.roll(padded, (-dy, -dx), axis=(0, 1))
        rows, columns = np.nonzero((padded & ~beyond)[1:-1, 1:-1])
        for x, y in zip(columns.tolist(), rows.tolist(), strict=True):
            following.setdefault((x + start[0], y + start[1]), []).append((x + end[0], y + end[1]))
    return following


def _walk(following: dict[Point, list[Point]]) -> tuple[np.ndarray, Point]:
    """Take one ring out of the edges; also return a px inside it."""
    start = next(iter(following))
    here, ring, heading = start, [start], (0, 0)
    first = following[start][0]
    inside = _px_right_of(start, first)
    while True:
        ends = following[here]
        right = (here[0] - heading[1], here[1] + heading[0])  # keep to the piece at a crossing
        there = right if len(ends) > 1 and right in ends else ends[0]
        ends.remove(there)
        if not ends:
            del following[here]
        step = (there[0] - here[0], there[1] - here[1])
        if step == heading:
            ring.pop()
        ring.append(there)
        here, heading = there, step
        if here == start:
            return np.array(ring, float), inside


def _simple_rings(ring: np.ndarray) -> list[np.ndarray]:
    """Part a closed ring wherever it comes back to a point: QuPath takes rings that never do.

    A piece whose px meet at a corner alone around a hole is walked around as one ring: it becomes
    the outer ring and the ring of the hole.
    """
    rings: list[np.ndarray] = []
    path: list[tuple[float, float]] = []
    places: dict[tuple[float, float], int] = {}
    for x, y in ring.tolist():
        start = places.get((x, y))
        if start is not None:
            rings.append(np.array([*path[start:], (x, y)]))
            for point in path[start:]:
                del places[point]
            del path[start:]
        places[(x, y)] = len(path)
        path.append((x, y))
    return [_corners(closed) for closed in rings]


def _corners(ring: np.ndarray) -> np.ndarray:
    """A closed ring without the points between two edges of one direction."""
    edges = np.sign(np.diff(ring, axis=0))
    kept = ring[:-1][(edges != np.roll(edges, 1, axis=0)).any(axis=1)]
    return np.concatenate([kept, kept[:1]])


def _px_right_of(start: Point, end: Point) -> Point:
    """The px on the right hand of an edge (y points down)."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    return (start[0] - (dx < 0) - (dy > 0), start[1] - (dy < 0) - (dx < 0))


def _area(ring: np.ndarray) -> float:
    x, y = ring.T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)
