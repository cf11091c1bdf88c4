"""Names and digests of encoders whose weights lie in local files."""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from offsite.files import digest_of


def weights_digest(state: Mapping[str, Tensor], settings: dict[str, Any]) -> str:
    """SHA-256 (hex) of named weights and the settings they are used with."""
    digest = hashlib.sha256(digest_of(settings).encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tuple(tensor.shape)}:{tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
