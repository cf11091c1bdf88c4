"""Measurements on one normalised density image of a tile; each gives a short float vector."""

from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np
from scipy.fft import rfft2
from scipy.spatial import cKDTree

Measured = np.ndarray

SCALES_UM = (1.2, 1.6, 2.1, 2.8, 3.7, 5.0, 6.6, 8.8)
DEPTHS_UM = (1.2, 1.8, 2.4, 3.0, 3.6, 4.2, 5.0)
HOLE_DEPTHS_UM = (1, 2, 3, 4, 6, 8, 11)
SPECTRUM_BINS = 14
_QUANTILES = (0.5, 0.75, 0.9, 0.97)
_CLIP = 4.0
_FINE = 3
_LEAST_ANSWER = 0.06
_NEIGHBOURHOOD = np.ones((5, 5), np.uint8)
_LOG_SCALES = np.log(np.array(SCALES_UM))


def normalised(density: np.ndarray) -> np.ndarray:
    """Shift and scale a density by its quantiles: 0 at the 20th and 1 at the 95th percentile.

    A tile without contrast (glass, a blank) gives zeros and not amplified noise.
    """
    low, high = _quantiles(density, (0.2, 0.95))
    spread = max(high - low, 0.04)
    return np.clip((density - low) / spread, -_CLIP, _CLIP)


def _quantiles(image: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    step = 2 if len(image) > 1 else 1  # of an image a quarter of the pixels says as much
    flat = np.sort(image[::step, ::step], axis=None)
    return flat[[min(int(share * len(flat)), len(flat) - 1) for share in shares]]


def scale_space(image: np.ndarray) -> list[np.ndarray]:
    """Differences of Gaussians at ``SCALES_UM``, positive on dark blobs.

    Each blur starts from the one before it; from the fourth scale on at half the resolution.
    """
    blurred, done, step = [], 0.0, 1.0
    for number, sigma in enumerate((*SCALES_UM, SCALES_UM[-1] * 1.33)):
        image = cv2.GaussianBlur(image, (0, 0), np.sqrt(sigma**2 - done**2) / step)
        blurred.append(image)
        done = sigma
        if number == _FINE:
            image, step = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), 2.0
            blurred.append(image)
    return [a - b for a, b in pairwise(blurred) if a.shape == b.shape]


def blobs(image: np.ndarray, mpp: float) -> list[Measured]:
    """Blob sizes: energy by scale, and blobs by the scale at which they answer most."""
    levels = scale_space(image)
    energy = np.array([_rms(np.maximum(level, 0)) for level in levels])
    size = image.shape[::-1]
    full = [level if level.shape == image.shape else cv2.resize(level, size) for level in levels]
    strongest = full[0]
    for level in full[1:]:
        strongest = cv2.max(strongest, level)
    peaks = (strongest == cv2.dilate(strongest, _NEIGHBOURHOOD)) & (strongest > _LEAST_ANSWER)
    rows, columns = np.nonzero(peaks)
    answers = np.stack([level[rows, columns] for level in full])
    counts = np.bincount(answers.argmax(axis=0), minlength=len(SCALES_UM)).astype(float)
    area_mm2 = image.size * (mpp / 1000) ** 2
    total = counts.sum()
    share = (counts + 0.5) / (total + 0.5 * len(counts))
    mean = (share * _LOG_SCALES).sum()
    spread = np.sqrt((share * (_LOG_SCALES - mean) ** 2).sum())
    strength = answers.max(axis=0).mean() if total else 0.0
    return [
        np.log(energy),
        np.log(energy / energy.mean()),
        np.log(share),
        np.array([np.log1p(total / area_mm2 / 100), mean, spread, strength]),
        neighbours(np.column_stack([rows, columns]) * mpp),
    ]


def _rms(image: np.ndarray) -> float:
    return float(np.sqrt(cv2.norm(image, cv2.NORM_L2SQR) / image.size + 1e-8))


def neighbours(points: np.ndarray) -> Measured:
    """Spacing of points (um): log of nearest distances, their spread, and crowding around each."""
    if len(points) < 8:
        return np.array([np.log(40.0), np.log(40.0), 0.0, 0.0, np.log(60.0), 0.0])
    distance, _ = cKDTree(points).query(points, k=7)
    nearest, sixth = distance[:, 1], distance[:, 6]
    low, middle, high = _quantiles(nearest[None], (0.1, 0.5, 0.9))
    return np.array(
        [
            np.log(low + 1),
            np.log(middle + 1),
            np.log((high + 1) / (low + 1)),
            nearest.std() / nearest.mean(),
            np.log(_quantiles(sixth[None], (0.5,))[0] + 1),
            sixth.std() / sixth.mean(),
        ]
    )


