"""The numbers of a camera: finite for any picture, and each moves with what it is of."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from offsite.preprocessing.cohort.nuisances import NAMES, nuisances


def of(pixels: np.ndarray, folder: Path, quality: int = 90) -> dict[str, float]:
    file = folder / "picture.jpg"
    cv2.imwrite(str(file), pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return dict(zip(NAMES, nuisances(pixels, file), strict=True))


@pytest.fixture
def picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 220, (20, 20, 3), dtype=np.uint8)
    return cv2.resize(coarse, (200, 200), interpolation=cv2.INTER_CUBIC)


def test_each_number_moves_with_what_it_is_of(picture: np.ndarray, tmp_path: Path) -> None:
    before = of(picture, tmp_path)
    assert of(cv2.GaussianBlur(picture, (0, 0), 4), tmp_path)["sharpness"] < before["sharpness"]
    assert of(picture // 2, tmp_path)["lightness_mean"] < before["lightness_mean"]
    assert of(picture, tmp_path, 20)["bytes_per_pixel"] < before["bytes_per_pixel"]
    assert of(picture[:100], tmp_path)["height"] < before["height"]


def test_a_black_rim_does_not_count_as_colour(picture: np.ndarray, tmp_path: Path) -> None:
    rimmed = np.pad(picture, ((100, 100), (100, 100), (0, 0)))
    before, after = of(picture, tmp_path), of(rimmed, tmp_path)
    assert after["lightness_mean"] == pytest.approx(before["lightness_mean"], abs=2)


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 900, 3), (64, 64, 3)])
@pytest.mark.parametrize("value", [0, 255])
def test_all_are_finite(shape: tuple[int, int, int], value: int, tmp_path: Path) -> None:
    assert np.isfinite(list(of(np.full(shape, value, np.uint8), tmp_path).values())).all()
