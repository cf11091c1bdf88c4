"""What a fit ended with, and the file that says so."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from offsite.files import file_digest, read_json, write_json
from offsite.training.fit.checkpoint import remove_checkpoint


@dataclass(frozen=True)
class FitResult:
    """What a fit ended with.

    Attributes
    ----------
    weights : Path
        ``weights.safetensors``: ``inference_state()`` of the selected epoch (or the SWAD mean).
    epoch : int or None
        The selected epoch, from 0; None where the weights are a mean over several.
    score : float or None
        Its value of ``select_by``; None also without validation or where no epoch had one.
    epochs : int
        Epochs trained, fewer than set where patience ran out.
    reason : str
        Why these weights: ``"best"``, ``"swad"``, ``"no validation"``, ``"no score defined"``,
        ``"too few to compare epochs"``.
    note : str
        What a reader should know of it, in words; empty where there is nothing.
    """

    weights: Path
    epoch: int | None
    score: float | None
    epochs: int
    reason: str
    note: str = ""


def record(
    folder: Path, digest: str, result: FitResult, told: Mapping[str, Any] | None = None
) -> None:
    """Write ``fit.json``; from then on the fit counts as done.

    ``told`` are facts of how the algorithm was made, kept as ``made``.
    """
    facts = asdict(result) | {"weights": result.weights.name}
    digests = {"digest": digest, "weights_digest": file_digest(result.weights)}
    write_json(folder / "fit.json", digests | {"result": facts, "made": dict(told or {})})


def finished(folder: Path, digest: str) -> FitResult | None:
    """Return the result of a fit of ``digest`` that is done and whose weights are whole."""
    try:
        record = read_json(folder / "fit.json")
        weights = folder / Path(record["result"]["weights"]).name
        if record["digest"] != digest or file_digest(weights) != record["weights_digest"]:
            return None
        return FitResult(**record["result"] | {"weights": weights})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def tidy(folder: Path) -> None:
    """Remove the checkpoint and what a killed process left half written."""
    remove_checkpoint(folder / "checkpoint")
    remove_half_written(folder)


def remove_half_written(folder: Path) -> None:
    """Remove temporary files of a killed process."""
    for name in ("curves.jsonl", "fit.json", "weights.safetensors"):
        for file in folder.glob(f".{name}.*.tmp"):
            file.unlink(missing_ok=True)
