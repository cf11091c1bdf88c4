"""See a synthetic retina through a clinic's camera."""

import cv2
import numpy as np

from offsite.preprocessing.synthetic.fundus.sites import CameraProfile

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def photograph(
    light: np.ndarray, camera: CameraProfile, generator: np.random.Generator
) -> np.ndarray:
    """Return the picture that a camera takes of a retina (uint8, H x W x 3, RGB).

    Parameters
    ----------
    light : numpy.ndarray
        px x px x 3 in [0, 1], from `draw_retina`.
    camera : CameraProfile
        The camera.
    generator : numpy.random.Generator
        Of the exposure, the tilt's direction and the noise of this one picture.
    """
    px = len(light)
    axis = (np.arange(px) + 0.5) / px * 2 - 1
    x, y = np.meshgrid(axis, axis)
    radius = np.sqrt(x**2 + y**2)
    angle = generator.uniform(0, 2 * np.pi)
    slope = (x * np.cos(angle) + y * np.sin(angle)) / 2
    exposure = float(generator.normal(1.0, 0.05))
    falloff = exposure * (1 - camera.vignette * radius**2) * (1 - camera.tilt * (slope + 0.5))
    seen = light * falloff[..., None].astype(np.float32)
    if camera.haze:
        seen = seen * (1 - camera.haze) + camera.haze * np.float32(0.6)
    seen = _developed(np.clip(seen, 0, 1), camera)
    if camera.blur:
        seen = cv2.GaussianBlur(seen, (0, 0), max(camera.blur * px / 1000, 0.2))
    picture = np.full_like(seen, camera.background)
    inside = _field(radius, angle, camera.notch)
    picture += (seen - picture) * inside[..., None].astype(np.float32)
    picture = _framed(picture, camera)
    picture += generator.normal(0, camera.noise, picture.shape).astype(np.float32)
    pixels = np.ascontiguousarray(np.clip(np.round(picture * 255), 0, 255).astype(np.uint8))
    if camera.text:
        _write(pixels)
    return pixels


def _developed(seen: np.ndarray, camera: CameraProfile) -> np.ndarray:
    grey = seen @ _LUMA
    coloured = grey[..., None] + camera.saturation * (seen - grey[..., None])
    coloured = np.clip(coloured * np.array(camera.tint, np.float32), 0, 1) ** camera.gamma
    mean = coloured.mean()
    return np.clip(mean + camera.contrast * (coloured - mean) + camera.brightness, 0, 1)


def _field(radius: np.ndarray, angle: float, notch: bool) -> np.ndarray:
    """The field of view as a soft mask; the rim is two pixels wide."""
    px = len(radius)
    edge = 0.97
    mask = np.clip((edge - radius) * px / 4 + 0.5, 0, 1)
    if notch:
        top = int(px * (0.5 - 0.34))
        right = int(px * (0.5 + 0.34))
        mask[top - px // 40 : top, right : right + px // 40] = 1
    return mask


def _framed(picture: np.ndarray, camera: CameraProfile) -> np.ndarray:
    """Pad to the picture's shape, or cut the field's top and bottom off."""
    px = len(picture)
    if camera.frame == "cut":
        lost = round(px * 0.08)
        return picture[lost : px - lost].copy()
    wide = round(px * 0.22) if camera.frame == "landscape" else round(px * 0.02)
    high = round(px * 0.16) if camera.frame == "portrait" else round(px * 0.02)
    value = float(camera.background)
    return cv2.copyMakeBorder(
        picture, high, high, wide, wide, cv2.BORDER_CONSTANT, value=(value, value, value)
    )


def _write(picture: np.ndarray) -> None:
    size = len(picture) / 480
    light = (230, 230, 230)
    cv2.putText(
        picture,
        "OD 45 DEG",
        (2, len(picture) - 3),
        cv2.FONT_HERSHEY_SIMPLEX,
        size,
        light,
        1,
        cv2.LINE_AA,
    )
