"""Tissue as a list of structures in micrometres, before any stain, scanner or pixel.

The same biology seed gives the same tissue at every site, so that two renderings are true twins.
The classes differ in the size, density and arrangement of nuclei alone: the share of the area that
nuclei and lumina cover, and how dark they are, is the same for all, so colour does not tell them.
Our construction.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import cKDTree

from offsite.preprocessing.synthetic.slides.patterns import PATTERNS, STROMA, Pattern

RASTER_UM = 2.0
"""um per px of the region maps and of the truth masks."""

CLASSES = ("normal", "low_grade", "high_grade")
"""The three patterns, from round nuclei in regular glands to large ones in sheets."""

NUCLEAR_COVER = (0.17, 0.26)
LUMEN_COVER = (0.03, 0.09)
EPITHELIUM_SHARE = (0.5, 0.75)
TISSUE_FACTOR = (0.8, 1.15)
CONTRAST = {
    "thickness": (0.08, 0.26),
    "fibre": (0.06, 0.26),
    "grain": (0.5, 1.8),
    "chromatin": (0.12, 0.4),
    "softness": (0.5, 1.5),
}
"""Bounds between which slides differ whatever their class."""

_COUNTING_UM = 1.0


@dataclass(frozen=True)
class Biology:
    """A piece of tissue.

    Attributes
    ----------
    label : str
        One of ``CLASSES``.
    width_um, height_um : float
        Extent of the glass that is scanned.
    tissue, epithelium, lesion : numpy.ndarray
        Smooth float32 maps at ``RASTER_UM``; positive inside.
    nuclei : numpy.ndarray
        N x 6, float64: x, y, semi-axes a, b (um), angle (degrees), darkness 0..1.
    lumina : numpy.ndarray
        M x 5, float64: x, y, a, b (um), angle (degrees); holes in the tissue.
    noise : dict of str to numpy.ndarray
        Coarse grids of standard normal numbers; ``noise_um`` has their spacing.
    contrast : dict of str to float
        How strongly each noise shows; ``softness``: how gradually nuclei end.
    """

    label: str
    width_um: float
    height_um: float
    tissue: np.ndarray
    epithelium: np.ndarray
    lesion: np.ndarray
    nuclei: np.ndarray
    lumina: np.ndarray
    noise: dict[str, np.ndarray]
    noise_um: dict[str, tuple[float, float]]
    contrast: dict[str, float]


def grow(
    seed: int | tuple[int, ...],
    label: str,
    *,
    width_um: float,
    height_um: float,
    tissue_share: float = 0.5,
    lesion_share: tuple[float, float] = (0.3, 0.7),
    patient_seed: int | tuple[int, ...] | None = None,
) -> Biology:
    """Grow a piece of tissue.

    Parameters
    ----------
    seed : int or tuple of int
        Biology seed; the whole tissue follows from it.
    label : str
        Class of the lesion; for the first class the lesion map is empty.
    tissue_share : float
        Share of the glass that tissue covers.
    lesion_share : (float, float)
        Bounds of the share of the epithelium that shows the class's pattern.
    patient_seed : optional
        Seed of what the slides of a patient share (nuclear size); ``seed`` by default.
    """
    generator = np.random.default_rng(np.random.SeedSequence(seed))
    person = np.random.default_rng(np.random.SeedSequence(patient_seed or seed))
    size = float(np.clip(person.normal(1.0, 0.04), 0.9, 1.1))
    nuclear_cover = generator.uniform(*NUCLEAR_COVER)
    lumen_cover = generator.uniform(*LUMEN_COVER)
    darkness = (generator.uniform(0.35, 0.6), generator.uniform(0.8, 1.0))
    shape = (round(height_um / RASTER_UM), round(width_um / RASTER_UM))
    tissue = _blobs(generator, shape, 150.0, tissue_share * generator.uniform(*TISSUE_FACTOR))
    inside = tissue > 0
    epithelium = _quantile_map(generator, shape, 70.0, inside, generator.uniform(*EPITHELIUM_SHARE))
    share = generator.uniform(*lesion_share)
    lesion = _quantile_map(generator, shape, 110.0, inside & (epithelium > 0), share)
    if label == CLASSES[0]:
        lesion = np.full(shape, -1.0, np.float32)
    lesion = np.minimum(lesion, np.minimum(epithelium, tissue))

    healthy = inside & (epithelium > 0) & (lesion <= 0)
    regions = [
        (PATTERNS[CLASSES[0]], healthy, nuclear_cover, lumen_cover),
        (PATTERNS[label], lesion > 0, nuclear_cover, lumen_cover),
        (STROMA, inside & (epithelium <= 0), 0.045, 0.0),
    ]
    nuclei, lumina = [], []
    for pattern, region, cell_share, hole_share in regions:
        cells, holes = _arrange(generator, pattern, size, (height_um, width_um))
        holes = _until_covered(holes[_lookup(region, holes)], region, hole_share)
        cells = _outside(cells[_lookup(region, cells)], holes)
        cells = _until_covered(cells, region, cell_share)
        nuclei.append(np.column_stack([cells, generator.uniform(*darkness, len(cells))]))
        lumina.append(holes)
    noise, noise_um = _noise_grids(generator, width_um, height_um)
    return Biology(
        label=label, width_um=width_um, height_um=height_um, tissue=tissue,
        epithelium=epithelium, lesion=lesion, nuclei=np.concatenate(nuclei),
        lumina=np.concatenate(lumina), noise=noise, noise_um=noise_um,
        contrast={name: generator.uniform(*bounds) for name, bounds in CONTRAST.items()},
    )  # fmt: skip


def smooth_noise(
    generator: np.random.Generator, shape: tuple[int, int], cells: float
) -> np.ndarray:
    """Band-limited float32 noise of about unit variance; one random number per ``cells`` px."""
    small = tuple(int(np.ceil(side / cells)) + 3 for side in shape)
    grid = generator.standard_normal(small).astype(np.float32)
    size = (int(small[1] * cells), int(small[0] * cells))
    return cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC)[: shape[0], : shape[1]]


def _blobs(
    generator: np.random.Generator, shape: tuple[int, int], scale_um: float, share: float
) -> np.ndarray:
    """A smooth map that is positive on ``share`` of the area and never at the border."""
    field = smooth_noise(generator, shape, scale_um / RASTER_UM)
    field = field + 0.25 * smooth_noise(generator, shape, 30.0 / RASTER_UM)
    rows = np.minimum(np.arange(shape[0]), np.arange(shape[0])[::-1])[:, None] * RASTER_UM
    columns = np.minimum(np.arange(shape[1]), np.arange(shape[1])[::-1])[None] * RASTER_UM
    field = field - 4.0 * np.exp(-np.minimum(rows, columns) / 30.0)
    return (field - np.quantile(field, 1 - share)).astype(np.float32)


def _quantile_map(
    generator: np.random.Generator,
    shape: tuple[int, int],
    scale_um: float,
    inside: np.ndarray,
    share: float,
) -> np.ndarray:
    """A smooth map that is positive on ``share`` of the pixels of ``inside``."""
    field = smooth_noise(generator, shape, scale_um / RASTER_UM)
    return (field - np.quantile(field[inside], 1 - share)).astype(np.float32)


def _lookup(region: np.ndarray, ellipses: np.ndarray) -> np.ndarray:
    columns = np.clip((ellipses[:, 0] / RASTER_UM).astype(int), 0, region.shape[1] - 1)
    rows = np.clip((ellipses[:, 1] / RASTER_UM).astype(int), 0, region.shape[0] - 1)
    return region[rows, columns]


def _outside(cells: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """Cells that overlap no hole (both taken as discs)."""
    if not len(holes) or not len(cells):
        return cells
    distance, nearest = cKDTree(holes[:, :2]).query(cells[:, :2])
    return cells[distance > holes[nearest, 2:4].max(axis=1) + cells[:, 3]]


def _arrange(
    generator: np.random.Generator, pattern: Pattern, size: float, extent: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates for nuclei and lumina over the whole extent, in order of preference."""
    if pattern.arrangement == "sheets":
        points = _hexagonal(generator, extent, 1.5 * pattern.radius * size, jitter=0.45)
        points = generator.permutation(points)
        holes = generator.permutation(_hexagonal(generator, extent, 11.0, jitter=0.4))
        hole_axes = np.exp(generator.normal(np.log(3.2), 0.3, (len(holes), 1))) * [1.0, 0.8]
        angles = generator.uniform(0, 180, len(points))
        hole_angles = generator.uniform(0, 180, len(holes))
    else:
        crowded = pattern.arrangement == "crowded_glands"
        pitch, lumen = (40.0, (11.0, 4.6)) if crowded else (50.0, (8.6, 7.4))
        holes = generator.permutation(_hexagonal(generator, extent, pitch, jitter=0.12))
        hole_axes = np.exp(generator.normal(0, 0.1, (len(holes), 2))) * lumen
        hole_angles = generator.uniform(0, 180, len(holes))
        points, angles = _rings(generator, holes, hole_angles, pitch, crowded)
    radius = np.exp(generator.normal(np.log(pattern.radius * size), pattern.spread, len(points)))
    aspect = pattern.aspect * np.exp(generator.normal(0, 0.08, len(points)))
    cells = np.column_stack([points, radius * np.sqrt(aspect), radius / np.sqrt(aspect), angles])
    return cells, np.column_stack([holes, hole_axes, hole_angles])


