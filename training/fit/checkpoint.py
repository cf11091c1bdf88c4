"""Checkpoints without pickle: tensors in safetensors, everything else in one JSON file.

``checkpoint.json`` names the tensor files and is replaced last, in one rename; until then it
names the files of the checkpoint before. A kill at any moment leaves a whole checkpoint.
"""

import contextlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn, optim

from offsite.errors import InputError
from offsite.files import file_digest, read_json, write_bytes, write_json, write_text
from offsite.ownership import remove_named
from offsite.training.run_folder import CHECKPOINT_FILE

log = logging.getLogger("offsite.training")
_FORMAT = 1
_POINTER = "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """A state of training: tensors that move on, the selected weights, and plain facts."""

    tensors: dict[str, Tensor]
    best: dict[str, Tensor]
    facts: dict[str, Any]


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors atomically; tied tensors are written twice.

    The library's own ``save_file`` is not used: killed, it leaves a temporary file whose name
    tells nobody whose it is.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    seen: set[int] = set()
    for name, tensor in plain.items():
        pointer = tensor.untyped_storage().data_ptr()
        if pointer in seen:
            plain[name] = tensor.clone()
        seen.add(pointer)
    write_bytes(path, save(plain))


def save_checkpoint(
    folder: Path, tensors: Mapping[str, Tensor], best: Mapping[str, Tensor], facts: dict[str, Any]
) -> None:
    """Write a checkpoint over the one before; ``facts`` holds ``digest``, ``epoch``, ``step``."""
    names = {"state": f"state-{facts['epoch']}-{facts['step']}.safetensors"}
    save_tensors(folder / names["state"], tensors)
    if best:
        names["best"] = f"best-{facts['best_epoch']}.safetensors"
        if not (folder / names["best"]).exists():
            save_tensors(folder / names["best"], best)
    digests = {name: file_digest(folder / name) for name in names.values()}
    write_json(
        folder / _POINTER, {"format": _FORMAT, "files": names, "digests": digests, "facts": facts}
    )
    _remove_files(folder, keep={_POINTER, *names.values()})


def load_checkpoint(folder: Path, digest: str) -> Checkpoint | None:
    """Return the checkpoint in ``folder`` if it belongs to ``digest`` and is whole, else None.

    One that does not fit is removed: training from the start gives the same weights, only later.
    """
    if not (folder / _POINTER).exists():
        remove_checkpoint(folder)
        return None
    try:
        pointer = read_json(folder / _POINTER)
        if pointer["format"] != _FORMAT or pointer["facts"]["digest"] != digest:
            raise ValueError("it belongs to other settings or data")
        for name, expected in pointer["digests"].items():
            if file_digest(folder / Path(name).name) != expected:
                raise ValueError(f"{name} is damaged")
        files = {kind: load_file(folder / Path(n).name) for kind, n in pointer["files"].items()}
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        log.warning("checkpoint in %s not used (%s); training starts anew", folder, error)
        remove_checkpoint(folder)
        return None
    return Checkpoint(files["state"], files.get("best", {}), pointer["facts"])


def remove_checkpoint(folder: Path) -> None:
    """Remove the checkpoint; the pointer goes first, so that no half of one is ever believed."""
    remove_named(folder, (_POINTER,))
    _remove_files(folder, keep=set())
    with contextlib.suppress(OSError):  # not there, or something of others is in it
        folder.rmdir()


def _remove_files(folder: Path, keep: set[str]) -> None:
    """Remove the files of checkpoints, whole or half written, and nothing else."""
    names = {file.name for file in folder.glob("*") if CHECKPOINT_FILE.fullmatch(file.name)}
    for begun in ("state-", "best-", _POINTER):
        names |= {file.name for file in folder.glob(f".{begun}*.tmp")}
    remove_named(folder, names - keep)


def optimiser_tensors(optimiser: optim.Optimizer) -> dict[str, Tensor]:
    """Return the moments of an optimiser by position of the parameter and name."""
    return {
        f"{index}.{name}": value
        for index, state in optimiser.state_dict()["state"].items()
        for name, value in state.items()
        if isinstance(value, Tensor)
    }


def load_optimiser_tensors(optimiser: optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors under ``prefix.`` with the prefix taken off."""
    start = prefix + "."
    return {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}


def load_weights(algorithm: nn.Module, path: str | Path) -> None:
    """Load ``weights.safetensors`` into an algorithm of the same architecture.

    Raises
    ------
    InputError
        Code ``unreadable_weights`` or ``wrong_weights``: the file is no safetensors file, or its
        names or shapes are not those of ``algorithm.inference_state()``.
    """
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"the weights cannot be read ({error})",
            remedy="Give a weights.safetensors written by offsite",
            file=path,
            code="unreadable_weights",
        ) from None
    wanted: dict[str, Tensor] = getattr(algorithm, "inference_state", algorithm.state_dict)()
    shapes = {name: tuple(t.shape) for name, t in wanted.items()}
    if shapes != {name: tuple(t.shape) for name, t in weights.items()}:
        odd = sorted(
            name
            for name in shapes.keys() | weights.keys()
            if shapes.get(name) != (tuple(weights[name].shape) if name in weights else None)
        )
        raise InputError(
            f"the weights are of another architecture ({len(odd)} differ, first {odd[0]})",
            remedy="Build the algorithm with the settings of the run that wrote the weights",
            file=path,
            code="wrong_weights",
        )
    with torch.no_grad():
        algorithm.load_state_dict(weights, strict=False)


def keep_lines(path: Path, count: int) -> bool:
    """Cut a file of lines to its first ``count``, atomically; return whether it had as many."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines[:count] if line.endswith("\n")]
    if len(whole) < count:
        return False
    write_text(path, "".join(whole))
    return True


def append_line(path: Path, line: str) -> None:
    """Append a line and sync it to disk, so that no later checkpoint outlives it."""
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())
