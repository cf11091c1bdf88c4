"""Augmentation of fundus photographs, per picture and a pure function of its seed."""

from collections.abc import Callable
from typing import Any, Literal

import cv2
import numpy as np

from offsite.preprocessing.augment import altered

VERSION = 1
"""Goes up when the same picture and seed would give another one."""

Augmentation = Literal["none", "geometry", "standard", "cameras", "artefacts"]
Augment = Callable[[np.ndarray, int], np.ndarray]


def fundus_augmentation(name: Augmentation, *, fill: int = 0) -> Augment:
    """Return ``augment(pixels uint8 S x S x 3, seed) -> uint8 S x S x 3``.

    Parameters
    ----------
    name : {"none", "geometry", "standard", "cameras", "artefacts"}
        ``geometry``: flip, small turn, shift and zoom. ``standard``: that and mild changes of
        brightness, contrast, saturation and hue. ``cameras``: ``geometry`` and then another
        resolution, sharpness, contrast and colour balance, as another camera would have given it
        (`altered`). ``artefacts``: ``standard`` and then the fundus
        artefacts of GDRNet (Che et al. 2023, arXiv 2307.04378): sharpness, halo, hole, spots,
        blur, each with probability one half and drawn for every picture on its own.
    fill : int
        Grey value outside the field of view; it stays what it is.
    """
    if name == "none":
        return lambda pixels, seed: pixels
    import albumentations as A

    geometry = A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            A.Affine(
                scale=(0.92, 1.12),
                keep_ratio=True,
                translate_percent=(-0.04, 0.04),
                rotate=(-15, 15),
                p=0.9,
                fill=fill,
                interpolation=cv2.INTER_LINEAR,
            ),
        ]
    )
    colour = A.Compose(
        [
            A.ColorJitter(
                brightness=(0.85, 1.15),
                contrast=(0.85, 1.15),
                saturation=(0.85, 1.15),
                hue=(-0.02, 0.02),
                p=0.8,
            )
        ]
    )

    def augment(pixels: np.ndarray, seed: int) -> np.ndarray:
        moved = _drawn(geometry, pixels, seed)
        if name == "geometry":
            return moved
        outside = (moved == fill).all(axis=2)
        if name == "cameras":
            changed = altered.redrawn(moved, np.random.default_rng([seed, 2]))
        else:
            changed = _drawn(colour, moved, seed)
        if name == "artefacts":
            generator = np.random.default_rng(np.random.SeedSequence([seed, 1]))
            changed = fundus_artefacts(changed, generator)
        changed[outside] = fill
        return changed

    return augment


def _drawn(pipeline: Any, pixels: np.ndarray, seed: int) -> np.ndarray:
    pipeline.set_random_seed(seed % 2**32)  # albumentations takes seeds below 2^32
    return np.array(pipeline(image=pixels)["image"])


def fundus_artefacts(pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Add each of five artefacts with probability one half (uint8 in, uint8 out).

    The kinds and their ranges follow GDRNet (arXiv 2307.04378, section 2.1) as its public code has
    them; drawing them for every picture, and not once for a batch, is our change.
    """
    picture = pixels.astype(np.float32) / 255
    for artefact in (_sharpness, _halo, _hole, _spots, _blur):
        if generator.random() < 0.5:
            picture = np.clip(artefact(picture, generator), 0, 1)
    return np.round(picture * 255).astype(np.uint8)


def _sharpness(picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    smooth = cv2.blur(picture, (3, 3))
    return smooth + generator.uniform(0, 2) * (picture - smooth)


def _halo(picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A bright ring about the middle, tinted: light scattered at the pupil's rim."""
    tint = np.array(
        [(1.0, 0.98, 0.9), (1.0, 0.9, 0.75), (0.85, 0.95, 1.0), (1.0, 1.0, 1.0)][
            int(generator.integers(4))
        ],
        np.float32,
    )
    distance = _distance(picture, generator.uniform(0.4, 0.6, 2))
    ring = np.exp(-((distance - generator.uniform(0.3, 0.5)) ** 2) / (2 * 0.08**2))
    fading = generator.choice([1.0, 1.2, 1.5, 2.0], p=[0.8, 0.1, 0.05, 0.05])
    strength = 0.3 * generator.uniform(0, 2) / fading
    return picture + strength * ring[..., None] * tint


def _hole(picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A dark disc with a soft edge: the lens out of line with the pupil."""
    distance = _distance(picture, generator.uniform(0.3, 0.7, 2))
    radius = generator.uniform(0.4, 0.9) / 2
    return picture - 0.26 / (1 + np.exp((distance - radius) * 20))[..., None]


def _spots(picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Five to ten soft bright or dark spots: dust on the lens."""
    for _ in range(int(generator.integers(5, 11))):
        distance = _distance(picture, generator.uniform(0.1, 0.9, 2))
        radius = generator.uniform(0.01, 0.05)
        light = generator.uniform(-0.2, 0.25)
        picture = picture + (light * np.exp(-((distance / radius) ** 2)))[..., None]
    return picture


def _blur(picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    # the range is for 256 px, so that the same share of a picture is smeared at any size
    return cv2.GaussianBlur(
        picture, (0, 0), generator.uniform(0.1, 3.0) * len(picture) / 256 + 0.05
    )


def _distance(picture: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Distance of each pixel from a centre, both in shares of the side (float32)."""
    axis = ((np.arange(len(picture)) + 0.5) / len(picture)).astype(np.float32)
    return np.hypot(axis[None] - np.float32(centre[0]), axis[:, None] - np.float32(centre[1]))