def _rings(
    generator: np.random.Generator,
    centres: np.ndarray,
    tilt: np.ndarray,
    pitch: float,
    crowded: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Nuclei around each lumen: one row of them, or two where glands are crowded."""
    per_ring, distances = (13, (0.30, 0.46)) if crowded else (18, (0.34, 0.46))
    points, angles = [], []
    for distance in distances:
        turn = np.linspace(0, 2 * np.pi, per_ring, endpoint=False)
        turn = turn + generator.uniform(0, 2 * np.pi, (len(centres), 1))
        turn = turn + generator.normal(0, 0.06, turn.shape)
        away = distance * pitch * np.exp(generator.normal(0, 0.05, turn.shape))
        long = 1.25 if crowded else 1.0
        local = np.stack([away * long * np.cos(turn), away / long * np.sin(turn)], axis=-1)
        lean = np.deg2rad(tilt)[:, None]
        x = local[..., 0] * np.cos(lean) - local[..., 1] * np.sin(lean)
        y = local[..., 0] * np.sin(lean) + local[..., 1] * np.cos(lean)
        ring = np.stack([x, y], axis=-1) + centres[:, None]
        order = generator.permutation(ring.shape[0] * ring.shape[1])
        points.append(ring.reshape(-1, 2)[order])
        angles.append(np.rad2deg(np.arctan2(y, x)).ravel()[order])
    return np.concatenate(points), np.concatenate(angles)


def _hexagonal(
    generator: np.random.Generator, extent: tuple[float, float], pitch: float, *, jitter: float
) -> np.ndarray:
    rows = np.arange(0, extent[0], pitch * 0.866)
    columns = np.arange(0, extent[1], pitch)
    y, x = np.meshgrid(rows, columns, indexing="ij")
    x = x + (np.arange(len(rows)) % 2)[:, None] * pitch / 2
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    return points + generator.normal(0, jitter * pitch / 2, points.shape)


def _until_covered(ellipses: np.ndarray, region: np.ndarray, cover: float) -> np.ndarray:
    """The first ellipses that together cover the share ``cover`` of the region."""
    area = float(region.sum()) * RASTER_UM**2
    if cover == 0 or area == 0 or not len(ellipses):
        return ellipses[:0]
    canvas = np.zeros([round(side * RASTER_UM / _COUNTING_UM) for side in region.shape], np.uint8)
    kept, step, covered, before = 0, max(len(ellipses) // 40, 1), 0.0, 0.0
    while kept < len(ellipses) and covered < cover:
        before = covered
        draw_ellipses(canvas, ellipses[kept : kept + step], _COUNTING_UM, 255)
        kept += step
        covered = float(canvas.sum()) / 255 * _COUNTING_UM**2 / area
    if covered > cover:
        kept -= round(step * (covered - cover) / (covered - before))
    return ellipses[:kept]


def draw_ellipses(
    canvas: np.ndarray, ellipses: np.ndarray, mpp: float, value: int | np.ndarray, scale: float = 1
) -> None:
    """Draw filled, anti-aliased ellipses (x, y, a, b in um, angle) on a uint8 canvas."""
    fixed = 1 << 6
    centres = np.rint((ellipses[:, :2] / mpp - 0.5) * fixed).astype(int)
    axes = np.rint(ellipses[:, 2:4] * scale / mpp * fixed).astype(int)
    values = np.broadcast_to(np.asarray(value), len(ellipses))
    for centre, axis, angle, shade in zip(
        centres.tolist(), axes.tolist(), ellipses[:, 4].tolist(), values.tolist(), strict=True
    ):
        cv2.ellipse(canvas, centre, axis, angle, 0, 360, shade, -1, cv2.LINE_AA, 6)


def _noise_grids(
    generator: np.random.Generator, width_um: float, height_um: float
) -> tuple[dict[str, np.ndarray], dict[str, tuple[float, float]]]:
    spacing = {  # x and y spacing in um
        "thickness": (60.0, 60.0),
        "fibre": (22.0, 4.0),
        "fibre_across": (4.0, 22.0),
        "grain": (2.5, 2.5),
        "chromatin": (1.1, 1.1),
    }
    grids = {}
    for name, (x, y) in spacing.items():
        shape = (int(np.ceil(height_um / y)) + 4, int(np.ceil(width_um / x)) + 4)
        grids[name] = generator.standard_normal(shape).astype(np.float32)
    return grids, spacing
