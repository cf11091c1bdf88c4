"""A feature file holds its own numbers, and no more of them than it stores."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from offsite.errors import InputError
from offsite.pathology.features.folders import read_any
from offsite.pathology.features.tensor_files import load_tensor


def secret_of(folder: Path) -> Path:
    path = folder / "secret.bin"
    path.write_bytes(np.arange(64, dtype=np.float32).tobytes())
    return path


def other_of(folder: Path) -> Path:
    path = folder / "other.h5"
    with h5py.File(path, "w") as file:
        file["features"] = np.ones((4, 8), np.float32)
    return path


def external_storage(file: h5py.File, folder: Path) -> None:
    secret = secret_of(folder)
    file.create_dataset(
        "features", (8, 8), np.float32, external=[(str(secret), 0, secret.stat().st_size)]
    )


def external_link(file: h5py.File, folder: Path) -> None:
    file["features"] = h5py.ExternalLink(str(other_of(folder)), "features")


def soft_link(file: h5py.File, folder: Path) -> None:
    file["kept/features"] = np.ones((4, 8), np.float32)
    file["features"] = h5py.SoftLink("/kept/features")


def virtual(file: h5py.File, folder: Path) -> None:
    layout = h5py.VirtualLayout((4, 8), np.float32)
    layout[:] = h5py.VirtualSource(str(other_of(folder)), "features", (4, 8))
    file.create_virtual_dataset("features", layout)


def nested_link(file: h5py.File, folder: Path) -> None:
    file["features"] = np.ones((4, 8), np.float32)
    file.create_group("deep/deeper")["x"] = h5py.ExternalLink(str(other_of(folder)), "features")


def a_terabyte(file: h5py.File, folder: Path) -> None:
    file.create_dataset("features", (4_000_000, 65_000), np.float32, chunks=(1000, 1000))


def a_group_in_itself(file: h5py.File, folder: Path) -> None:
    file["features"] = np.ones((4, 8), np.float32)
    loop = file.create_group("loop")
    loop["loop"] = loop


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (external_storage, "in other files"),
        (external_link, "links are not followed"),
        (soft_link, "links are not followed"),
        (virtual, "in other files"),
        (nested_link, "links are not followed"),
        (a_terabyte, "declares 1,040,000,000,000 bytes and stores 0"),
        (a_group_in_itself, "more than 1000 members"),
    ],
)
def test_a_file_that_points_elsewhere_or_declares_too_much_is_refused(
    made: Callable[[h5py.File, Path], None], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "slide.h5"
    with h5py.File(path, "w") as file:
        made(file, tmp_path)
        if "coords" not in file:
            file["coords"] = np.zeros((4, 2), np.int64)
    with pytest.raises(InputError, match=said) as caught:
        read_any(path)
    assert (caught.value.code, caught.value.file) == ("bad_feature_file", str(path))


def test_packed_features_are_read(tmp_path: Path) -> None:
    path = tmp_path / "slide.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "features", data=np.zeros((20_000, 256), np.float32), compression="gzip"
        )
        file["coords"] = np.zeros((20_000, 2), np.int64)
    assert path.stat().st_size < 1_000_000
    assert read_any(path).features.shape == (20_000, 256)


def test_a_tensor_that_repeats_one_number_is_no_file_of_features(tmp_path: Path) -> None:
    path = tmp_path / "slide.pt"
    torch.save(torch.zeros(1, 1).expand(5_000_000, 60_000), path)
    assert path.stat().st_size < 10_000
    with pytest.raises(InputError, match="declares 1,200,000,000,000 bytes") as caught:
        load_tensor(path)
    assert caught.value.code == "bad_feature_file"
    torch.save(torch.ones(3, 4), path)
    assert load_tensor(path).shape == (3, 4)
