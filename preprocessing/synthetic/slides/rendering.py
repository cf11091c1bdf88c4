"""From tissue to pixels: stain, light, optics, sensor, and the accidents of the bench.

Optical densities follow Beer and Lambert: a pixel is ``white * 10 ** -(h * H + e * E)`` with
concentrations ``h, e`` and the site's stain vectors ``H, E`` (Ruifrok & Johnston 2001). The
rest is our construction.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from offsite.preprocessing.synthetic.slides.biology import RASTER_UM, Biology, draw_ellipses
from offsite.preprocessing.synthetic.slides.sites import SiteProfile

PEN_COLOURS = {
    "blue": (40, 105, 195),
    "green": (35, 145, 115),
    "black": (52, 50, 54),
    "red": (205, 45, 65),
}


@dataclass(frozen=True)
class Artefacts:
    """Where the accidents of a slide lie; all lengths in um.

    Attributes
    ----------
    pen : tuple of (colour name, N x 2 points, width)
    fold : tuple of (N x 2 points, width)
    blur : tuple of (x, y, radius, standard deviation of the blur)
    """

    pen: tuple[tuple[str, np.ndarray, float], ...] = ()
    fold: tuple[tuple[np.ndarray, float], ...] = ()
    blur: tuple[tuple[float, float, float, float], ...] = field(default=())


def sample_artefacts(
    generator: np.random.Generator, biology: Biology, profile: SiteProfile
) -> Artefacts:
    """Draw the artefacts of a slide by the site's rates."""
    extent = np.array([biology.width_um, biology.height_um])
    rows, columns = np.nonzero(biology.tissue > 0)

    def somewhere() -> np.ndarray:
        at = int(generator.integers(len(rows)))
        return np.array([columns[at], rows[at]]) * RASTER_UM

    def stroke(length: float, wobble: float) -> np.ndarray:
        turn = generator.uniform(0, np.pi)
        steps = np.linspace(-0.5, 0.5, 12)[:, None] * length
        points = somewhere() + steps * [np.cos(turn), np.sin(turn)]
        return points + generator.normal(0, wobble, points.shape)

    chance = generator.uniform(size=3)
    colours = sorted(PEN_COLOURS)
    pen = tuple(
        (colours[int(generator.integers(len(colours)))], stroke(0.45 * extent.min(), 4.0), 26.0)
        for _ in range(2 * int(chance[0] < profile.pen_rate))
    )
    fold = tuple(
        (stroke(0.4 * extent.min(), 2.5), 22.0) for _ in range(int(chance[1] < profile.fold_rate))
    )
    blur = tuple(
        (*somewhere().tolist(), 0.16 * extent.min(), 4.0)
        for _ in range(int(chance[2] < profile.blur_rate))
    )
    return Artefacts(pen=pen, fold=fold, blur=blur)


def render(
    biology: Biology,
    profile: SiteProfile,
    *,
    seed: int | tuple[int, ...],
    artefacts: Artefacts | None = None,
    mpp: float | None = None,
) -> np.ndarray:
    """Render the tissue as a site would stain and scan it.

    Parameters
    ----------
    seed : int or tuple of int
        Seed of the day's staining and of the sensor noise; not of the tissue.
    artefacts : Artefacts, optional
        None for a clean slide.
    mpp : float, optional
        um per px; the site's own by default.

    Returns
    -------
    numpy.ndarray
        H x W x 3, uint8, RGB.
    """
    step = profile.mpp if mpp is None else mpp
    size = (round(biology.width_um / step), round(biology.height_um / step))
    generator = np.random.default_rng(np.random.SeedSequence(seed))
    haematoxylin, eosin = _concentrations(biology, step, size)
    marks = artefacts or Artefacts()
    for points, width in marks.fold:
        inside = _line(points, width, step, size).astype(np.float32) / 255
        thicker = 1 + 1.3 * cv2.GaussianBlur(inside, (0, 0), 1.5 / step)
        haematoxylin *= thicker
        eosin *= thicker
    day = np.exp(generator.normal(0, (0.12, 0.12, 0.35)))  # both stains, and the focus
    haematoxylin *= profile.gain_h * day[0]
    eosin *= profile.gain_e * day[1]
    image = _light(haematoxylin, eosin, profile)
    for colour, points, width in marks.pen:
        _ink(image, colour, points, width, step)
    image = cv2.GaussianBlur(image, (0, 0), max(profile.blur_um * day[2] / step, 0.1))
    for x, y, radius, sigma in marks.blur:
        _defocus(image, x, y, radius, sigma, step)
    return _sense(image, profile.noise, generator)


def truth_masks(biology: Biology, artefacts: Artefacts | None = None) -> dict[str, np.ndarray]:
    """Boolean masks at ``RASTER_UM``: tissue, lesion, pen, fold (in tissue), blur (in tissue)."""
    tissue = biology.tissue > 0
    size = (tissue.shape[1], tissue.shape[0])
    marks = artefacts or Artefacts()
    masks = {"tissue": tissue, "lesion": biology.lesion > 0}
    pen, fold, blur = (np.zeros(tissue.shape, bool) for _ in range(3))
    for _, points, width in marks.pen:
        pen |= _line(points, width, RASTER_UM, size) > 127
    for points, width in marks.fold:
        fold |= _line(points, width, RASTER_UM, size) > 127
    rows, columns = np.ogrid[: tissue.shape[0], : tissue.shape[1]]
    for x, y, radius, _ in marks.blur:
        blur |= np.hypot((columns + 0.5) * RASTER_UM - x, (rows + 0.5) * RASTER_UM - y) < radius
    return masks | {"pen": pen, "fold": fold & tissue, "blur": blur & tissue}


