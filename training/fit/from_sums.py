"""What a fit in closed form leaves in a run's folder."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from offsite.files import write_text
from offsite.training.fit.checkpoint import save_tensors
from offsite.training.fit.result import FitResult, record
from offsite.training.run_folder import SUMS


@dataclass(frozen=True, eq=False)
class ClosedFit:
    """What a fit in closed form ended with.

    Attributes
    ----------
    result : FitResult
        The weights' file.
    facts : dict
        Penalty, errors by penalty and what else the run tells: JSON-able.
    """

    result: FitResult
    facts: dict[str, Any]


def write_fit(
    folder: Path,
    digest: str,
    weights: Mapping[str, Tensor],
    sums: Mapping[str, np.ndarray],
    errors: Sequence[float] | np.ndarray,
) -> FitResult:
    """Write the weights, the sums that they were fitted to, a curve and ``fit.json``.

    Parameters
    ----------
    folder, digest : Path, str
        The run's folder, and the digest of its inputs.
    weights : mapping of str to Tensor
        Of the network.
    sums : mapping of str to numpy.ndarray
        Of the training rows, by name.
    errors : sequence of float
        At patients that were left out, for each penalty: a line of the curve each.
    """
    file = folder / "weights.safetensors"
    save_tensors(file, weights)
    save_tensors(folder / SUMS, {name: torch.from_numpy(array) for name, array in sums.items()})
    lines = [json.dumps({"epoch": n, "scores": {"error": float(e)}}) for n, e in enumerate(errors)]
    write_text(folder / "curves.jsonl", "\n".join(lines) + "\n")
    result = FitResult(file, None, None, 0, "fitted to sums")
    record(folder, digest, result)
    return result
