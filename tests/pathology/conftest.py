"""One thread, and the room's own modules by name."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Features of the slides of ``cohort``."""
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="module")
def cohort(folder):
    """Two slides of each of 24 patients, at two training sites and one held out."""
    from slides_on_disk import make

    return make(folder)


@pytest.fixture(scope="module")
def run(cohort, folder, tmp_path_factory):
    """Folder and predictions of a run of sc_mil."""
    from slides_on_disk import settings

    from offsite.pathology.training import train_pathology

    path = tmp_path_factory.mktemp("runs") / "run"
    return path, train_pathology(cohort, folder, settings(), path)