def nuclei(image: np.ndarray, mpp: float) -> list[Measured]:
    """Size, shape and cover of the dark regions of an Otsu mask."""
    scaled = np.clip((image + 0.5) * 110, 0, 255).astype(np.uint8)
    smooth = cv2.GaussianBlur(scaled, (0, 0), 0.8)
    _, mask = cv2.threshold(smooth, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    stats = stats[1:][stats[1:, cv2.CC_STAT_AREA] >= 4] if count > 1 else stats[:0]
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    inside = depth[depth > 0]
    depths = _quantiles(inside[None], _QUANTILES) if len(inside) else np.zeros(len(_QUANTILES))
    return [
        np.array([mask.mean(), np.log1p(len(stats) / mask.size * 1e4)]),
        _shapes(stats, mpp),
        np.log1p(depths * mpp),
        survival(depth, DEPTHS_UM, mpp),
    ]


def _shapes(stats: np.ndarray, mpp: float) -> Measured:
    if not len(stats):
        return np.zeros(6)
    area = stats[:, cv2.CC_STAT_AREA].astype(float)
    width, height = stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT]
    extent = area / (width * height)
    elongation = np.maximum(width, height) / np.minimum(width, height)
    quarter, middle, most = _quantiles((area * mpp**2)[None], (0.25, 0.5, 0.9))
    # Weighted by area: many specks of noise must not outvote the nuclei.
    typical = (area**2).sum() / area.sum() * mpp**2
    sizes = np.log1p([quarter, middle, most, typical])
    return np.array(
        [*sizes, np.average(extent, weights=area), np.average(elongation, weights=area)]
    )


def survival(depth: np.ndarray, radii_um: tuple[float, ...], mpp: float) -> Measured:
    """Granulometry by erosion: share of a mask deeper inside than each radius."""
    inside = depth[depth > 0] * mpp
    counts = np.histogram(inside, bins=(*radii_um, np.inf))[0]
    return counts[::-1].cumsum()[::-1] / max(len(inside), 1)


def holes(density: np.ndarray, mpp: float) -> list[Measured]:
    """Lumina and glass: cover, number and sizes of what light passes freely."""
    brightest, middle = _quantiles(density, (0.01, 0.5))
    limit = brightest + max(0.35 * (middle - brightest), 0.02)
    smooth = cv2.GaussianBlur(density, (0, 0), 1.0)
    mask = (smooth < limit).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    area = stats[1:, cv2.CC_STAT_AREA] * mpp**2 if count > 1 else np.zeros(0)
    area = area[area >= 8]
    typical = np.log1p((area**2).sum() / area.sum()) if len(area) else 0.0
    return [
        np.array([mask.mean(), np.log1p(len(area)), typical]),
        survival(cv2.distanceTransform(mask, cv2.DIST_L2, 3), HOLE_DEPTHS_UM, mpp),
    ]


def spectrum(image: np.ndarray) -> Measured:
    """Log share of power by wavelength (logarithmic bins from 4 to 90 px)."""
    window, bin_of = _frequency_bins(image.shape)
    half = rfft2((image - cv2.mean(image)[0]) * window)
    power = half.real**2 + half.imag**2
    binned = np.bincount(bin_of, power.ravel(), SPECTRUM_BINS + 2)[1:-1] + 1e-6
    return np.log(binned / binned.sum())


@lru_cache(maxsize=8)
def _frequency_bins(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    window = np.hanning(shape[0])[:, None] * np.hanning(shape[1])[None]
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None])
    edges = np.geomspace(1 / 90, 1 / 4, SPECTRUM_BINS + 1)
    return window.astype(np.float32), np.digitize(frequency, edges).ravel()


def orientation(image: np.ndarray) -> list[Measured]:
    """Coherence of the structure tensor at two scales, and how one direction prevails."""
    dx = cv2.Sobel(image, cv2.CV_32F, 1, 0)
    dy = cv2.Sobel(image, cv2.CV_32F, 0, 1)
    products = cv2.merge([dx * dx, dy * dy, dx * dy])
    measured = []
    for sigma, step in ((3.0, 2), (8.0, 4)):  # at a coarser grid: blurred, they hold no more
        size = (image.shape[1] // step, image.shape[0] // step)
        coarse = cv2.resize(products, size, interpolation=cv2.INTER_AREA)
        xx, yy, xy = cv2.split(cv2.GaussianBlur(coarse, (0, 0), sigma / step))
        strength = xx + yy + 1e-3
        coherence = np.sqrt((xx - yy) ** 2 + 4 * xy**2) / strength
        quantiles = _quantiles(coherence, (0.25, 0.5, 0.75))
        measured.append([*quantiles, float(np.average(coherence, weights=strength))])
    x, y, mixed = cv2.mean(products)[:3]
    whole = np.sqrt((x - y) ** 2 + 4 * mixed**2) / (x + y + 1e-3)
    return [np.concatenate(measured), np.array([whole])]


def binary_patterns(image: np.ndarray, radius: int) -> Measured:
    """Histogram of rotation-invariant uniform local binary patterns of 8 neighbours (10 bins)."""
    smooth = cv2.GaussianBlur(image, (0, 0), 0.6 * radius)
    r, height, width = radius, *image.shape
    centre = smooth[r : height - r, r : width - r] + 0.02
    ring = [(-r, -r), (-r, 0), (-r, r), (0, r), (r, r), (r, 0), (r, -r), (0, -r)]
    bits = [smooth[r + y : height - r + y, r + x : width - r + x] > centre for y, x in ring]
    code = np.zeros(centre.shape, np.uint8)
    for number, bit in enumerate(bits):
        code |= bit.astype(np.uint8) << number
    counts = np.bincount(_UNIFORM[code].ravel(), minlength=10)
    return np.sqrt(counts / counts.sum())


def _uniform_table() -> np.ndarray:
    """Pattern class of each of the 256 codes: number of ones if at most two changes, else 9."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    changes = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    return np.where(changes <= 2, bits.sum(axis=1), 9)


_UNIFORM = _uniform_table()


def energies(image: np.ndarray) -> Measured:
    """Log energy by scale, relative to their mean: texture, whatever its contrast."""
    energy = np.array([_rms(level) for level in scale_space(image)])
    return np.log(energy / energy.mean())
