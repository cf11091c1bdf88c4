"""Weights and reference arrays as the bytes of their files; the same content, the same bytes."""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from offsite.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


def weights_bytes(weights: "Mapping[str, Tensor]") -> bytes:
    """Return the weights as a safetensors file."""
    from safetensors.torch import save

    # Tied tensors share memory, which the format refuses: each is written for itself.
    return save(
        {name: value.detach().cpu().clone().contiguous() for name, value in weights.items()}
    )


def reference_bytes(reference: Mapping[str, np.ndarray]) -> bytes:
    """Return the arrays as an ``npz`` file.

    Raises
    ------
    InputError
        An array holds objects, which could only be pickled.
    """
    arrays = {name: np.asarray(value) for name, value in reference.items()}
    objects = [name for name, value in arrays.items() if value.dtype.hasobject]
    if objects:
        raise InputError(
            f"reference array '{objects[0]}' holds objects", remedy="Give arrays of numbers or text"
        )
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