def _sample(
    grid: np.ndarray, spacing: tuple[float, float], mpp: float, size: tuple[int, int]
) -> np.ndarray:
    """A coarse grid (its spacing in um, x and y) at the pixels of the slide; pixel centres match."""
    matrix = np.array(
        [
            [mpp / spacing[0], 0, 0.5 * mpp / spacing[0] - 0.5],
            [0, mpp / spacing[1], 0.5 * mpp / spacing[1] - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(grid, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _concentrations(
    biology: Biology, mpp: float, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Haematoxylin and eosin per pixel (float32; 1 is a typical dark nucleus, pink stroma)."""
    raster = (RASTER_UM, RASTER_UM)

    def noise(name: str) -> np.ndarray:
        return _sample(biology.noise[name], biology.noise_um[name], mpp, size)

    edge = cv2.GaussianBlur((biology.tissue > 0).astype(np.float32), (0, 0), 1.0)
    tissue = _sample(edge, raster, mpp, size)
    gland = _sample((biology.epithelium > 0).astype(np.float32), raster, mpp, size)
    fibres = np.maximum(noise("fibre"), noise("fibre_across"))
    contrast = {name: np.float32(value) for name, value in biology.contrast.items()}
    grain = contrast["grain"] * noise("grain")
    thickness = 1 + contrast["thickness"] * noise("thickness")
    stroma = (1 - gland) * (0.13 + contrast["fibre"] * fibres)
    eosin = thickness * (0.52 + stroma + 0.05 * grain)
    haematoxylin = thickness * (0.10 + 0.07 * gland + 0.03 * grain)
    holes = np.zeros((size[1], size[0]), np.uint8)
    draw_ellipses(holes, biology.lumina, mpp, 255)
    present = tissue * (1 - holes.astype(np.float32) / 255)
    nuclei = np.zeros((size[1], size[0]), np.uint8)
    for depth, share in ((0.0, 0.4), (0.12, 0.65), (0.26, 0.85), (0.42, 1.0)):
        scale = float(1 - depth * contrast["softness"])  # soft in proportion to the size
        shade = np.rint(255 * share * biology.nuclei[:, 5]).astype(int)
        draw_ellipses(nuclei, biology.nuclei, mpp, shade, scale)
    dark = nuclei.astype(np.float32) / 255
    chromatin = 1 + contrast["chromatin"] * noise("chromatin")
    eosin *= present * (1 - 0.55 * dark)
    haematoxylin *= present
    haematoxylin += dark * chromatin * tissue
    return np.maximum(haematoxylin, 0, out=haematoxylin), np.maximum(eosin, 0, out=eosin)


def _light(haematoxylin: np.ndarray, eosin: np.ndarray, profile: SiteProfile) -> np.ndarray:
    """Beer-Lambert: the light that comes through, float32 grey values."""
    image = np.empty((*haematoxylin.shape, 3), np.float32)
    for channel in range(3):
        density = haematoxylin * np.float32(profile.haematoxylin[channel])
        density += eosin * np.float32(profile.eosin[channel])
        density *= np.float32(-np.log(10) * 0.62)
        np.exp(density, out=density)
        image[..., channel] = density * np.float32(profile.white[channel])
    return image


def _line(points: np.ndarray, width: float, mpp: float, size: tuple[int, int]) -> np.ndarray:
    canvas = np.zeros((size[1], size[0]), np.uint8)
    path = np.rint((points / mpp - 0.5) * 16).astype(np.int32)
    cv2.polylines(canvas, [path[:, None]], False, 255, max(round(width / mpp), 1), cv2.LINE_AA, 4)
    return canvas


def _ink(image: np.ndarray, colour: str, points: np.ndarray, width: float, mpp: float) -> None:
    """Ink lies over the tissue and lets its own colour through."""
    cover = _line(points, width, mpp, (image.shape[1], image.shape[0])) / np.float32(255)
    for channel, value in enumerate(PEN_COLOURS[colour]):
        image[..., channel] *= np.exp(cover * np.float32(np.log(value / 245)))


def _defocus(
    image: np.ndarray, x: float, y: float, radius: float, sigma: float, mpp: float
) -> None:
    margin = radius + 3 * sigma
    left, top = max(int((x - margin) / mpp), 0), max(int((y - margin) / mpp), 0)
    box = image[top : int((y + margin) / mpp), left : int((x + margin) / mpp)]
    if not box.size:
        return
    disc = np.zeros(box.shape[:2], np.float32)
    centre = (round(x / mpp) - left, round(y / mpp) - top)
    cv2.circle(disc, centre, round(radius / mpp), 1.0, -1)
    cover = cv2.GaussianBlur(disc, (0, 0), 2.0 / mpp)[..., None]
    box[:] = box * (1 - cover) + cv2.GaussianBlur(box, (0, 0), sigma / mpp) * cover


def _sense(image: np.ndarray, noise: float, generator: np.random.Generator) -> np.ndarray:
    """Add sensor noise (a repeated block: it carries no information) and round to uint8."""
    block = (noise * generator.standard_normal((256, 256, 3))).astype(np.float32)
    for row in range(0, image.shape[0], 256):
        for column in range(0, image.shape[1], 256):
            part = image[row : row + 256, column : column + 256]
            part += block[: part.shape[0], : part.shape[1]]
    np.rint(image, out=image)
    return np.clip(image, 0, 255, out=image).astype(np.uint8)
