"""Is this machine fit to run offsite? Small trials of the real thing, each with its remedy."""

import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from offsite.cores import usable_cores
from offsite.errors import InputError
from offsite.training.trials import Trial, installed
from offsite.workflows.jobs.modalities import modalities, modality_named, modality_names

LEAST_DISK_GIB = 5.0
LEAST_MEMORY_GIB = 4.0


@dataclass(frozen=True)
class TrialResult:
    """What one trial found. ``needed``: without it something essential fails."""

    name: str
    works: bool
    told: str
    remedy: str = ""
    needed: bool = True


def examine(folder: Path, tracking_uri: str | None = None) -> list[TrialResult]:
    """Try everything; a trial that fails is a finding and not an error.

    Parameters
    ----------
    folder : Path
        Where results will be written.
    tracking_uri : str, optional
        The MLflow store to try; a temporary SQLite database otherwise.
    """
    trials = [
        Trial("processor", _processor, "Install a torch build for this machine"),
        Trial("graphics card", _accelerator, "Without one everything runs, slower", needed=False),
        Trial("memory", _memory, "Close other programs, or use fewer --workers"),
        Trial("disk", lambda: _disk(folder), "Free space, or write somewhere else"),
        Trial("JPEG", _jpeg, "Install simplejpeg and opencv-python-headless"),
        Trial("weights", _weights, "Install safetensors"),
        Trial(
            "tracking database",
            lambda: _database(tracking_uri),
            "Check the store's address; an old database needs: mlflow db upgrade URI",
        ),
        Trial("workflow", _workflow, "pip install 'offsite[workflow]'", needed=False),
        Trial("kinds of images", _kinds, "Mend the package that brings it"),
    ]
    return [_tried(trial) for trial in (*trials, *_of_modalities())]


def _of_modalities() -> list[Trial]:
    """What the kinds of images say that they need, and the optional packages of their formats."""
    trials: list[Trial] = []
    with suppress(InputError):  # said by the trial of the kinds
        for modality in modalities():
            trials += modality.trials
            trials += [
                Trial(
                    f"{known.name} {modality.reads}",
                    partial(installed, known.package),
                    f"pip install {known.package}",
                    needed=False,
                )
                for known in modality.formats
                if known.package
            ]
    return trials


def _tried(trial: Trial) -> TrialResult:
    try:
        return TrialResult(trial.name, True, trial.run(), needed=trial.needed)
    except Exception as error:  # whatever breaks on this machine is what we came to see
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        return TrialResult(trial.name, False, told, trial.remedy, trial.needed)


def _processor() -> str:

    import torch

    square = torch.arange(9.0).reshape(3, 3)
    if float((square @ square).sum()) != 486.0:
        raise RuntimeError("torch multiplies wrongly")
    cores = usable_cores()
    return f"torch {torch.__version__}, {cores} cores"


def _accelerator() -> str:
    import torch

    if torch.cuda.is_available():
        torch.ones(8, device="cuda").sum().item()
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB (--device cuda)"
    if torch.backends.mps.is_available():
        torch.ones(8, device="mps").sum().item()
        return "Apple (--device mps)"
    raise RuntimeError("none that torch can use")


def _memory() -> str:
    import psutil

    free = psutil.virtual_memory().available / 2**30
    if free < LEAST_MEMORY_GIB:
        raise RuntimeError(f"{free:.1f} GiB free, fewer than {LEAST_MEMORY_GIB:g}")
    return f"{free:.1f} GiB free"


def _disk(folder: Path) -> str:
    nearest = next(
        path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir()
    )
    with tempfile.NamedTemporaryFile(dir=nearest) as file:
        file.write(b"offsite")
    free = shutil.disk_usage(nearest).free / 2**30
    if free < LEAST_DISK_GIB:
        raise RuntimeError(f"{free:.1f} GiB free in {nearest}, fewer than {LEAST_DISK_GIB:g}")
    return f"{free:.1f} GiB free, writable"


def _jpeg() -> str:
    import cv2
    import numpy as np
    import simplejpeg

    picture = np.full((32, 32, 3), (10, 200, 90), np.uint8)
    content = simplejpeg.encode_jpeg(picture, quality=95)
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    if decoded is None or np.abs(decoded.astype(int) - picture).max() > 12:
        raise RuntimeError("a JPEG is read with other colours than were written")
    return f"OpenCV {cv2.__version__}, simplejpeg"


def _weights() -> str:
    import safetensors
    import torch
    from safetensors.torch import load, save

    if not torch.equal(load(save({"x": torch.ones(2)}))["x"], torch.ones(2)):
        raise RuntimeError("safetensors does not read what it wrote")
    return f"safetensors {safetensors.__version__}"


def _database(uri: str | None) -> str:
    from offsite.evaluation.tracking.store import client_of, store_exists

    if uri is not None:
        if not store_exists(uri):
            return f"{uri} is not there yet: the first run that is logged makes it"
        client_of(uri)
        return f"{uri} answers"
    with tempfile.TemporaryDirectory() as folder:
        client_of(f"sqlite:///{folder}/mlflow.db")
    return "SQLite works (give --tracking-uri to try yours)"


def _workflow() -> str:
    return installed("snakemake")


def _kinds() -> str:
    return ", ".join(modality_named(name).reads for name in modality_names())
