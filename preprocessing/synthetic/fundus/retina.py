"""Draw a retina: background, optic disc, macula, vessels, and the lesions of its grade.

Everything is in a plane whose field of view is the unit disc, x to the right and y downward, so
the same retina can be drawn at any size and seen by any camera. A right eye has its disc on the
right; a left eye is its mirror image. The lesion counts follow the grades' wording (microaneurysms
only; more than that; haemorrhages in every quadrant; new vessels or preretinal blood), their
numbers are our construction.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

DISC = np.array([0.52, -0.02])
MACULA = np.array([-0.08, 0.05])
_SHIFT = 4  # cv2 draws with 4 fractional bits

Spots = list[tuple[float, float, float]]  # x, y, radius


@dataclass(frozen=True)
class Retina:
    """What is to be drawn; lengths in field radii.

    Attributes
    ----------
    vessels : list of (points, width)
        Polylines (K x 2).
    microaneurysms, haemorrhages, exudates, cotton_wool : list of (x, y, radius)
        The lesions.
    new_vessels : list of (points, width)
        Fine tangles of the proliferative grade.
    preretinal : tuple or None
        Centre x, y and half width of a boat-shaped bleeding.
    pigment : float
        How dark the background is, about 1.
    texture_seed : int
        Of the background's mottling.
    """

    grade: int
    left: bool
    vessels: list[tuple[np.ndarray, float]]
    pigment: float
    texture_seed: int
    microaneurysms: Spots = field(default_factory=list)
    haemorrhages: Spots = field(default_factory=list)
    exudates: Spots = field(default_factory=list)
    cotton_wool: Spots = field(default_factory=list)
    new_vessels: list[tuple[np.ndarray, float]] = field(default_factory=list)
    preretinal: tuple[float, float, float] | None = None


# Fewest and most of each lesion by grade 0 to 4.
_MICROANEURYSMS = ((0, 0), (4, 9), (8, 18), (14, 26), (8, 20))
_HAEMORRHAGES = ((0, 0), (0, 0), (4, 9), (18, 32), (8, 20))
_EXUDATES = ((0, 0), (0, 0), (6, 24), (8, 30), (4, 24))
_COTTON_WOOL = ((0, 0), (0, 0), (0, 1), (2, 5), (1, 4))


def grow_retina(
    generator: np.random.Generator, grade: int, *, left: bool, pigment: float | None = None
) -> Retina:
    """Draw the anatomy and the lesions of a grade from a generator.

    Parameters
    ----------
    grade : int
        0 to 4.
    left : bool
        A left eye.
    pigment : float, optional
        The patient's; drawn here where it is not given.
    """
    vessels = _arcades(generator)
    counts = [
        int(generator.integers(low, high + 1))
        for low, high in (
            bounds[grade] for bounds in (_MICROANEURYSMS, _HAEMORRHAGES, _EXUDATES, _COTTON_WOOL)
        )
    ]
    new_vessels: list[tuple[np.ndarray, float]] = []
    preretinal = None
    if grade == 4:
        new_vessels = _tangles(generator)
        if generator.random() < 0.5:
            x, y = _somewhere(generator, 0.55)
            preretinal = (x, y, float(generator.uniform(0.12, 0.24)))
    return Retina(
        grade=grade,
        left=left,
        vessels=vessels,
        pigment=float(generator.normal(1.0, 0.08)) if pigment is None else pigment,
        texture_seed=int(generator.integers(2**31)),
        microaneurysms=_scattered(generator, counts[0], (0.012, 0.018), 0.7),
        haemorrhages=_scattered(generator, counts[1], (0.022, 0.05), 0.85),
        exudates=_clustered(generator, counts[2]),
        cotton_wool=_scattered(generator, counts[3], (0.04, 0.07), 0.7),
        new_vessels=new_vessels,
        preretinal=preretinal,
    )


def _somewhere(generator: np.random.Generator, reach: float) -> tuple[float, float]:
    radius = reach * np.sqrt(generator.random())
    angle = generator.uniform(0, 2 * np.pi)
    return float(radius * np.cos(angle)), float(radius * np.sin(angle))


def _scattered(
    generator: np.random.Generator, count: int, radii: tuple[float, float], reach: float
) -> Spots:
    return [(*_somewhere(generator, reach), float(generator.uniform(*radii))) for _ in range(count)]


def _clustered(generator: np.random.Generator, count: int) -> Spots:
    """Hard exudates lie in groups, often around the macula."""
    spots: Spots = []
    while len(spots) < count:
        centre = MACULA + generator.normal(0, 0.22, 2)
        for _ in range(int(generator.integers(3, 9))):
            x, y = centre + generator.normal(0, 0.06, 2)
            spots.append((float(x), float(y), float(generator.uniform(0.010, 0.024))))
    return spots[:count]


def _arcades(generator: np.random.Generator) -> list[tuple[np.ndarray, float]]:
    """Four arcades that leave the disc and arch round the macula, with side branches."""
    vessels: list[tuple[np.ndarray, float]] = []
    for up in (-1.0, 1.0):
        for reach, lift, width in ((1.45, 0.62, 0.030), (0.55, 0.75, 0.024)):
            direction = -1.0 if reach > 1 else 1.0
            steps = np.linspace(0, 1, 40)
            bend = lift * generator.uniform(0.85, 1.15)
            x = DISC[0] + direction * reach * steps**1.15
            y = DISC[1] + up * bend * np.sin(np.minimum(steps * 1.9, 2.4))
            wobble = np.cumsum(generator.normal(0, 0.006, (40, 2)), axis=0)
            trunk = np.stack([x, y], axis=1) + wobble
            vessels.append((trunk, width * generator.uniform(0.85, 1.15)))
            for start in generator.choice(np.arange(5, 34), 4, replace=False):
                side = float(generator.choice([-1.0, 1.0]))
                vessels.append((_branch(generator, trunk, int(start), side), width * 0.5))
    return vessels


def _branch(
    generator: np.random.Generator, trunk: np.ndarray, start: int, side: float
) -> np.ndarray:
    heading = trunk[start] - trunk[start - 1]
    angle = np.arctan2(heading[1], heading[0]) + side * generator.uniform(0.4, 0.9)
    turns = np.cumsum(generator.normal(0, 0.09, 18))
    steps = 0.024 * np.stack([np.cos(angle + turns), np.sin(angle + turns)], axis=1)
    return trunk[start] + np.cumsum(steps, axis=0)


def _tangles(generator: np.random.Generator) -> list[tuple[np.ndarray, float]]:
    """New vessels: fine, curled loops at the disc or elsewhere."""
    vessels: list[tuple[np.ndarray, float]] = []
    for _ in range(int(generator.integers(1, 4))):
        at_disc = generator.random() < 0.5
        centre = DISC if at_disc else np.array(_somewhere(generator, 0.65))
        for _ in range(int(generator.integers(7, 13))):
            angle = generator.uniform(0, 2 * np.pi)
            curl = np.cumsum(generator.normal(0.25, 0.35, 14) * generator.choice([-1, 1]))
            steps = 0.02 * np.stack([np.cos(angle + curl), np.sin(angle + curl)], axis=1)
            vessels.append((centre + np.cumsum(steps, axis=0), 0.009))
    return vessels


def draw_retina(retina: Retina, px: int) -> np.ndarray:
    """Return the light that leaves the retina: px x px x 3, RGB, float32 in [0, 1].

    The picture's sides touch the field of view; nothing is masked yet.
    """
    canvas = _background(retina, px)
    axis = (np.arange(px) + 0.5) / px * 2 - 1
    x, y = np.meshgrid(axis, axis)
    macula = np.exp(-((x - MACULA[0]) ** 2 + (y - MACULA[1]) ** 2) / (2 * 0.11**2))
    canvas *= 1 - 0.38 * macula[..., None]
    _paint_disc(canvas, x, y)
    blood = np.array([0.42, 0.10, 0.05], np.float32)
    _blend(canvas, _lines(retina.vessels, px), np.array([0.50, 0.13, 0.07], np.float32), 0.75)
    _blend(canvas, _spots(retina.cotton_wool, px, soft=0.012), np.array([0.95, 0.88, 0.66]), 0.7)
    _blend(canvas, _spots(retina.exudates, px), np.array([0.98, 0.86, 0.38]), 0.9)
    _blend(canvas, _spots(retina.haemorrhages, px, soft=0.004), blood, 0.85)
    _blend(canvas, _spots(retina.microaneurysms, px), blood, 0.85)
    _blend(canvas, _lines(retina.new_vessels, px), blood, 0.85)
    if retina.preretinal is not None:
        _blend(canvas, _boat(retina.preretinal, px), blood * 0.9, 0.92)
    picture = canvas[:, ::-1] if retina.left else canvas
    return np.clip(picture, 0, 1).astype(np.float32)


def _background(retina: Retina, px: int) -> np.ndarray:
    generator = np.random.default_rng(retina.texture_seed)
    coarse = cv2.resize(generator.normal(0, 1, (6, 6)), (px, px), interpolation=cv2.INTER_CUBIC)
    fine = cv2.resize(generator.normal(0, 1, (28, 28)), (px, px), interpolation=cv2.INTER_CUBIC)
    mottle = 1 + 0.045 * coarse + 0.02 * fine
    base = np.array([0.80, 0.40, 0.19]) / retina.pigment
    return np.asarray(base[None, None] * mottle[..., None], dtype=np.float32)


def _paint_disc(canvas: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    distance = np.sqrt(((x - DISC[0]) / 0.125) ** 2 + ((y - DISC[1]) / 0.145) ** 2)
    rim = 1 / (1 + np.exp((distance - 1) * 14))
    cup = 1 / (1 + np.exp((distance - 0.45) * 10))
    _blend(canvas, rim, np.array([0.98, 0.72, 0.42]), 0.85)
    _blend(canvas, cup, np.array([1.0, 0.92, 0.72]), 0.7)


def _blend(canvas: np.ndarray, mask: np.ndarray, colour: np.ndarray, strength: float) -> None:
    weight = (mask * strength)[..., None].astype(np.float32)
    canvas *= 1 - weight
    canvas += weight * colour.astype(np.float32)


def _to_px(points: np.ndarray, px: int) -> np.ndarray:
    return np.round(((points + 1) / 2 * px - 0.5) * 2**_SHIFT).astype(np.int32)


def _lines(lines: list[tuple[np.ndarray, float]], px: int) -> np.ndarray:
    """Mask of polylines in [0, 1]; they thin out to half their width at the far end."""
    scale = 2  # lines are drawn at twice the size, since cv2 knows whole widths alone
    mask = np.zeros((px * scale, px * scale), np.uint8)
    for points, width in lines:
        corners = _to_px(points, px * scale)
        third = max(len(corners) // 3, 1)
        for part, share in ((0, 1.0), (third, 0.75), (2 * third, 0.5)):
            thickness = max(1, round(width * share * px * scale / 2))
            piece = corners[part : part + third + 1].reshape(-1, 1, 2)
            cv2.polylines(mask, [piece], False, 255, thickness, cv2.LINE_AA, _SHIFT)
    return cv2.resize(mask, (px, px), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _spots(spots: Spots, px: int, soft: float = 0.0) -> np.ndarray:
    """Mask of discs in [0, 1]."""
    scale = 4
    mask = np.zeros((px * scale, px * scale), np.uint8)
    for x, y, radius in spots:
        centre = _to_px(np.array([x, y]), px * scale)
        length = round(radius * px * scale / 2 * 2**_SHIFT)
        cv2.circle(mask, (int(centre[0]), int(centre[1])), length, 255, -1, cv2.LINE_AA, _SHIFT)
    small = cv2.resize(mask, (px, px), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return cv2.GaussianBlur(small, (0, 0), soft * px) if soft else small


def _boat(boat: tuple[float, float, float], px: int) -> np.ndarray:
    """The lower half of an ellipse: blood that has sunk before the retina."""
    x, y, width = boat
    mask = np.zeros((px, px), np.uint8)
    centre = _to_px(np.array([x, y]), px)
    half = width * px / 2 * 2**_SHIFT
    cv2.ellipse(
        mask,
        (int(centre[0]), int(centre[1])),
        (round(half), round(half * 0.6)),
        0,
        0,
        180,
        255,
        -1,
        cv2.LINE_AA,
        _SHIFT,
    )
    return mask.astype(np.float32) / 255
