"""CLAM's ``.pt`` files: one tensor of features, loaded as plain numbers and never as code."""

from pathlib import Path

import numpy as np
import torch

from offsite.errors import InputError

SUFFIX = ".pt"


def is_tensor_file(path: Path) -> bool:
    """Say whether a file has the suffix of a tensor, in small letters or capitals."""
    return path.suffix.lower() == SUFFIX


def tensor_shape(path: Path) -> tuple[int, int]:
    """Return N and D of a file's features; the numbers stay on the disk where its format lets them.

    Raises
    ------
    InputError
        As `load_tensor`.
    """
    rows, columns = _features(path, mapped=True).shape
    return rows, columns


def load_tensor(path: Path) -> np.ndarray:
    """Return a file's features, N x D, float32.

    Raises
    ------
    InputError
        Code ``not_embedded`` (no such file) or ``bad_feature_file``: it is damaged, carries code,
        or holds anything else than one tensor N x D (or 1 x N x D).
    """
    return np.asarray(_features(path, mapped=False).float().numpy())


def _features(path: Path, *, mapped: bool) -> torch.Tensor:
    if not path.is_file():
        raise InputError(
            "no such feature file", file=path, remedy="Embed the slide first", code="not_embedded"
        )
    try:
        tensor = _load(path, mapped)
    except Exception as error:  # torch raises many kinds for a damaged or hostile file
        raise _unusable(path, "the file is not a plain tensor") from error
    if not isinstance(tensor, torch.Tensor):
        raise _unusable(path, "the file does not hold one tensor")
    features = tensor.detach()
    features = features[0] if features.ndim == 3 and len(features) == 1 else features
    if features.ndim != 2:
        raise _unusable(path, f"features of shape {tuple(features.shape)} are not N x D")
    declared = features.numel() * features.element_size()
    if declared > path.stat().st_size:  # one number may stand for a whole tensor of it
        raise _unusable(path, f"the file declares {declared:,} bytes and is smaller than that")
    return features


def _load(path: Path, mapped: bool) -> object:
    """Unpickle with ``weights_only``, which runs no code that a file might carry."""
    if mapped:
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # PyTorch's format before 1.6 cannot be mapped
            pass
    return torch.load(path, map_location="cpu", weights_only=True)


def _unusable(path: Path, problem: str) -> InputError:
    return InputError(
        problem,
        file=path,
        remedy="Extract the features of this slide again",
        code="bad_feature_file",
    )
